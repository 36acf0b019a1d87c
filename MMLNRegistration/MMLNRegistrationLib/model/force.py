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
FLOOR = 1e-3
"""Share of the largest component of an image's force that counts as half a step: below lies the background."""


def central_gradient(image: Tensor) -> Tensor:
    """(B, 3, K, J, I) central differences of (B, 1, K, J, I), per voxel, zero on the faces."""
    gradient = image.new_zeros(image.shape[0], 3, *image.shape[2:])
    for axis in range(3):
        dim, inner = axis + 2, image.shape[axis + 2] - 2
        difference = gradient[:, axis : axis + 1].narrow(dim, 1, inner)
        torch.sub(image.narrow(dim, 2, inner), image.narrow(dim, 0, inner), out=difference)
    return gradient.mul_(0.5)


class CorrelationForce:
    """Where each voxel of images would move to agree better with one fixed image, (B, 1, K, J, I)."""

    def __init__(self, fixed: Tensor) -> None:
        self._correlations = [LocalCorrelation(image) for image in fixed.detach().float().split(1)]

    @torch.no_grad()
    def __call__(self, moving: Tensor) -> Tensor:
        """(B, 3, K, J, I), each component in [-1, 1]: nearly the sign of the smoothed force of local correlation.

        moving: (B, 1, K, J, I). The force is d agreement / d M(x) * grad M(x), as in the refinement, and is scaled as
        Adam's first step scales it there: each component by its own size, which at edges is a thousand times that
        within tissue. Zero between equal images. It carries no gradient to what moved the image.
        """
        directions = []
        for correlation, image in zip(self._correlations, moving.float().split(1), strict=True):
            _, derivative = correlation.agreement_and_gradient(image)
            force = gaussian_smooth(central_gradient(image) * derivative, SIGMA_VOXELS)
            size = force.abs()
            largest = float(size.max())
            # Between equal images nothing but rounding is left, far below what any contrast gives.
            seen = largest > 1e-5 / image.numel()
            directions.append(force / (size + FLOOR * largest) if seen else torch.zeros_like(force))
        return torch.cat(directions)
