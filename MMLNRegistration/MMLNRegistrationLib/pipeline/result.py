"""What a registration delivers: the field, everything derived from it, and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, Matrix
from .volume import Volume


class Similarity(NamedTuple):
    """How alike fixed and moving are inside the fixed foreground, from two measures of different reach."""

    correlation: float
    """Global correlation coefficient (paper Eq. 2), 1 at best."""
    local_correlation: float
    """Mean squared local correlation coefficient, windows of 5 x 5 x 5 mm, 1 at best."""


class FoldingSummary(NamedTuple):
    """How the whole map behaves on the fixed grid, affine included. A folded voxel fails the strict test."""

    folded_voxels: int
    folded_percent: float
    jacobian_min: float
    jacobian_max: float
    sd_log_jacobian: float
    """Standard deviation of log J inside the fixed foreground, without the affine's constant share."""


class FoldingRepair(NamedTuple):
    """What the folding removal did before delivery."""

    folded_voxels_before: int
    rounds: int
    smoothed_percent: float
    """Share of the network grid whose velocity was smoothed."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The result of registering moving to fixed. M(x + u(x)) ~ F(x) for every point x of the fixed grid.

    displacement_mm: float32 (K, J, I, 3), u on the fixed grid, components R, A, S, affine included.
    jacobian: float32 volume on the fixed grid, determinant of x -> x + u(x), affine included.
    warped: the moving image on the fixed grid, sampled once from the original.
    velocity_voxels: float32 (3, k, j, i), in voxels of its own grid, channels k, j, i. That grid has the corners of
        net_geometry and fewer voxels; the deformable part of the map is exp(velocity), its inverse exp(-velocity).
    moving_ras_from_fixed_ras: the initial (linear) part, applied after the deformable one.
    foreground: bool (K, J, I) on the fixed grid: brain mask or everything brighter than background.
    """

    fixed: Volume
    moving: Volume
    displacement_mm: NDArray[np.float32]
    warped: Volume
    jacobian: Volume
    foreground: NDArray[np.bool_]
    velocity_voxels: NDArray[np.float32]
    net_geometry: Geometry
    moving_ras_from_fixed_ras: Matrix
    seconds: dict[str, float]
    device: str
    model: str
    similarity_before: Similarity
    similarity_initial: Similarity
    similarity_after: Similarity
    folding: FoldingSummary
    repair: FoldingRepair
    peak_memory_bytes: int | None
    settings: dict[str, object]
    notes: tuple[str, ...]
    """Plain sentences that a user should read: fallbacks taken, doubts, what was not available."""
    peak_memory_bytes_by_step: dict[str, int] = field(default_factory=dict)
    """Most memory held during each step; empty where it cannot be measured step by step."""

    @property
    def affine_determinant(self) -> float:
        """Volume factor of the linear part alone."""
        return float(np.linalg.det(self.moving_ras_from_fixed_ras[:3, :3]))
