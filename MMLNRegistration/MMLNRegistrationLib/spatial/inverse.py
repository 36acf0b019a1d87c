"""The inverse of a sampled map, found numerically, for fields whose velocity is not at hand."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .geometry import Geometry, transform_points
from .jacobian import index_displacement
from .warp import identity_grid, sample

_FIXED_POINT_ITERATIONS = 12
_NEWTON_ITERATIONS = 25
_TOLERANCE_VOXELS = 1e-3


def invert_points(
    points_ras: NDArray[np.floating], displacement_mm: NDArray[np.floating], geometry: Geometry
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """x with x + u(x) = y for points y (N, 3), mm RAS, and whether each was found (N,).

    displacement_mm: u (K, J, I, 3) on geometry, mm RAS. A point is not found where no x of the grid is sent to it, or
    where the map folds. The bulk of u, its best affine fit, is inverted exactly; the rest by fixed-point iteration, and
    by Newton's method where that does not settle.
    """
    displacement = index_displacement(displacement_mm, geometry)[None]
    target = _columns(transform_points(geometry.ijk_from_ras, points_ras)[:, ::-1])
    linear, offset = _affine_fit(displacement)
    inverse_linear = torch.linalg.inv(linear)
    source = inverse_linear @ (target - offset)
    for _ in range(_FIXED_POINT_ITERATIONS):
        source += inverse_linear @ (target - _mapped(displacement, source))
    residual = (target - _mapped(displacement, source)).norm(dim=0)
    open_points = torch.nonzero(residual > _TOLERANCE_VOXELS)[:, 0]
    for _ in range(_NEWTON_ITERATIONS):
        if not len(open_points):
            break
        solved = _newton_step(displacement, source[:, open_points], target[:, open_points])
        source[:, open_points] = solved
        still_open = (target[:, open_points] - _mapped(displacement, solved)).norm(dim=0) > _TOLERANCE_VOXELS
        open_points = open_points[still_open]
    found = torch.ones(source.shape[1], dtype=torch.bool)
    found[open_points] = False
    for position, size in zip(source, geometry.shape_kji, strict=True):
        found &= (position >= -0.5) & (position <= size - 0.5)
    return transform_points(geometry.ras_from_ijk, source.numpy().T[:, ::-1]), found.numpy()


def _columns(points: NDArray[np.floating]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(points.T, dtype=np.float32))


def _mapped(displacement: Tensor, points: Tensor) -> Tensor:
    """x + u(x) for points (3, N) in voxels."""
    return points + sample(displacement, points.view(1, 3, -1, 1, 1)).view(3, -1)


def _affine_fit(displacement: Tensor) -> tuple[Tensor, Tensor]:
    """(3, 3) and (3, 1) of the affine map closest to x + u(x), from every few voxels of the grid."""
    step = max(1, min(displacement.shape[2:]) // 24)
    thin = (slice(None), slice(None), *[slice(None, None, step)] * 3)
    grid = identity_grid(tuple(displacement.shape[2:]))[thin].reshape(3, -1)
    mapped = (displacement[thin].reshape(3, -1) + grid).double()
    design = torch.cat([grid, torch.ones(1, grid.shape[1])]).double()
    solution = torch.linalg.lstsq(design.T, mapped.T).solution.T.float()
    return solution[:, :3], solution[:, 3:]


def _newton_step(displacement: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """One damped Newton step for each point, its Jacobian by central differences over half a voxel."""
    residual = target - _mapped(displacement, source)
    columns = []
    for axis in range(3):
        half = torch.zeros(3, 1)
        half[axis] = 0.25
        columns.append((_mapped(displacement, source + half) - _mapped(displacement, source - half)) / 0.5)
    jacobian = torch.stack(columns, dim=-1).permute(1, 0, 2)
    # A nearly singular Jacobian would throw the point across the grid: steps are kept to two voxels.
    step = torch.linalg.solve(jacobian + 1e-4 * torch.eye(3), residual.T).T
    return source + step * (2.0 / step.norm(dim=0).clamp(min=2.0))
