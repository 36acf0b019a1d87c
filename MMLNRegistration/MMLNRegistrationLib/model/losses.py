"""Similarities and penalties as pure functions (paper Eq 2-5), and their sum at one level (Eq 6-8).

Images are (B, C, *shape), 2D or 3D. A `..._loss` falls as the images agree; the others rise. Every result is a
scalar, the mean of what each image of the batch would give alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .local_correlation import EPSILON, RADIUS_VOXELS, LocalCorrelation, box_sum

SMALLEST_VARIANCE_PRODUCT = 1e-12
"""Below it an image is flat and has no correlation with anything: it counts as 0, not as 0 / 0."""


def correlation_coefficient(first: Tensor, second: Tensor) -> Tensor:
    """CorrCoef of Eq 2-3: Pearson's correlation over all voxels of an image, in [-1, 1]; 0 for a flat image."""
    # Eq 3 is a difference of two large sums; with the means taken off first it is the same number, and float32 holds.
    first = first.flatten(1) - first.flatten(1).mean(dim=1, keepdim=True)
    second = second.flatten(1) - second.flatten(1).mean(dim=1, keepdim=True)
    covariance = (first * second).mean(dim=1)
    variances = first.square().mean(dim=1) * second.square().mean(dim=1)
    return (covariance / variances.clamp_min(SMALLEST_VARIANCE_PRODUCT).sqrt()).mean()


def correlation_loss(first: Tensor, second: Tensor) -> Tensor:
    """Eq 4: 1 - CorrCoef."""
    return 1.0 - correlation_coefficient(first, second)


def local_correlation_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - mean squared local correlation; empty background, which correlates with nothing, counts as 1."""
    return 1.0 - local_correlation(first, second)


def dice_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - soft Dice of structures (B, S, *shape) with values in [0, 1], mean over those that either map shows."""
    overlap = 2.0 * (first * second).flatten(2).sum(dim=2)
    sizes = first.flatten(2).sum(dim=2) + second.flatten(2).sum(dim=2)
    # Weights rather than a selection, whose size a GPU would have to report before it may go on.
    shown = (sizes > 0).to(sizes.dtype)
    return ((1.0 - overlap / sizes.clamp_min(1.0)) * shown).sum() / shown.sum().clamp_min(1.0)


def diffusion(velocity: Tensor) -> Tensor:
    """||grad v||^2 of velocity (B, D, *shape) in voxels: squared forward differences, summed over the D components
    and the D axes, averaged over the places where each difference exists. Without unit: voxels per voxel.
    """
    penalty = velocity.new_zeros(())
    for axis in range(2, velocity.ndim):
        penalty = penalty + velocity.diff(dim=axis).square().mean()
    return penalty * velocity.shape[1]


def velocity_regularisation(velocity: Tensor, level: int, levels: int, k: float) -> Tensor:
    """L_v of Eq 5: k / 2^(L - p) ||grad v||^2 at level p of L, 1 the coarsest."""
    return k / 2 ** (levels - level) * diffusion(velocity)


def local_correlation(
    fixed: Tensor, moving: Tensor, radius_voxels: int = RADIUS_VOXELS, epsilon: float = EPSILON
) -> Tensor:
    """Mean squared local correlation, in [0, 1]: see LocalCorrelation, which also knows its gradient."""
    return LocalCorrelation(fixed, radius_voxels, epsilon).value(moving)


def mutual_information(fixed: Tensor, moving: Tensor, bins: int = 32) -> Tensor:
    """Mutual information in nats of images scaled to [0, 1] (values outside count as 0 or 1), >= 0.

    Joint histogram with Parzen windows as Mattes et al. 2003: a voxel counts in one bin of the fixed image, and by a
    cubic B-spline in four bins of the moving image. Differentiable with respect to moving, not to fixed.
    """
    if bins < 4:
        raise InputError(f"Mutual information needs at least 4 bins, not {bins}.")
    batch = fixed.shape[0]
    row = (fixed.detach().flatten(1).clamp(0, 1) * bins).long().clamp_max(bins - 1)
    # One bin is kept free at each end, so that the four bins of a B-spline exist for every intensity.
    position = moving.flatten(1).clamp(0, 1) * (bins - 3) + 1
    first = position.detach().floor().long().clamp_max(bins - 3) - 1
    joint = position.new_zeros(batch, bins * bins)
    for offset in range(4):
        column = first + offset
        joint = joint.scatter_add(1, row * bins + column, _cubic_b_spline(position - column))
    joint = joint.view(batch, bins, bins) / row.shape[1]
    independent = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
    # Empty bins contribute 0 = 0 log 1; log(0) would put NaN into the gradient.
    ratio = torch.where(joint > 0, joint, 1.0) / torch.where(joint > 0, independent, 1.0)
    return (joint * ratio.log()).sum(dim=(1, 2)).mean()


def _cubic_b_spline(x: Tensor) -> Tensor:
    """Cubic B-spline of |x| <= 2."""
    x = x.abs()
    near = (4 - 6 * x.square() + 3 * x**3) / 6
    far = (2 - x).clamp_min(0) ** 3 / 6
    return torch.where(x < 1, near, far)


_NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
SELF_SIMILARITY_PAIRS = tuple(
    (first, second)
    for index, first in enumerate(_NEIGHBOURS)
    for second in _NEIGHBOURS[index + 1 :]
    if any(a + b for a, b in zip(first, second, strict=True))
)
"""The 12 pairs of the six face neighbours of a voxel that do not face each other."""


def mind_features(image: Tensor, radius_voxels: int = 1, dilation_voxels: int = 2) -> Tensor:
    """MIND-SSC descriptors (B, 12, K, J, I) of image (B, 1, K, J, I), each in (0, 1] (Heinrich et al. 2013).

    For each pair of neighbours, dilation_voxels away, the mean squared difference D of their patches; then
    exp(-d / V), with d = D - min D and the noise estimate V = mean d, both over the 12 pairs. V is held within a
    factor 1000 of its mean over the image, so that flat regions do not divide by zero.
    """
    reach, shape = dilation_voxels, image.shape[2:]
    padded = functional.pad(image, [reach] * 6, mode="replicate")

    def shifted(neighbour: tuple[int, ...]) -> Tensor:
        k, j, i = (slice(reach * (1 + step), reach * (1 + step) + n) for step, n in zip(neighbour, shape, strict=True))
        return padded[:, :, k, j, i]

    differences = torch.cat([shifted(first) - shifted(second) for first, second in SELF_SIMILARITY_PAIRS], dim=1)
    distance = box_sum(differences.square(), radius_voxels) / (2 * radius_voxels + 1) ** 3
    distance = distance - distance.amin(dim=1, keepdim=True)
    noise = distance.mean(dim=1, keepdim=True)
    usual = noise.detach().mean(dim=(1, 2, 3, 4), keepdim=True).clamp_min(1e-12)
    return torch.exp(-distance / noise.clamp(1e-3 * usual, 1e3 * usual))


def mind_loss(fixed: Tensor, moving: Tensor, radius_voxels: int = 1, dilation_voxels: int = 2) -> Tensor:
    """Mean squared difference of MIND-SSC descriptors: a similarity across contrasts, 0 for equal images."""
    fixed_features = mind_features(fixed, radius_voxels, dilation_voxels)
    return (fixed_features - mind_features(moving, radius_voxels, dilation_voxels)).square().mean()


SIMILARITY_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "correlation": correlation_loss,
    "local_correlation": local_correlation_loss,
}
"""What S of Eq 6-8 can be: the paper's, or the one that also sees what is small and what is dim."""


@dataclass(frozen=True)
class LossConfig:
    """Terms of Eq 5-8 and their weights. Raises InputError for an unknown similarity and for negative weights.

    similarity: one of SIMILARITY_LOSSES; the paper's is correlation.
    k: of the velocity's regularisation, at full resolution.
    alpha, beta of the paper are slice_weights, one for each level but the last; theta is core_weight.
    dice_weight: of the structures' overlap, where label maps exist. The paper has no such term, nor the next.
    taught_weight: of the squared error against a velocity that is known for the pair.
    """

    similarity: str = "correlation"
    k: float = 1.0
    slice_weights: tuple[float, ...] = (0.25, 0.5)
    core_weight: float = 0.25
    dice_weight: float = 0.0
    taught_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.similarity not in SIMILARITY_LOSSES:
            raise InputError(f"Unknown similarity {self.similarity!r}; choose {' or '.join(SIMILARITY_LOSSES)}.")
        if min(self.k, self.core_weight, self.dice_weight, self.taught_weight, *self.slice_weights) < 0:
            raise InputError("The weights of the loss must not be negative.")


class LevelLoss(NamedTuple):
    """Terms of the loss of one level and their weighted sum (Eq 6-8), as scalars. All but L_v are unweighted."""

    total: Tensor
    similarity: Tensor
    """S(F_i, M_i(phi_i)); 0 for images that are not to be compared."""
    regularisation: Tensor
    """L_v of Eq 5, its factor included."""
    slices: Tensor
    """S(F_i, M_i(phi_i')), mean over orientations; 0 without the 2D branch and at the last level."""
    core: Tensor
    """S of the cores; 0 without the core branch and before the last level."""
    dice: Tensor
    """1 - soft Dice of the structures; 0 without label maps."""
    taught: Tensor
    """Squared distance to the known velocity, in voxels of the level, mean over the voxels; 0 without one."""


class Structures(NamedTuple):
    """The same structures of both images of a pair, (B, S, K, J, I) with values in [0, 1]."""

    fixed: Tensor
    moving: Tensor


class Warped(NamedTuple):
    """What the velocities of one level make of the moving image. What was not made is empty or None."""

    image: Tensor | None
    """M_i(phi_i); None when the images are of two contrasts and only their structures are to be compared."""
    slices: tuple[Tensor, ...]
    """M_i(phi_i') of each orientation."""
    core: tuple[Tensor, Tensor] | None
    """Core F_L and core M_L(core phi_L')."""
    structures: Structures | None
    """Those of F_i, and those of M_i under phi_i."""


def level_loss(
    fixed: Tensor,
    warped: Warped,
    velocity: Tensor,
    level: int,
    levels: int,
    weights: LossConfig,
    known_velocity: Tensor | None = None,
) -> LevelLoss:
    """Eq 6-8 for level p of L (1 the coarsest), and two terms of ours: Dice, and the error of a known velocity.

    fixed: F_i. velocity: v_i, in voxels of the level; known_velocity likewise.
    """
    nothing = velocity.new_zeros(())
    measure = SIMILARITY_LOSSES[weights.similarity]
    similarity = nothing if warped.image is None else measure(fixed, warped.image)
    regularisation = velocity_regularisation(velocity, level, levels, weights.k)
    total = regularisation + similarity
    slices, core, dice, taught = nothing, nothing, nothing, nothing
    if warped.slices:
        slices = torch.stack([measure(fixed, image) for image in warped.slices]).mean()
        total = total + weights.slice_weights[level - 1] * slices
    if warped.core is not None:
        core = measure(*warped.core)
        total = total + weights.core_weight * core
    if warped.structures is not None:
        dice = dice_loss(*warped.structures)
        total = total + weights.dice_weight * dice
    if known_velocity is not None:
        taught = (velocity - known_velocity).square().sum(dim=1).mean()
        total = total + weights.taught_weight * taught
    return LevelLoss(total, similarity, regularisation, slices, core, dice, taught)
