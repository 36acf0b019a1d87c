"""Random poses and intensities, so that neither the place of a head nor the scanner's brightness matters.

Numbers are drawn on the CPU from the generator given and then moved, so that every device gets the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..spatial.separable import resize_cubic
from ..spatial.warp import sample


def check_range(owner: str, name: str, value: object, lower: float, upper: float) -> None:
    """Raise InputError unless value is a number from lower to upper."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not lower <= value <= upper:
        raise InputError(f"The {owner}'s {name} must be a number from {lower:g} to {upper:g}, not {value!r}.")


@dataclass(frozen=True)
class AffineConfig:
    """Ranges that a random affine map is drawn from, each uniformly from minus to plus the value."""

    rotation_degrees: float = 15.0
    """About each of the three axes."""
    scale: float = 0.15
    """Natural logarithm of the factor along each axis."""
    shear: float = 0.08
    """Shift along one axis per voxel of another, for the three pairs of axes."""
    shift_mm: float = 8.0
    """Along each axis."""

    def __post_init__(self) -> None:
        for name, upper in (("rotation_degrees", 180.0), ("scale", 1.0), ("shear", 0.5), ("shift_mm", 100.0)):
            check_range("random affine map", name, getattr(self, name), 0.0, upper)


@dataclass(frozen=True)
class AugmentConfig:
    """How far a pair is changed before the network sees it."""

    common: AffineConfig = AffineConfig()
    """One map for both images: heads differ in pose and size."""
    relative: AffineConfig = AffineConfig(rotation_degrees=3.0, scale=0.04, shear=0.02, shift_mm=2.0)
    """One more for the moving image: the error that an affine registration leaves."""
    flip_share: float = 0.5
    """Share of pairs of which both images are mirrored, left to right."""
    gamma: float = 0.25
    """Largest natural logarithm of the exponent that intensities are raised to, either way; 0 leaves them."""
    bias: float = 0.15
    """Largest deviation of the logarithm of the smooth field that intensities are multiplied by; 0 leaves them."""
    bias_scale_mm: float = 60.0
    """Distance over which that field changes."""

    def __post_init__(self) -> None:
        for name in ("common", "relative"):
            if not isinstance(getattr(self, name), AffineConfig):
                raise InputError(f"The augmentation's {name} must be an AffineConfig, not {getattr(self, name)!r}.")
        for name, lower, upper in (("flip_share", 0, 1), ("gamma", 0, 2), ("bias", 0, 1), ("bias_scale_mm", 10, 1000)):
            check_range("augmentation", name, getattr(self, name), lower, upper)


class PairPose(NamedTuple):
    """Where the two images of a pair are read: centred voxels of the source from centred voxels of the output."""

    fixed_source_from_output: Tensor
    moving_source_from_output: Tensor


def random_uniform(generator: torch.Generator, lower: float, upper: float) -> float:
    """One number between lower and upper."""
    return lower + (upper - lower) * float(torch.rand((), generator=generator))


def random_affine(generator: torch.Generator, config: AffineConfig, spacing_mm: float) -> Tensor:
    """(4, 4) float32 map of voxels (k, j, i, 1) counted from the grid's centre: shift * rotation * shear * scale."""
    draws = (2 * torch.rand(12, generator=generator, dtype=torch.float64) - 1).tolist()
    matrix = torch.eye(4, dtype=torch.float64)
    for axis in range(3):
        angle = math.radians(config.rotation_degrees) * draws[axis]
        one, two = [other for other in range(3) if other != axis]
        turn = torch.eye(4, dtype=torch.float64)
        turn[one, one] = turn[two, two] = math.cos(angle)
        turn[one, two], turn[two, one] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    shear = torch.eye(4, dtype=torch.float64)
    shear[0, 1], shear[0, 2], shear[1, 2] = (config.shear * draw for draw in draws[3:6])
    scale = torch.diag(torch.tensor([*(math.exp(config.scale * draw) for draw in draws[6:9]), 1.0]).double())
    matrix = matrix @ shear @ scale
    matrix[:3, 3] = torch.tensor([config.shift_mm * draw / spacing_mm for draw in draws[9:]])
    return matrix.float()


def random_pair_pose(generator: torch.Generator, config: AugmentConfig, spacing_mm: float) -> PairPose:
    """One map for both images, mirrored for a share of pairs, and a small one more for the moving image.

    On the output's grid the moving image is off by the inverse of the small map. Mirroring reverses i, which runs from
    left to right on the network grid; it belongs to the maps, so that each image is still resampled once.
    """
    common = random_affine(generator, config.common, spacing_mm)
    relative = random_affine(generator, config.relative, spacing_mm)
    if float(torch.rand((), generator=generator)) < config.flip_share:
        common = common @ torch.diag(torch.tensor([1.0, 1.0, -1.0, 1.0]))
    return PairPose(common, common @ relative)


def affine_coordinates(coordinates: Tensor, source_from_output: Tensor, shape: Sequence[int]) -> Tensor:
    """Voxel coordinates (1, 3, K, J, I) through a (4, 4) map of voxels counted from the centre of a grid of shape."""
    matrix = source_from_output.to(coordinates)
    centre = coordinates.new_tensor([(size - 1) / 2 for size in shape]).view(3, 1)
    offset = matrix[:3, 3:] + centre - matrix[:3, :3] @ centre
    return torch.addmm(offset, matrix[:3, :3], coordinates.reshape(3, -1)).view_as(coordinates)


def read_at(image: Tensor, coordinates: Tensor, *, nearest: bool = False) -> Tensor:
    """image (1, C, K, J, I) at voxel coordinates (1, 3, K, J, I), in the image's type; zero beyond the grid's voxels.

    Whole numbers (label maps) must be read nearest.
    """
    if not (nearest or image.is_floating_point()):
        raise ValueError("A label map must be read with nearest=True.")
    values = sample(image.float(), coordinates, nearest=nearest)
    for axis, size in enumerate(image.shape[2:]):
        position = coordinates[:, axis : axis + 1]
        values = values.masked_fill((position < -0.5) | (position > size - 0.5), 0)
    return values.to(image.dtype)


def smooth_noise(
    generator: torch.Generator,
    channels: int,
    shape_kji: Sequence[int],
    spacing_mm: float,
    scale_mm: float,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(1, channels, K, J, I) noise that changes over scale_mm: normal numbers of deviation 1 at nodes about that far
    apart, cubic in between."""
    nodes = [max(2, math.ceil((size - 1) * spacing_mm / scale_mm) + 1) for size in shape_kji]
    return resize_cubic(torch.randn(1, channels, *nodes, generator=generator).to(device), shape_kji)


def random_bias(
    image: Tensor, spacing_mm: float, strength: float, scale_mm: float, generator: torch.Generator
) -> Tensor:
    """image (1, 1, K, J, I) times exp of smooth noise of a deviation drawn from 0 to strength (the coil's shading)."""
    deviation = random_uniform(generator, 0.0, strength)
    noise = smooth_noise(generator, 1, image.shape[2:], spacing_mm, scale_mm, image.device)
    return image * noise.mul_(deviation).exp_()


def random_gamma(image: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """image in [0, 1] to the power of exp(g), g drawn from -strength to strength: 0 and 1 stay."""
    return image ** math.exp(random_uniform(generator, -strength, strength))


def random_intensity(image: Tensor, spacing_mm: float, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """image (1, 1, K, J, I) in [0, 1] under a random bias field and gamma, again in [0, 1]; black stays black."""
    shaded = random_bias(image, spacing_mm, config.bias, config.bias_scale_mm, generator)
    return random_gamma(shaded.clamp_(0, 1), config.gamma, generator)
