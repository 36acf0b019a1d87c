"""Files that appear whole or not at all, and the folders above them."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import InputError

PARTIAL_PREFIX = ".partial-"
"""How the names of what is not finished begin. Only a killed process leaves such a thing behind."""

REGISTRATION_FILES = (
    "transform.h5",
    "velocity.safetensors",
    "warped.nii.gz",
    "jacobian.nii.gz",
    "labels.nii.gz",
    "report.json",
    "report.html",
    "scene.mrb",
)
"""What a registration delivers, by name; which of them depends on what was given and installed."""

ARRAY_FILES = ("displacement.npy", "warped.npy", "jacobian.npy", "labels.npy")
"""The same arrays once more, for a program that wants them at once: numpy's own format, on the fixed grid, (K, J, I),
the displacement (K, J, I, 3) in mm, R A S. Written only when they are asked for by name."""

RESULT_FILES = (*REGISTRATION_FILES, *ARRAY_FILES)
"""All that can be asked for."""

PROPAGATION_FILES = (
    "labels.nii.gz",
    "agreement.nii.gz",
    "volumes.csv",
    "transform.h5",
    "report.json",
    "report.html",
    "scene.mrb",
)
"""What a propagation delivers. transform.h5 stands for the fields of the atlases that were registered, transform_1.h5
and so on by the places of the atlases."""

PROPAGATION_RESULT_FILES = (*PROPAGATION_FILES, "labels.npy", "agreement.npy")
"""All that can be asked for: the arrays, as above, only by name."""


def partial_name(ending: str = "") -> str:
    """A new name for something that is not finished."""
    return f"{PARTIAL_PREFIX}{uuid.uuid4().hex}{ending}"


def partial_folders(folder: Path, partial: str) -> tuple[Path, Path]:
    """Where outputs.output_folder may have a temporary folder of this name: inside of `folder`, or beside it."""
    return folder / partial, folder.absolute().parent / partial


def write_whole(path: Path, content: bytes) -> None:
    """Write path under another name beside it and rename it. Raises OSError when it cannot be written."""
    temporary = path.with_name(partial_name(path.suffix))
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing(path: Path, size_bytes: int) -> Iterator[Path]:
    """A path beside `path` to write to, moved there at the end and removed on failure.

    size_bytes: about what will be written, an upper bound. Where there is no room for it nothing is begun, since on a
    full disk ITK leaves a cut-off NIfTI file without a word, and HDF5 crashes at exit.
    Raises InputError when the file cannot be written.
    """
    gzipped = path.name.lower().endswith(".nii.gz")
    temporary = path.with_name(partial_name(".nii.gz" if gzipped else path.suffix))
    try:
        with parent_folders(path), _removed_at_last(temporary):
            _reserve(temporary, size_bytes)
            yield temporary
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise InputError(
            f"{path} cannot be written{reason}; check the folder, its rights and the space left."
        ) from error


@contextmanager
def parent_folders(path: Path) -> Iterator[None]:
    """Make the folders above path; those that were made and hold nothing at the end go again."""
    missing = [parent for parent in path.absolute().parents if not parent.exists()]
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:  # mkdir's word for a file where a folder should be
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), error.filename) from error
        yield
    finally:
        for parent in missing:
            with suppress(OSError):
                parent.rmdir()


@contextmanager
def _removed_at_last(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _reserve(path: Path, size_bytes: int) -> None:
    """Raise OSError when the file system has no room, or no right, for a new file of this size."""
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, max(size_bytes, 1))
        else:
            file.truncate(size_bytes)
    path.unlink()
