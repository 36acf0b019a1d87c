"""Box sums and local correlation against literal loops, autograd and finite differences."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional

from MMLNRegistrationLib.model.local_correlation import LocalCorrelation, box_sum
from saved_tensors import SavedTensors


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
    assert LocalCorrelation(fixed, radius, 1e-3).value(moving).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("shape", [(1, 1, 4, 5, 3), (2, 1, 4, 4, 3), (2, 2, 5, 4)])
@pytest.mark.parametrize("radius", [1, 2])
def test_gradient_of_the_value_equals_finite_differences(shape: tuple[int, ...], radius: int) -> None:
    fixed, moving = random_pair(*shape)
    correlation = LocalCorrelation(fixed, radius, 1e-3)
    assert torch.autograd.gradcheck(correlation.value, (moving.requires_grad_(True),))
    with torch.no_grad():
        assert correlation.value(moving).item() == pytest.approx(correlation.coefficients(moving).mean().item())


def test_value_has_gradients_of_both_images_where_both_are_wanted() -> None:
    fixed, moving = (image.requires_grad_(True) for image in random_pair(1, 1, 4, 3, 4))
    assert torch.autograd.gradcheck(lambda f, m: LocalCorrelation(f, 1, 1e-3).value(m), (fixed, moving))


def test_value_keeps_one_map_for_the_gradient() -> None:
    fixed, moving = random_pair(1, 1, 6, 7, 8)
    with SavedTensors() as saved:
        LocalCorrelation(fixed).value(moving.requires_grad_(True))
    assert saved.bytes == moving.numel() * moving.element_size()


def literal_agreement(fixed: torch.Tensor, moving: torch.Tensor, radius: int, epsilon: float) -> torch.Tensor:
    """Mean of rho^2 weighted by w, both from window means by average pooling, for autograd with w held."""
    pool, dimensions = (functional.avg_pool3d, 3) if fixed.ndim == 5 else (functional.avg_pool2d, 2)

    def mean(image: torch.Tensor) -> torch.Tensor:
        return pool(functional.pad(image, [radius] * (2 * dimensions)), 2 * radius + 1, stride=1)

    variances = [mean(image**2) - mean(image) ** 2 for image in (fixed, moving)]
    weight = (variances[0] * variances[1] / ((variances[0] + epsilon) * (variances[1] + epsilon))).detach()
    squared = (mean(fixed * moving) - mean(fixed) * mean(moving)) ** 2 / (variances[0] * variances[1])
    return (weight * squared).sum() / weight.sum()


@pytest.mark.parametrize("shape", [(1, 1, 7, 8, 6), (2, 1, 5, 5, 5), (3, 2, 9, 8)])
@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_agreement_and_its_analytic_gradient_equal_the_definition(
    shape: tuple[int, ...], radius: int, epsilon: float
) -> None:
    fixed, moving = random_pair(*shape)
    expected = literal_agreement(fixed, moving.requires_grad_(True), radius, epsilon)
    (expected_gradient,) = torch.autograd.grad(expected, moving)
    agreement, gradient = LocalCorrelation(fixed, radius, epsilon).agreement_and_gradient(moving)
    assert agreement.item() == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-12)
    assert not gradient.requires_grad


def test_without_a_floor_the_agreement_is_the_value_and_its_gradient_the_finite_difference() -> None:
    fixed, moving = random_pair(1, 1, 5, 6, 4)
    correlation = LocalCorrelation(fixed, epsilon=1e-12)
    agreement, gradient = correlation.agreement_and_gradient(moving)
    assert agreement.item() == pytest.approx(correlation.value(moving).item(), rel=1e-6)
    step = 1e-5
    for voxel in [(0, 0, 0), (2, 3, 1), (4, 5, 3), (0, 2, 3)]:
        shift = torch.zeros_like(moving)
        shift[(0, 0, *voxel)] = step
        difference = (correlation.value(moving + shift) - correlation.value(moving - shift)) / (2 * step)
        assert gradient[(0, 0, *voxel)].item() == pytest.approx(difference.item(), rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("contrast", [1.0, 0.1, 0.01])
def test_an_image_agrees_with_itself_and_nothing_can_be_gained(contrast: float) -> None:
    """However little of it stands above the noise floor, where the derivative of the value is not zero."""
    fixed = 0.5 + contrast * (random_pair(1, 1, 8, 8, 8)[0] - 0.5)
    agreement, gradient = LocalCorrelation(fixed).agreement_and_gradient(fixed)
    assert agreement.item() == pytest.approx(1)
    assert gradient.abs().max() < 1e-9


def test_a_step_along_the_gradient_raises_the_value() -> None:
    fixed, moving = random_pair(1, 1, 12, 12, 12)
    correlation = LocalCorrelation(fixed)
    before = correlation.value(moving)
    _, gradient = correlation.agreement_and_gradient(moving)
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
        agreement, gradient = LocalCorrelation(fixed).agreement_and_gradient(moving)
        assert 0 <= agreement.item() <= 1
        assert torch.isfinite(gradient).all()
