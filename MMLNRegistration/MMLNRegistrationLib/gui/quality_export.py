"""The files of a check: copied to where the user wants them, and removed when nobody needs them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..errors import InputError

EXPORTED = (
    "report.html",
    "quality.json",
    "structures.csv",
    "folds.csv",
    "landmarks.csv",
    "histogram.csv",
    "jacobian.nii",
)


def export(source: Path, parent: Path, name: str) -> Path:
    """Copy the EXPORTED files of a check into a new folder inside of parent, and return it. Any thread may do it.

    name: of the transform, of which the folder gets its own.

    Raises InputError when they cannot be written, or are gone.
    """
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._")[:60] or "transform"
    try:
        folder = _new_folder(parent, f"{stem}-quality")
        for file in EXPORTED:
            if (source / file).exists():
                shutil.copyfile(source / file, folder / file)
    except OSError as error:
        raise InputError(
            f"{parent} cannot be written ({error.strerror}); choose another folder, or check the space left."
        ) from error
    if not (folder / EXPORTED[0]).exists():
        folder.rmdir()
        raise InputError("The files of the check are gone; check the transform again.")
    return folder


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders; what cannot be removed goes with the session. Any thread may do it."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def _new_folder(parent: Path, stem: str) -> Path:
    number = 1
    while True:
        folder = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
