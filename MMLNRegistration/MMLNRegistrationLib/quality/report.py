"""The report of one run: the same figures as strict JSON for programs and as one page for people."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from .page import page
from .verdict import total_seconds


def report_json(registration: Registration) -> dict[str, object]:
    """Everything measured in a run, ready for json.dumps(..., allow_nan=False): what is not a finite number is None.

    Lengths are in mm, times in seconds, memory in bytes. Raises TypeError when the settings hold something that JSON
    has no word for.
    """
    folding, seconds = registration.folding, registration.seconds
    report = {
        "version": __version__,
        "fixed": _volume_facts(registration.fixed),
        "moving": _volume_facts(registration.moving),
        "device": registration.device,
        "model": registration.model,
        "seconds": {**seconds, "total": total_seconds(seconds)},
        "peak_memory_bytes": registration.peak_memory_bytes,
        "peak_memory_bytes_by_step": registration.peak_memory_bytes_by_step,
        "similarity_before": registration.similarity_before._asdict(),
        "similarity_initial": registration.similarity_initial._asdict(),
        "similarity_after": registration.similarity_after._asdict(),
        **folding._asdict(),
        "affine_determinant": registration.affine_determinant,
        "repair": registration.repair._asdict(),
        "settings": registration.settings,
        "notes": list(registration.notes),
        "versions": versions(),
    }
    return {key: plain(value) for key, value in report.items()}


def report_html(registration: Registration) -> str:
    """One self-contained page: pictures, charts, figures and what they mean. It loads nothing and sends nothing.

    Raises ValueError when the foreground is empty, TypeError where report_json does.
    """
    settings = {name: plain(value) for name, value in registration.settings.items()}
    return page(registration, settings, versions())


def versions() -> dict[str, str]:
    """What the run was made with."""
    return {
        "MMLNRegistration": __version__,
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "SimpleITK": sitk.Version.VersionString(),
        "NumPy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def _volume_facts(volume: Volume) -> dict[str, object]:
    return {
        "name": volume.name,
        "size": list(volume.geometry.size_ijk),
        "spacing": [round(float(spacing), 6) for spacing in volume.geometry.spacing_mm],
    }


def plain(value: object) -> object:
    """value in JSON's own types. Of a path only the last part is kept: folders may name a patient."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"A report cannot hold {type(value).__name__} {value!r}.")
