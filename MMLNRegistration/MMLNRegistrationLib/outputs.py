"""The folder of a finished registration: written beside its place, then moved there whole."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import io
from .errors import InputError
from .pipeline.result import Registration
from .pipeline.volume import Volume
from .quality.report import report_html, report_json

REGISTRATION_FILES = (
    "transform.h5",
    "warped.nii.gz",
    "jacobian.nii.gz",
    "labels.nii.gz",
    "report.json",
    "report.html",
    "scene.mrb",
)


@contextmanager
def output_folder(folder: Path, overwrite: bool) -> Iterator[Path]:
    """A temporary folder beside `folder`; what is in it at the end moves to `folder`, and on failure it is removed.

    Raises InputError at once when `folder` is a file, holds something already (unless overwrite), or cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise InputError(f"{folder} is not empty; choose another folder, or add --overwrite.")
    absolute = folder.absolute()
    temporary = absolute.parent / f".partial-{uuid.uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another folder.") from error
    try:
        yield temporary
        absolute.mkdir(exist_ok=True)
        for result in sorted(temporary.iterdir()):
            os.replace(result, absolute / result.name)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); check its rights and the space left."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_registration(registration: Registration, folder: Path, labels: Volume | None) -> None:
    """Everything a registration delivers, as files in an existing folder. scene.mrb needs the Slicer core."""
    io.write_displacement(registration.displacement_mm, registration.fixed.geometry, folder / "transform.h5")
    io.write_volume(registration.warped, folder / "warped.nii.gz")
    io.write_volume(registration.jacobian, folder / "jacobian.nii.gz")
    if labels is not None:
        io.write_volume(labels, folder / "labels.nii.gz")
    (folder / "report.json").write_text(json.dumps(report_json(registration), indent=2) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(report_html(registration), encoding="utf-8")
    if importlib.util.find_spec("slicer") is not None:
        from .scene.bundle import write_scene

        write_scene(registration, folder / "scene.mrb", labels)
