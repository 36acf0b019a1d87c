"""Step 4: a trained network's velocity for a pair on the network grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError
from ..model.card import ModelCard
from ..model.checkpoint import Checkpoint
from ..model.local_correlation import LocalCorrelation
from ..model.network import pyramid
from ..spatial.velocity import integrate
from ..spatial.warp import resize_displacement, warp


def halvings(card: ModelCard, spacing_mm: float) -> int:
    """How often images of a grid of this spacing are halved before the network sees them.

    Raises InputError for a model whose own spacing is not that of the grid, nor twice, four times ... as large.
    """
    count = math.log2(card.grid_spacing_mm / spacing_mm)
    if count < -1e-6 or abs(count - round(count)) > 1e-6:
        raise InputError(
            f"The model {card.name} works on a grid of {card.grid_spacing_mm:g} mm, which images of {spacing_mm:g} mm "
            "cannot be halved to; choose another model or spacing."
        )
    return round(count)


def network_velocity(
    model: Checkpoint, fixed: Tensor, moving: Tensor, spacing_mm: float, shape_kji: tuple[int, ...]
) -> Tensor:
    """The velocity (1, 3, *shape_kji) that the network gives, in voxels of that corner-aligned grid.

    fixed, moving: (1, 1, K, J, I) in [0, 1] on the network grid of the given spacing, affinely aligned.
    """
    times = halvings(model.card, spacing_mm) + 1
    network = model.network.to(fixed.device)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    velocity = network(pyramid(fixed, times)[0], pyramid(moving, times)[0]).velocity
    return resize_displacement(velocity, shape_kji)


def brings_closer(velocity: Tensor, fixed: Tensor, moving: Tensor) -> bool:
    """Whether the moving image, carried by a velocity (1, 3, k, j, i), agrees better with the fixed one than as it is.

    fixed, moving: (1, 1, K, J, I) on the network grid. Agreement is that of local correlation, what refinement raises.
    """
    correlation = LocalCorrelation(fixed)
    displacement = resize_displacement(integrate(velocity), tuple(fixed.shape[2:]))
    before, _ = correlation.agreement_and_gradient(moving)
    after, _ = correlation.agreement_and_gradient(warp(moving, displacement))
    return bool(after > before)
