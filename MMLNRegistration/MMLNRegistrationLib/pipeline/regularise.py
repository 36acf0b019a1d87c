"""Step 6: the velocity smoothed where its map folds, until the map as delivered does not fold anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import RegistrationError
from ..progress import Progress
from ..spatial.folding import SAFETY, folded, smooth_velocity_near
from ..spatial.geometry import Geometry, Matrix, transform_points
from ..spatial.jacobian import index_displacement
from ..spatial.warp import displacement_scale, sample
from .field import Deformation, deformation, forward_displacement
from .result import FoldingRepair


@dataclass(frozen=True)
class RegulariseConfig:
    """Rounds of local smoothing. Reach and strength grow, so that the last rounds smooth everything, strongly."""

    rounds: int = 40
    reach_voxels: float = 1.5
    sigma_voxels: float = 1.0
    growth: float = 1.12


@dataclass(frozen=True, eq=False)
class Unfolded:
    """A velocity whose map passes the strict test on the fixed grid, that map, u on that grid, and what it took."""

    velocity: Tensor
    deformation: Deformation
    displacement_mm: NDArray[np.float32]
    repair: FoldingRepair


def remove_folding(
    velocity: Tensor,
    net: Geometry,
    fixed: Geometry,
    moving_ras_from_fixed_ras: Matrix,
    progress: Progress,
    config: RegulariseConfig | None = None,
) -> Unfolded:
    """Smooth v (1, 3, k, j, i) around folded voxels until u on the fixed grid has none left.

    Tested is the delivered u itself, in float32, affine included: every one of the eight one-sided determinants of
    each voxel must exceed a small positive share of the affine's determinant.
    Raises RegistrationError when the folding remains after all rounds.
    """
    config = config or RegulariseConfig()
    linear_determinant = float(np.linalg.det(moving_ras_from_fixed_ras[:3, :3]))
    smoothed = torch.zeros(velocity.shape[2:], dtype=torch.bool, device=velocity.device)
    folded_before = 0
    reach_voxels, sigma_voxels = config.reach_voxels, config.sigma_voxels
    for round_number in range(config.rounds + 1):
        progress("remove folding", round_number / (config.rounds + 1))
        deform = deformation(velocity, net)
        displacement_mm = forward_displacement(fixed, deform, moving_ras_from_fixed_ras)
        bad = folded(index_displacement(displacement_mm, fixed), linear_determinant, SAFETY)
        count = int(bad.sum())
        if round_number == 0:
            folded_before = count
        if count == 0:
            share = 100.0 * float(smoothed.float().mean())
            return Unfolded(velocity, deform, displacement_mm, FoldingRepair(folded_before, round_number, share))
        places = _places_on_velocity_grid(bad, fixed, deform, velocity)
        velocity, weight = smooth_velocity_near(velocity, places, reach_voxels, sigma_voxels)
        smoothed |= weight[0, 0] > 0.01
        reach_voxels, sigma_voxels = reach_voxels * config.growth, sigma_voxels * config.growth
    raise RegistrationError(
        f"The field still folds at {count} voxels after {config.rounds} rounds of smoothing, so no result is "
        "delivered; register with fewer --refine iterations, or check that both volumes show the same anatomy."
    )


def _places_on_velocity_grid(bad: Tensor, fixed: Geometry, deform: Deformation, velocity: Tensor) -> Tensor:
    """(3, N) points on the velocity grid, in its voxels, along the way that the folded voxels are carried.

    A fold at x is made by the velocity all along the way from x to exp(v)(x), not at x alone.
    """
    index_ijk = torch.nonzero(bad).numpy()[:, ::-1]
    start_ijk = transform_points(deform.net.ijk_from_ras @ fixed.ras_from_ijk, index_ijk)
    start = torch.from_numpy(start_ijk[:, ::-1].T.copy()).to(velocity)
    shift = sample(deform.displacement_voxels, start.view(1, 3, -1, 1, 1)).view(3, -1)
    way = torch.cat([start + fraction * shift for fraction in (0.0, 0.25, 0.5, 0.75, 1.0)], dim=1)
    return way * displacement_scale(deform.net.shape_kji, tuple(velocity.shape[2:]), velocity).view(3, 1)
