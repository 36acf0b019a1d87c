"""How far a registration is and how long it will go on, from the steps that the worker tells of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

WEIGHTS = {
    "prepare": 0.3,
    "initial": 3.4,
    "network": 0.3,
    "refine": 22.8,
    "remove folding": 1.0,
    "outputs": 0.9,
    "write": 0.6,
}
"""Seconds of the steps in the product's measurements on two threads; only their proportions matter."""

_LEVELS = {
    "refine: 4 mm": (0.0, 0.5, 0.04),
    "refine: 2 mm": (0.5, 5 / 6, 0.19),
    "refine: full resolution": (5 / 6, 1.0, 0.77),
}
"""Of the refinement's levels: the share of its iterations at the start and the end, and the share of its time."""

_LEAST_SECONDS, _LEAST_SHARE = 1.5, 0.03
"""Before that nothing is said about the rest: it would be a guess."""


class TimeLeft:
    """Fed with the worker's progress, it knows the share of the work that is done and the seconds that are left."""

    def __init__(self, weights: Mapping[str, float] = WEIGHTS, clock: Callable[[], float] = time.monotonic) -> None:
        """weights: seconds that the steps take in proportion, by name, such as those of an earlier run."""
        self._weights = {name: max(weights.get(name, 0.0), 0.05) for name in WEIGHTS}
        self._clock = clock
        self._began: float | None = None
        self.share = 0.0

    def progress(self, step: str, fraction: float) -> None:
        """A step has come to this fraction, 0 to 1."""
        name = step.split(":")[0]
        if name not in self._weights:
            return
        if self._began is None:
            self._began = self._clock()
        before = 0.0
        for other, weight in self._weights.items():
            if other == name:
                break
            before += weight
        done = before + self._weights[name] * _fraction_of_time(step, fraction)
        self.share = max(self.share, min(done / sum(self._weights.values()), 1.0))

    @property
    def seconds(self) -> float | None:
        """Seconds left, or None while it is too early to tell."""
        if self._began is None:
            return None
        passed = self._clock() - self._began
        if passed < _LEAST_SECONDS or self.share < _LEAST_SHARE:
            return None
        return passed * (1.0 - self.share) / self.share


def _fraction_of_time(step: str, fraction: float) -> float:
    """How much of a step's time has passed. A level of the refinement tells the fraction of all its iterations."""
    if step not in _LEVELS:
        return fraction
    start, end, own = _LEVELS[step]
    earlier = sum(share for first, _, share in _LEVELS.values() if first < start)
    return earlier + own * min(max((fraction - start) / (end - start), 0.0), 1.0)
