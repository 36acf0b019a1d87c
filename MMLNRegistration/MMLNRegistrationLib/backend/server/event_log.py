"""What a job has told, with a number for each event, for readers who come, go, and ask for the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

_MOST_EVENTS = 500
_EVENTS_OF_AN_ATTEMPT = 1_000_000


class Numbered(NamedTuple):
    """An event and its number; numbers rise, and those of early progress may be missing."""

    number: int
    event: dict[str, Any]


class EventLog:
    """The events of one job. For the thread of the event loop alone."""

    def __init__(self, attempt: int) -> None:
        """attempt: which beginning of the job this is; a restarted server's numbers go on above those before."""
        self._events: deque[Numbered] = deque(maxlen=_MOST_EVENTS)
        self._next = attempt * _EVENTS_OF_AN_ATTEMPT + 1
        self._changed = asyncio.Event()
        self._is_over = False

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest event."""
        return self._events[-1].event if self._events else None

    def add(self, event: dict[str, Any], *, is_last: bool = False) -> None:
        """Tell something to all readers, the present and the coming ones."""
        self._events.append(Numbered(self._next, event))
        self._next += 1
        if is_last:
            self._is_over = True
        self._changed.set()
        self._changed = asyncio.Event()

    def close(self) -> None:
        """Let all readers go, though the job has not ended."""
        self._is_over = True
        self._changed.set()

    async def follow(self, after: int, seconds: float) -> AsyncIterator[Numbered | None]:
        """All events with higher numbers, until the last one; None whenever nothing has come for so many seconds."""
        while True:
            changed = self._changed
            for entry in [entry for entry in self._events if entry.number > after]:
                after = entry.number
                yield entry
            if self._is_over and not any(entry.number > after for entry in self._events):
                return
            try:
                await asyncio.wait_for(changed.wait(), seconds)
            except asyncio.TimeoutError:
                yield None
