"""Smoothing and resampling by one matrix per axis, against direct sums."""

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.spatial.separable import (
    apply_along_axes,
    cubic_matrix,
    gaussian_matrix,
    gaussian_smooth,
    resize_cubic,
)
from MMLNRegistrationLib.spatial.warp import identity_grid, resize


def random_field(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(4))


def test_each_matrix_goes_along_its_own_axis() -> None:
    field = random_field(2, 3, 4, 5, 6)
    matrices = [random_field(new, old) for new, old in ((7, 4), (3, 5), (2, 6))]
    expected = torch.einsum("ak,bj,ci,ndkji->ndabc", *matrices, field)
    torch.testing.assert_close(apply_along_axes(field, matrices), expected)


def test_the_transposed_matrices_are_the_adjoint() -> None:
    """<A x, y> = <x, A^T y>: what brings forces back from the image grid to the velocity grid."""
    matrices = [cubic_matrix(9, 5), cubic_matrix(7, 4), gaussian_matrix(6, 1.3)]
    x, y = random_field(1, 3, 5, 4, 6).double(), random_field(1, 3, 9, 7, 6).double()
    forward = apply_along_axes(x, [m.double() for m in matrices])
    backward = apply_along_axes(y, [m.double().T for m in matrices])
    assert (forward * y).sum().item() == pytest.approx((x * backward).sum().item(), rel=1e-12)


@pytest.mark.parametrize("sigma", [0.6, 1.0, 2.2])
def test_gaussian_is_a_convolution_away_from_the_ends(sigma: float) -> None:
    values = random_field(60).double().numpy()
    reach = np.arange(-12, 13)
    kernel = np.exp(-0.5 * (reach / sigma) ** 2)
    expected = np.convolve(values, kernel / kernel.sum(), mode="same")
    found = (gaussian_matrix(60, sigma).double() @ torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(found[15:-15], expected[15:-15], atol=2e-3)


def test_gaussian_keeps_constants_up_to_the_ends_and_does_nothing_at_zero() -> None:
    constant = torch.full((1, 1, 5, 6, 7), 3.25)
    torch.testing.assert_close(gaussian_smooth(constant, 1.7), constant)
    field = random_field(1, 2, 5, 6, 7)
    assert torch.equal(gaussian_smooth(field, 0.0), field)


def test_each_sigma_belongs_to_its_axis() -> None:
    field = random_field(1, 1, 8, 8, 8)
    smooth = gaussian_smooth(field, (0.0, 1.5, 0.0))
    torch.testing.assert_close(smooth.sum(dim=3)[..., 0], (gaussian_matrix(8, 1.5).sum(0) @ field)[..., 0])
    assert (smooth.var(dim=3) < field.var(dim=3)).all()
    with pytest.raises(ValueError, match="zip"):
        gaussian_smooth(field, (1.0, 1.0))


@pytest.mark.parametrize(("new", "old"), [(9, 5), (17, 5), (13, 4), (6, 6)])
def test_cubic_goes_through_the_samples_it_shares(new: int, old: int) -> None:
    values = random_field(old)
    enlarged = cubic_matrix(new, old) @ values
    step, rest = divmod(new - 1, old - 1)
    assert rest == 0
    torch.testing.assert_close(enlarged[::step], values, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("new", "old"), [(11, 5), (40, 7), (5, 11), (3, 1), (1, 4), (2, 2)])
def test_cubic_weights_sum_to_one(new: int, old: int) -> None:
    torch.testing.assert_close(cubic_matrix(new, old).sum(dim=1), torch.ones(new))


def test_cubic_reproduces_quadratics_inside() -> None:
    """Keys' kernel with a = -1/2 is exact for polynomials up to degree two away from the ends."""
    position = torch.linspace(0, 20, 101, dtype=torch.float64)
    nodes = torch.arange(21, dtype=torch.float64)
    for power in (1, 2):
        found = cubic_matrix(101, 21).double() @ nodes**power
        torch.testing.assert_close(found[10:-10], position[10:-10] ** power, atol=2e-4, rtol=0)


def test_cubic_has_no_kinks_where_linear_interpolation_has() -> None:
    values = random_field(12)
    fine = cubic_matrix(12 * 20 - 19, 12) @ values
    linear = resize(values.view(1, 1, 1, 1, 12), (1, 1, 12 * 20 - 19)).flatten()
    assert fine.diff().diff().abs().max() < 0.3 * linear.diff().diff().abs().max()


def test_resize_cubic_keeps_corners_in_every_axis() -> None:
    field = identity_grid((4, 5, 6))
    larger = resize_cubic(field, (10, 9, 8))
    assert larger.shape == (1, 3, 10, 9, 8)
    assert larger[0, :, -1, -1, -1].tolist() == pytest.approx([3, 4, 5])
    assert larger[0, :, 0, 0, 0].abs().max() == 0


def test_mixed_precision_leaves_fields_alone() -> None:
    field = 10 + torch.rand(1, 3, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        smooth = gaussian_smooth(field, 1.0)
    torch.testing.assert_close(smooth, gaussian_smooth(field, 1.0), rtol=0, atol=0)
