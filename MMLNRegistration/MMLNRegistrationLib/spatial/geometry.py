"""Where a volume's voxels lie in the world: one frozen class and the arithmetic of 4x4 matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
"""A float64 4x4 affine matrix for column vectors, named `to_from`."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A regular grid in the world.

    shape_kji: number of voxels along k, j, i (array order).
    ras_from_ijk: float64 (4, 4), from voxel indices (i, j, k) to millimetres in RAS.

    Raises ValueError when the shape is not three positive integers or the matrix is not an invertible affine.
    """

    shape_kji: tuple[int, int, int]
    ras_from_ijk: Matrix

    def __post_init__(self) -> None:
        matrix = np.array(self.ras_from_ijk, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1)):
            raise ValueError("ras_from_ijk must be a finite affine 4x4 matrix.")
        if len(self.shape_kji) != 3 or min(self.shape_kji) < 1:
            raise ValueError(f"A grid needs three positive sizes, not {tuple(self.shape_kji)}.")
        spacing_mm = np.linalg.norm(matrix[:3, :3], axis=0)
        if spacing_mm.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / spacing_mm)) < 1e-3:
            raise ValueError("The voxel axes are degenerate: their directions or spacings leave no volume.")
        matrix.setflags(write=False)
        object.__setattr__(self, "ras_from_ijk", matrix)
        object.__setattr__(self, "shape_kji", tuple(int(size) for size in self.shape_kji))

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        """Number of voxels along i, j, k."""
        return self.shape_kji[::-1]

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) distance between neighbouring voxel centres along i, j, k."""
        return np.asarray(np.linalg.norm(self.ras_from_ijk[:3, :3], axis=0), dtype=np.float64)

    @property
    def direction_ras(self) -> NDArray[np.float64]:
        """(3, 3) unit vectors of the i, j, k axes in RAS, as columns."""
        return self.ras_from_ijk[:3, :3] / self.spacing_mm

    @property
    def ijk_from_ras(self) -> Matrix:
        """Inverse of ras_from_ijk."""
        return np.asarray(np.linalg.inv(self.ras_from_ijk), dtype=np.float64)

    @property
    def centre_ras(self) -> NDArray[np.float64]:
        """(3,) world position of the middle of the grid, in mm."""
        return transform_points(self.ras_from_ijk, (np.array(self.size_ijk) - 1) / 2)

    @property
    def corners_ras(self) -> NDArray[np.float64]:
        """(8, 3) world positions of the centres of the corner voxels, in mm."""
        last_ijk = np.array(self.size_ijk) - 1
        corners_ijk = np.stack(np.meshgrid(*[(0, last) for last in last_ijk], indexing="ij"), axis=-1).reshape(-1, 3)
        return transform_points(self.ras_from_ijk, corners_ijk)

    def points_ras(self) -> NDArray[np.float64]:
        """(K * J * I, 3) world positions of all voxel centres, in array order, mm."""
        index_ijk = np.stack(np.meshgrid(*map(np.arange, self.shape_kji), indexing="ij")[::-1], axis=-1)
        return transform_points(self.ras_from_ijk, index_ijk.reshape(-1, 3))

    def matches(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels at the same places (corner centres within tolerance_mm)."""
        return self.shape_kji == other.shape_kji and bool(
            np.abs(self.corners_ras - other.corners_ras).max() <= tolerance_mm
        )


def transform_points(to_from: Matrix, points: NDArray[np.number]) -> NDArray[np.float64]:
    """Apply a 4x4 affine to points (..., 3)."""
    return np.asarray(points, dtype=np.float64) @ to_from[:3, :3].T + to_from[:3, 3]


def translation_matrix(offset: NDArray[np.floating]) -> Matrix:
    """4x4 matrix that adds offset (3,)."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset
    return matrix


def axis_aligned_geometry(
    lower_ras: NDArray[np.floating], shape_kji: tuple[int, int, int], spacing_mm: float
) -> Geometry:
    """Isotropic grid with axes along R, A, S whose first voxel centre lies at lower_ras (mm)."""
    ras_from_ijk = translation_matrix(lower_ras) @ np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return Geometry(shape_kji, ras_from_ijk)


# The two conversions between the (i, j, k) vectors of matrices and the (k, j, i) channels of tensors.
_REVERSE = np.eye(4)[[2, 1, 0, 3]]


def kji_matrix(ijk_to_from_ijk: Matrix) -> Matrix:
    """The same affine for vectors in k, j, i order on both sides."""
    return _REVERSE @ ijk_to_from_ijk @ _REVERSE
