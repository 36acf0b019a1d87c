"""The result of a registration in plain words: what a user reads first."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from ..pipeline.result import Registration

LITTLE_ALIKE = 0.3
"""Mean squared local correlation below which two brains count as little alike.

T1 images of two people reach about 0.15 as they lie, 0.35 after an affine alignment and 0.7 after a good deformable
one; noise and different contrast keep it lower, and then only the pictures can tell.
"""
ALIKE_FROM_THE_START = 0.9
"""Above it there is little left to gain: images this alike need not become more so."""

Level = Literal["good", "doubt", "bad"]


class Verdict(NamedTuple):
    """level steers the colour; the words must do without it."""

    level: Level
    headline: str
    sentence: str


def verdict(registration: Registration) -> Verdict:
    """Judge by folding first, then by whether the local correlation rose, then by how high it is, then by the notes.

    A similarity that could not be measured (not a number) counts as none at all.
    """
    before, initial, after = (
        0.0 if math.isnan(similarity.local_correlation) else similarity.local_correlation
        for similarity in (
            registration.similarity_before,
            registration.similarity_initial,
            registration.similarity_after,
        )
    )
    folded = registration.folding.folded_voxels
    figures = (
        f"Local similarity {number_text(before, 2)} → {number_text(after, 2)}, {folded_text(folded)}, "
        f"{seconds_text(total_seconds(registration.seconds))} on {device_text(registration.device)}."
    )
    if folded > 0:
        return Verdict("bad", "Folded", f"The map is not one to one and must not be used as it is. {figures}")
    if after <= before and after < ALIKE_FROM_THE_START:
        return Verdict("bad", "Not aligned", f"The images are no more alike than they were. {figures}")
    deformed = bool(registration.velocity_voxels.any())
    if deformed and after <= initial and after < ALIKE_FROM_THE_START:
        return Verdict(
            "doubt",
            "Not improved",
            f"The deformable part did not improve on the linear one ({number_text(initial, 2)}). {figures}",
        )
    if after < LITTLE_ALIKE:
        return Verdict(
            "doubt", "Little alike", f"More alike than before, but not by much: trust the pictures. {figures}"
        )
    count = len(registration.notes)
    if count:
        noted = "a note" if count == 1 else f"{count} notes"
        return Verdict("doubt", f"Aligned, with {noted}", figures)
    return Verdict("good", "Aligned", figures)


def total_seconds(seconds: dict[str, float]) -> float:
    """The measured total where there is one, otherwise the sum of the steps."""
    return seconds["total"] if "total" in seconds else sum(seconds.values())


def folded_text(count: int) -> str:
    """How many voxels fold, zero said aloud."""
    if count == 0:
        return "no folded voxel"
    return "1 folded voxel" if count == 1 else f"{count_text(count)} folded voxels"


def count_text(count: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u2009")


def number_text(value: float, digits: int) -> str:
    """A number with a true minus sign; what is not finite was not measured."""
    return f"{value:.{digits}f}".replace("-", "\u2212") if math.isfinite(value) else "not measured"


def seconds_text(seconds: float) -> str:
    """A duration as a person would say it."""
    if seconds < 0.95:
        return f"{seconds:.2f} s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def bytes_text(count: int | None) -> str:
    """Memory in binary units; None was not measured."""
    if count is None:
        return "not measured"
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}" if size < 100 and unit != "B" else f"{size:.0f} {unit}"


def device_text(device: str) -> str:
    """CPU in capitals, any other device by the name that the run gave it."""
    return "CPU" + device[3:] if device.startswith("cpu") else device
