"""The journal: what a server knows of each job, on disk before its client is told, so that no restart loses it.

Each job has a folder, with `job.json`, which is replaced whole, the volumes in `input`, and the results in `output`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...writing import write_whole
from .orders import INPUT, OUTPUT
from .training_jobs import came_further

WAITING, RUNNING, DONE, FAILED = "waiting", "running", "done", "failed"
ENDED = (DONE, FAILED)
_NAME = "job.json"


@dataclass
class Record:
    """A job. times in seconds since 1970. line: the worker's request. body_digest: of what the client sent.

    event: how it ended, a message of the protocol. attempts: how often it was begun.
    """

    key: str
    client: str
    kind: str
    device: str
    line: str
    body_digest: str
    stored_bytes: int
    state: str = WAITING
    attempts: int = 0
    accepted_at: float = field(default_factory=time.time)
    begun_at: float | None = None
    ended_at: float | None = None
    event: dict[str, Any] | None = None


class Journal:
    """The jobs' folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def folder(self, key: str) -> Path:
        """Of a job."""
        return self._folder / key

    def write(self, record: Record) -> None:
        """Store what is known of a job now. Raises OSError."""
        self.folder(record.key).mkdir(mode=0o700, exist_ok=True)
        write_whole(self.folder(record.key) / _NAME, json.dumps(asdict(record)).encode())

    def write_texts(self, texts: Mapping[Path, bytes]) -> None:
        """Store small files that a job's request names. Raises OSError."""
        for path, content in texts.items():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(content)

    def read(self) -> Iterator[Record]:
        """All jobs in the order in which they came. Folders of jobs that were never accepted are removed."""
        records = []
        for folder in self._folder.iterdir():
            try:
                records.append(Record(**json.loads((folder / _NAME).read_text(encoding="utf-8"))))
            except (OSError, ValueError, TypeError):
                shutil.rmtree(folder, ignore_errors=True)
        yield from sorted(records, key=lambda record: record.accepted_at)

    def remove_input(self, key: str) -> None:
        """The volumes of a job are needed no more."""
        shutil.rmtree(self.folder(key) / INPUT, ignore_errors=True)

    def remove_results(self, key: str) -> None:
        """Remove finished and unfinished results."""
        for path in self._leftovers(key):
            shutil.rmtree(path, ignore_errors=True)

    def remove_half_done(self, record: Record) -> None:
        """Remove the results of a job that is to be done again. A training goes on with what it has."""
        if record.kind != "train":
            self.remove_results(record.key)

    def came_further(self, record: Record) -> bool:
        """Whether a job that was broken off has left more than it found; only a training can."""
        return record.kind == "train" and came_further(self.folder(record.key) / OUTPUT, record.begun_at or 0.0)

    def _leftovers(self, key: str) -> list[Path]:
        folder = self.folder(key)
        return [folder / OUTPUT, *folder.glob(".partial-*/")]

    def remove(self, key: str) -> None:
        """Forget a job."""
        folder = self.folder(key)
        with suppress(OSError):
            (folder / _NAME).unlink()  # first: what is half removed is no job any more
        shutil.rmtree(folder, ignore_errors=True)

    def stored_bytes(self, key: str) -> int:
        """Of all files of a job. They may come and go meanwhile."""
        size = 0
        for folder, _, names in os.walk(self.folder(key)):
            for name in names:
                with suppress(OSError):
                    size += os.stat(os.path.join(folder, name)).st_size
        return size
