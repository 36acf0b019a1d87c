"""Inverting a sampled map by numbers: known inverses, far misplacements, and what has no inverse."""

import numpy as np
import pytest

from MMLNRegistrationLib.spatial.inverse import invert_points
from phantoms import (
    DIRECTIONS,
    affine_map,
    displacement_of,
    grid,
    matrix_4x4,
    rotation,
    transform_points,
    voxels_ras,
    wave,
)

MOVED = matrix_4x4(rotation((15.0, -20.0, 25.0)) @ np.diag([1.1, 0.9, 1.05]), (60.0, -90.0, 40.0))


def inner(points: np.ndarray, margin: int = 3) -> np.ndarray:
    """The voxels away from the faces of a grid, as (N, 3)."""
    return points[(slice(margin, -margin),) * 3].reshape(-1, 3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_affine_is_inverted_exactly_however_far_it_goes(direction: str) -> None:
    geometry = grid(direction, (9, 10, 11), (1.5, 1.0, 2.0), (5.0, 6.0, 7.0))
    starts = voxels_ras(geometry).reshape(-1, 3)
    found, ok = invert_points(transform_points(MOVED, starts), displacement_of(affine_map(MOVED), geometry), geometry)
    assert ok.all()
    np.testing.assert_allclose(found, starts, atol=2e-3)


@pytest.mark.parametrize("direction", ["identity", "oblique_left_handed"])
def test_a_wave_after_an_affine_is_inverted(direction: str) -> None:
    geometry = grid(direction, (18, 20, 22), (1.5, 1.5, 1.5))
    bend = wave(2.0, 30.0)

    def function(points: np.ndarray) -> np.ndarray:
        return transform_points(MOVED, bend(points))

    starts = inner(voxels_ras(geometry))
    displacement_mm = displacement_of(function, geometry)
    ends = starts + displacement_mm[(slice(3, -3),) * 3].reshape(-1, 3)
    found, ok = invert_points(ends, displacement_mm, geometry)
    assert ok.all()
    assert np.linalg.norm(found - starts, axis=1).max() < 5e-3


def test_strong_compression_that_fixed_point_steps_cannot_invert() -> None:
    """x + u(x) with |du/dx| near 1: the fixed-point iteration stalls there, Newton's method does not."""
    geometry = grid("identity", (40, 5, 5))
    displacement_mm = np.zeros((40, 5, 5, 3), np.float32)
    height = np.arange(40) - 19.5
    displacement_mm[..., 2] = (-9.3 * np.tanh(height / 10))[:, None, None]  # slope 1 - 0.93 in the middle
    starts = inner(voxels_ras(geometry), 2)
    ends = starts + inner(displacement_mm, 2)
    found, ok = invert_points(ends, displacement_mm, geometry)
    assert ok.all()
    assert np.abs(found - starts).max() < 0.03


def test_points_that_nothing_is_sent_to_are_reported() -> None:
    geometry = grid("oblique", (10, 10, 10))
    displacement_mm = displacement_of(affine_map(MOVED), geometry)
    target = transform_points(MOVED, geometry.centre_ras[None])
    found, ok = invert_points(np.vstack([target, target + 200]), displacement_mm, geometry)
    assert ok.tolist() == [True, False]
    np.testing.assert_allclose(found[0], geometry.centre_ras, atol=2e-3)


@pytest.mark.parametrize("slope", [1.5, 4.0])
def test_strong_stretching_that_throws_fixed_point_steps_out(slope: float) -> None:
    geometry = grid("oblique_left_handed", (40, 5, 5))
    height = np.arange(40) - 19.5
    displacement_mm = (4 * np.tanh(height / 4 * slope))[:, None, None, None] * geometry.ras_from_ijk[:3, 2]
    displacement_mm = np.broadcast_to(displacement_mm, (40, 5, 5, 3)).astype(np.float32)
    starts = inner(voxels_ras(geometry), 2)
    found, ok = invert_points(starts + inner(displacement_mm, 2), displacement_mm, geometry)
    assert ok.all()
    assert np.abs(found - starts).max() < 2e-3


def test_one_point_and_three_points_have_the_right_shape() -> None:
    geometry = grid("identity", (8, 8, 8))
    displacement_mm = displacement_of(wave(1.0, 12.0), geometry)
    for count in (1, 3):
        found, ok = invert_points(np.zeros((count, 3)), displacement_mm, geometry)
        assert found.shape == (count, 3)
        assert ok.shape == (count,)
