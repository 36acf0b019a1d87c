"""Following a ledger while another process writes it, some lines at a time, so that nobody waits for a long one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_MOST_BYTES = 131072
"""Read at once: a few milliseconds' work."""


class LedgerTail:
    """What is new in a ledger since the last look. A run that was resumed has rewritten it: then all is new again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        """All that was read so far, in order."""
        self._position = 0
        self._file: tuple[int, int] | None = None

    def read(self) -> bool:
        """Take in what is new, at most a good hundred KiB of it. Returns whether there was anything.

        A missing ledger is an empty one. Lines that are no entries are passed over, as one that is being written.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                changed = self._is_another(status)
                if changed:
                    self.entries, self._position = [], 0
                self._file = status.st_dev, status.st_ino
                file.seek(self._position)
                content = file.read(_MOST_BYTES)
        except OSError:
            changed = bool(self.entries)
            self.entries, self._position, self._file = [], 0, None
            return changed
        whole = content[: content.rfind(b"\n") + 1]
        self._position += len(whole)
        new = [entry for line in whole.splitlines() if (entry := _entry(line)) is not None]
        self.entries += new
        return changed or bool(new)

    def _is_another(self, status: os.stat_result) -> bool:
        known = self._file is not None and self._file != (status.st_dev, status.st_ino)
        return known or status.st_size < self._position


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
