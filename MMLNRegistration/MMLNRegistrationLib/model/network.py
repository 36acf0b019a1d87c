"""The network that registers: a pyramid of 3D subnets with one structure (paper sections 3.1 and 3.4, figure 2).

Level 1 is the coarsest. Each level halves into the next coarser one, so the input's sizes must be multiples of
2 ** levels: levels - 1 halvings make the pyramid, one more happens inside each subnet. Velocities are in voxels of
their level's own grid, channels k, j, i. The branches that exist in training alone are in `branches`; with both
switched off, what is left is LapIRN (Mok and Chung, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..spatial.separable import gaussian_smooth
from ..spatial.velocity import integrate
from ..spatial.warp import resize, resize_displacement, warp
from .force import CorrelationForce
from .level import Level, LevelInput, LevelOutput

SQUARINGS_BETWEEN_PASSES = 4
"""Of the integration at a level's own resolution, which costs as much as its convolutions; the images that a pass
reads differ by hundredths of a voxel, and the refinement does the same."""


@dataclass(frozen=True)
class MMLNConfig:
    """What a network is made of. Raises InputError where a value makes no network.

    levels: pyramid levels; the paper has 3.
    width: channels of every feature map; the reference is 28. Multiples of 16 suit CPUs and tensor cores better.
    blocks: residual blocks at half resolution in each subnet.
    range_voxels: bound on the velocity that one level adds, per component, in voxels of its own grid. With 8, three
        levels and 1 mm voxels, the levels add up to 32, 16 and 8 mm: after an affine alignment brains differ by
        less than 20 mm, so the bound is never reached, and the coarse level does the large part.
    reads_force: each level also reads the force of local correlation between its images (force.py). Not in the
        paper; without it a level reads 2 and 5 channels as there, and learns many times slower.
    force_step_voxels: before each pass the velocity moves along the force, each component by up to so much divided by
        the root of the pass's number; the subnet corrects that step of an optimiser. 0 is the paper's: no step.
    force_momentum: share of the step's direction in the pass before that is added to it.
    velocity_sigma_voxels: of a Gaussian that smooths what each pass gives; 0 is the paper's: none.
    passes: how often each level registers, coarsest first, every time what its passes before have left; levels without
        a value register once. More than once is not in the paper; if level 1 does, it reads a velocity too,
        zero at first. In training only the last pass carries gradients.
    feature_feedback: a level's final feature map is added to the next level's features (section 3.4).
    branch_2d, branch_core: the training strategies of sections 3.2 and 3.3; they change no weight of the network
        that registers, only what trains it.
    shared_2d: one 2D subnet per level for all three slice orientations, or one for each.
    core_fraction: size of the core region per axis, as a share of the input's.
    """

    levels: int = 3
    width: int = 28
    blocks: int = 5
    range_voxels: float = 8.0
    reads_force: bool = False
    force_step_voxels: float = 0.0
    force_momentum: float = 0.0
    velocity_sigma_voxels: float = 0.0
    passes: tuple[int, ...] = ()
    feature_feedback: bool = True
    branch_2d: bool = True
    branch_core: bool = True
    shared_2d: bool = True
    core_fraction: float = 0.5

    def __post_init__(self) -> None:
        for name in ("levels", "width", "blocks"):
            value = getattr(self, name)
            if not _counts(value):
                raise InputError(f"The network's {name} must be a whole number from 1 on, not {value!r}.")
        if not isinstance(self.passes, tuple) or not all(map(_counts, self.passes)):
            raise InputError(f"The network's passes must be whole numbers from 1 on, not {self.passes!r}.")
        for name in ("reads_force", "feature_feedback", "branch_2d", "branch_core", "shared_2d"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"The network's {name} must be true or false, not {getattr(self, name)!r}.")
        if not isinstance(self.range_voxels, int | float) or not 0 < self.range_voxels < float("inf"):
            raise InputError(f"The network's range_voxels must be a positive number, not {self.range_voxels!r}.")
        for name in ("force_step_voxels", "velocity_sigma_voxels"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise InputError(f"The network's {name} must be a number from 0 on, not {value!r}.")
        if not isinstance(self.force_momentum, int | float) or not 0 <= self.force_momentum < 1:
            raise InputError(f"The network's force_momentum must lie from 0 to below 1, not {self.force_momentum!r}.")
        if self.force_step_voxels and not self.reads_force:
            raise InputError("The network's force_step_voxels needs reads_force.")
        if not isinstance(self.core_fraction, int | float) or not 0 < self.core_fraction <= 1:
            raise InputError(f"The network's core_fraction must lie above 0 and up to 1, not {self.core_fraction!r}.")

    @property
    def total_stride(self) -> int:
        """Sizes of the input must be multiples of this."""
        return 2**self.levels

    def reads_velocity(self, level: int) -> bool:
        """Whether a level, 1 the coarsest, reads a velocity beside its images."""
        return level > 1 or self.passes_of(1) > 1 or self.force_step_voxels > 0

    def passes_of(self, level: int) -> int:
        """How often a level, 1 the coarsest, registers."""
        return self.passes[level - 1] if level <= len(self.passes) else 1


def _counts(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


class LevelRun(NamedTuple):
    """One level of the pyramid for one pair: the images of the level, what its subnet read and gave."""

    fixed: Tensor
    moving: Tensor
    inputs: LevelInput
    output: LevelOutput


class MMLNOutput(NamedTuple):
    """Velocities of all levels that ran, coarsest first, each in voxels of its own grid."""

    velocities: tuple[Tensor, ...]

    @property
    def velocity(self) -> Tensor:
        """(B, 3, K, J, I) of the finest level that ran: with all levels, the result."""
        return self.velocities[-1]


class MMLN(nn.Module):
    """The pyramid of 3D subnets: all that registers a pair once training is over.

    Works in channels_last_3d memory format too: `network.to(memory_format=torch.channels_last_3d)`.
    """

    def __init__(self, config: MMLNConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(
            Level(
                5 if config.reads_force else 2,
                config.width,
                config.blocks,
                config.range_voxels,
                reads_velocity=config.reads_velocity(index + 1),
            )
            for index in range(config.levels)
        )

    def forward(self, fixed: Tensor, moving: Tensor, up_to_level: int | None = None) -> MMLNOutput:
        """Velocities that carry moving onto fixed: M(x + u(x)) ~ F(x) with u = integrate(v).

        fixed, moving: (B, 1, K, J, I), one intensity scale ([0, 1]), affinely aligned, on the grid of the finest
            level that runs, sizes multiples of 2 ** up_to_level. up_to_level: 1 is the coarsest, None means all.
        Raises InputError for other shapes and levels.
        """
        return MMLNOutput(tuple(run.output.velocity for run in self.run_levels(fixed, moving, up_to_level)))

    def run_levels(
        self, fixed: Tensor, moving: Tensor, up_to_level: int | None = None, last_passes: int | None = None
    ) -> Iterator[LevelRun]:
        """The levels one after another, coarsest first, with all that training needs of their last pass. As `forward`.

        last_passes: of the finest level that runs, instead of the configuration's.
        An iterator, so that at inference the feature maps of a level are gone before the next but one runs.
        """
        count = self.config.levels if up_to_level is None else up_to_level
        self._check(fixed, moving, count)
        passes = [self.config.passes_of(level) for level in range(1, count + 1)]
        if last_passes is not None:
            passes[-1] = last_passes
        return self._run_levels(pyramid(fixed, count), pyramid(moving, count), passes)

    def _run_levels(self, fixed: list[Tensor], moving: list[Tensor], passes: list[int]) -> Iterator[LevelRun]:
        before: LevelOutput | None = None
        for index, images in enumerate(zip(fixed, moving, strict=True)):
            run = self._run_level(index, *images, before, passes[index])
            yield run
            before = run.output

    def _run_level(
        self, index: int, fixed: Tensor, moving: Tensor, before: LevelOutput | None, passes: int
    ) -> LevelRun:
        """The level of an index from 0, for images on its grid, from what the level below gave."""
        config, shape = self.config, tuple(fixed.shape[2:])
        features = before.features if before is not None and config.feature_feedback else None
        velocity: Tensor | None = None
        if before is not None:
            velocity = resize_displacement(before.velocity, shape)
        elif config.reads_velocity(1):
            velocity = fixed.new_zeros(fixed.shape[0], 3, *shape)
        force = CorrelationForce(fixed) if config.reads_force else None
        direction: Tensor | float = 0.0
        for number in range(1, passes + 1):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == passes):
                displacement: Tensor | None = None
                if number > 1 and velocity is not None:
                    displacement = integrate(velocity, SQUARINGS_BETWEEN_PASSES)
                elif before is not None:
                    # Integrated where it was found, eight times cheaper than after the upsampling.
                    displacement = resize_displacement(integrate(before.velocity), shape)
                warped = moving if displacement is None else warp(moving, displacement)
                images = [fixed, warped]
                if force is not None:
                    images.append(force(warped))
                    if velocity is not None:
                        direction = images[-1] + config.force_momentum * direction
                        velocity = velocity + config.force_step_voxels / math.sqrt(number) * direction
                inputs = LevelInput(torch.cat(images, dim=1), velocity, features)
                output: LevelOutput = self.levels[index](inputs)
                output = output._replace(velocity=self.smoothed(output.velocity))
                velocity = output.velocity
        return LevelRun(fixed, moving, inputs, output)

    def smoothed(self, velocity: Tensor) -> Tensor:
        """A subnet's velocity as it leaves a pass."""
        sigma_voxels = self.config.velocity_sigma_voxels
        return gaussian_smooth(velocity, sigma_voxels) if sigma_voxels else velocity

    def _check(self, fixed: Tensor, moving: Tensor, up_to_level: int) -> None:
        stride, levels = 2**up_to_level, self.config.levels
        if not 1 <= up_to_level <= levels:
            raise InputError(f"This network has levels 1 to {levels}; level {up_to_level} was asked for.")
        for name, image in (("fixed", fixed), ("moving", moving)):
            if image.ndim != 5 or image.shape[1] != 1:
                raise InputError(f"The {name} image must have shape (B, 1, K, J, I), not {tuple(image.shape)}.")
        if fixed.shape != moving.shape:
            raise InputError(
                f"The fixed and moving images must share one grid; their shapes are {tuple(fixed.shape)} "
                f"and {tuple(moving.shape)}."
            )
        if any(size == 0 or size % stride for size in fixed.shape[2:]):
            raise InputError(
                f"Every size of the network grid must be a multiple of {stride} (2 per level, {up_to_level} levels); "
                f"{tuple(fixed.shape[2:])} is not. Pad the images first."
            )


def pyramid(image: Tensor, levels: int) -> list[Tensor]:
    """image (B, C, K, J, I) at so many levels, coarsest first, each half the next by trilinear interpolation (3.1)."""
    images = [image]
    for _ in range(levels - 1):
        finer = images[0]
        images.insert(0, resize(finer, tuple(size // 2 for size in finer.shape[2:])))
    return images
