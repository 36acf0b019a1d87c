"""Folding removal: what is delivered passes the strict test on the fixed grid, and nothing else changes."""

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.errors import RegistrationError
from MMLNRegistrationLib.pipeline.field import deformation, forward_displacement
from MMLNRegistrationLib.pipeline.regularise import RegulariseConfig, Unfolded, remove_folding
from MMLNRegistrationLib.progress import Cancelled, silent
from MMLNRegistrationLib.spatial.folding import SAFETY
from MMLNRegistrationLib.spatial.jacobian import determinants, index_displacement
from MMLNRegistrationLib.spatial.separable import gaussian_smooth
from MMLNRegistrationLib.spatial.velocity import border_taper
from phantoms import grid, matrix_4x4, rotation

NET = grid("identity", (40, 40, 48))
VELOCITY_SHAPE = (20, 20, 24)
FIXED_GRIDS = {
    "same voxels": grid("identity", (40, 40, 48)),
    "finer, oblique": grid("oblique", (36, 36, 36), (0.8, 0.8, 0.8)),
    "thick slices, left-handed": grid("oblique_left_handed", (9, 40, 38), (1.0, 1.0, 4.0)),
    "larger than the network grid": grid("lps_axes", (12, 12, 12), (5.0, 5.0, 5.0)),
}
AFFINE = matrix_4x4(rotation((5.0, -8.0, 10.0)) @ np.diag([0.8, 0.9, 0.7]), (30.0, -20.0, 10.0))


def calm_velocity() -> torch.Tensor:
    noise = torch.randn(1, 3, *VELOCITY_SHAPE, generator=torch.Generator().manual_seed(1))
    return gaussian_smooth(noise, 3.0) * 4 * border_taper(VELOCITY_SHAPE, 3)


def wild_velocity(size_voxels: float, everywhere: bool = False) -> torch.Tensor:
    """The calm velocity with rough noise in the corner of small indices, or everywhere."""
    noise = size_voxels * torch.randn(1, 3, *VELOCITY_SHAPE, generator=torch.Generator().manual_seed(2))
    if not everywhere:
        noise[:, :, 9:], noise[:, :, :, 9:], noise[..., 9:] = 0, 0, 0
    return calm_velocity() + noise * border_taper(VELOCITY_SHAPE, 2)


def strict(result: Unfolded, fixed_name: str) -> torch.Tensor:
    fixed = FIXED_GRIDS[fixed_name]
    return determinants(index_displacement(result.displacement_mm, fixed)).strict


def test_a_field_without_folds_is_returned_as_it_is() -> None:
    velocity, fixed = calm_velocity(), FIXED_GRIDS["same voxels"]
    result = remove_folding(velocity, NET, fixed, AFFINE, silent)
    assert torch.equal(result.velocity, velocity)
    assert result.repair == (0, 0, 0.0)
    expected = forward_displacement(fixed, deformation(velocity, NET), AFFINE)
    np.testing.assert_array_equal(result.displacement_mm, expected)


@pytest.mark.parametrize("fixed_name", FIXED_GRIDS)
@pytest.mark.parametrize("linear", [np.eye(4), AFFINE], ids=["identity", "affine"])
def test_a_folded_field_is_repaired_on_every_grid(fixed_name: str, linear: np.ndarray) -> None:
    velocity, fixed = wild_velocity(2.5), FIXED_GRIDS[fixed_name]
    before = forward_displacement(fixed, deformation(velocity, NET), linear)
    margin = SAFETY * np.linalg.det(linear[:3, :3])
    folded_before = int((determinants(index_displacement(before, fixed)).strict <= margin).sum())
    assert folded_before > 0
    result = remove_folding(velocity, NET, fixed, linear, silent)
    # Not positive only, but by a margin that rounding in files cannot eat.
    assert strict(result, fixed_name).min() > margin
    assert result.repair.folded_voxels_before == folded_before
    assert 1 <= result.repair.rounds <= RegulariseConfig().rounds
    assert 0 < result.repair.smoothed_percent <= 100
    # All parts of the result belong together.
    expected = forward_displacement(fixed, deformation(result.velocity, NET), linear)
    np.testing.assert_array_equal(result.displacement_mm, expected)


def test_far_from_the_folds_nothing_changes() -> None:
    velocity = wild_velocity(2.5)
    result = remove_folding(velocity, NET, FIXED_GRIDS["same voxels"], np.eye(4), silent)
    changed = (result.velocity != velocity).any(dim=1)[0]
    assert changed[:9, :9, :9].any()
    assert not changed[16:].any()
    assert not changed[:, :, 18:].any()
    assert result.repair.smoothed_percent < 60


@pytest.mark.parametrize("size_voxels", [4.0, 15.0])
def test_big_velocities_everywhere_are_repaired_too(size_voxels: float) -> None:
    result = remove_folding(wild_velocity(size_voxels, everywhere=True), NET, NET, np.eye(4), silent)
    assert determinants(index_displacement(result.displacement_mm, NET)).strict.min() > SAFETY
    # Smoothing, not erasing: the field still moves something.
    assert np.abs(result.displacement_mm).max() > 0.3


@pytest.mark.parametrize("rounds", [0, 1])
def test_folds_that_remain_are_an_error_not_a_result(rounds: int) -> None:
    with pytest.raises(RegistrationError, match=f"still folds at [0-9]+ voxels after {rounds} rounds"):
        remove_folding(
            wild_velocity(15.0, everywhere=True), NET, NET, np.eye(4), silent, RegulariseConfig(rounds=rounds)
        )


def test_a_mirroring_linear_map_cannot_be_repaired() -> None:
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(RegistrationError):
        remove_folding(calm_velocity(), NET, FIXED_GRIDS["same voxels"], mirror, silent, RegulariseConfig(rounds=2))


def test_it_can_be_cancelled_between_rounds() -> None:
    told: list[float] = []

    def cancel_in_round_two(step: str, fraction: float) -> None:
        told.append(fraction)
        if len(told) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        remove_folding(wild_velocity(15.0, everywhere=True), NET, NET, np.eye(4), cancel_in_round_two)
    assert told == sorted(told)
