"""Training pairs painted from label maps: any number of images, of any contrast, with known anatomy.

SynthMorph (Hoffmann et al. 2022) and SynthSeg (Billot et al. 2023): deform a label map, give each tissue a mean and a
deviation, then add what scanners add. A network that learns from such pairs, by the overlap of the labels, does not
depend on the contrast. Numbers are drawn on the CPU from the generator given and then moved, so that every device
gets the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..spatial.separable import apply_along_axes, cubic_matrix, gaussian_matrix, gaussian_smooth, resize_cubic
from ..spatial.velocity import integrate
from ..spatial.warp import displacement_scale, identity_grid
from .augment import (
    PairPose,
    affine_coordinates,
    check_range,
    random_bias,
    random_gamma,
    random_uniform,
    read_at,
    smooth_noise,
)
from .tissues import BACKGROUND, TISSUES, brain_labels, tissues_of

CONTRASTS = ("t1", "random")

_UPPER_PERCENTILE = 99.5
"""Foreground percentile that becomes 1, as in the preparation of real scans."""

_NODES_PER_SCALE = 3
"""Voxels of the grid that flows are integrated on, per distance over which the finest velocity changes."""

_VOXEL_SIGMA = 0.5
"""Least blur, as the deviation in voxels or slices: label maps have hard edges, a scan's voxels average over theirs."""

_LARGEST_SLOPE = 0.2
"""Largest deformation per distance over which it changes: the flow of a steeper velocity may fold between voxels."""


_STRIP_SIGMA_MM = 4.0
"""Smoothing of the brain's mask that fills its sulci, as brain extraction does."""

_STRIP_LEVELS = (0.25, 0.55)
"""Range of the level at which the smoothed mask is cut: from a rim of about 2.5 mm to the bare surface."""


@dataclass(frozen=True)
class SynthesisConfig:
    """How images are made from label maps. Upper limits: each image draws its own value from 0 to the limit."""

    contrast: str = "t1"
    """t1: brightness of each tissue near that of a T1 scan. random: any brightness, new for each image."""
    skull_stripped_share: float = 0.7
    """Share of pairs that show the brain and the fluid close to it on black; the others show the whole head."""
    deformation_mm: tuple[float, ...] = (5.0, 2.0)
    """Upper limit of the deviation of the velocity, integrated over unit time, for each scale."""
    deformation_scale_mm: tuple[float, ...] = (48.0, 16.0)
    """Distances over which the velocity changes: coarse for the shape of the head, fine for its folds."""
    t1_jitter: float = 0.06
    """Brightness of a brain tissue lies this far around its T1 mean; that of the rest of the head four times as far."""
    texture: float = 0.05
    """Upper limit of the deviation within a tissue in T1 contrast, times 3 in random contrast."""
    bias: float = 0.15
    """Upper limit of the deviation of the logarithm of the bias field."""
    bias_scale_mm: float = 60.0
    """Distance over which the bias field changes."""
    blur_mm: float = 1.5
    """Upper limit of the deviation of the Gaussian that blurs the image, beyond what the grid's own voxels average."""
    thick_slice_share: float = 0.15
    """Share of images acquired in thick slices along one axis and resampled."""
    thick_slice_mm: float = 5.0
    """Upper limit of the slice thickness; the lower one is the spacing of the grid."""
    noise: float = 0.03
    """Upper limit of the deviation of the noise that is added last; 1 is the brightest tissue."""
    gamma: float = 0.2
    """Largest natural logarithm of the exponent that intensities are raised to, either way."""

    def __post_init__(self) -> None:
        if self.contrast not in CONTRASTS:
            raise InputError(f"Unknown contrast {self.contrast!r}; choose {' or '.join(CONTRASTS)}.")
        sizes, scales = self.deformation_mm, self.deformation_scale_mm
        if not (isinstance(sizes, tuple) and isinstance(scales, tuple) and len(sizes) == len(scales) > 0):
            raise InputError("The synthesis needs as many values of deformation_mm as of deformation_scale_mm.")
        for size, scale in zip(sizes, scales, strict=True):
            check_range("synthesis", "deformation_scale_mm", scale, 4, 1000)
            check_range("synthesis", f"deformation_mm over {scale:g} mm", size, 0, _LARGEST_SLOPE * scale)
        for name, lower, upper in (
            ("skull_stripped_share", 0, 1),
            ("t1_jitter", 0, 0.1),
            ("texture", 0, 0.3),
            ("bias", 0, 1),
            ("bias_scale_mm", 10, 1000),
            ("blur_mm", 0, 10),
            ("thick_slice_share", 0, 1),
            ("thick_slice_mm", 0, 20),
            ("noise", 0, 0.5),
            ("gamma", 0, 2),
        ):
            check_range("synthesis", name, getattr(self, name), lower, upper)


class SyntheticPair(NamedTuple):
    """Two painted images and the deformed maps they were painted from, all (1, 1, K, J, I)."""

    fixed: Tensor
    """float32 in [0, 1], black background."""
    moving: Tensor
    fixed_labels: Tensor
    """int16, labels of the brain alone (tissues.brain_labels), 0 elsewhere."""
    moving_labels: Tensor


def synthetic_pair(
    first_labels: Tensor,
    second_labels: Tensor,
    spacing_mm: float,
    config: SynthesisConfig,
    generator: torch.Generator,
    pose: PairPose | None = None,
) -> SyntheticPair:
    """A training pair from two label maps (1, 1, K, J, I), whole numbers, on one grid of isotropic spacing.

    Each map is deformed by a flow of its own and, with a pose, by that affine map, in one resampling. Both images show
    the head, or both the brain alone; contrast, shading, sharpness and noise are drawn for each. Raises InputError for
    maps of unlike or wrong shape, fractional types, unknown labels and a spacing that no grid has.
    """
    for labels in (first_labels, second_labels):
        if labels.dim() != 5 or labels.shape[:2] != (1, 1) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise InputError(
                f"A label map for the synthesis must hold whole numbers of shape (1, 1, K, J, I), "
                f"not {labels.dtype} of shape {tuple(labels.shape)}."
            )
    if first_labels.shape != second_labels.shape:
        raise InputError("The two label maps of a synthetic pair have different sizes; bring them onto one grid first.")
    check_range("synthetic pair", "spacing_mm", spacing_mm, 0.1, 20)
    stripped = random_uniform(generator, 0.0, 1.0) < config.skull_stripped_share
    images, maps = [], []
    for index, labels in enumerate((first_labels, second_labels)):
        shape = tuple(labels.shape[2:])
        displacement = random_displacement(shape, spacing_mm, config, generator, labels.device)
        coordinates = identity_grid(shape, labels.device) + displacement
        if pose is not None:
            coordinates = affine_coordinates(coordinates, pose[index], shape)
        deformed = read_at(labels, coordinates, nearest=True)
        images.append(paint(deformed, spacing_mm, stripped, config, generator))
        maps.append(deformed.masked_fill(~brain_labels(deformed), 0).to(torch.int16))
    return SyntheticPair(images[0], images[1], maps[0], maps[1])


def random_displacement(
    shape_kji: Sequence[int],
    spacing_mm: float,
    config: SynthesisConfig,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Tensor:
    """(1, 3, K, J, I) displacement in voxels: the flow of a random velocity, smooth at the scales of the config.

    Integrated on a coarse grid, which carries so smooth a field, and enlarged by cubic convolution.
    """
    coarse_mm = max(min(config.deformation_scale_mm) / _NODES_PER_SCALE, spacing_mm)
    coarse_shape = tuple(max(4, math.ceil((size - 1) * spacing_mm / coarse_mm) + 1) for size in shape_kji)
    velocity = torch.zeros(1, 3, *coarse_shape, device=device)
    for size_mm, scale_mm in zip(config.deformation_mm, config.deformation_scale_mm, strict=True):
        noise = smooth_noise(generator, 3, coarse_shape, coarse_mm, scale_mm, device)
        velocity += noise * (random_uniform(generator, 0.0, size_mm) / spacing_mm)
    # Velocities so far count voxels of the fine grid, the flow those of the grid it is integrated on.
    fine_from_coarse = displacement_scale(coarse_shape, tuple(shape_kji), velocity)
    flow = integrate(velocity / fine_from_coarse)
    return resize_cubic(flow, shape_kji) * fine_from_coarse


def paint(
    labels: Tensor, spacing_mm: float, stripped: bool, config: SynthesisConfig, generator: torch.Generator
) -> Tensor:
    """An image (1, 1, K, J, I) in [0, 1] of a label map, as a scanner of random settings would show it.

    stripped: the brain alone. Raises InputError for unknown labels and for a map that leaves nothing to show.
    """
    tissues = tissues_of(labels)
    shown = _around_brain(labels, spacing_mm, generator) if stripped else tissues != BACKGROUND
    means, deviations = random_contrast(config, generator)
    image = means.to(labels.device)[tissues]
    image += deviations.to(labels.device)[tissues] * _normal(image, generator)
    image = random_bias(image, spacing_mm, config.bias, config.bias_scale_mm, generator)
    image = apply_along_axes(image, [m.to(image) for m in _acquisition(image.shape[2:], spacing_mm, config, generator)])
    image += _normal(image, generator) * random_uniform(generator, 0.0, config.noise)
    foreground = image[shown]
    if foreground.numel() == 0:
        raise InputError("A label map shows no brain after its deformation; centre it in its grid.")
    upper = foreground.kthvalue(max(1, math.ceil(foreground.numel() * _UPPER_PERCENTILE / 100))).values
    image = (image / upper.clamp(min=1e-3)).clamp_(0, 1) * shown
    return random_gamma(image, config.gamma, generator)


def random_contrast(config: SynthesisConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean and deviation (number of TISSUES,) of the brightness of each tissue, on the CPU; 0 for the background."""
    uniform = torch.rand(2, len(TISSUES), generator=generator)
    if config.contrast == "random":
        means = 0.05 + 0.95 * uniform[0]
        deviations = 3 * config.texture * uniform[1]
    else:
        jitter = torch.tensor([config.t1_jitter * (1 if tissue.is_brain else 4) for tissue in TISSUES])
        means = torch.tensor([tissue.t1_mean for tissue in TISSUES]) + jitter * (2 * uniform[0] - 1)
        deviations = config.texture * uniform[1]
    means[BACKGROUND] = deviations[BACKGROUND] = 0.0
    return means.clamp_(min=0.0), deviations


def _around_brain(labels: Tensor, spacing_mm: float, generator: torch.Generator) -> Tensor:
    """The brain with its sulci filled and a rim of random width: what brain extraction leaves."""
    brain = brain_labels(labels)
    spread = gaussian_smooth(brain.float(), _STRIP_SIGMA_MM / spacing_mm)
    return brain | (spread > random_uniform(generator, *_STRIP_LEVELS))


def _acquisition(
    shape_kji: Sequence[int], spacing_mm: float, config: SynthesisConfig, generator: torch.Generator
) -> list[Tensor]:
    """A matrix per axis that blurs, and along the axis of thick slices also samples coarsely and back."""
    sigma_voxels = math.hypot(_VOXEL_SIGMA, random_uniform(generator, 0.0, config.blur_mm) / spacing_mm)
    matrices = [gaussian_matrix(size, sigma_voxels) for size in shape_kji]
    thick = random_uniform(generator, 0.0, 1.0) < config.thick_slice_share
    axis = int(torch.randint(3, (), generator=generator))
    slice_mm = random_uniform(generator, spacing_mm, max(config.thick_slice_mm, spacing_mm))
    if thick and slice_mm > spacing_mm:
        size = shape_kji[axis]
        slices = max(2, math.ceil((size - 1) * spacing_mm / slice_mm) + 1)
        across = gaussian_matrix(size, _VOXEL_SIGMA * math.sqrt((slice_mm / spacing_mm) ** 2 - 1))
        matrices[axis] = cubic_matrix(size, slices) @ cubic_matrix(slices, size) @ across @ matrices[axis]
    return matrices


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device)
