"""The folder of a batch: whether a run may begin or go on in it, and what is left to do there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from ..errors import InputError
from ..locks import FileLock
from ..writing import PARTIAL_PREFIX, write_whole
from .batch_table import RESULTS_TABLE, SETTINGS_FILE, BatchPair
from .messages import Settings

_LOCK = ".batch.lock"
_OF_THE_RUN = ("device", "threads", "on_out_of_memory")
"""Settings that a run which goes on may change: they say where the work is done, not what comes out."""


@contextmanager
def batch_folder(folder: Path, settings: Settings, resume: bool) -> Iterator[None]:
    """Hold the folder of a batch for one run. A run that is to resume may also begin.

    Raises InputError when it is a file, is held by another run, holds something already (unless resume) or was begun
    with other settings, or cannot be written.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results.")
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder, or add --resume to go on with a batch.")
    if resume and folder.is_dir() and any(folder.iterdir()) and not (folder / SETTINGS_FILE).is_file():
        raise InputError(f"{folder} holds no batch; choose another folder.")
    lock = FileLock(folder / _LOCK)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not lock.try_acquire():
            raise InputError(f"Another run works in {folder}; wait for its end, or choose another folder.")
    try:
        with _writing(folder):
            _keep_settings(folder / SETTINGS_FILE, settings)
            remove_partial(folder)
        yield
    finally:
        with suppress(OSError):
            remove_partial(folder)
        lock.remove()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); check its rights and the space left, or choose another."
        ) from error


def results_table(folder: Path) -> Path:
    """Where a batch's results.csv is."""
    return folder / RESULTS_TABLE


def partial_results(folder: Path) -> list[Path]:
    """Unfinished results that are at work, or that a process which was killed has left."""
    return [entry for entry in folder.iterdir() if entry.name.startswith(PARTIAL_PREFIX)]


def remove_partial(folder: Path) -> None:
    """Remove them; nobody may be at work."""
    for entry in partial_results(folder):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def require_outputs_apart(pairs: Sequence[BatchPair], folder: Path) -> None:
    """Raise InputError when a pair's input lies in the folder of the results, which a run may replace."""
    inside = folder.absolute()
    for pair in pairs:
        for path in (pair.request.fixed, pair.request.moving):
            if inside in path.parents:
                raise InputError(f"{path} lies in the folder of the results; choose another folder for them.")


def _keep_settings(path: Path, settings: Settings) -> None:
    """Write down how the batch registers, or require that it goes on in the same way."""
    values = {name: value for name, value in asdict(settings).items() if name not in _OF_THE_RUN}
    if not path.is_file():
        write_whole(path, (json.dumps({"settings": values}, indent=2) + "\n").encode())
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged; choose another folder.") from error
    different = [name for name, value in values.items() if earlier.get(name) != value]
    if different:
        name = different[0]
        raise InputError(
            f"The batch in {path.parent} was begun with {name} {earlier.get(name)}, not {values[name]}; give the same "
            "options, or choose another folder."
        )
