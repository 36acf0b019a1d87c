"""The files of a training run by name, and who is at work on them. Needs no torch, so that any process can ask.

run.lock       held by the process that trains, there no longer than that; gone or free: nobody trains
running.json   which process that is, and how far it has come
stop           made by whoever wants the training to end; it does so after its step, with a checkpoint
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..locks import FileLock
from ..progress import Cancelled, Progress
from ..writing import parent_folders, partial_name

_SECONDS_BETWEEN_NOTES = 0.5
_SECONDS_TO_WAIT = 2.0
"""Whoever looks whether the lock is held holds it himself for a moment."""
_SECONDS_BETWEEN_TRIES = 0.05


class RunFiles:
    """Where everything of a run lies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.ledger = path / "ledger.jsonl"
        self.curves = path / "curves.svg"
        self.best = path / "best.safetensors"
        self.checkpoints = path / "checkpoints"
        self.validation = path / "validation.json"
        self.lock = path / "run.lock"
        self.running = path / "running.json"
        self.stop = path / "stop"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config.is_file()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep all other processes from training in this folder, which is made when it is missing.

        Raises InputError when one does already, and when the folder cannot be made.
        """
        lock = FileLock(self.lock)
        with ExitStack() as stack:
            try:
                stack.enter_context(parent_folders(self.lock))
                is_ours = _acquired(lock)
            except OSError as error:
                raise InputError(f"The run folder {self.path} cannot be made: {error.strerror}.") from error
            if not is_ours:
                raise InputError(f"Another process trains in {self.path}; stop it first, or give another folder.")
            try:
                # At once: what a killed process has left there names a process that is gone.
                _note(self.running, _this_process())
                yield
            finally:
                for file in (self.running, self.stop):
                    with suppress(OSError):
                        file.unlink(missing_ok=True)
                lock.remove()

    def is_held(self) -> bool:
        """Whether a process trains in this folder now, on this machine or on another that shares it."""
        if not self.lock.exists():
            return False
        lock = FileLock(self.lock)
        try:
            is_free = lock.try_acquire()
        except FileNotFoundError:  # the folder has just been removed
            return False
        except OSError:  # another user's lock
            return True
        if is_free:
            with suppress(OSError):  # left by a process that was killed
                self.running.unlink(missing_ok=True)
        lock.remove()
        return not is_free

    def followed(self, progress: Progress, device: str, device_memory_bytes: int | None) -> Progress:
        """A Progress that also keeps running.json up to date, and raises Cancelled when there is a stop file.

        device: its label. device_memory_bytes: all of a GPU's, None for a processor.
        """
        about = {**_this_process(), "device": device, "device_memory_bytes": device_memory_bytes}
        noted_at, noted_step = time.monotonic(), "begin"
        _note(self.running, {**about, "step": noted_step, "fraction": 0.0})

        def follow(step: str, fraction: float) -> None:
            nonlocal noted_at, noted_step
            if step != noted_step or time.monotonic() - noted_at > _SECONDS_BETWEEN_NOTES:
                noted_at, noted_step = time.monotonic(), step
                _note(self.running, {**about, "step": step, "fraction": min(max(float(fraction), 0.0), 1.0)})
            if self.stop.exists():
                raise Cancelled
            progress(step, fraction)

        return follow

    def read_running(self) -> dict[str, Any]:
        """What running.json says: pid, host, began (seconds since 1970) and, a moment later, device,
        device_memory_bytes, step, fraction. Empty when it is not there.
        """
        return read_object(self.running)

    def ask_to_stop(self) -> None:
        """Ask the process that trains here to write a checkpoint and end. Raises InputError when it cannot be asked."""
        try:
            self.stop.touch()
        except OSError as error:
            raise InputError(
                f"{self.stop} cannot be written ({error.strerror}); end the training by force instead."
            ) from error


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a small file; empty for one that is missing, cut off, or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": platform.node(), "began": time.time()}


def _acquired(lock: FileLock) -> bool:
    """Whether the lock could be taken."""
    end = time.monotonic() + _SECONDS_TO_WAIT
    while not lock.try_acquire():
        if time.monotonic() > end:
            return False
        time.sleep(_SECONDS_BETWEEN_TRIES)
    return True


def _note(path: Path, values: dict[str, Any]) -> None:
    """Write a small file that readers find whole. That it may be lost with the machine's power does not matter, and
    where it cannot be written, on a full disk or while a reader holds it on Windows, the next one will be."""
    temporary = path.with_name(partial_name())
    with suppress(OSError):
        try:
            temporary.write_text(json.dumps(values), encoding="ascii")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
