"""The network that registers: a pyramid of 3D subnets with one structure (paper sections 3.1 and 3.4, figure 2).

Level 1 is the coarsest. Each level halves into the next coarser one, so the input's sizes must be multiples of
2 ** levels: levels - 1 halvings make the pyramid, one more happens inside each subnet. Velocities are in voxels of
their level's own grid, channels k, j, i. The branches that exist in training alone are in `branches`; with both
switched off, what is left is LapIRN (Mok and Chung, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from ..errors import InputError
from ..spatial.velocity import integrate
from ..spatial.warp import resize, resize_displacement, warp
from .convolution import Convolution3d
from .force import correlation_force

NEGATIVE_SLOPE = 0.2
"""Of every leaky rectifier, as in LapIRN."""

OUTPUT_WEIGHT_STD = 3e-5
"""Of a subnet's last weights before training: velocities start below a hundredth of a voxel, gradients flow."""


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
    passes: how often each level registers, every time what its passes before have left. More than one is not in the
        paper; then level 1 reads a velocity too, zero at first. In training only the last pass carries gradients.
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
    passes: int = 1
    feature_feedback: bool = True
    branch_2d: bool = True
    branch_core: bool = True
    shared_2d: bool = True
    core_fraction: float = 0.5

    def __post_init__(self) -> None:
        for name, lowest in (("levels", 1), ("width", 1), ("blocks", 1), ("passes", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise InputError(f"The network's {name} must be a whole number from {lowest} on, not {value!r}.")
        for name in ("reads_force", "feature_feedback", "branch_2d", "branch_core", "shared_2d"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"The network's {name} must be true or false, not {getattr(self, name)!r}.")
        if not isinstance(self.range_voxels, int | float) or not 0 < self.range_voxels < float("inf"):
            raise InputError(f"The network's range_voxels must be a positive number, not {self.range_voxels!r}.")
        if not isinstance(self.core_fraction, int | float) or not 0 < self.core_fraction <= 1:
            raise InputError(f"The network's core_fraction must lie above 0 and up to 1, not {self.core_fraction!r}.")

    @property
    def total_stride(self) -> int:
        """Sizes of the input must be multiples of this."""
        return 2**self.levels

    def reads_velocity(self, level: int) -> bool:
        """Whether a level, 1 the coarsest, reads a velocity beside its images."""
        return level > 1 or self.passes > 1


class LevelInput(NamedTuple):
    """What a subnet reads. velocity and features are None at level 1; features also without feature feedback."""

    images: Tensor
    """(B, C, *shape): F_i and M_i warped by the upsampled phi_(i-1), then the force if it is read; in 2D F_i, M_i
    and slices of 3D features."""
    velocity: Tensor | None
    """(B, D, *shape): upsampled v_(i-1), in voxels of this level."""
    features: Tensor | None
    """(B, width, *half shape): the previous level's final feature map."""


class LevelOutput(NamedTuple):
    """What a subnet gives."""

    velocity: Tensor
    """(B, D, *shape): v_i, the upsampled v_(i-1) included, float32 at least."""
    features: Tensor
    """(B, width, *shape): the final feature map, brought to this level's resolution."""


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


class ResidualBlock(nn.Module):
    """x + conv(act(conv(act(x)))): a pre-activation residual block of constant width."""

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.first = _convolution(width, width, dimensions)
        self.second = _convolution(width, width, dimensions)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.first(functional.leaky_relu(features, NEGATIVE_SLOPE))
        return features + self.second(_activate(hidden))


class Level(nn.Module):
    """The subnet of one pyramid level, in 3D or in 2D (figure 2; the residual encoder-decoder of LapIRN).

    Two convolutions at the level's resolution; a stride-2 convolution; the previous level's feature map added;
    pre-activation residual blocks; a transposed convolution back up, which gives the final feature map;
    concatenation with the full-resolution features; two convolutions; softsign times the range.
    All kernels have 3 voxels per axis, 2 in the transposed convolution.

    reads_velocity: the upsampled velocity of the level below is read, and added to the output (section 3.1).
    """

    def __init__(
        self,
        image_channels: int,
        width: int,
        blocks: int,
        range_voxels: float,
        *,
        reads_velocity: bool,
        dimensions: int = 3,
    ) -> None:
        super().__init__()
        self.range_voxels = range_voxels
        input_channels = image_channels + (dimensions if reads_velocity else 0)
        self.encode_first = _convolution(input_channels, width, dimensions)
        self.encode_second = _convolution(width, width, dimensions)
        strided = nn.Conv3d if dimensions == 3 else nn.Conv2d
        self.down = strided(width, width, kernel_size=3, stride=2, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(width, dimensions) for _ in range(blocks))
        transposed = nn.ConvTranspose3d if dimensions == 3 else nn.ConvTranspose2d
        self.up = transposed(width, width, kernel_size=2, stride=2)
        # A convolution of concatenated maps is the sum of one convolution each. Written so, the concatenated map,
        # the largest of the network, is never stored: a third of the peak memory at inference, and more in training.
        self.fuse_encoded = _convolution(width, width, dimensions)
        self.fuse_upsampled = _convolution(width, width, dimensions, bias=False)
        self.output = _convolution(width, dimensions, dimensions, bias=False)
        self.recomputes = False
        """Whether feature maps are computed a second time on the way back rather than kept: see `recomputed`."""
        self._initialise()

    def _initialise(self) -> None:
        """He's start, which keeps the size of features through the layers: with torch's own they fade from one to the
        next, and the first hundred steps teach nothing. Sums of two maps, and of residual blocks, start smaller."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=NEGATIVE_SLOPE)
            elif isinstance(module, nn.ConvTranspose3d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=math.sqrt(2 / ((1 + NEGATIVE_SLOPE**2) * module.in_channels)))
        sums = [(self.fuse_encoded, 2), (self.fuse_upsampled, 2)]
        sums += [(block.second, 2 * len(self.blocks)) for block in self.blocks if isinstance(block, ResidualBlock)]
        with torch.no_grad():
            for convolution, terms in sums:
                convolution.weight *= 1 / math.sqrt(terms)
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
        nn.init.normal_(self.output.weight, std=OUTPUT_WEIGHT_STD)

    def forward(self, inputs: LevelInput) -> LevelOutput:
        """All sizes of inputs.images must be even."""
        run = recomputed if self.recomputes else _now
        encoded = run(self._encode, inputs.images, inputs.velocity)
        half = run(self._halve, encoded, inputs.features)
        for block in self.blocks:
            half = run(block, half)
        features = run(self._double, half)
        raw = run(self._fuse, encoded, features)
        # Under autocast raw has half precision; velocities are integrated and added up, and need more. Field
        # arithmetic is also faster on plain contiguous tensors, whatever the format of the feature maps.
        raw = raw.to(torch.promote_types(raw.dtype, torch.float32), memory_format=torch.contiguous_format)
        velocity = functional.softsign(raw) * self.range_voxels
        return LevelOutput(velocity if inputs.velocity is None else velocity + inputs.velocity, features)

    # The parts below may run twice, so that none may change its input in place.

    def _encode(self, images: Tensor, velocity: Tensor | None) -> Tensor:
        images = images if velocity is None else torch.cat([images, velocity], dim=1)
        return _activate(self.encode_second(_activate(self.encode_first(images))))

    def _halve(self, encoded: Tensor, features: Tensor | None) -> Tensor:
        half = self.down(encoded)
        return half if features is None else half + features

    def _double(self, half: Tensor) -> Tensor:
        return self.up(functional.leaky_relu(half, NEGATIVE_SLOPE))

    def _fuse(self, encoded: Tensor, features: Tensor) -> Tensor:
        return self.output(_activate(self.fuse_encoded(encoded).add_(self.fuse_upsampled(features))))


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
        return self._run_levels(pyramid(fixed, count), pyramid(moving, count), last_passes or self.config.passes)

    def _run_levels(self, fixed: list[Tensor], moving: list[Tensor], last_passes: int) -> Iterator[LevelRun]:
        before: LevelOutput | None = None
        for index, (fixed_i, moving_i) in enumerate(zip(fixed, moving, strict=True)):
            shape = tuple(fixed_i.shape[2:])
            features = before.features if before is not None and self.config.feature_feedback else None
            velocity: Tensor | None = None
            if before is not None:
                velocity = resize_displacement(before.velocity, shape)
            elif self.config.reads_velocity(1):
                velocity = fixed_i.new_zeros(fixed_i.shape[0], 3, *shape)
            passes = last_passes if index == len(fixed) - 1 else self.config.passes
            for number in range(1, passes + 1):
                with torch.set_grad_enabled(torch.is_grad_enabled() and number == passes):
                    displacement: Tensor | None = None
                    if number > 1 and velocity is not None:
                        displacement = integrate(velocity)
                    elif before is not None:
                        # Integrated where it was found, eight times cheaper than after the upsampling.
                        displacement = resize_displacement(integrate(before.velocity), shape)
                    warped = moving_i if displacement is None else warp(moving_i, displacement)
                    inputs = LevelInput(self._images(fixed_i, warped), velocity, features)
                    output: LevelOutput = self.levels[index](inputs)
                    velocity = output.velocity
            yield LevelRun(fixed_i, moving_i, inputs, output)
            before = output

    def _images(self, fixed: Tensor, warped: Tensor) -> Tensor:
        force = [correlation_force(fixed, warped)] if self.config.reads_force else []
        return torch.cat([fixed, warped, *force], dim=1)

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


def recomputed(part: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    """part(*inputs), of which the inputs alone are kept for the gradient: the rest is computed again when it is due.

    Nothing random may run in part, and none of its inputs may change. Values and gradients are the same, bit by bit.
    """
    if not torch.is_grad_enabled():
        return part(*inputs)
    return checkpoint(part, *inputs, use_reentrant=False, preserve_rng_state=False)


def _now(part: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
    return part(*inputs)


def _convolution(inputs: int, outputs: int, dimensions: int, bias: bool = True) -> nn.Conv2d | Convolution3d:
    if dimensions == 3:
        return Convolution3d(inputs, outputs, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=bias)


def _activate(features: Tensor) -> Tensor:
    """Leaky rectifier in place: only for a map that nothing else reads, such as a convolution's result."""
    return functional.leaky_relu_(features, NEGATIVE_SLOPE)
