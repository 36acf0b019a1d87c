"""Locks that a process holds on a file and that end with it, however it ends."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType


class FileLock:
    """A file that one process at a time can hold; made when it is missing. Not for threads of one process to share."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._number: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock, if nobody holds it. Raises OSError when the file cannot be made."""
        number = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        if _lock(number) and _is_there(number, self.path):
            self._number = number
            return True
        os.close(number)
        return False

    def release(self) -> None:
        """Give the lock back; the file stays. A second time does nothing."""
        if self._number is not None:
            os.close(self._number)
            self._number = None

    def remove(self) -> None:
        """Give the lock back and remove its file; whoever waits for it makes a new one."""
        if self._number is not None:
            _unlink_and_close(self._number, self.path)
            self._number = None

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


if sys.platform == "win32":
    import msvcrt

    def _lock(number: int) -> bool:
        try:
            msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _is_there(number: int, path: Path) -> bool:
        return True  # a file that is open cannot be removed

    def _unlink_and_close(number: int, path: Path) -> None:
        os.close(number)
        with suppress(OSError):  # somebody else holds it by now
            path.unlink()

else:
    import fcntl

    def _lock(number: int) -> bool:
        # Not lockf: its locks are lost as soon as the process closes the file a second time.
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_there(number: int, path: Path) -> bool:
        """Whether the file that was locked still bears its name, and was not removed meanwhile."""
        try:
            return os.path.samestat(os.fstat(number), os.stat(path))
        except FileNotFoundError:
            return False

    def _unlink_and_close(number: int, path: Path) -> None:
        path.unlink(missing_ok=True)
        os.close(number)
