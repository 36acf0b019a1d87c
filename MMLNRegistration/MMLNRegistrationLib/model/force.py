"""Where local correlation would move each voxel: what an optimiser's first step follows, as an input of the network.

A network that reads two images must first learn to multiply their difference with a gradient, which takes thousands of
steps; one that also reads the product learns at once how far to follow it, and where not to.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..spatial.separable import gaussian_smooth
from .local_correlation import LocalCorrelation

SIGMA_VOXELS = 1.0


def central_gradient(image: Tensor) -> Tensor:
    """(B, 3, K, J, I) central differences of (B, 1, K, J, I), per voxel, zero on the faces."""
    gradient = image.new_zeros(image.shape[0], 3, *image.shape[2:])
    for axis in range(3):
        dim, inner = axis + 2, image.shape[axis + 2] - 2
        difference = gradient[:, axis : axis + 1].narrow(dim, 1, inner)
        torch.sub(image.narrow(dim, 2, inner), image.narrow(dim, 0, inner), out=difference)
    return gradient.mul_(0.5)


@torch.no_grad()
def correlation_force(fixed: Tensor, moving: Tensor) -> Tensor:
    """(B, 3, K, J, I) smoothed force of local correlation on moving, of mean square length 1 in each image.

    fixed, moving: (B, 1, K, J, I). As d agreement / d M(x) * grad M(x) of the refinement; zero between equal images.
    It carries no gradient to what moved the image.
    """
    forces = []
    for one_fixed, one_moving in zip(fixed.float().split(1), moving.float().split(1), strict=True):
        _, derivative = LocalCorrelation(one_fixed).agreement_and_gradient(one_moving)
        force = gaussian_smooth(central_gradient(one_moving) * derivative, SIGMA_VOXELS)
        length = force.square().sum(dim=1).mean().sqrt()
        # Between equal images nothing but rounding is left, far below what any contrast gives.
        least = 1e-6 / force[0, 0].numel()
        forces.append(force / length if length > least else torch.zeros_like(force))
    return torch.cat(forces)
