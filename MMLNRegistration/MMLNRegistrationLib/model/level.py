"""The subnet of one pyramid level, in 3D or in 2D: one structure for all of them (paper figure 2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .convolution import Convolution3d

NEGATIVE_SLOPE = 0.2
"""Of every leaky rectifier, as in LapIRN."""

OUTPUT_WEIGHT_STD = 3e-5
"""Of a subnet's last weights before training: velocities start below a hundredth of a voxel, gradients flow."""


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
