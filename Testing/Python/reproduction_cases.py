"""What the tests of `mmln reproduce` share: small brains laid out as neurite-OASIS and LPBA40, and quick settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cli_cases import write
from MMLNRegistrationLib.model.losses import LossConfig
from MMLNRegistrationLib.pipeline.initial import Initial
from MMLNRegistrationLib.progress import Progress, silent
from MMLNRegistrationLib.reproduction.results import Result
from MMLNRegistrationLib.reproduction.run import ReproductionSettings, reproduce
from MMLNRegistrationLib.training import preparation
from training_cases import GRID, image_of, labels_of, quick

SEG35_FROM_FREESURFER = {2: 1, 3: 2, 4: 3, 10: 7, 41: 20, 42: 21, 43: 22, 49: 26}
LPBA40_FROM_FREESURFER = {2: 21, 3: 22, 4: 61, 10: 62, 41: 101, 42: 102, 43: 181, 49: 182}
SUBJECTS, ATLASES = 10, 2
"""Of the usual copy of OASIS: four to train, two to validate, four to test, two of them as atlases."""

CONFIG = quick((1, 1, 1), spacing_mm=8.0, loss=LossConfig(k=0.1), validate_every=1)
"""Three steps on a grid of 32 x 32 x 32 voxels."""


@contextmanager
def aligned_already() -> Iterator[None]:
    """The brains lie where they should: the linear registration, most of the work here, has its own tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "register_linear", lambda *volumes, rigid_only, progress: Initial(np.eye(4), ()))
        yield


def write_oasis(folder: Path, subjects: int = SUBJECTS) -> Path:
    """A copy of neurite-OASIS, with the files at its top that it comes with."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seg35_labels.txt").write_text("")
    for number in range(1, subjects + 1):
        scan = folder / f"OASIS_OAS1_{number:04}_MR1"
        scan.mkdir()
        write(scan / "norm.nii.gz", image_of(number), GRID)
        write(scan / "seg35.nii.gz", renumbered(labels_of(number), SEG35_FROM_FREESURFER), GRID)
    return folder


def write_lpba40(folder: Path, subjects: int = 4) -> Path:
    """A copy of LPBA40, of other people."""
    for number in range(1, subjects + 1):
        start = f"S{number:02}/S{number:02}.delineation"
        (folder / start).parent.mkdir(parents=True)
        write(folder / f"{start}.skullstripped.nii.gz", image_of(100 + number), GRID)
        labels = renumbered(labels_of(100 + number), LPBA40_FROM_FREESURFER)
        write(folder / f"{start}.structure.label.nii.gz", labels, GRID)
    return folder


def renumbered(labels: NDArray[np.int16], numbers: Mapping[int, int]) -> NDArray[np.int16]:
    """A label map with other numbers for the same structures."""
    result = np.zeros_like(labels)
    for old, new in numbers.items():
        result[labels == old] = new
    return result


def settings_of(oasis: Path, output: Path, **changes: Any) -> ReproductionSettings:
    """Of the quick reproduction, on a processor."""
    settings = ReproductionSettings(oasis, output, CONFIG, atlases=ATLASES, device="cpu")
    return replace(settings, **changes)


def reproduced(oasis: Path, output: Path, progress: Progress = silent, **changes: Any) -> list[Result]:
    """The quick reproduction, without a listener."""
    return reproduce(settings_of(oasis, output, **changes), progress, lambda network, entry: None)
