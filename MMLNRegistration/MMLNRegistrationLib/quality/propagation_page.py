"""The report of a propagation as one HTML document, in the same dress as that of a registration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..pipeline.foreground import tissue
from ..pipeline.volume import Volume
from . import charts, pictures, tiles
from .colours import RISING, css_stops
from .document import report_document
from .figures import Picture, draw, picture_of
from .parts import columns, key_figures, list_of_notes, masthead, section, volume_entry
from .planes import Plane
from .propagation import Propagation
from .structure_pictures import draw_structures, structure_planes, swatches
from .structure_volumes import StructureVolume
from .terms import terms_of_propagation
from .verdict import Level, count_text, device_text, number_text, seconds_text
from .viewer import viewer

FUSION_WORDS = {"majority": "majority voting", "local_similarity": "voting weighted by local similarity"}
CONTESTED_WHITE = 0.5
"""The share of votes for other labels that is shown brightest."""


def propagation_html(result: Propagation) -> str:
    """One self-contained page with pictures and the figures of the JSON. It loads nothing and sends nothing."""
    is_fused = len(result.atlases) > 1
    shown = tissue(result.subject) | (result.labels.array_kji > 0)
    if not shown.any():
        shown = np.ones_like(shown)
    planes = structure_planes(result.subject.geometry, shown, result.labels.array_kji > 0)
    drawn = _drawn(result, planes, shown, is_fused)
    headline = f"{_counted(len(result.volumes), 'structure')} from {_counted(len(result.atlases), 'atlas', 'es')}"
    sentence = f"On the grid of {result.subject.name}"
    if is_fused:
        sentence += f", by {FUSION_WORDS[result.fusion]}"
        if result.mean_agreement is not None:
            sentence += f"; the label that was chosen got {100 * result.mean_agreement:.0f} % of the votes"
    level: Level = "doubt" if result.notes else "good"
    body = "".join(
        (
            tiles.picture_definitions(drawn, planes[0].side_mm),
            masthead("Propagation report", level, headline, f"{sentence}.", volume_entry("Subject", result.subject)),
            "<main>",
            list_of_notes(result.notes),
            key_figures(_key_figures(result, is_fused)),
            _structures(result, planes, is_fused),
            section("atlases", "Atlases", _atlases_lead(result), _atlases(result)),
            terms_of_propagation(is_fused),
            "</main>",
        )
    )
    return report_document(f"{headline}: {result.subject.name}", body)


def _drawn(
    result: Propagation, planes: tuple[Plane, ...], shown: NDArray[np.bool_], is_fused: bool
) -> dict[str, Picture]:
    """The pictures by key: the subject, the structures over it, and where the atlases disagree."""
    subject, geometry = result.subject, result.subject.geometry
    window = pictures.window_of(subject.array_kji, shown)
    agreement_kji = result.agreement.array_kji
    has_votes = agreement_kji > 0
    contested = Volume(np.where(has_votes, 1 - agreement_kji, 0).astype(np.float32), geometry, "contested")
    drawn: dict[str, Picture] = {}
    draw_structures(drawn, "structures", planes, subject, window, [result.labels])
    for plane in planes:
        grey = pictures.brightness(picture_of(subject, plane), window)
        draw(drawn, "subject", plane, pictures.grey_pixels(grey))
        if is_fused:
            share = picture_of(contested, plane) / CONTESTED_WHITE
            draw(drawn, "contested", plane, pictures.rising_pixels(np.clip(share, 0, 1)))
    return drawn


def _key_figures(result: Propagation, is_fused: bool) -> list[tuple[str, str, str]]:
    total = sum(volume.ml for volume in result.volumes)
    found = [("Structures", count_text(len(result.volumes) - len(result.lost)), f"{number_text(total, 1)} ml in all")]
    if is_fused and result.mean_agreement is not None:
        found.append(("Agreement", f"{100 * result.mean_agreement:.0f} %", "of the votes, mean in the structures"))
    if any(atlas["registration"] for atlas in result.atlases):
        found.append(("Folded voxels", count_text(result.folded_voxels), "of the maps, strict test"))
    found.append(("Time", seconds_text(result.seconds["total"]), f"on {device_text(result.device)}"))
    return found


def _structures(result: Propagation, planes: tuple[Plane, ...], is_fused: bool) -> str:
    overlaid = ("structures", "Structures", "the structures over the subject")
    caption = "Colours are those of the table. Borders should run along edges of the subject."
    choices = {"structures": "Structures"}
    if is_fused:
        choices["contested"] = "Contested"
        ticks = [(0.0, "none"), (0.5, f"{50 * CONTESTED_WHITE:.0f} %"), (1.0, f"{100 * CONTESTED_WHITE:.0f} % or more")]
        words = "Colour scale of the share of votes for other labels."
        bar = charts.colour_bar("contested-scale", css_stops(RISING), ticks, words)
        contested = ("contested", "Contested", "the share of votes for other labels than the chosen one")
        wall = tiles.wall(planes, [("subject", "Subject", "the subject"), overlaid, contested])
        figure = (
            f'<figure class="beside stages-3">{wall}<div><div class="scale">{bar}</div><figcaption>{caption} '
            "Contested: the share of votes for other labels than the chosen one; the brighter, the less the atlases "
            "agree.</figcaption></div></figure>"
        )
    else:
        shown = tiles.trio(planes, lambda plane: tiles.use(f"structures-{plane.name}"), overlaid[2])
        figure = f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"
    compared = viewer(planes, ("subject", "Subject"), choices, "structures", "Fade shows how borders lie on edges.")
    rows = [
        (_name(volume), str(volume.label), count_text(volume.voxels), number_text(volume.ml, 2))
        for volume in result.volumes
    ]
    table = columns(
        "Volumes",
        ("Structure", "Label", "Voxels", "Volume, ml"),
        rows,
        swatches(volume.label for volume in result.volumes),
    )
    lead = f"The labels of the {'atlases' if is_fused else 'atlas'} on the subject, cut where the most is labelled."
    return section("structures", "Structures", lead, f"{compared}{figure}{table}")


def _name(volume: StructureVolume) -> str:
    return volume.name or f"Label {volume.label}"


def _atlases_lead(result: Propagation) -> str:
    if all(atlas["registration"] is None for atlas in result.atlases):
        return "All of them with the transforms that were given."
    return "How well each was registered to the subject; local similarity is 1 at best."


def _atlases(result: Propagation) -> str:
    rows: list[tuple[str, ...]] = []
    for atlas in result.atlases:
        names = str(atlas["image"]), str(atlas["labels"])
        registered = atlas["registration"]
        if not isinstance(registered, Mapping):
            rows.append((*names, "–", "–", "–", "transform given"))
            continue
        before, after = (registered[f"similarity_{when}"]["local_correlation"] for when in ("before", "after"))
        similarities = (
            "not measured" if value is None else number_text(value, 2) for value in (before, after)
        )  # JSON has no word for what is not a number
        folded, seconds = count_text(registered["folded_voxels"]), seconds_text(registered["seconds"]["total"])
        rows.append((*names, *similarities, folded, seconds))
    heads = ("Image", "Labels", "Similarity before", "After", "Folded voxels", "Registration")
    return columns("Registrations", heads, rows)


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{plural * (count != 1)}"
