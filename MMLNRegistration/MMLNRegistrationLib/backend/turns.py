"""Registrations of several workers of one user take turns on a device, so that they do not fight over its memory."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ..errors import RegistrationError
from ..locks import FileLock
from ..progress import Progress

WAITING = "waiting for the device"
_SECONDS_BETWEEN_TRIES = 0.05


def turns_folder() -> Path:
    """Where the lock files of this user's devices lie, while there are any."""
    user = os.getuid() if os.name == "posix" else "user"
    return Path(tempfile.gettempdir()) / f"mmln_devices_{user}"


@contextmanager
def taking_turns(folder: Path, device: torch.device, progress: Progress) -> Iterator[None]:
    """Hold the device's lock; until it is free, progress is called with WAITING, and may raise Cancelled.

    Raises RegistrationError when the folder cannot be trusted.
    """
    lock = FileLock(folder / f"{_name(device)}.lock")
    while not _acquire(lock, folder):
        progress(WAITING, 0.0)
        time.sleep(_SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.remove()
        with suppress(OSError):  # another device is in use
            folder.rmdir()


def _acquire(lock: FileLock, folder: Path) -> bool:
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        if os.name == "posix" and (folder.is_symlink() or folder.lstat().st_uid != os.getuid()):
            raise RegistrationError(f"{folder} belongs to somebody else, who could block your work; have it removed.")
        return lock.try_acquire()
    except FileNotFoundError:  # another worker has just given its turn back, and removed the folder
        return False


def _name(device: torch.device) -> str:
    """A GPU by its own number rather than by its place in CUDA_VISIBLE_DEVICES, where torch knows it."""
    if device.type != "cuda":
        return device.type
    properties = torch.cuda.get_device_properties(device)
    return f"cuda-{getattr(properties, 'uuid', device.index or 0)}"
