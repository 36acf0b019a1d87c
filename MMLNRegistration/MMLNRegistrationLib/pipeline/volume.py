"""Volume: an array and where it lies in the world, checked once at the door."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry

MINIMUM_SIZE_VOXELS = 8
"""A volume with fewer voxels along an axis is a slice or a scrap; nothing 3D can be registered on it."""


LARGEST_MAGNITUDE = 1e37
"""Beyond it numbers stand for nothing, as the lowest of a type often does, and overflow in arithmetic."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar 3D volume.

    array_kji: (K, J, I); float32 for images, an integer type for label maps.
    geometry: its grid in the world (RAS, mm).
    name: what messages and reports call it, such as the file's name without its folder.

    Raises ValueError when array and geometry disagree in shape.
    """

    array_kji: NDArray
    geometry: Geometry
    name: str

    def __post_init__(self) -> None:
        if self.array_kji.shape != self.geometry.shape_kji:
            raise ValueError(f"{self.name}: array {self.array_kji.shape} on a grid of {self.geometry.shape_kji}.")


def checked_image(array_kji: NDArray, geometry: Geometry, name: str) -> Volume:
    """A Volume fit for registration: float32, voxels that are no finite number set to the lowest that is one.

    Raises InputError when it is too small, has no finite voxel, or is constant.
    """
    require_size(array_kji.shape, name)
    if np.iscomplexobj(array_kji):
        raise InputError(f"{name} holds complex numbers; save its magnitude as a scalar volume first.")
    with np.errstate(over="ignore"):
        image = array_kji.astype(np.float32)
    finite = np.abs(image) <= LARGEST_MAGNITUDE  # not so where it is not a number
    if not finite.any():
        raise InputError(f"{name} has no finite voxel; check how it was exported.")
    lowest = image[finite].min()
    if image[finite].max() == lowest:
        raise InputError(f"{name} is constant: every voxel is {lowest:g}; choose an image that shows anatomy.")
    image[~finite] = lowest
    return Volume(image, geometry, name)


def require_size(shape_kji: tuple[int, ...], name: str) -> None:
    """Raise InputError when a grid is too small for a registration."""
    if min(shape_kji) < MINIMUM_SIZE_VOXELS:
        size = " x ".join(str(n) for n in shape_kji[::-1])
        raise InputError(
            f"{name} has {size} voxels; a 3D volume with at least {MINIMUM_SIZE_VOXELS} voxels along each axis "
            "is needed."
        )


def checked_labels(array_kji: NDArray, geometry: Geometry, name: str) -> Volume:
    """A label map: whole numbers from 0 up, kept in the smallest unsigned type that holds them.

    Raises InputError when values are fractional, negative, not finite or above 2**31 - 1, where Slicer's end.
    """
    if np.issubdtype(array_kji.dtype, np.floating):
        if not np.isfinite(array_kji).all() or (array_kji != np.rint(array_kji)).any():
            raise InputError(
                f"{name} holds fractional or non-finite values; masks and label maps must hold whole numbers."
            )
    elif not np.issubdtype(array_kji.dtype, np.integer) and array_kji.dtype != bool:
        raise InputError(f"{name} holds {array_kji.dtype} values; masks and label maps must hold whole numbers.")
    if array_kji.min() < 0 or array_kji.max() > np.iinfo(np.int32).max:
        raise InputError(f"{name} holds negative or very large values; labels must lie between 0 and 2147483647.")
    smallest = np.min_scalar_type(int(array_kji.max()))
    return Volume(array_kji.astype(smallest), geometry, name)
