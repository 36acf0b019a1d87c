"""The jobs that wait: first come, first served for each client, and the clients by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .records import Record


class FairQueue:
    """One who asks for a hundred registrations does not keep another from having one done in between."""

    def __init__(self) -> None:
        self._of_client: dict[str, deque[Record]] = {}  # in the order of their turns

    def __len__(self) -> int:
        return sum(map(len, self._of_client.values()))

    def put(self, record: Record) -> None:
        """Add a job behind those of its client."""
        self._of_client.setdefault(record.client, deque()).append(record)

    def take(self, fits: Callable[[str], bool]) -> Record | None:
        """The next job whose device fits, None when there is none; its client's turn comes again after all others'."""
        for client, records in self._of_client.items():
            for record in records:
                if fits(record.device):
                    records.remove(record)
                    del self._of_client[client]
                    if records:
                        self._of_client[client] = records
                    return record
        return None

    def remove(self, record: Record) -> None:
        """Take out a job that nobody wants any more."""
        records = self._of_client.get(record.client)
        if records and record in records:
            records.remove(record)
            if not records:
                del self._of_client[record.client]

    def count_before(self, record: Record) -> int:
        """How many jobs come before this one, if no more come in."""
        own = self._of_client.get(record.client)
        if own is None or record not in own:
            return 0
        place, clients = own.index(record), list(self._of_client)
        turn = clients.index(record.client)
        before = 0
        for number, client in enumerate(clients):
            rounds = place + (1 if number < turn else 0) if client != record.client else place
            before += min(len(self._of_client[client]), rounds)
        return before
