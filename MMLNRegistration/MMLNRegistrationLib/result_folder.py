"""The folder of a finished registration: filled elsewhere, then moved to its place whole. Needs the standard library
alone, as the clients do.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError
from .writing import PARTIAL_PREFIX, PROPAGATION_RESULT_FILES, RESULT_FILES, parent_folders, partial_name


def require_free_folder(folder: Path, overwrite: bool) -> None:
    """Raise InputError when `folder` is a file, or holds something already (unless overwrite)."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results.")
    if folder.is_dir() and not overwrite and any(not _is_partial(entry) for entry in folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder, or add --overwrite.")


@contextmanager
def output_folder(folder: Path, overwrite: bool, partial: str | None = None) -> Iterator[Path]:
    """A temporary folder; what is in it at the end moves to `folder`, and on failure it is removed.

    partial: its name, for those who would remove it after this process was killed, see writing.partial_folders.
    With overwrite, other files in `folder` stay, but not those of an earlier registration when a new one moves in.
    Raises InputError at once when `folder` is a file, holds something already (unless overwrite), or cannot be made.
    """
    require_free_folder(folder, overwrite)
    # Inside a folder that is there already: the one above it may be another disk, or not ours.
    parent = folder if folder.is_dir() else folder.absolute().parent
    temporary = parent / (partial or partial_name())
    try:
        with parent_folders(folder):
            temporary.mkdir()
            try:
                yield temporary
                _move(temporary, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except InputError as error:
        raise InputError(str(error).replace(str(temporary), str(folder))) from error
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); check its rights and the space left, or choose another."
        ) from error


def _move(temporary: Path, folder: Path) -> None:
    """Put the results in their place: a new folder in one step."""
    if not folder.exists():
        temporary.rename(folder)
        return
    results = sorted(entry.name for entry in temporary.iterdir())
    for name in results:
        if (folder / name).is_dir():
            raise IsADirectoryError(errno.EISDIR, f"{name} is a folder there")
    earlier: set[str] = set()
    if "transform.h5" in results and all((folder / name).exists() for name in ("transform.h5", "report.json")):
        earlier = set(RESULT_FILES) - set(results)
    if "volumes.csv" in results and all((folder / name).exists() for name in ("volumes.csv", "report.json")):
        numbered = {path.name for path in folder.glob("transform_*.h5")}
        earlier = {*PROPAGATION_RESULT_FILES, *numbered} - set(results)
    for name in results:
        os.replace(temporary / name, folder / name)
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


def _is_partial(entry: Path) -> bool:
    return entry.name.startswith(PARTIAL_PREFIX)
