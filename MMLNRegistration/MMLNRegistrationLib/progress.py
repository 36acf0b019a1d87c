"""How a long step tells where it is, and how it learns that nobody wants its result any more."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Progress = Callable[[str, float], None]
"""Called often with (step name, fraction done of that step). It may raise Cancelled: the step then unwinds."""


class Cancelled(Exception):
    """Raised by a Progress callback to stop the work that calls it."""


def silent(step: str, fraction: float) -> None:
    """A Progress that tells nobody."""


@contextmanager
def deferred_interrupts() -> Iterator[list[int]]:
    """Signals to interrupt or end are kept, in the list that is given, and sent again at the end.

    For code that calls Python back from C++: Python would raise KeyboardInterrupt where the callback begins, before
    anything in it could catch that. Signals reach the main thread alone; in others there is nothing to defer.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def keep(number: int, frame: FrameType | None) -> None:
        received.append(number)

    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, keep) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in received:
            signal.raise_signal(number)
