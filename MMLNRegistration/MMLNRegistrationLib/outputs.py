"""Everything that a registration delivers, as files."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from pathlib import Path

from . import io
from .pipeline.result import Registration
from .pipeline.volume import Volume
from .progress import Progress, silent
from .quality.report import report_html, report_json
from .velocity_file import write_velocity
from .writing import REGISTRATION_FILES


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
