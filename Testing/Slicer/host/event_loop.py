"""How long the window is dead: the longest time in which Qt's event loop could not run."""

from __future__ import annotations

import gc
import sys
import threading
import time
import traceback
from types import TracebackType

from PySide6 import QtCore

TICK_MS = 2
LOOK_AFTER_SECONDS = 0.04
"""A gap longer than this is looked at while it lasts, so that the report can say what blocked."""


class GapMeter:
    """Measures while the host runs the event loop or does what a user does, such as a click."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.longest_busy_seconds = 0.0
        """Of the main thread's own computing: what the other programs of the machine take is not in it."""
        self.blocked_by = ""
        self._last: float | None = None
        self._busy_until_last = 0.0
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        QtCore.QObject.connect(self._timer, QtCore.SIGNAL("timeout()"), self._tick)
        self._main = threading.get_ident()
        self._stack, self._stack_of = "", 0.0
        threading.Thread(target=self._watch, daemon=True, name="gap meter").start()

    def reset(self) -> None:
        """Forget what was measured."""
        gc.unfreeze()
        self.longest_seconds, self.longest_busy_seconds, self.blocked_by = 0.0, 0.0, ""

    def begin(self) -> None:
        """Begin a measurement that a test goes by, until the next reset.

        Python stops now and then to search all objects of the process for garbage. With what the other tests have
        loaded here, torch for one, that takes 0.2 seconds; so what is there by now is put aside.
        """
        self.reset()
        gc.collect()
        gc.freeze()

    def __enter__(self) -> GapMeter:
        """From here on the loop is expected to run."""
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth == 1:
            self._last, self._busy_until_last = time.perf_counter(), time.thread_time()
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What the test itself does from here on is no gap."""
        self._depth -= 1
        if self._depth == 0:
            self._tick()
            self._timer.stop()
            self._last = None

    def _tick(self) -> None:
        if self._last is None:
            return
        now, busy = time.perf_counter(), time.thread_time()
        gap = now - self._last
        self.longest_busy_seconds = max(self.longest_busy_seconds, busy - self._busy_until_last)
        if gap > self.longest_seconds:
            self.longest_seconds = gap
            self.blocked_by = self._stack if self._stack_of == self._last else ""
        self._last, self._busy_until_last = now, busy

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_AFTER_SECONDS / 4)
            last = self._last
            if last is None or self._stack_of == last or time.perf_counter() - last < LOOK_AFTER_SECONDS:
                continue
            frame = sys._current_frames().get(self._main)
            if frame is not None:
                self._stack, self._stack_of = "".join(traceback.format_stack(frame)[-8:]), last
