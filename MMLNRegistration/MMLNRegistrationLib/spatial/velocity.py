"""Stationary velocity fields: integration by scaling and squaring (paper section 3.1), composition, inverse.

Displacements and velocities are (B, D, *shape), in voxels of their grid, channels in axis order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .warp import warp

INTEGRATION_STEPS = 7
"""Squarings in scaling and squaring, the count used by LapIRN: the first step is v / 128."""


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Displacement of x -> outer(inner(x)): w(x) = inner(x) + outer(x + inner(x))."""
    return inner + warp(outer, inner)


def integrate(velocity: Tensor, steps: int = INTEGRATION_STEPS) -> Tensor:
    """Displacement of exp(v), the flow of v for unit time, by scaling and squaring.

    exp(-v) is its inverse: integrate(-velocity).
    """
    displacement = velocity * (1.0 / 2**steps)
    for _ in range(steps):
        displacement = compose(displacement, displacement)
    return displacement


def border_taper(shape: tuple[int, ...], width_voxels: int, device: torch.device | str = "cpu") -> Tensor:
    """(1, 1, *shape) window: 0 on the border voxels, rising smoothly to 1 width_voxels inside.

    A velocity multiplied by it vanishes at the border of its grid, so that the map is the identity there and
    continues outside the grid without a jump.
    """
    window = torch.ones((), device=device)
    for size in shape:
        index = torch.arange(size, device=device, dtype=torch.float32)
        distance = torch.minimum(index, size - 1 - index)
        ramp = torch.clamp(distance / width_voxels, max=1.0)
        window = window.unsqueeze(-1) * (0.5 - 0.5 * torch.cos(torch.pi * ramp))
    return window.view(1, 1, *shape)
