"""The strict test with its margin, and the smoothing of a velocity around places."""

import pytest
import torch

from MMLNRegistrationLib.spatial.folding import SAFETY, folded, smooth_velocity_near
from MMLNRegistrationLib.spatial.separable import gaussian_smooth
from MMLNRegistrationLib.spatial.warp import identity_grid


def stretched(factor: float, shape: tuple[int, int, int] = (5, 5, 5)) -> torch.Tensor:
    """Displacement of the map that stretches k alone: its determinant is the factor."""
    u = torch.zeros(3, *shape)
    u[0] = (factor - 1) * identity_grid(shape)[0, 0]
    return u


@pytest.mark.parametrize(("factor", "expected"), [(1.0, False), (0.1, False), (-0.1, True), (-1.0, True)])
def test_a_negative_determinant_is_folded(factor: float, expected: bool) -> None:
    assert (folded(stretched(factor)) == expected).all()


def test_a_collapse_counts_as_folded() -> None:
    assert folded(stretched(0.0)).all()


def test_the_margin_is_a_share_of_the_linear_part() -> None:
    """An affine that halves volume must not make a healthy field look close to folding, nor hide one."""
    assert not folded(stretched(0.02), safety=SAFETY).any()
    assert folded(stretched(0.009), safety=SAFETY).all()
    assert not folded(stretched(0.009), linear_determinant=0.5, safety=SAFETY).any()
    assert folded(stretched(0.02), linear_determinant=3.0, safety=SAFETY).all()


def test_one_folded_voxel_is_marked_with_the_neighbours_it_turns_over() -> None:
    u = torch.zeros(3, 7, 7, 7)
    u[2, 3, 3, 3] = 1.5  # leaps over its neighbour along i
    marked = folded(u)
    assert marked[3, 3, 3]
    assert marked[3, 3, 4]
    assert not marked[3, 3, 5]
    assert not marked[0].any()


def test_velocity_is_smoothed_near_the_place_and_untouched_far_away() -> None:
    velocity = torch.randn(1, 3, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    place = torch.tensor([[12.2], [11.9], [12.0]])
    smoothed, weight = smooth_velocity_near(velocity, place, reach_voxels=2.0, sigma_voxels=1.5)
    distance = (identity_grid((24, 24, 24)) - 12).norm(dim=1)[0]
    assert (weight[0, 0][distance <= 2] == 1).all()
    assert weight[0, 0].max() == 1
    # Gaussian weights below a ten-thousandth are cut: 4.3 reaches along an axis.
    far = (identity_grid((24, 24, 24)) - 12).abs().amax(dim=1)[0] > 9
    assert torch.equal(smoothed[0, :, far], velocity[0, :, far])
    near = distance <= 2
    expected = gaussian_smooth(velocity, 1.5)
    torch.testing.assert_close(smoothed[0, :, near], expected[0, :, near])


def test_the_weight_fades_without_a_step() -> None:
    velocity = torch.zeros(1, 3, 24, 24, 24)
    _, weight = smooth_velocity_near(velocity, torch.full((3, 1), 12.0), reach_voxels=2.0, sigma_voxels=1.0)
    profile = weight[0, 0, 12, 12, 12:]
    assert (profile.diff() <= 1e-6).all()
    assert profile.diff().abs().max() < 0.5
    assert profile[-1] == 0


def test_places_outside_the_grid_count_at_its_border() -> None:
    velocity = torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    _, weight = smooth_velocity_near(velocity, torch.tensor([[-3.0], [4.0], [20.0]]), 1.5, 1.0)
    assert weight[0, 0, 0, 4, 7] == 1


def test_smoothing_everywhere_leaves_a_calmer_velocity() -> None:
    velocity = torch.randn(1, 3, 10, 10, 10, generator=torch.Generator().manual_seed(0))
    everywhere = identity_grid((10, 10, 10)).view(3, -1)
    smoothed, weight = smooth_velocity_near(velocity, everywhere, 1.5, 1.0)
    assert (weight == 1).all()
    torch.testing.assert_close(smoothed, gaussian_smooth(velocity, 1.0))
    assert smoothed.var() < 0.2 * velocity.var()
