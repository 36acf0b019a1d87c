"""The progress of a check in words."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .worker_run import READING, SAMPLING, WRITING

_SHARES = {
    WRITING: (0.0, 0.05),
    SAMPLING: (0.05, 0.6),
    "folding": (0.62, 0.7),
    "write": (0.85, 0.95),
    READING: (0.97, 1),
}
"""Where a step begins and ends on the bar."""


class QualityProgress:
    """A bar and a line of text, both seen only while there is something to tell."""

    def __init__(self, bar: Any, line: Any) -> None:
        """bar: a QProgressBar from 0 to 1000. line: a QLabel."""
        self._bar, self._line = bar, line

    def start(self) -> None:
        """A check begins."""
        self._bar.value = 0
        self._bar.visible = self._line.visible = True

    def tell(self, step: str, fraction: float) -> None:
        """It has come so far: the worker's name of the step, and the fraction done of it."""
        words = {
            WRITING: _("Writing the images"),
            SAMPLING: _("Sampling the transform"),
            "begin": _("Starting"),
            "read": _("Reading the images"),
            "folding": _("Looking for folds"),
            "warp": _("Comparing the images"),
            "structures": _("Comparing the structures"),
            "write": _("Writing the report"),
            READING: _("Loading the result"),
        }
        if step in _SHARES:
            start, end = _SHARES[step]
            self._bar.value = round(1000 * (start + (end - start) * fraction))
        self._line.text = words.get(step, step)

    def end(self) -> None:
        """It is over."""
        self._bar.visible = self._line.visible = False
