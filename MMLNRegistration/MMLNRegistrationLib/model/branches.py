"""The two branches that exist in training alone: slices in 2D (paper section 3.2) and the core (section 3.3).

Both train the weights of the 3D subnets, which alone register (sections 3.5.2 and 5.3). Where the paper leaves the
coupling open: the 2D subnet reads the matching slices of the 3D subnet's final feature map, with gradients, so that
its loss reaches the 3D features; the core branch runs the last level's own subnet a second time.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..spatial.velocity import integrate
from ..spatial.warp import identity_grid, sample, warp
from .level import Level, LevelInput, recomputed
from .network import MMLN, LevelRun, MMLNConfig

ORIENTATIONS = (0, 1, 2)
"""The axes across which a volume is cut into slices: k, j, i (axial, coronal, sagittal on the network grid)."""


CHUNK_VALUES = 2**22
"""Of a feature map of the slices that go through the 2D subnet together: 16 MiB, small enough for the allocator of
the C library to use the same memory again, rather than to ask the system for new pages with every operation."""


def to_slices(volume: Tensor, axis: int) -> Tensor:
    """Slices (B * S, C, *in-plane) of a volume (B, C, K, J, I), S of them across spatial axis 0, 1 or 2."""
    return volume.movedim(2 + axis, 1).flatten(0, 1)


def from_slices(slices: Tensor, axis: int, batch: int) -> Tensor:
    """The volume (B, C, K, J, I) whose slices across an axis are given: the inverse of to_slices."""
    return slices.unflatten(0, (batch, -1)).movedim(1, 2 + axis)


def in_plane(vectors: Tensor, axis: int) -> Tensor:
    """The two components (B, 2, K, J, I) of a 3D vector field that lie in the slices across an axis."""
    return vectors[:, [component for component in range(3) if component != axis]]


class SliceBranch(nn.Module):
    """The 2D branch of one level: the structure of the 3D subnet in 2D, run on the slices of three orientations."""

    def __init__(self, config: MMLNConfig, *, reads_velocity: bool) -> None:
        super().__init__()
        self.subnets = nn.ModuleList(
            Level(
                2 + config.width,
                config.width,
                config.blocks,
                config.range_voxels,
                reads_velocity=reads_velocity,
                dimensions=2,
            )
            for _ in range(1 if config.shared_2d else len(ORIENTATIONS))
        )
        self.recomputes = False
        """Whether nothing but the velocities is kept of the 2D subnets for the gradient: see `recomputed`."""

    def velocity(self, run: LevelRun, axis: int) -> Tensor:
        """The 2D velocities (B * S, 2, *in-plane) of the slices across an axis, in the order of to_slices."""
        subnet = self.subnets[axis % len(self.subnets)]
        register = partial(_register_slices, subnet)
        before = run.inputs.velocity
        images, features = to_slices(run.inputs.images[:, :2], axis), to_slices(run.output.features, axis)
        flat = None if before is None else to_slices(in_plane(before, axis), axis)
        chunk = max(1, CHUNK_VALUES // features[0].numel())
        chunks = zip(
            images.split(chunk),
            features.split(chunk),
            itertools.repeat(None) if flat is None else flat.split(chunk),
            strict=False,
        )
        return torch.cat([recomputed(register, *parts) if self.recomputes else register(*parts) for parts in chunks])

    def forward(self, run: LevelRun) -> tuple[Tensor, ...]:
        """M_i(phi_i') for each orientation, each (B, 1, K, J, I).

        The spliced velocity has no component across the slices, so that its flow carries each slice within itself:
        it is integrated in 2D, which gives the same as in 3D and is several times cheaper.
        """
        return tuple(
            from_slices(
                warp(to_slices(run.moving, axis), integrate(self.velocity(run, axis))), axis, run.moving.shape[0]
            )
            for axis in ORIENTATIONS
        )


def _register_slices(subnet: nn.Module, images: Tensor, features: Tensor, velocity: Tensor | None) -> Tensor:
    # The 3D feature map has half precision under autocast, and its slices would lose it beside the images'.
    read = torch.cat([images.to(features.dtype), features], dim=1)
    # Slices of a volume lie in memory as they were cut; convolutions are fastest with the channels last.
    read = read.contiguous(memory_format=torch.channels_last)
    return subnet(LevelInput(read, velocity, None)).velocity


class CoreRun(NamedTuple):
    """The core branch for one pair, on the core's grid."""

    fixed: Tensor
    """(B, 1, *core): core F_L."""
    warped: Tensor
    """(B, 1, *core): core M_L under core phi_L'."""
    velocity: Tensor
    """(B, 3, *core), in voxels."""


def core_box(shape: tuple[int, ...], fraction: float) -> tuple[slice, ...]:
    """The centred box with about the given share of each axis; even start and size, to fit half resolution too."""
    box = []
    for size in shape:
        length = max(2, 2 * round(fraction * size / 2))
        start = 2 * ((size - length) // 4)
        box.append(slice(start, start + length))
    return tuple(box)


def run_core(network: MMLN, run: LevelRun) -> CoreRun:
    """Register the core a second time with the subnet of the last level, all its inputs cropped alike.

    run: of the last level.

    The warped core is sampled from the whole moving image: cut to the core first, a point that comes from just
    outside would read the border's value instead of its own, and the loss would blame a right displacement.
    """
    box = core_box(tuple(run.fixed.shape[2:]), network.config.core_fraction)
    half_box = tuple(slice(part.start // 2, part.stop // 2) for part in box)
    velocity, features = run.inputs.velocity, run.inputs.features
    inputs = LevelInput(
        _crop(run.inputs.images, box),
        None if velocity is None else _crop(velocity, box),
        None if features is None else _crop(features, half_box),
    )
    core_velocity = network.smoothed(network.levels[-1](inputs).velocity)
    start = core_velocity.new_tensor([part.start for part in box]).view(1, 3, 1, 1, 1)
    coordinates = identity_grid(core_velocity.shape[2:], core_velocity.device) + start + integrate(core_velocity)
    return CoreRun(_crop(run.fixed, box), sample(run.moving, coordinates), core_velocity)


def _crop(volume: Tensor, box: tuple[slice, ...]) -> Tensor:
    return volume[(slice(None), slice(None), *box)]
