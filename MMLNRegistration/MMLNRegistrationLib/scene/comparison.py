"""Fixed and warped image in one volume: checkerboard and difference, made in slices of time.

Both images are brought to the same brightness first, from black to white of their own windows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..spatial.geometry import Geometry
from .vtk_arrays import OwnedArray, owned_array

Window = tuple[float, float]
"""The intensities that are black and white."""

WHITE = 100.0
"""The brightness of white: differences are in per cent of it."""
LARGEST_DIFFERENCE = 50.0
"""A difference, in per cent, that is shown in white."""


class Mixture:
    """A volume to be made of two on one grid: step after step, then image is what was wanted."""

    def __init__(
        self,
        fixed_kji: NDArray,
        warped_kji: NDArray,
        windows: tuple[Window, Window],
        geometry: Geometry,
        square_mm: float | None,
    ) -> None:
        """windows: of fixed and warped. square_mm: the side of the checkerboard's squares; None for the difference."""
        self._images = (fixed_kji, warped_kji)
        self._windows = windows
        self._square_voxels = None if square_mm is None else np.maximum(square_mm / geometry.spacing_mm, 1.0)
        self.image: OwnedArray = owned_array(fixed_kji.shape, np.dtype(np.float32))

    def steps(self) -> Iterator[float]:
        """Do it, one slice at a time; gives the fraction that is done."""
        count = len(self.image.array)
        for k in range(count):
            fixed, warped = (
                _brightness(image[k], window) for image, window in zip(self._images, self._windows, strict=True)
            )
            if self._square_voxels is None:
                self.image.array[k] = np.abs(fixed - warped)
            else:
                self.image.array[k] = np.where(self._squares(k, fixed.shape), warped, fixed)
            yield (k + 1) / count

    def _squares(self, k: int, shape_ji: tuple[int, ...]) -> NDArray[np.bool_]:
        assert self._square_voxels is not None
        rows = (np.arange(shape_ji[0]) / self._square_voxels[1]).astype(int)
        columns = (np.arange(shape_ji[1]) / self._square_voxels[0]).astype(int)
        return (rows[:, None] + columns + int(k / self._square_voxels[2])) % 2 == 1


def _brightness(image: NDArray, window: Window) -> NDArray[np.float32]:
    black, white = window
    span = (white - black) or 1.0
    return np.clip((image.astype(np.float32) - black) * np.float32(WHITE / span), 0, WHITE)
