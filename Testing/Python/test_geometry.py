"""Grids in the world: spacing, direction, corners, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MMLNRegistrationLib.spatial.geometry import (
    Geometry,
    axis_aligned_geometry,
    kji_matrix,
    transform_points,
    translation_matrix,
)
from phantoms import DIRECTIONS, grid, voxels_ras

SPACING_MM = (0.7, 1.3, 2.5)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_spacing_direction_and_inverse_come_back(direction: str) -> None:
    geometry = grid(direction, (4, 6, 5), SPACING_MM, (10.0, -20.0, 30.0))
    np.testing.assert_allclose(geometry.spacing_mm, SPACING_MM)
    np.testing.assert_allclose(geometry.direction_ras, DIRECTIONS[direction], atol=1e-12)
    np.testing.assert_allclose(geometry.ijk_from_ras @ geometry.ras_from_ijk, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(geometry.centre_ras, (10, -20, 30))
    assert geometry.size_ijk == (5, 6, 4)


def test_corners_are_the_extreme_voxel_centres() -> None:
    geometry = grid("oblique_left_handed", (3, 4, 5), SPACING_MM)
    all_voxels = voxels_ras(geometry)
    expected = all_voxels[np.ix_((0, -1), (0, -1), (0, -1))].reshape(-1, 3)
    found = geometry.corners_ras
    assert found.shape == (8, 3)
    np.testing.assert_allclose(found[np.lexsort(found.T)], expected[np.lexsort(expected.T)], atol=1e-12)


def test_voxel_i_is_the_fastest_index() -> None:
    """The one sentence on order, held: array[k, j, i] lies at ras_from_ijk (i, j, k, 1)."""
    geometry = grid("oblique", (4, 6, 5), SPACING_MM)
    np.testing.assert_allclose(voxels_ras(geometry)[3, 1, 2], (geometry.ras_from_ijk @ (2, 1, 3, 1))[:3], atol=1e-12)


def test_the_matrix_is_a_read_only_float64_copy() -> None:
    matrix = np.eye(4, dtype=np.float32)
    geometry = Geometry((2, 2, 2), matrix)
    matrix[0, 0] = 5
    assert geometry.ras_from_ijk.dtype == np.float64
    assert geometry.ras_from_ijk[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.ras_from_ijk[0, 0] = 2


@pytest.mark.parametrize(
    ("shape", "matrix", "message"),
    [
        ((2, 2, 2), np.eye(3), "finite affine"),
        ((2, 2, 2), np.diag([1, 1, np.nan, 1]), "finite affine"),
        ((2, 2, 2), np.diag([1, 1, 1, 2.0]), "finite affine"),
        ((2, 2, 2), np.diag([1, 0, 1, 1.0]), "degenerate"),
        ((2, 2, 2), np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "degenerate"),
        ((2, 0, 2), np.eye(4), "positive sizes"),
        ((2, 2), np.eye(4), "positive sizes"),
    ],
)
def test_what_is_no_grid_is_refused(shape: tuple[int, ...], matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(shape, matrix)


def test_tiny_spacing_is_not_taken_for_degenerate() -> None:
    assert Geometry((2, 2, 2), np.diag([1e-4, 1e-4, 1e-4, 1])).spacing_mm[0] == pytest.approx(1e-4)


def test_matches_looks_at_shape_place_and_far_corners() -> None:
    geometry = grid("oblique", (40, 40, 40))
    assert geometry.matches(Geometry((40, 40, 40), translation_matrix(np.array([0, 1e-6, 0])) @ geometry.ras_from_ijk))
    assert not geometry.matches(grid("oblique", (40, 40, 41)))
    shifted = translation_matrix(np.array([0.01, 0, 0])) @ geometry.ras_from_ijk
    assert not geometry.matches(Geometry((40, 40, 40), shifted))
    assert geometry.matches(Geometry((40, 40, 40), shifted), tolerance_mm=0.02)
    # A spacing that is off by a thousandth moves the far corner by four hundredths.
    assert not geometry.matches(Geometry((40, 40, 40), geometry.ras_from_ijk @ np.diag([1.001, 1, 1, 1])))


@settings(max_examples=25)
@given(st.lists(st.floats(-3, 3), min_size=12, max_size=12), st.lists(st.floats(-9, 9), min_size=3, max_size=3))
def test_kji_matrix_is_the_same_map_on_reversed_vectors(entries: list[float], point: list[float]) -> None:
    matrix = np.vstack([np.reshape(entries, (3, 4)), [0, 0, 0, 1]])
    moved = transform_points(matrix, np.array(point))
    np.testing.assert_allclose(transform_points(kji_matrix(matrix), np.array(point[::-1])), moved[::-1], atol=1e-9)


def test_transform_points_keeps_leading_axes_and_chains_like_the_matrices() -> None:
    random = np.random.default_rng(0)
    first, second = (np.vstack([random.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    points = random.normal(size=(2, 5, 3))
    np.testing.assert_allclose(
        transform_points(first @ second, points), transform_points(first, transform_points(second, points))
    )


def test_axis_aligned_geometry_starts_at_its_corner() -> None:
    geometry = axis_aligned_geometry(np.array([-10.0, 5.0, 7.0]), (2, 3, 4), 1.5)
    np.testing.assert_allclose(voxels_ras(geometry)[0, 0, 0], (-10, 5, 7))
    np.testing.assert_allclose(voxels_ras(geometry)[1, 2, 3], (-10 + 4.5, 5 + 3, 7 + 1.5))
