"""Box sums and local correlation against literal loops, autograd and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from MMLNRegistrationLib.model.local_correlation import LocalCorrelation, box_sum


def random_pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    fixed = torch.rand(shape, generator=generator, dtype=torch.float64)
    return fixed, 0.6 * fixed + 0.4 * torch.rand(shape, generator=generator, dtype=torch.float64)


def literal_value(fixed: np.ndarray, moving: np.ndarray, radius: int, epsilon: float) -> float:
    """Mean of cc by loops over voxels, with both (K, J, I) images continued by zeros."""
    fixed, moving = np.pad(fixed, radius), np.pad(moving, radius)
    values = []
    for centre in itertools.product(*[range(radius, size - radius) for size in fixed.shape]):
        window = tuple(slice(c - radius, c + radius + 1) for c in centre)
        f, m = fixed[window], moving[window]
        covariance = np.mean((f - f.mean()) * (m - m.mean()))
        values.append(covariance**2 / ((f.var() + epsilon) * (m.var() + epsilon)))
    return float(np.mean(values))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 7])
@pytest.mark.parametrize("shape", [(2, 3, 5, 9, 6), (1, 2, 8, 11)])
def test_box_sum_is_a_convolution_with_ones(radius: int, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dimensions = len(shape) - 2
    kernel = torch.ones((shape[1], 1) + (2 * radius + 1,) * dimensions, dtype=torch.float64)
    convolve = functional.conv3d if dimensions == 3 else functional.conv2d
    expected = convolve(image, kernel, padding=radius, groups=shape[1])
    torch.testing.assert_close(box_sum(image, radius), expected)


@pytest.mark.parametrize("radius", [1, 2])
def test_value_equals_the_literal_definition(radius: int) -> None:
    fixed, moving = random_pair(1, 1, 5, 6, 7)
    expected = literal_value(fixed[0, 0].numpy(), moving[0, 0].numpy(), radius, 1e-3)
    correlation = LocalCorrelation(fixed, radius, 1e-3)
    assert correlation.value(moving).item() == pytest.approx(expected, rel=1e-10)
    assert correlation.value_and_gradient(moving)[0].item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shape", [(1, 1, 7, 8, 6), (2, 1, 5, 5, 5), (3, 2, 9, 8)])
@pytest.mark.parametrize("radius", [1, 2, 3])
def test_analytic_gradient_equals_autograd(shape: tuple[int, ...], radius: int) -> None:
    fixed, moving = random_pair(*shape)
    correlation = LocalCorrelation(fixed, radius)
    moving.requires_grad_(True)
    (expected,) = torch.autograd.grad(correlation.value(moving), moving)
    _, gradient = correlation.value_and_gradient(moving)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-15)
    assert not gradient.requires_grad


def test_analytic_gradient_equals_finite_differences() -> None:
    fixed, moving = random_pair(1, 1, 5, 6, 4)
    correlation = LocalCorrelation(fixed)
    _, gradient = correlation.value_and_gradient(moving)
    step = 1e-5
    for voxel in [(0, 0, 0), (2, 3, 1), (4, 5, 3), (0, 2, 3)]:
        shift = torch.zeros_like(moving)
        shift[(0, 0, *voxel)] = step
        difference = (correlation.value(moving + shift) - correlation.value(moving - shift)) / (2 * step)
        assert gradient[(0, 0, *voxel)].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-10)


def test_a_step_along_the_gradient_raises_the_value() -> None:
    fixed, moving = random_pair(1, 1, 12, 12, 12)
    correlation = LocalCorrelation(fixed)
    before, gradient = correlation.value_and_gradient(moving)
    after = correlation.value(moving + 0.01 * gradient / gradient.abs().max())
    assert after > before


def test_linear_contrast_changes_do_not_matter_and_identical_images_score_one() -> None:
    fixed, _ = random_pair(1, 1, 8, 8, 8)
    correlation = LocalCorrelation(fixed, epsilon=1e-12)
    assert correlation.value(fixed).item() == pytest.approx(1.0, abs=1e-6)
    interior = torch.zeros_like(fixed)
    interior[..., 3:5, 3:5, 3:5] = 1  # zeros around it, so that the border plays no part
    inside = LocalCorrelation(fixed * interior, epsilon=1e-12)
    assert inside.value(-3 * fixed * interior).item() == pytest.approx(inside.value(fixed * interior).item())


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_flat_images_give_finite_results_whatever_their_scale(scale: float) -> None:
    image = torch.rand(1, 1, 9, 9, 9, generator=torch.Generator().manual_seed(2)) * scale
    flat = torch.full_like(image, 0.3 * scale)
    assert LocalCorrelation(image).value(torch.zeros_like(image)).item() == 0
    for fixed, moving in [(image, flat), (flat, image), (flat, flat)]:
        value, gradient = LocalCorrelation(fixed).value_and_gradient(moving)
        assert 0 <= value.item() <= 1
        assert torch.isfinite(gradient).all()
