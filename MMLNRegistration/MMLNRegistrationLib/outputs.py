"""The folder of a finished registration: written elsewhere, then moved to its place whole."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import io
from .errors import InputError
from .pipeline.result import Registration
from .pipeline.volume import Volume
from .progress import Progress, silent
from .quality.report import report_html, report_json
from .velocity_file import write_velocity
from .writing import PARTIAL_PREFIX, REGISTRATION_FILES, parent_folders, partial_name


@contextmanager
def output_folder(folder: Path, overwrite: bool, partial: str | None = None) -> Iterator[Path]:
    """A temporary folder; what is in it at the end moves to `folder`, and on failure it is removed.

    partial: its name, for those who would remove it after this process was killed, see writing.partial_folders.
    With overwrite, other files in `folder` stay, but not those of an earlier registration when a new one moves in.
    Raises InputError at once when `folder` is a file, holds something already (unless overwrite), or cannot be made.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results.")
    # Inside a folder that is there already: the one above it may be another disk, or not ours.
    parent = folder if folder.is_dir() else folder.absolute().parent
    if parent is folder and not overwrite and any(not _is_partial(entry) for entry in folder.iterdir()):
        raise InputError(f"{folder} is not empty; choose another folder, or add --overwrite.")
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
        earlier = set(REGISTRATION_FILES) - set(results)
    for name in results:
        os.replace(temporary / name, folder / name)
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


def _is_partial(entry: Path) -> bool:
    return entry.name.startswith(PARTIAL_PREFIX)


def write_registration(
    registration: Registration,
    folder: Path,
    labels: Volume | None,
    progress: Progress = silent,
    names: Collection[str] = REGISTRATION_FILES,
) -> None:
    """What a registration delivers, as files in an existing folder: those of the REGISTRATION_FILES that are named.

    labels.nii.gz needs a label map, scene.mrb the Slicer core; without them they are left out.
    """
    available = [name for name in REGISTRATION_FILES if name in names]
    if labels is None:
        available = [name for name in available if name != "labels.nii.gz"]
    if importlib.util.find_spec("slicer") is None:
        available = [name for name in available if name != "scene.mrb"]
    for done, name in enumerate(available):
        progress("write", done / len(available))
        _write(name, registration, labels, folder / name)


def _write(name: str, registration: Registration, labels: Volume | None, path: Path) -> None:
    if name == "transform.h5":
        io.write_displacement(registration.displacement_mm, registration.fixed.geometry, path)
    elif name == "velocity.safetensors":
        write_velocity(registration, path)
    elif name == "report.json":
        path.write_text(json.dumps(report_json(registration), indent=2) + "\n", encoding="utf-8")
    elif name == "report.html":
        path.write_text(report_html(registration), encoding="utf-8")
    elif name == "scene.mrb":
        from .scene.bundle import write_scene

        write_scene(registration, path, labels)
    else:
        volumes = {"warped.nii.gz": registration.warped, "jacobian.nii.gz": registration.jacobian}
        volume = volumes.get(name, labels)
        assert volume is not None
        io.write_volume(volume, path)
