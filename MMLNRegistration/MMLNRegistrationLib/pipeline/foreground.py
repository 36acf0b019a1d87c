"""Which voxels of a volume show what is to be registered: a given mask, an extracted brain, or all tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from ..errors import InputError
from .brain import extract_brain
from .volume import Volume

LEAST_VOXELS = 500
"""A foreground with fewer voxels says nothing about where a brain lies."""


@dataclass(frozen=True, eq=False)
class Foreground:
    """voxels: bool (K, J, I) on the image's grid. excludes_rest: the rest of the image is to be ignored, not shown."""

    voxels: NDArray[np.bool_]
    excludes_rest: bool


def foreground(image: Volume, mask: Volume | None, brain: str, device: torch.device) -> Foreground:
    """The given mask, else the brain when brain is auto, else every voxel that shows tissue.

    Raises InputError for a mask on another grid, an almost empty foreground, an unknown brain option, or a missing
    deepbet.
    """
    if brain not in ("auto", "none"):
        raise InputError(f"Unknown brain option {brain!r}; choose auto or none.")
    if mask is not None:
        if not mask.geometry.matches(image.geometry):
            raise InputError(f"The mask {mask.name} does not lie on the grid of {image.name}; resample it first.")
        voxels = mask.array_kji > 0
        if np.count_nonzero(voxels) < LEAST_VOXELS:
            raise InputError(
                f"The mask {mask.name} marks fewer than {LEAST_VOXELS} voxels; choose one that covers the brain."
            )
        return Foreground(voxels, excludes_rest=True)
    if brain == "auto":
        return Foreground(extract_brain(image, device), excludes_rest=True)
    voxels = tissue(image)
    if np.count_nonzero(voxels) < LEAST_VOXELS:
        raise InputError(f"{image.name} shows tissue in fewer than {LEAST_VOXELS} voxels; choose a volume of a brain.")
    return Foreground(voxels, excludes_rest=False)


def tissue(image: Volume) -> NDArray[np.bool_]:
    """(K, J, I) where the image shows tissue.

    A large share of exactly equal lowest voxels is the empty background of a skull-stripped scan: all else is
    tissue. Otherwise Otsu's threshold decides.
    """
    array = image.array_kji
    empty = array == array.min()
    if empty.mean() > 0.2:
        return ~empty
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.SetInsideValue(0)
    threshold.SetOutsideValue(1)
    # Otsu on a clipped image: a few hot voxels would push the threshold above all tissue.
    clipped = np.minimum(array, np.percentile(array, 99.5))
    mask = sitk.GetArrayFromImage(threshold.Execute(sitk.GetImageFromArray(clipped))).astype(bool)
    return mask if mask.any() else ~empty
