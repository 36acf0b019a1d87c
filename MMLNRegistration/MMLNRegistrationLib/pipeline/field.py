"""Steps 7 and 8: from the velocity to the displacement on any grid, its inverse, and the warped image.

The whole map is fixed -> exp(v) -> linear map -> moving; its inverse runs the same road back with exp(-v).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..spatial.geometry import Geometry, Matrix, transform_points
from ..spatial.separable import resize_cubic
from ..spatial.velocity import integrate
from ..spatial.warp import displacement_scale, identity_grid, sample
from .prepare import points_on, sample_volume
from .volume import Volume

INVERSE_CORRECTIONS = 3
"""Each leaves about a tenth of the error of the one before; see BENCHMARKS.md."""


@dataclass(frozen=True, eq=False)
class Deformation:
    """A map x -> x + d(x) of the world to itself, the identity outside its grid.

    displacement_voxels: (1, 3, K, J, I) on net, in voxels of net, channels k, j, i, zero on the border.
    """

    displacement_voxels: Tensor
    net: Geometry


def deformation(velocity: Tensor, net: Geometry) -> Deformation:
    """exp(v) on the network grid, for v (1, 3, k, j, i) on the corner-aligned velocity grid, in its voxels."""
    displacement = integrate(velocity)
    scale = displacement_scale(tuple(velocity.shape[2:]), net.shape_kji, velocity)
    return Deformation(resize_cubic(displacement, net.shape_kji) * scale, net)


def forward_displacement(
    geometry: Geometry, deform: Deformation, moving_ras_from_fixed_ras: Matrix
) -> NDArray[np.float32]:
    """u (K, J, I, 3) in mm RAS on a grid in fixed space: x + u(x) = linear(deform(x)), a point of moving space.

    Computed as the linear part, which is affine in the voxel index, plus the rotated deformation.
    """
    net_ijk_from_ijk = deform.net.ijk_from_ras @ geometry.ras_from_ijk
    moving_ras_from_net_ijk = moving_ras_from_fixed_ras @ deform.net.ras_from_ijk
    device = deform.displacement_voxels.device
    shift_kji = sample(deform.displacement_voxels, points_on(geometry, net_ijk_from_ijk, device))[0]
    linear_from_ijk = moving_ras_from_net_ijk @ net_ijk_from_ijk - geometry.ras_from_ijk
    # Both matrices act on (k, j, i) channels: reverse the columns of the (i, j, k) ones.
    linear_from_kji = torch.from_numpy(linear_from_ijk[:3, 2::-1].copy()).to(shift_kji)
    ras_from_shift = torch.from_numpy(moving_ras_from_net_ijk[:3, 2::-1].copy()).to(shift_kji)
    offset = torch.from_numpy(linear_from_ijk[:3, 3].copy()).to(shift_kji)
    index_kji = identity_grid(geometry.shape_kji, device)[0]
    u = torch.einsum("rd,dkji->kjir", ras_from_shift, shift_kji)
    u += torch.einsum("rd,dkji->kjir", linear_from_kji, index_kji)
    u += offset
    return u.cpu().numpy()


def linear_displacement(geometry: Geometry, moving_ras_from_fixed_ras: Matrix) -> NDArray[np.float32]:
    """(K, J, I, 3) in mm RAS of the linear map alone, on a grid in fixed space."""
    points_ras = geometry.points_ras()
    displacement_mm = transform_points(moving_ras_from_fixed_ras, points_ras) - points_ras
    return displacement_mm.reshape(*geometry.shape_kji, 3).astype(np.float32)


def inverse_points(
    points_ras: NDArray[np.floating], velocity: Tensor, net: Geometry, moving_ras_from_fixed_ras: Matrix
) -> NDArray[np.float64]:
    """Points (N, 3) of moving space in fixed space, mm RAS: exp(-v) after the inverse linear map.

    Sampling on grids leaves exp(-v) a tenth of a voxel away from the inverse of exp(v). So the point that is put into
    exp(-v) is moved by what is left when exp(v) follows it, until the two agree.
    """
    forward, backward = deformation(velocity, net), deformation(-velocity, net)
    target_ijk = transform_points(net.ijk_from_ras @ np.linalg.inv(moving_ras_from_fixed_ras), points_ras)
    target = torch.from_numpy(target_ijk[:, ::-1].T.copy()).to(velocity)
    start, source = target, _follow(backward, target)
    for _ in range(INVERSE_CORRECTIONS):
        start = start + (target - _follow(forward, source))
        source = _follow(backward, start)
    return transform_points(net.ras_from_ijk, source.cpu().numpy().T[:, ::-1])


def inverse_displacement(
    geometry: Geometry, velocity: Tensor, net: Geometry, moving_ras_from_fixed_ras: Matrix
) -> NDArray[np.float32]:
    """(K, J, I, 3) in mm RAS on a grid in moving space, back to fixed space: inverse_points of its voxels."""
    points_ras = geometry.points_ras()
    shift_mm = inverse_points(points_ras, velocity, net, moving_ras_from_fixed_ras) - points_ras
    return shift_mm.reshape(*geometry.shape_kji, 3).astype(np.float32)


def _follow(deform: Deformation, points: Tensor) -> Tensor:
    """x + d(x) for points (3, N) in voxels of the network grid."""
    return points + sample(deform.displacement_voxels, points.view(1, 3, -1, 1, 1)).view(3, -1)


def warp_volume(moving: Volume, displacement_mm: NDArray[np.floating], fixed: Geometry) -> Volume:
    """moving(x + u(x)) on the fixed grid, linear, zero outside; sampled once, at moving's own resolution."""
    return Volume(
        sample_volume(moving, moving_coordinates(moving.geometry, displacement_mm, fixed))[0, 0].numpy(),
        fixed,
        moving.name,
    )


def moving_coordinates(moving: Geometry, displacement_mm: NDArray[np.floating], fixed: Geometry) -> Tensor:
    """(1, 3, K, J, I) where x + u(x) lies on moving's grid, in its voxels, channels k, j, i.

    displacement_mm: (K, J, I, 3) on fixed, components R, A, S.
    """
    kji_from_ras = torch.from_numpy(moving.ijk_from_ras[2::-1, :3].copy()).float()
    displacement = torch.from_numpy(np.asarray(displacement_mm, dtype=np.float32))
    return points_on(fixed, moving.ijk_from_ras @ fixed.ras_from_ijk) + torch.einsum(
        "dr,kjir->dkji", kji_from_ras, displacement
    )


def warp_labels(labels: Volume, displacement_mm: NDArray[np.floating], fixed: Geometry) -> Volume:
    """labels(x + u(x)) on the fixed grid by the nearest voxel; 0 outside. The type is kept."""
    coordinates = moving_coordinates(labels.geometry, displacement_mm, fixed)[0].round_().long()
    inside = torch.ones(fixed.shape_kji, dtype=torch.bool)
    index = torch.zeros(fixed.shape_kji, dtype=torch.long)
    for position, size in zip(coordinates, labels.geometry.shape_kji, strict=True):
        inside &= (position >= 0) & (position < size)
        index = index * size + position.clamp(0, size - 1)
    values = labels.array_kji.reshape(-1)[index.numpy()]
    return Volume(np.where(inside.numpy(), values, 0).astype(labels.array_kji.dtype), fixed, labels.name)
