"""The folder through which a client and its worker pass volumes: theirs alone, and gone when both are.

It lies in the system's folder for temporary files. Client and worker each hold a lock file in it while they live, so
that whoever comes next can tell the folder of a running pair from one that two killed processes left behind. Process
numbers could not: they are given anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..locks import FileLock

PREFIX = "mmln-private-"
ROLES = ("client", "worker")
_SCRATCH = "scratch"
_SECONDS_BETWEEN_TRIES = 0.05


class PrivateFolder:
    """A folder that only this user can enter, and the lock that this process holds in it."""

    def __init__(self, path: Path, lock: FileLock) -> None:
        self.path = path
        self._lock = lock

    @property
    def scratch(self) -> Path:
        """For temporary files of the worker and its libraries; a new worker finds it empty."""
        return self.path / _SCRATCH

    def empty_scratch(self) -> None:
        """Remove what a worker has left, and make the folder where it is missing."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(exist_ok=True)

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        self._lock.release()
        _remove(self.path)

    def leave(self) -> None:
        """Remove what this process had in it for itself, and leave the rest to the other side."""
        _remove(self.scratch)
        self._lock.release()

    def remove_after(self, role: str, seconds: float) -> None:
        """Remove the folder if the process with that role is dead, which it may take so long to be; else leave it."""
        other = FileLock(_lock_path(self.path, role))
        end = time.monotonic() + seconds
        try:
            while not other.try_acquire():
                if time.monotonic() > end:
                    self.leave()
                    return
                time.sleep(_SECONDS_BETWEEN_TRIES)
        except OSError:  # it is gone already
            return
        other.release()
        self.remove()


def new_private_folder(role: str = "client") -> PrivateFolder:
    """A new folder in the system's folder for temporary files, after those of dead processes have been removed."""
    root = Path(tempfile.gettempdir())
    remove_stale(root)
    while True:
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=root))
        lock = FileLock(_lock_path(path, role))
        with suppress(FileNotFoundError):  # another process took it for a dead one's
            if lock.try_acquire():
                return PrivateFolder(path, lock)


def join_private_folder(path: Path, seconds: float = 0.0) -> PrivateFolder:
    """The client's folder, with a lock in it for this process, its worker, once it is free.

    Raises OSError when the folder is gone, or is still in use by another worker after so many seconds.
    """
    lock = FileLock(_lock_path(path, "worker"))
    end = time.monotonic() + seconds
    while not lock.try_acquire():
        if time.monotonic() > end:
            raise BlockingIOError(f"{path} is in use by another worker.")
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return PrivateFolder(path, lock)


def remove_stale(root: Path) -> None:
    """Remove the private folders of this user whose client and worker are both dead."""
    for path in sorted(root.glob(f"{PREFIX}*")):
        if not _is_ours(path):
            continue
        existing = [file for role in ROLES if (file := _lock_path(path, role)).exists()]
        if not existing:
            with suppress(OSError):
                path.rmdir()  # whoever was killed before there was a lock left it empty; whoever is at it begins anew
        elif _are_free(existing):
            _remove(path)


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return path.is_dir() and not path.is_symlink() and (os.name != "posix" or status.st_uid == os.getuid())


def _are_free(files: list[Path]) -> bool:
    """Whether all locks can be had. They are given back at once: their owners are dead and do not come back."""
    locks = [FileLock(file) for file in files]
    try:
        return all([lock.try_acquire() for lock in locks])
    except OSError:
        return False
    finally:
        for lock in locks:
            lock.release()


def _lock_path(path: Path, role: str) -> Path:
    return path / f"{role}.lock"


def _remove(path: Path) -> None:
    """Files may still be written while they are removed, by a library's thread or a process that is about to end."""
    for _ in range(5):
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(_SECONDS_BETWEEN_TRIES)
