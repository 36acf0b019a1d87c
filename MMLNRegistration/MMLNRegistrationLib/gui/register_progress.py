"""The progress of a registration in words, with the time left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..quality.verdict import seconds_text
from .time_left import WEIGHTS, TimeLeft
from .worker_run import READING, WRITING


class RegisterProgress:
    """A bar and a line of text, both seen only while there is something to tell."""

    def __init__(self, bar: Any, line: Any) -> None:
        """bar: a QProgressBar from 0 to 1000. line: a QLabel."""
        self._bar, self._line = bar, line
        self._weights: Mapping[str, float] = WEIGHTS
        self._time = TimeLeft()
        self.end()

    def start(self) -> None:
        """A registration begins."""
        self._time = TimeLeft(self._weights)
        self._bar.value = 0
        self._bar.visible = self._line.visible = True

    def tell(self, step: str, fraction: float) -> None:
        """It has come so far: the worker's name of the step, and the fraction done of it."""
        self._time.progress(step, fraction)
        self._bar.value = round(1000 * self._time.share)
        seconds = self._time.seconds
        words = step_text(step)
        if seconds is not None:
            words = _("{step}, about {time} left").format(step=words, time=seconds_text(max(seconds, 1.0)))
        self._line.text = words

    def end(self) -> None:
        """It is over."""
        self._bar.visible = self._line.visible = False

    def learn(self, seconds: Mapping[str, float]) -> None:
        """So many seconds were what the steps took; the next registration is foretold by them."""
        self._weights = seconds


def step_text(step: str) -> str:
    """What a step is called here; one that is not known keeps the worker's word."""
    name, _colon, detail = step.partition(": ")
    known = {
        WRITING: _("Writing the volumes"),
        "begin": _("Starting"),
        "connect": _("Connecting to the server"),
        "upload": _("Sending the volumes"),
        "wait for a place in the queue": _("Waiting for a place in the server's queue"),
        "waiting for the device": _("Waiting for the device, which another registration uses"),
        "read": _("Reading the volumes"),
        "prepare": _("Preparing the images"),
        "initial": _("Aligning the images"),
        "network": _("Asking the network"),
        "refine": _("Refining the deformation"),
        "remove folding": _("Removing folds"),
        "outputs": _("Making the results"),
        "write": _("Writing the results"),
        "download": _("Fetching the results"),
        READING: _("Loading the results"),
    }
    words = known.get(name, step)
    return f"{words} ({detail})" if detail and name in ("refine", "initial") else words
