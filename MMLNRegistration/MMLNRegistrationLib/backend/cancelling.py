"""Stopping a request soon, wherever it is.

Most steps call their Progress often, and stop there. A network's pass, a refinement's iteration or a filter on a large
volume may take seconds on a slow machine; so the main thread, which does the work, is also interrupted between two
operations of torch or ITK, but only where the code at hand computes and nothing else: never while it writes files or
messages, nor between two steps of a training, where the run's folder must stay in order.
"""

from __future__ import annotations

import _thread
import signal
import threading
import time
from types import FrameType
from typing import Any

from ..progress import Cancelled

_PACKAGE = __name__.partition(".")[0]
_COMPUTING = tuple(f"{_PACKAGE}.{name}." for name in ("spatial", "model", "pipeline", "quality.metrics"))
_KEPT_IN_ORDER = ("train level", "validate")
"""Steps of a training that end by themselves when they are asked to."""

_SECONDS_BETWEEN_INTERRUPTS = 0.05


class Cancelling:
    """The requests that wait and the one that runs, and which of them are not wanted any more.

    Requests run in the main thread; any thread may ask to stop them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unwanted: dict[str, bool] = {}
        """Of each request that waits or runs, whether it is to stop."""
        self._running: str | None = None
        self._can_interrupt = False

    def listen(self) -> None:
        """Take over SIGINT, which is what an interrupt looks like. Only from the main thread."""
        signal.signal(signal.SIGINT, self._interrupted)

    def accept(self, id: str) -> bool:
        """Know of a request from now on. False when there is one of this id already."""
        with self._lock:
            if id in self._unwanted:
                return False
            self._unwanted[id] = False
            return True

    def begin(self, id: str) -> None:
        """The main thread takes up a request."""
        self._can_interrupt = True
        self._running = id

    def end(self) -> None:
        """The main thread is done with the request."""
        self._can_interrupt = False
        with self._lock:
            if self._running is not None:
                del self._unwanted[self._running]
            self._running = None

    def check(self, step: str) -> None:
        """Called by a request at work, with the name of its step. Raises Cancelled when it is not wanted any more."""
        self._can_interrupt = not step.startswith(_KEPT_IN_ORDER)
        if self._is_unwanted():
            raise Cancelled

    def cancel(self, id: str | None) -> None:
        """Stop a request, or all there are. One that is not known has ended, or never was."""
        with self._lock:
            for known in self._unwanted:
                if id in (known, None):
                    self._unwanted[known] = True
            running = self._running
        if running is not None and id in (running, None):
            threading.Thread(target=self._interrupt, args=(running,), daemon=True).start()

    def _is_unwanted(self) -> bool:
        return self._running is not None and self._unwanted[self._running]

    def _interrupt(self, id: str) -> None:
        while self._running == id:
            _thread.interrupt_main(signal.SIGINT)
            time.sleep(_SECONDS_BETWEEN_INTERRUPTS)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, between two of its operations."""
        if self._can_interrupt and self._is_unwanted() and _computes(frame):
            raise Cancelled


def _computes(frame: FrameType | None) -> bool:
    """Whether the innermost function of ours is one that computes and nothing else."""
    while frame is not None:
        name: Any = frame.f_globals.get("__name__", "")
        if isinstance(name, str) and name.startswith(f"{_PACKAGE}."):
            return name.startswith(_COMPUTING)
        frame = frame.f_back
    return False
