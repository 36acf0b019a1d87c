"""Volumes of the scene written for the worker, without the window waiting for the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from .session import Session


class Writable(Protocol):
    """What knows its contents, and can be written by any thread: see scene.volume_files and scene.masks."""

    def write(self, path: Path) -> None:
        """Write it. Raises OSError when that cannot be done."""


def write_files(
    session: Session,
    files: Mapping[Path, Writable],
    on_done: Callable[[], None],
    on_error: Callable[[Exception], None],
) -> None:
    """Write files in a thread, one after the other; on_done or on_error is called on the main thread.

    They lie in a session's new folder or in one that is made in it.
    """

    def write() -> None:
        for path, file in files.items():
            path.parent.mkdir(exist_ok=True)  # alone: the session's folder must not come back after its end
            file.write(path)

    session.in_thread(write, lambda nothing: on_done(), on_error)
