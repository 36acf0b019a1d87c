"""The progress of a propagation: that of its registrations, one after the other."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..quality.verdict import seconds_text
from .register_progress import step_text
from .time_left import TimeLeft
from .worker_run import SAMPLING

_NUMBERED = re.compile(r"atlas ([0-9]+) of ([0-9]+), (.*)")
_LEAST_SECONDS, _LEAST_SHARE = 1.5, 0.03


class AtlasesLeft:
    """Fed with the worker's progress, it knows the share that is done and the seconds that are left."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._atlas = 0
        self._time = TimeLeft(clock=clock)
        self.share = 0.0

    def progress(self, step: str, fraction: float) -> None:
        """A step has come to this fraction, 0 to 1."""
        number, count, inner = _parts(step)
        if number != self._atlas:
            self._atlas, self._time = number, TimeLeft(clock=self._clock)
        self._time.progress(inner, fraction)
        if inner != "write":  # of the whole, or of none
            self.share = max(self.share, (number - 1 + self._time.share) / count)

    @property
    def seconds(self) -> float | None:
        """Seconds left, or None while it is too early to tell."""
        passed = self._clock() - self._began
        if passed < _LEAST_SECONDS or self.share < _LEAST_SHARE:
            return None
        return passed * (1.0 - self.share) / self.share


class PropagateProgress:
    """A bar and a line of text, both seen only while there is something to tell."""

    def __init__(self, bar: Any, line: Any) -> None:
        """bar: a QProgressBar from 0 to 1000. line: a QLabel."""
        self._bar, self._line = bar, line
        self._time = AtlasesLeft()
        self.end()

    def start(self) -> None:
        """A propagation begins."""
        self._time = AtlasesLeft()
        self._bar.value = 0
        self._bar.visible = self._line.visible = True

    def tell(self, step: str, fraction: float) -> None:
        """It has come so far: the worker's name of the step, and the fraction done of it."""
        self._time.progress(step, fraction)
        self._bar.value = round(1000 * self._time.share)
        number, count, inner = _parts(step)
        known = {
            SAMPLING: _("Sampling the transform"),
            "apply the transform": _("Applying the transform"),
            "fuse": _("Counting the votes"),
        }
        words = known.get(inner) or step_text(inner)
        if count > 1:
            words = _("Atlas {number} of {count}: {step}").format(number=number, count=count, step=words)
        seconds = self._time.seconds
        if seconds is not None:
            words = _("{step}, about {time} left").format(step=words, time=seconds_text(max(seconds, 1.0)))
        self._line.text = words

    def end(self) -> None:
        """It is over."""
        self._bar.visible = self._line.visible = False


def _parts(step: str) -> tuple[int, int, str]:
    """Which atlas of how many, and the step itself."""
    match = _NUMBERED.fullmatch(step)
    return (int(match[1]), int(match[2]), match[3]) if match else (1, 1, step)
