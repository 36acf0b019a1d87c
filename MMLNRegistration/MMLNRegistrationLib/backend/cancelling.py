"""Stopping a request soon, wherever it is.

Most steps call their Progress often, and stop there. A network's pass, a refinement's iteration or a filter on a large
volume may take seconds on a slow machine; so the main thread, which does the work, is also interrupted between two
operations of torch or ITK, but only where the code at hand computes and nothing else: never while it writes files or
messages, nor between two steps of a training, where the run's folder must stay in order. Processes that it has started
to share the work are ended: all that they write is whole files.
"""

from __future__ import annotations

import _thread
import multiprocessing
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..progress import Cancelled
from .messages import Work

_PACKAGE = __name__.partition(".")[0]
_COMPUTING = tuple(f"{_PACKAGE}.{name}." for name in ("spatial", "model", "pipeline", "quality"))
_WRITING = f"{_PACKAGE}.quality.evaluate"
_KEPT_IN_ORDER = ("train level", "validate")
"""Steps of a training that end by themselves when they are asked to."""

_SECONDS_BETWEEN_INTERRUPTS = 0.05


@dataclass(eq=False)
class Task:
    """A request that waits or runs, and whether it is not wanted any more."""

    id: str
    request: Work
    unwanted: bool = False


class Cancelling:
    """The tasks there are. They run in the main thread; any thread may ask to stop them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._running: Task | None = None
        self._can_interrupt = False

    def listen(self) -> None:
        """Take over SIGINT, which is what an interrupt looks like. Only from the main thread."""
        signal.signal(signal.SIGINT, self._interrupted)

    def accept(self, id: str, request: Work) -> Task | None:
        """The task of a new request; None when there is one of this id already."""
        with self._lock:
            if id in self._tasks:
                return None
            self._tasks[id] = task = Task(id, request)
            return task

    def begin(self, task: Task) -> bool:
        """The main thread takes up a task, unless it is not wanted any more."""
        with self._lock:
            if not task.unwanted:
                self._running = task
                self._can_interrupt = True
            return not task.unwanted

    def end(self) -> None:
        """The main thread is done with the task."""
        self._can_interrupt = False
        with self._lock:
            if self._running is not None:
                del self._tasks[self._running.id]
            self._running = None

    def running(self) -> Task | None:
        """The task at work."""
        return self._running

    def check(self, step: str) -> None:
        """Called by the task at work, with the name of its step. Raises Cancelled when it is not wanted any more."""
        self._can_interrupt = not step.startswith(_KEPT_IN_ORDER)
        if self._running is not None and self._running.unwanted:
            raise Cancelled

    def cancel(self, id: str) -> bool:
        """Stop a task. True when it has been waiting: it is over then, for the caller to tell.

        One that is not known has ended, or never was.
        """
        with self._lock:
            task = self._tasks.get(id)
            if task is None:
                return False
            task.unwanted = True
            if task is not self._running:
                del self._tasks[id]
                return True
        threading.Thread(target=self._interrupt, args=(task,), daemon=True).start()
        return False

    def cancel_all(self) -> list[str]:
        """Stop all tasks. Returns the ids of those that have been waiting, as cancel does."""
        with self._lock:
            ids = list(self._tasks)
        return [id for id in ids if self.cancel(id)]

    def _interrupt(self, task: Task) -> None:
        while self._running is task:
            if self._can_interrupt:
                _thread.interrupt_main(signal.SIGINT)
                for process in multiprocessing.active_children():
                    process.terminate()
            time.sleep(_SECONDS_BETWEEN_INTERRUPTS)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """In the main thread, between two of its operations."""
        running = self._running
        if self._can_interrupt and running is not None and running.unwanted and _computes(frame):
            raise Cancelled


def _computes(frame: FrameType | None) -> bool:
    """Whether the innermost function of ours is one that computes and nothing else."""
    while frame is not None:
        name: Any = frame.f_globals.get("__name__", "")
        if isinstance(name, str) and name.startswith(f"{_PACKAGE}."):
            return name.startswith(_COMPUTING) and name != _WRITING
        frame = frame.f_back
    return False
