"""What a result is worth, in numbers: similarity inside the foreground, folding and Jacobian of the whole map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..model.local_correlation import LocalCorrelation
from ..model.losses import correlation_coefficient
from ..spatial.geometry import Geometry
from ..spatial.jacobian import determinants, index_displacement
from .result import FoldingSummary, Similarity


class JacobianSummary(NamedTuple):
    """The determinant map (K, J, I), float32, affine included, and what it says."""

    determinant: NDArray[np.float32]
    folding: FoldingSummary


def similarity(fixed: Tensor, moving: Tensor, foreground: Tensor) -> Similarity:
    """How alike two images (1, 1, K, J, I) on one grid are where foreground (same shape, bool) is set."""
    inside_fixed, inside_moving = fixed[foreground], moving[foreground]
    weight = foreground.to(fixed)
    # Both are set to zero outside the foreground; windows centred there still see its rim, and are left out.
    local = LocalCorrelation(fixed * weight).coefficients(moving * weight)[foreground].mean()
    correlation = 0.0
    if float(inside_moving.std()) > 1e-6:
        correlation = float(correlation_coefficient(inside_fixed[None, None], inside_moving[None, None]))
    return Similarity(correlation, float(local))


def jacobian_summary(
    displacement_mm: NDArray[np.floating],
    geometry: Geometry,
    foreground: NDArray[np.bool_],
    linear_determinant: float = 1.0,
) -> JacobianSummary:
    """Determinants of x -> x + u(x) for u (K, J, I, 3) on geometry.

    Folded is a voxel that fails the strict test; minimum and maximum are over the whole grid by central
    differences; the standard deviation of log(J / linear_determinant) is over the foreground.
    """
    central, strict = determinants(index_displacement(displacement_mm, geometry))
    count = int((strict <= 0).sum())
    log_jacobian = torch.log((central[torch.from_numpy(foreground)] / linear_determinant).clamp(1e-9, 1e9))
    folding = FoldingSummary(
        folded_voxels=count,
        folded_percent=100.0 * count / strict.numel(),
        jacobian_min=float(central.min()),
        jacobian_max=float(central.max()),
        sd_log_jacobian=float(log_jacobian.std()),
    )
    return JacobianSummary(central.numpy(), folding)
