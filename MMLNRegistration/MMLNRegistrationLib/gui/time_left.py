"""How far a registration is and how long it will go on, from the steps that the worker tells of."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

WEIGHTS = {
    "prepare": 0.3,
    "initial": 3.4,
    "network": 18.0,
    "refine": 5.0,
    "remove folding": 1.0,
    "outputs": 0.9,
    "write": 0.6,
}
"""Seconds of the steps in the product's measurements on two threads; only their proportions matter."""

_LEAST_SECONDS, _LEAST_SHARE = 1.5, 0.03
"""Before that nothing is said about the rest: it would be a guess."""


class TimeLeft:
    """Fed with the worker's progress, it knows the share of the work that is done and the seconds that are left."""

    def __init__(self, weights: Mapping[str, float] = WEIGHTS, clock: Callable[[], float] = time.monotonic) -> None:
        """weights: seconds that the steps take in proportion, by name, such as those of an earlier run."""
        self._weights = {name: max(weights.get(name, 0.0), 0.05) for name in WEIGHTS}
        self._clock = clock
        self._network_ran = False
        self._began: float | None = None
        self.share = 0.0

    def progress(self, step: str, fraction: float) -> None:
        """A step has come to this fraction, 0 to 1."""
        name = step.split(":")[0]
        if name not in self._weights:
            return
        if self._began is None:
            self._began = self._clock()
        self._network_ran |= name == "network" and fraction > 0
        if name == "refine" and not self._network_ran:
            # From zero it takes about as long as a network and the refinement of what that has found.
            self._weights["refine"] += self._weights["network"]
            self._weights["network"] = 0.0
        before = 0.0
        for other, weight in self._weights.items():
            if other == name:
                break
            before += weight
        done = before + self._weights[name] * fraction
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
