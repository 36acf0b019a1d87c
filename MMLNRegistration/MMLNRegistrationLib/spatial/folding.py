"""Folding: the strict test, the summary, and the smoothing of a velocity around folded voxels."""

from __future__ import annotations

import torch
from torch import Tensor

from .jacobian import determinants
from .separable import gaussian_smooth

SAFETY = 0.01
"""A strict determinant must exceed this share of the linear part's, so that rounding in files cannot fold it."""


def folded(displacement_voxels: Tensor, linear_determinant: float = 1.0, safety: float = 0.0) -> Tensor:
    """bool (K, J, I): voxels where one of the eight one-sided determinants is not above safety * linear_determinant.

    displacement_voxels: (3, K, J, I), in voxels of its grid, channels k, j, i.
    """
    return determinants(displacement_voxels).strict <= safety * linear_determinant


def smooth_velocity_near(
    velocity: Tensor, places: Tensor, reach_voxels: float, sigma_voxels: float
) -> tuple[Tensor, Tensor]:
    """Velocity blended into its Gaussian-smoothed self around places, and the (1, 1, k, j, i) weights used.

    velocity: (1, 3, k, j, i). places: (3, N) positions on its grid, in voxels, channels k, j, i. The weight is 1 up to
    about reach_voxels from a place and fades over the same distance, so that no new edge is made.
    """
    shape = velocity.shape[2:]
    marks = torch.zeros(1, 1, *shape, device=velocity.device)
    rounded = [position.round().long().clamp(0, size - 1) for position, size in zip(places, shape, strict=True)]
    marks[0, 0, rounded[0], rounded[1], rounded[2]] = 1
    spread = gaussian_smooth(marks, reach_voxels)
    # The spread of a lone mark, one reach away from it: from there on inwards the weight is 1.
    lone = 0.6 / ((2 * torch.pi) ** 1.5 * reach_voxels**3)
    weight = (spread / lone).clamp(max=1.0)
    return velocity + weight * (gaussian_smooth(velocity, sigma_voxels) - velocity), weight
