"""What a job has told, with a number for each event, for readers who come, go, and ask for the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from ..job_requests import EVENTS_OF_AN_ATTEMPT

_MOST_EVENTS = 500
_MOST_ENTRIES = 50_000


class Numbered(NamedTuple):
    """An event and its number; numbers rise, and those of early progress may be missing, but not those of entries."""

    number: int
    event: dict[str, Any]


class EventLog:
    """The events of one job. For the thread of the event loop alone."""

    def __init__(self, attempt: int) -> None:
        """attempt: which beginning of the job this is; a restarted server's numbers go on above those before."""
        self._events: deque[Numbered] = deque(maxlen=_MOST_EVENTS)
        self._entries: deque[Numbered] = deque(maxlen=_MOST_ENTRIES)
        self._next = attempt * EVENTS_OF_AN_ATTEMPT + 1
        self._changed = asyncio.Event()
        self._is_over = False

    @property
    def last(self) -> dict[str, Any] | None:
        """The newest event that is no entry."""
        return self._events[-1].event if self._events else None

    def add(self, event: dict[str, Any], *, is_last: bool = False) -> None:
        """Tell something to all readers, the present and the coming ones."""
        kept = self._entries if event.get("kind") == "entry" else self._events
        kept.append(Numbered(self._next, event))
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
            for entry in self._later(after):
                after = entry.number
                yield entry
            if self._is_over and not self._later(after):
                return
            try:
                await asyncio.wait_for(changed.wait(), seconds)
            except asyncio.TimeoutError:
                yield None

    def _later(self, after: int) -> list[Numbered]:
        """All events with higher numbers. From the end, since most readers know nearly all."""
        found: list[Numbered] = []
        for events in (self._events, self._entries):
            for entry in reversed(events):
                if entry.number <= after:
                    break
                found.append(entry)
        return sorted(found, key=lambda entry: entry.number)
