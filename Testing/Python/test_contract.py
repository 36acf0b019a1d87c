"""The contract: M(x + u(x)) ~ F(x), in millimetres, in the world, for grids of every kind.

Images are formulas of the world, so the true displacement is known at every voxel and no image was resampled to make
the pair.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.pipeline.field import inverse_displacement, inverse_points, warp_volume
from MMLNRegistrationLib.pipeline.prepare import PrepareConfig
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.pipeline.result import Registration
from MMLNRegistrationLib.spatial.jacobian import determinants, index_displacement
from phantoms import (
    blob,
    brain,
    determinant_of,
    displacement_of,
    grid,
    image,
    matrix_4x4,
    rotation,
    transform_points,
    voxels_ras,
    wave,
)

AFFINE = matrix_4x4(rotation((9.0, -8.0, 12.0)) @ np.diag([1.05, 0.95, 1.04]), (46.0, -29.0, 27.0))
BEND = wave(2.5, 80.0)
FIXED_GRID = grid("oblique", (30, 40, 44), (2.5, 3.0, 3.5))
MOVING_GRID = grid("oblique_left_handed", (46, 50, 36), (3.0, 2.8, 2.6), (46.0, -29.0, 27.0))
OPTIONS = Options(device="cpu", prepare=PrepareConfig(spacing_mm=2.5), refine=RefineConfig(iterations=12))


def moving_brain(points: np.ndarray) -> np.ndarray:
    """The brain, where the moving scanner saw it."""
    return brain(points - np.array((40.0, -20.0, 20.0)))


def true_map(points: np.ndarray) -> np.ndarray:
    return transform_points(AFFINE, BEND(points))


FIXED = image(lambda points: moving_brain(true_map(points)), FIXED_GRID, "fixed")
MOVING = image(moving_brain, MOVING_GRID, "moving")
INSIDE = FIXED.array_kji > 0.1


@pytest.fixture(scope="module")
def result() -> Registration:
    return register(FIXED, MOVING, OPTIONS)


def test_the_true_displacement_is_found(result: Registration) -> None:
    true = displacement_of(true_map, FIXED_GRID)
    before_mm = np.linalg.norm(true, axis=-1)[INSIDE]
    after_mm = np.linalg.norm(result.displacement_mm - true, axis=-1)[INSIDE]
    assert np.median(before_mm) > 40
    assert np.median(after_mm) < 1
    assert np.percentile(after_mm, 95) < 4


def test_the_moving_image_at_x_plus_u_is_the_fixed_image(result: Registration) -> None:
    """By the formula of the moving anatomy, without any sampling of ours."""
    reached = moving_brain(voxels_ras(FIXED_GRID) + result.displacement_mm)
    assert np.corrcoef(reached[INSIDE], FIXED.array_kji[INSIDE])[0, 1] > 0.97
    not_moved = moving_brain(voxels_ras(FIXED_GRID))
    assert np.corrcoef(not_moved[INSIDE], FIXED.array_kji[INSIDE])[0, 1] < 0.5


def test_the_deformation_adds_to_the_linear_map(result: Registration) -> None:
    true = displacement_of(true_map, FIXED_GRID)
    linear = displacement_of(lambda points: transform_points(result.moving_ras_from_fixed_ras, points), FIXED_GRID)
    linear_error, error = (np.linalg.norm(u - true, axis=-1)[INSIDE] for u in (linear, result.displacement_mm))
    assert np.median(error) < 0.6 * np.median(linear_error)


def test_the_warped_image_and_the_jacobian_belong_to_the_field(result: Registration) -> None:
    expected = warp_volume(MOVING, result.displacement_mm, FIXED_GRID)
    np.testing.assert_array_equal(result.warped.array_kji, expected.array_kji)
    assert result.warped.geometry is FIXED.geometry
    central, strict = determinants(index_displacement(result.displacement_mm, FIXED_GRID))
    np.testing.assert_array_equal(result.jacobian.array_kji, central)
    assert strict.min() > 0
    assert result.folding.folded_voxels == 0
    assert result.affine_determinant == pytest.approx(np.linalg.det(AFFINE[:3, :3]), rel=0.1)
    true_determinant = determinant_of(true_map, voxels_ras(FIXED_GRID))
    difference = np.abs(result.jacobian.array_kji - true_determinant)[INSIDE]
    assert np.median(difference) < 0.1
    assert np.median(difference) < 0.6 * np.median(np.abs(true_determinant - result.affine_determinant)[INSIDE])


def test_the_inverse_leads_back(result: Registration) -> None:
    starts = voxels_ras(FIXED_GRID)[INSIDE]
    ends = starts + result.displacement_mm[INSIDE]
    velocity = torch.from_numpy(result.velocity_voxels)[None]
    back = inverse_points(ends, velocity, result.net_geometry, result.moving_ras_from_fixed_ras)
    remaining_mm = np.linalg.norm(back - starts, axis=1)
    assert np.median(remaining_mm) < 0.05
    assert np.percentile(remaining_mm, 95) < 0.25


def test_the_inverse_carries_the_fixed_image_onto_the_moving_one(result: Registration) -> None:
    """F(y + w(y)) ~ M(y): the other half of the contract, on the moving grid."""
    velocity = torch.from_numpy(result.velocity_voxels)[None]
    w = inverse_displacement(MOVING_GRID, velocity, result.net_geometry, result.moving_ras_from_fixed_ras)
    carried = warp_volume(FIXED, w, MOVING_GRID).array_kji
    inside = MOVING.array_kji > 0.1
    assert np.corrcoef(carried[inside], MOVING.array_kji[inside])[0, 1] > 0.9


def test_the_figures_tell_the_same_story(result: Registration) -> None:
    for measure in ("correlation", "local_correlation"):
        before, initial, after = (
            getattr(s, measure) for s in (result.similarity_before, result.similarity_initial, result.similarity_after)
        )
        assert before < initial < after <= 1
    assert result.similarity_after.correlation > 0.95
    np.testing.assert_array_equal(result.foreground, FIXED.array_kji > 0)
    assert list(result.seconds) == ["prepare", "initial", "network", "refine", "remove folding", "outputs"]


def test_a_second_run_gives_the_same_bits(result: Registration) -> None:
    again = register(FIXED, MOVING, OPTIONS)
    np.testing.assert_array_equal(again.displacement_mm, result.displacement_mm)
    np.testing.assert_array_equal(again.velocity_voxels, result.velocity_voxels)
    np.testing.assert_array_equal(again.moving_ras_from_fixed_ras, result.moving_ras_from_fixed_ras)
    assert again.similarity_after == result.similarity_after


@pytest.mark.parametrize(("fixed_direction", "moving_direction"), [("oblique", "lps_axes"), ("left_handed", "oblique")])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_moved_blob_is_found_along_its_axis_with_the_right_sign(
    fixed_direction: str, moving_direction: str, axis: int
) -> None:
    """The moving blob lies 4 mm further along R, A or S: there u is +4 mm along it, whatever the grids."""
    step = 4.0 * np.eye(3)[axis]
    fixed_grid = grid(fixed_direction, (20, 22, 24), (2.0, 1.6, 2.4))
    moving_grid = grid(moving_direction, (24, 24, 20), (1.6, 2.2, 2.2))

    def lump(points: np.ndarray) -> np.ndarray:
        height = blob(points, (0.0, 0.0, 0.0), 7.0)
        return np.where(height > 0.02, height, 0)

    found = register(
        image(lump, fixed_grid),
        image(lambda points: lump(points - step), moving_grid),
        Options(
            initial="identity",
            device="cpu",
            prepare=PrepareConfig(spacing_mm=2.0, margin_mm=6.0),
            refine=RefineConfig(iterations=8),
        ),
    )
    middle = np.linalg.norm(voxels_ras(fixed_grid), axis=-1) < 6
    u = found.displacement_mm[middle].mean(axis=0)
    assert 2.5 < u[axis] < 4.5
    assert np.abs(np.delete(u, axis)).max() < 0.4
