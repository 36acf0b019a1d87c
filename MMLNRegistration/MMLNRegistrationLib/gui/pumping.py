"""Work on the main thread in slices of time, so that the window goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import qt

SLICE_SECONDS = 0.015
"""How long the window waits at a time."""


class Pump:
    """Runs one piece of work at a time. Belongs to the main thread."""

    def __init__(self) -> None:
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._step)
        self._work: Iterator[float] | None = None
        self._on_done: Callable[[], None] | None = None
        self._on_error: Callable[[Exception], None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is work."""
        return self._on_done is not None

    def start(self, work: Iterator[float], on_done: Callable[[], None], on_error: Callable[[Exception], None]) -> None:
        """Do this from now on; what was under way is given up. work: does a little each time that it is asked."""
        self.stop()
        self._work, self._on_done, self._on_error = work, on_done, on_error
        self._timer.start()

    def stop(self) -> None:
        """Give up what is under way; nobody is told."""
        self._timer.stop()
        self._work = self._on_done = self._on_error = None

    def _step(self) -> None:
        if self._work is None:
            self._finish()
            return
        end = time.perf_counter() + SLICE_SECONDS
        try:
            while self._work is not None and time.perf_counter() < end:
                next(self._work)
        except StopIteration:
            self._work = None  # what follows has a slice of its own
        except Exception as error:
            on_error = self._on_error
            self.stop()
            if on_error is not None:
                on_error(error)

    def _finish(self) -> None:
        on_done = self._on_done
        self.stop()
        if on_done is not None:
            on_done()
