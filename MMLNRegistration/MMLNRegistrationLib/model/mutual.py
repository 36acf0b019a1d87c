"""Mutual learning: the network, its training-only branches and the loss of each level (paper sections 3.4-3.5)."""

from __future__ import annotations

from torch import Tensor, nn

from ..errors import InputError
from ..spatial.velocity import integrate
from ..spatial.warp import warp
from .branches import SliceBranch, run_core
from .level import Level
from .losses import LevelLoss, LossConfig, Structures, Warped, level_loss
from .network import MMLN


class MutualLearning(nn.Module):
    """What is trained: the network's 3D subnets, with the 2D subnets beside all levels but the last.

    Only `network` is kept for inference. Calling it is the loss of one level, so that it can be wrapped for
    several GPUs as it is.
    """

    def __init__(self, network: MMLN, weights: LossConfig) -> None:
        """Raises InputError when the 2D branch has not one weight for each level but the last."""
        super().__init__()
        config = network.config
        beside_levels = config.levels - 1 if config.branch_2d else 0
        if config.branch_2d and len(weights.slice_weights) != beside_levels:
            raise InputError(
                f"A network of {config.levels} levels needs {beside_levels} weights for its 2D branches, "
                f"one for each level but the last; there are {len(weights.slice_weights)}."
            )
        self.network = network
        self.weights = weights
        self.slice_branches = nn.ModuleList(
            SliceBranch(config, reads_velocity=config.reads_velocity(index + 1)) for index in range(beside_levels)
        )

    def recompute_activations(self) -> None:
        """From now on keep few feature maps for the gradient, and compute the others again; results stay the same."""
        for part in [*self.network.levels, *self.slice_branches]:
            assert isinstance(part, Level | SliceBranch)
            part.recomputes = True

    def forward(
        self,
        level: int,
        fixed: Tensor,
        moving: Tensor,
        structures: Structures | None = None,
        known_velocity: Tensor | None = None,
        *,
        compare_images: bool = True,
        passes: int | None = None,
    ) -> LevelLoss:
        """Loss of one level, 1 the coarsest (Eq 6-8), for a batch of pairs on that level's own grid.

        fixed, moving: as MMLN.forward takes them. structures, known_velocity: on the same grid, the latter in its
        voxels. compare_images: whether the images are to be compared; if not, the other two are, and no branch runs.
        passes: of this level, instead of the configuration's.
        It reaches the weights of all levels up to this one; freeze those that shall not learn.
        Raises InputError for shapes and levels that the network refuses.
        """
        config = self.network.config
        *_, run = self.network.run_levels(fixed, moving, level, passes)
        if structures is not None or compare_images:
            displacement = integrate(run.output.velocity)
        carried = None if structures is None else Structures(structures.fixed, warp(structures.moving, displacement))
        slices: tuple[Tensor, ...] = ()
        core: tuple[Tensor, Tensor] | None = None
        if compare_images and level < config.levels and config.branch_2d:
            slices = self.slice_branches[level - 1](run)
        if compare_images and level == config.levels and config.branch_core:
            core_run = run_core(self.network, run)
            core = core_run.fixed, core_run.warped
        warped = Warped(warp(run.moving, displacement) if compare_images else None, slices, core, carried)
        return level_loss(run.fixed, warped, run.output.velocity, level, config.levels, self.weights, known_velocity)
