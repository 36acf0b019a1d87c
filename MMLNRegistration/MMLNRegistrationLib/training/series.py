"""What a ledger says over the steps, as arrays to draw: no drawing here, so that every face draws the same curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Entries = Sequence[Mapping[str, object]]
"""Entries of a ledger, as read_ledger gives them."""

_MEASURING_EVENTS = ("step", "validation")
_PLACES = ("step", "level")
"""Numbers of an entry that say where it stands and measure nothing."""


class Series(NamedTuple):
    """One number over the steps."""

    steps: NDArray[np.float64]
    """(N,) steps of the whole run, ascending."""
    values: NDArray[np.float64]
    """(N,) finite values."""


class LevelSpan(NamedTuple):
    """The steps in which one level of the network was trained."""

    level: int
    first_step: float
    """Where the level before ended; 0 for the first."""
    last_step: float


def series(entries: Entries) -> dict[str, Series]:
    """Every number that was measured, by event and name: "step.similarity", "validation.dice", "step.learning_rate".

    Values that are missing, null, true or false, or not finite are left out, as are entries without a step. A name
    without any value is not in the result.
    """
    collected: dict[str, list[tuple[float, float]]] = {}
    for entry in entries:
        step = _number(entry.get("step"))
        if step is None or entry.get("event") not in _MEASURING_EVENTS:
            continue
        for name, content in entry.items():
            value = None if name in _PLACES else _number(content)
            if value is not None:
                collected.setdefault(f"{entry['event']}.{name}", []).append((step, value))
    result = {}
    for name, pairs in collected.items():
        table = np.array(sorted(pairs, key=lambda pair: pair[0]), dtype=np.float64)
        result[name] = Series(table[:, 0], table[:, 1])
    return result


def level_spans(entries: Entries) -> list[LevelSpan]:
    """Where each level was trained, in the order of the steps and without gaps.

    An entry speaks for the steps before it, so a level begins where the one before has its last entry.
    """
    placed = []
    for entry in entries:
        step, level = _number(entry.get("step")), _number(entry.get("level"))
        if step is not None and level is not None:
            placed.append((step, int(level)))
    spans: list[LevelSpan] = []
    for step, level in sorted(placed, key=lambda pair: pair[0]):
        if spans and spans[-1].level == level:
            spans[-1] = spans[-1]._replace(last_step=step)
        else:
            spans.append(LevelSpan(level, spans[-1].last_step if spans else 0.0, step))
    return spans


def event_steps(entries: Entries, event: str) -> list[float]:
    """The steps of all entries of one event, "resume" for example."""
    steps = [_number(entry.get("step")) for entry in entries if entry.get("event") == event]
    return [step for step in steps if step is not None]


def best_step(entries: Entries) -> float | None:
    """The step of the last validation that the run called its best so far; None when there was none."""
    best = [entry for entry in entries if entry.get("best") is True]
    steps = event_steps(best, "validation")
    return steps[-1] if steps else None


def split(whole: Series, spans: Sequence[LevelSpan]) -> list[Series]:
    """The parts of a series that belong to one level each, less empty ones. A border belongs to the level before."""
    borders = [span.first_step for span in spans[1:]]
    places = np.searchsorted(whole.steps, borders, side="right")
    parts = zip(np.split(whole.steps, places), np.split(whole.values, places), strict=True)
    return [Series(steps, values) for steps, values in parts if len(steps)]


def running_mean(whole: Series, spans: Sequence[LevelSpan], window: int) -> Series:
    """The mean over window entries of one level, half before and half after; fewer where the level begins and ends.

    window is odd and positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"The window of a running mean must be odd and positive, not {window}.")
    half = window // 2
    means = [np.empty(0)]
    for part in split(whole, spans):
        count = len(part.values)
        places = np.arange(count)
        first, behind = np.maximum(places - half, 0), np.minimum(places + half + 1, count)
        sums = np.concatenate([[0.0], np.cumsum(part.values)])
        means.append((sums[behind] - sums[first]) / (behind - first))
    return Series(whole.steps, np.concatenate(means))


def thin(whole: Series, most: int) -> Series:
    """At most `most` (>= 4) of the points: the first, the last, and the lowest and highest of each piece between.

    The extremes of the whole series are always among them, so a peak of one entry stays in the picture.
    """
    if most < 4:
        raise ValueError(f"A series can be thinned to 4 points or more, not {most}.")
    count = len(whole.values)
    if count <= most:
        return whole
    kept = {0, count - 1}
    for piece in np.array_split(np.arange(count), (most - 2) // 2):
        kept.update((int(piece[whole.values[piece].argmin()]), int(piece[whole.values[piece].argmax()])))
    places = np.array(sorted(kept))
    return Series(whole.steps[places], whole.values[places])


def _number(value: object) -> float | None:
    """The value as a finite number; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
