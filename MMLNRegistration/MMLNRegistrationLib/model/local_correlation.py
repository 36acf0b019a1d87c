"""Local normalised cross-correlation: box sums, the value, and its analytic gradient.

For fixed image F and moving image M (already on F's grid), with means taken over a window W(x) of 2 r + 1 voxels
per axis around each voxel x, zeros outside the image:

    cc(x) = cov(F, M)(x)^2 / ((var(F)(x) + e) (var(M)(x) + e)),    value = mean of cc over all voxels, in [0, 1].

The square makes it blind to the sign of the contrast; e keeps flat regions at zero instead of noise. Its default
suits images scaled to [0, 1]. Source: Avants et al. 2008 (the cross-correlation of SyN).

So cc = w rho^2 with Pearson's correlation rho of the window, and a weight that is near one where both images have
contrast, w = var(F) var(M) / ((var(F) + e) (var(M) + e)). More contrast in M raises w, and with it the value, even
where the images agree already: whoever moves M by the derivative of the value pulls identical images apart. Hence

    agreement = sum of w rho^2 / sum of w, in [0, 1], with its derivative for w held

to compare and to follow when one of the images moves. It is one for identical images, and its derivative zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

RADIUS_VOXELS = 2
EPSILON = 1e-4


def box_sum(image: Tensor, radius_voxels: int) -> Tensor:
    """Sum over the window of 2 r + 1 voxels per axis around each voxel of image (B, C, *shape), zeros outside.

    The window is separable, and along each axis it is put together from sums over 1, 2, 4, ... voxels, each of them
    one shifted addition of the one before: 3 additions for r = 2. On a CPU this is many times faster than a
    convolution, and unlike differences of a cumulative sum it loses no digits.
    """
    axes = range(2, image.ndim)
    width = 2 * radius_voxels + 1
    total = functional.pad(image, [radius_voxels] * (2 * len(axes)))
    for axis in axes:
        total = _window_sum(total, axis, width)
    return total


def _window_sum(padded: Tensor, axis: int, width: int) -> Tensor:
    """Sum over `width` consecutive voxels along one axis; the result is width - 1 voxels shorter."""
    length = padded.shape[axis] - width + 1
    total: Tensor | None = None
    part, span, offset = padded, 1, 0  # part holds the sums over `span` voxels; the first `offset` are in total
    while True:
        if width & span:
            piece = part.narrow(axis, offset, length)
            total = piece if total is None else total + piece
            offset += span
        if 2 * span > width:
            break
        reach = part.shape[axis] - span
        part = part.narrow(axis, 0, reach) + part.narrow(axis, span, reach)
        span *= 2
    assert total is not None  # width is odd: its lowest bit is set
    return total


class LocalCorrelation:
    """Squared local correlation with one fixed image, whose window means and variances are computed once.

    fixed: (B, C, *shape), 2D or 3D. The moving images given to the methods have the same shape.
    """

    def __init__(self, fixed: Tensor, radius_voxels: int = RADIUS_VOXELS, epsilon: float = EPSILON) -> None:
        self.fixed = fixed
        self.radius_voxels = radius_voxels
        self.epsilon = epsilon
        self._scale = 1.0 / (2 * radius_voxels + 1) ** (fixed.ndim - 2)
        self._fixed_mean = self._mean(fixed)
        fixed_variance = self._variance(fixed, self._fixed_mean)
        self._fixed_weight = 1.0 / (fixed_variance + epsilon)
        self._fixed_share = fixed_variance * self._fixed_weight

    def coefficients(self, moving: Tensor) -> Tensor:
        """cc of each voxel, in moving's shape, differentiable by autograd with respect to both images."""
        covariance, _, moving_variance = self._statistics(moving)
        return covariance.square() * self._fixed_weight / (moving_variance + self.epsilon)

    def value(self, moving: Tensor) -> Tensor:
        """Scalar mean of cc, differentiable with respect to both images, once with respect to moving alone.

        Where fixed needs no gradient, that of moving is computed at once, and nothing else is kept for it: one map
        instead of the dozen that autograd keeps.
        """
        if torch.is_grad_enabled() and self.fixed.requires_grad:
            return self.coefficients(moving).mean()
        value: Tensor = _MeanCoefficient.apply(moving, self)
        return value

    @torch.no_grad()
    def value_and_gradient(self, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The value, and its derivative for each voxel of moving, in moving's shape.

        From d cc(x) / d M(y) = 2 / |W| (a (F(y) - mean F) - b (M(y) - mean M)) for y in W(x), with
        a = cov / ((var F + e) (var M + e)) and b = cc / (var M + e), summed over the windows that hold y.
        """
        covariance, moving_mean, moving_variance = self._statistics(moving)
        moving_weight = moving_variance.add_(self.epsilon).reciprocal_()
        a = covariance * self._fixed_weight
        a *= moving_weight
        covariance *= a  # now cc
        value = covariance.mean()
        b = covariance.mul_(moving_weight)
        return value, self._gradient(a, b, moving, moving_mean).mul_(2.0 * self._scale / moving.numel())

    @torch.no_grad()
    def agreement_and_gradient(self, moving: Tensor) -> tuple[Tensor, Tensor]:
        """The agreement (0 for flat images), and its derivative for each voxel of moving, in moving's shape.

        From d cc(x) / d M(y) = 2 / |W| (a (F(y) - mean F) - b (M(y) - mean M)) for y in W(x) and w(x) held, with
        a = cov / ((var F + e) (var M + e)) and b = cc / var M, summed over the windows that hold y.
        Three box sums for the statistics, three for the gradient; autograd needs more than twice the time.
        """
        covariance, moving_mean, moving_variance = self._statistics(moving)
        moving_weight = 1.0 / (moving_variance + self.epsilon)
        total_weight = (self._fixed_share * moving_variance).mul_(moving_weight).sum()
        total_weight.clamp_min_(1e-6)  # without any contrast there is nothing to divide either
        a = covariance * self._fixed_weight
        a *= moving_weight
        covariance *= a  # now cc
        agreement = covariance.sum() / total_weight
        # Far below the noise floor cc is next to nothing, and so must b be where rounding alone makes the variance.
        b = covariance / moving_variance.clamp_min_(1e-3 * self.epsilon)
        return agreement, self._gradient(a, b, moving, moving_mean).mul_(2.0 * self._scale / total_weight)

    def _gradient(self, a: Tensor, b: Tensor, moving: Tensor, moving_mean: Tensor) -> Tensor:
        """At y the sum of a (F(y) - mean F) - b (M(y) - mean M) over the windows that hold y."""
        rest = b * moving_mean
        rest.addcmul_(a, self._fixed_mean, value=-1.0)
        gradient = box_sum(a, self.radius_voxels)
        gradient *= self.fixed
        gradient.addcmul_(box_sum(b, self.radius_voxels), moving, value=-1.0)
        gradient += box_sum(rest, self.radius_voxels)
        return gradient

    def _mean(self, image: Tensor) -> Tensor:
        return box_sum(image, self.radius_voxels) * self._scale

    def _variance(self, image: Tensor, mean: Tensor) -> Tensor:
        # Rounding can leave a flat region slightly below zero. The covariance is zero there, and so is the gradient.
        return torch.addcmul(self._mean(image * image), mean, mean, value=-1.0).clamp_min(0.0)

    def _statistics(self, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Covariance with fixed, mean of moving, and variance of moving, over each window."""
        mean = self._mean(moving)
        covariance = torch.addcmul(self._mean(self.fixed * moving), self._fixed_mean, mean, value=-1.0)
        return covariance, mean, self._variance(moving, mean)


class _MeanCoefficient(torch.autograd.Function):
    """LocalCorrelation.value with the analytic gradient with respect to moving."""

    @staticmethod
    def forward(ctx: Any, moving: Tensor, correlation: LocalCorrelation) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return correlation.coefficients(moving).mean()
        value, gradient = correlation.value_and_gradient(moving)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, value_gradient: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * value_gradient, None
