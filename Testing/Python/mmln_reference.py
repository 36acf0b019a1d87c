"""Slow, literal versions of the paper's pieces, for tests: written from its text, with no code of the package.

Also the tiny networks and pairs that the tests share.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from MMLNRegistrationLib.model.level import Level
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig

WIDTH = 4


def tiny_network(levels: int = 3, seed: int = 0, core_fraction: float = 0.5, **switches: Any) -> MMLN:
    """A network of width 4 with 2 blocks, whose last weights are big enough to move things by about a voxel."""
    torch.manual_seed(seed)
    network = MMLN(MMLNConfig(levels=levels, width=WIDTH, blocks=2, core_fraction=core_fraction, **switches))
    enlarge_outputs(network)
    return network


def enlarge_outputs(module: torch.nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, Level):
            torch.nn.init.normal_(part.output.weight, std=0.03)


def blob_pair(size: int = 16, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Two smooth images (B, 1, size, size, size) in [0, 1]: two blobs, displaced and widened in the second."""
    axis = torch.arange(size, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))

    def blob(centre: tuple[float, float, float], width: float) -> Tensor:
        squared = sum((grid[a] / size - centre[a]) ** 2 for a in range(3))
        return torch.exp(-squared / (2 * width**2))

    fixed = blob((0.45, 0.5, 0.4), 0.15) + 0.5 * blob((0.6, 0.3, 0.7), 0.1)
    moving = blob((0.5, 0.45, 0.45), 0.18) + 0.5 * blob((0.6, 0.4, 0.7), 0.1)
    scales = 1 - 0.3 * torch.arange(batch).view(-1, 1, 1, 1, 1) / max(batch, 1)
    return fixed[None, None] * scales, moving[None, None] ** scales


def literal_subnet(
    weights: dict[str, Tensor],
    images: Tensor,
    velocity: Tensor | None,
    features: Tensor | None,
    blocks: int,
    range_voxels: float,
) -> tuple[Tensor, Tensor]:
    """The residual encoder-decoder, operation by operation, with the concatenation that the text describes."""
    dimensions = images.ndim - 2
    convolve = functional.conv3d if dimensions == 3 else functional.conv2d
    transpose = functional.conv_transpose3d if dimensions == 3 else functional.conv_transpose2d

    def convolution(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return convolve(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), stride=stride, padding=1)

    def activation(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    x = images if velocity is None else torch.cat([images, velocity], dim=1)
    full = activation(convolution(activation(convolution(x, "encode_first")), "encode_second"))
    half = convolution(full, "down", stride=2)
    if features is not None:
        half = half + features
    for block in range(blocks):
        inner = convolution(activation(half), f"blocks.{block}.first")
        half = half + convolution(activation(inner), f"blocks.{block}.second")
    up = transpose(activation(half), weights["up.weight"], weights["up.bias"], stride=2)
    kernel = torch.cat([weights["fuse_encoded.weight"], weights["fuse_upsampled.weight"]], dim=1)
    hidden = convolve(torch.cat([full, up], dim=1), kernel, weights["fuse_encoded.bias"], padding=1)
    raw = convolution(activation(hidden), "output")
    output = range_voxels * raw / (1 + raw.abs())
    return (output if velocity is None else output + velocity), up


def splice(slice_velocities: Tensor, axis: int, batch: int) -> Tensor:
    """Velocities (B * S, 2, *in-plane) of slices as one 3D velocity (B, 3, K, J, I), zero across the slices."""
    slices = slice_velocities.unflatten(0, (batch, -1))
    components = [slices[:, :, channel].movedim(1, 1 + axis) for channel in range(2)]
    components.insert(axis, torch.zeros_like(components[0]))
    return torch.stack(components, dim=1)


def literal_correlation(first: Tensor, second: Tensor) -> float:
    """CorrCoef of one image pair by the sums of Eq 2 and Eq 3."""

    def cov(one: list[float], two: list[float]) -> float:
        n = len(one)
        return sum(a * b for a, b in zip(one, two, strict=True)) / n - sum(one) * sum(two) / n**2

    i1, i2 = first.double().flatten().tolist(), second.double().flatten().tolist()
    return cov(i1, i2) / math.sqrt(cov(i1, i1) * cov(i2, i2))


def literal_diffusion(velocity: Tensor) -> float:
    """||grad v||^2 of one velocity (D, *shape) by loops: forward differences, averaged over where they exist."""
    total = 0.0
    values = velocity.double().numpy()
    for component, axis in itertools.product(range(len(values)), range(len(values))):
        squares = []
        for place in itertools.product(*[range(size) for size in values.shape[1:]]):
            following = tuple(p + (a == axis) for a, p in enumerate(place))
            if following[axis] < values.shape[1 + axis]:
                squares.append((values[component][following] - values[component][place]) ** 2)
        total += float(np.mean(squares))
    return total
