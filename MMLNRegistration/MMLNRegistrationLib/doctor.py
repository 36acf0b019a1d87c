"""What is installed here and what works: the first thing to look at when something does not."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import tempfile
from typing import NamedTuple

import torch

from . import __version__
from .model.registry import available_models
from .spatial.velocity import integrate


class Finding(NamedTuple):
    """One line of the doctor's list. required: without it nothing can be registered."""

    name: str
    works: bool
    detail: str
    required: bool


_OPTIONAL_PACKAGES = {
    "nibabel": ("nibabel", "reads MGZ"),
    "slicer": ("slicer-core", "writes scene.mrb"),
    "deepbet": ("deepbet", "--brain auto"),
    "nilearn": ("nilearn", "mmln demo"),
    "fastapi": ("fastapi", "mmln serve"),
    "distributed": ("distributed", "mmln batch --dask"),
}


def findings() -> list[Finding]:
    """Look at the interpreter, the packages, the processors, the models and the temporary folder."""
    lines = [
        Finding("mmln", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}", True),
        _computes(),
        Finding("SimpleITK", True, importlib.metadata.version("SimpleITK"), True),
        _gpu(),
        _temporary_folder(),
    ]
    for module, (package, purpose) in _OPTIONAL_PACKAGES.items():
        found = importlib.util.find_spec(module) is not None
        detail = importlib.metadata.version(package) if found else "not installed"
        lines.append(Finding(package, found, f"{detail} ({purpose})", False))
    names = [model.card.name for model in available_models()]
    lines.append(
        Finding("models", bool(names), ", ".join(names) or "none bundled: registration starts from zero", False)
    )
    return lines


def _computes() -> Finding:
    """torch is there; does it also give the right answer for a tiny field?"""
    velocity = torch.zeros(1, 3, 8, 8, 8)
    velocity[:, 0] = 0.5
    right = bool(torch.allclose(integrate(velocity), velocity, atol=1e-5))
    return Finding("torch", right, f"{torch.__version__}, {torch.get_num_threads()} threads", True)


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding("GPU", False, "none that torch can use; the processor will be used", False)
    free, total = torch.cuda.mem_get_info()
    return Finding(
        "GPU", True, f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GiB free", False
    )


def _temporary_folder() -> Finding:
    try:
        with tempfile.TemporaryFile() as probe:
            probe.write(b"mmln")
    except OSError as error:
        return Finding("temporary folder", False, f"cannot be written: {error.strerror}", True)
    return Finding("temporary folder", True, tempfile.gettempdir(), True)
