"""Separable linear operators on grids: smoothing and resampling as one small matrix per axis.

A Gaussian, a cubic enlargement and their adjoints are all matrices (new, old) applied along k, j and i in turn.
Matrix products are the fastest thing a CPU and a GPU do, and an operator's adjoint is its transpose.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def apply_along_axes(field: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """field (B, C, K, J, I) with matrices[0] (new, K) applied along k, matrices[1] along j, matrices[2] along i."""
    batch, channels, k, j, i = field.shape
    k_matrix, j_matrix, i_matrix = matrices
    # Mixed precision is meant for feature maps: it would also take these products in half precision, and a
    # velocity of ten voxels would be known to a twentieth of one.
    with torch.autocast(field.device.type, enabled=False):
        field = k_matrix @ field.reshape(batch * channels, k, j * i)
        field = j_matrix @ field.reshape(-1, j, i)
        field = field @ i_matrix.T
    return field.reshape(batch, channels, k_matrix.shape[0], j_matrix.shape[0], i_matrix.shape[0])


def gaussian_matrix(size: int, sigma_voxels: float) -> Tensor:
    """(size, size) Gaussian smoothing of an axis; at its ends the weights inside are scaled to sum to one."""
    index = torch.arange(size, dtype=torch.float64)
    if sigma_voxels <= 0:
        return torch.eye(size)
    weights = torch.exp(-0.5 * ((index[:, None] - index[None, :]) / sigma_voxels) ** 2)
    weights[weights < 1e-4] = 0
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def cubic_matrix(new_size: int, old_size: int) -> Tensor:
    """(new, old) cubic convolution (Keys 1981, a = -1/2) between corner-aligned axes, border value repeated.

    It interpolates the old samples and has a continuous derivative, so that the Jacobian of an enlarged field
    does not show the cells of the coarse grid.
    """
    position = torch.arange(new_size, dtype=torch.float64) * ((old_size - 1) / max(new_size - 1, 1))
    first = position.floor()
    weights = torch.zeros(new_size, old_size, dtype=torch.float64)
    for offset in (-1, 0, 1, 2):
        neighbour = (first + offset).clamp(0, old_size - 1).long()
        weights.scatter_add_(1, neighbour[:, None], _keys_kernel(position - first - offset)[:, None])
    return weights.float()


def _keys_kernel(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def gaussian_smooth(field: Tensor, sigma_voxels: Sequence[float] | float) -> Tensor:
    """field (B, C, K, J, I) smoothed by a Gaussian of standard deviation sigma (one, or k, j, i) in voxels."""
    sigmas = [sigma_voxels] * 3 if isinstance(sigma_voxels, (int, float)) else sigma_voxels
    matrices = [gaussian_matrix(size, sigma).to(field) for size, sigma in zip(field.shape[2:], sigmas, strict=True)]
    return apply_along_axes(field, matrices)


def resize_cubic(field: Tensor, shape_kji: Sequence[int]) -> Tensor:
    """field (B, C, K, J, I) on the corner-aligned grid of another shape, by cubic convolution."""
    matrices = [cubic_matrix(new, old).to(field) for new, old in zip(shape_kji, field.shape[2:], strict=True)]
    return apply_along_axes(field, matrices)
