"""Labels of the moving image on the fixed grid, and label maps that belong to another image."""

from __future__ import annotations

import numpy as np
import pytest

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.prepare import PrepareConfig
from MMLNRegistrationLib.pipeline.propagate import carry_labels, require_labels_of
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.pipeline.result import Registration
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.spatial.geometry import Geometry
from phantoms import affine_map, brain, displacement_of, grid, image, matrix_4x4, rotation, transform_points, voxels_ras

LINEAR = matrix_4x4(rotation((6.0, -5.0, 8.0)), (8.0, -6.0, 5.0))
FIXED_GRID = grid("lps_axes", (26, 30, 28), (4.0, 4.0, 4.0))
MOVING_GRID = grid("oblique_left_handed", (30, 34, 32), (4.0, 4.0, 4.0))


def octants(points: np.ndarray) -> np.ndarray:
    """Eight labels up to 30000, one for each corner of the world, 0 outside the brain."""
    names = np.array([7, 20, 300, 1000, 2500, 9000, 17000, 30000])
    corner = (points > 0) @ np.array([1, 2, 4])
    return np.where(brain(points) > 0.1, names[corner], 0)


def label_map(geometry: Geometry, name: str = "labels.nii.gz") -> Volume:
    return Volume(octants(voxels_ras(geometry)).astype(np.uint16), geometry, name)


@pytest.fixture(scope="module")
def registration() -> Registration:
    options = Options(
        initial=LINEAR, device="cpu", prepare=PrepareConfig(spacing_mm=4.0), refine=RefineConfig(iterations=0)
    )
    fixed = image(lambda points: brain(transform_points(LINEAR, points)), FIXED_GRID, "fixed")
    return register(fixed, image(brain, MOVING_GRID, "atlas"), options)


def test_labels_arrive_where_their_anatomy_is(registration: Registration) -> None:
    carried = carry_labels(registration, label_map(MOVING_GRID))
    assert carried.array_kji.dtype == np.uint16
    assert carried.geometry is registration.fixed.geometry
    expected = octants(transform_points(LINEAR, voxels_ras(FIXED_GRID)))
    inside = expected > 0
    assert (carried.array_kji[inside] == expected[inside]).mean() > 0.85
    assert set(np.unique(carried.array_kji)) == {0, *np.unique(expected)}
    np.testing.assert_allclose(registration.displacement_mm, displacement_of(affine_map(LINEAR), FIXED_GRID), atol=1e-3)


def test_labels_drawn_on_a_finer_grid_over_the_same_anatomy_are_carried_too(registration: Registration) -> None:
    finer = label_map(grid("rotated_90", (60, 64, 62), (2.0, 2.0, 2.0), (3.0, -2.0, 1.0)))
    coarse, fine = (carry_labels(registration, labels).array_kji for labels in (label_map(MOVING_GRID), finer))
    both = (coarse > 0) & (fine > 0)
    assert both.sum() > 0.9 * (coarse > 0).sum()
    assert (coarse[both] == fine[both]).mean() > 0.85


def test_labels_of_another_place_are_refused(registration: Registration) -> None:
    elsewhere = Volume(
        label_map(MOVING_GRID).array_kji, grid("identity", (30, 34, 32), (4.0, 4.0, 4.0), (400.0, 0.0, 0.0)), "far.nii"
    )
    with pytest.raises(InputError, match=r"far\.nii does not lie over atlas"):
        carry_labels(registration, elsewhere)


def test_rounding_in_a_header_is_no_other_place() -> None:
    scan = image(brain, MOVING_GRID, "atlas")
    rounded = Geometry(MOVING_GRID.shape_kji, MOVING_GRID.ras_from_ijk + np.eye(4, k=3) * 0.05)
    require_labels_of(scan, Volume(np.zeros(rounded.shape_kji, np.uint8), rounded, "labels"))
