"""Everything that a registration delivers, as files."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import io
from .pipeline.result import Registration
from .pipeline.volume import Volume
from .progress import Progress, silent
from .quality.report import report_html, report_json
from .velocity_file import write_velocity
from .writing import REGISTRATION_FILES, RESULT_FILES, replacing


def write_registration(
    registration: Registration,
    folder: Path,
    labels: Volume | None,
    progress: Progress = silent,
    names: Collection[str] = REGISTRATION_FILES,
) -> None:
    """What a registration delivers, as files in an existing folder: those of the RESULT_FILES that are named.

    labels.nii.gz and labels.npy need a label map, scene.mrb the Slicer core; without them they are left out.
    """
    available = [name for name in RESULT_FILES if name in names]
    if labels is None:
        available = [name for name in available if not name.startswith("labels.")]
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
    elif name == "displacement.npy":
        write_array(registration.displacement_mm, path)
    else:
        volumes = {"warped": registration.warped, "jacobian": registration.jacobian}
        volume = volumes.get(name.split(".")[0], labels)
        assert volume is not None
        if path.suffix == ".npy":
            write_array(volume.array_kji, path)
        else:
            io.write_volume(volume, path)


def write_array(array: NDArray, path: Path) -> None:
    """Write an array in numpy's own format, whole or not at all. Raises InputError when it cannot be written."""
    with replacing(path, array.nbytes + 1024) as temporary:
        np.save(temporary, np.ascontiguousarray(array))
