"""Where a displacement field looks in another grid, for looking labels up there."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..spatial.geometry import Geometry, Matrix, kji_matrix
from ..spatial.warp import sample


def source_coordinates(displacement_mm: NDArray[np.float32], geometry: Geometry, source_ijk_from_ras: Matrix) -> Tensor:
    """Voxel coordinates in the source grid of the points x + u(x): (1, 3, K, J, I), channels k, j, i, float32.

    displacement_mm: (K, J, I, 3), u on the grid of geometry, components R, A, S.
    """
    source_kji_from_kji = kji_matrix(source_ijk_from_ras @ geometry.ras_from_ijk)
    source_kji_from_ras = source_ijk_from_ras[2::-1, :3]
    coordinates = np.einsum("cr,kjir->ckji", source_kji_from_ras, displacement_mm, dtype=np.float64)
    coordinates += source_kji_from_kji[:3, 3].reshape(3, 1, 1, 1)
    for axis, size in enumerate(geometry.shape_kji):
        along_axis = np.arange(size).reshape([size if other == axis else 1 for other in range(3)])
        coordinates += source_kji_from_kji[:3, axis].reshape(3, 1, 1, 1) * along_axis
    return torch.from_numpy(coordinates.astype(np.float32)).unsqueeze(0)


def labels_at(labels_kji: NDArray[np.integer], coordinates: Tensor) -> NDArray[np.integer]:
    """The labels (K, J, I) of a grid at voxel coordinates (1, 3, *out), nearest neighbour, 0 outside, same type.

    Raises ValueError for labels that float32 cannot tell apart.
    """
    if labels_kji.size and labels_kji.max() > 2**24:
        raise ValueError("Labels above 2**24 cannot be sampled.")
    image = torch.from_numpy(labels_kji.astype(np.float32)).view(1, 1, *labels_kji.shape)
    sampled = sample(image, coordinates, nearest=True, outside_zero=True)
    return sampled[0, 0].numpy().astype(labels_kji.dtype)
