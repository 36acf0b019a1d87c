"""Every metric on cases small enough to count by hand."""

import math

import numpy as np
import pytest

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.quality.metrics import (
    dice,
    errors,
    label_counts,
    mean_dice,
    mean_volume_ratio,
    merged,
    volumes_mm3,
    voxel_points_ras,
)
from MMLNRegistrationLib.spatial.geometry import Geometry
from phantoms import grid

FIRST = np.array([[[0, 1, 1, 1], [2, 2, 0, 5]]], np.uint8)
SECOND = np.array([[[1, 1, 1, 0], [2, 0, 0, 7]]], np.uint8)


def cube(start: int, stop: int, label: int = 2) -> np.ndarray:
    labels = np.zeros((30, 30, 30), np.uint16)
    labels[start:stop, 10:20, 10:20] = label
    return labels


def volume(labels: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(labels, grid("oblique_left_handed", labels.shape, spacing_mm), "labels")


def test_counts_leave_the_background_out() -> None:
    assert label_counts(FIRST) == {1: 3, 2: 2, 5: 1}
    assert label_counts(np.zeros((2, 2, 2), np.uint8)) == {}


def test_dice_by_hand() -> None:
    # 1: two voxels in common of 3 and 3; 2: one of 2 and 1; 5 and 7: none in common.
    expected = {1: 2 * 2 / 6, 2: 2 * 1 / 3, 5: 0.0, 7: 0.0}
    assert dice(FIRST, SECOND, [1, 2, 5, 7]) == pytest.approx(expected)


def test_a_label_in_neither_map_has_no_dice() -> None:
    assert set(dice(FIRST, SECOND, [1, 3, 99])) == {1}
    assert mean_dice(FIRST, SECOND, [1, 3]) == pytest.approx(2 / 3)
    assert math.isnan(mean_dice(FIRST, SECOND, [3, 99]))


def test_dice_of_a_shifted_cube_is_its_overlap() -> None:
    assert dice(cube(10, 20), cube(15, 25), [2])[2] == pytest.approx(0.5)
    assert dice(cube(10, 20), cube(10, 20), [2])[2] == 1
    assert dice(cube(0, 10), cube(20, 30), [2])[2] == 0


def test_labels_of_different_types_compare_by_value() -> None:
    big = cube(10, 20, label=40000)
    assert dice(big, big.astype(np.uint32), [40000])[40000] == 1


def test_the_mean_is_over_labels_not_voxels() -> None:
    first, second = cube(10, 20), cube(10, 20)
    first[0, 0, 0], second[0, 0, 1] = 9, 9
    assert mean_dice(first, second, [2, 9]) == pytest.approx(0.5)


def test_merging_sums_the_parts_of_a_structure() -> None:
    structures = {5: "left", 1: "cortex", 2: "cortex"}
    labels = merged(np.array([[[0, 1, 2, 5, 7, 400]]], np.uint16), structures)
    # In order of their names: cortex, left. What is in no structure is background.
    assert labels.tolist() == [[[0, 1, 1, 2, 0, 0]]]
    # A voxel that moves between two parts of one structure is no error of the structure.
    swapped = merged(np.array([[[0, 2, 1, 5, 7, 400]]], np.uint16), structures)
    assert mean_dice(labels, swapped, [1, 2]) == 1


def test_merging_knows_labels_that_a_map_does_not_hold() -> None:
    assert merged(np.zeros((1, 1, 2), np.uint8), {300: "a", 70000: "b"}).tolist() == [[[0, 0]]]
    assert merged(np.array([[[70000]]], np.uint32), {300: "a", 70000: "b"}).tolist() == [[[2]]]


def test_volumes_are_in_cubic_millimetres() -> None:
    assert volumes_mm3(volume(cube(10, 20), (0.5, 2.0, 3.0))) == pytest.approx({2: 1000 * 3.0})


def test_tc_is_carried_by_moving_over_the_labels_of_moving() -> None:
    """The paper's TC: 1 when every structure keeps its volume, whatever the grids."""
    moving = cube(10, 20)
    moving[0, 0, :4] = 8
    carried = cube(10, 15)
    carried[0, 0, :6] = 8
    carried[29, 29, 29] = 55  # not in moving: no part of the mean
    assert mean_volume_ratio(volume(carried), volume(moving)) == pytest.approx((0.5 + 1.5) / 2)
    assert mean_volume_ratio(volume(moving), volume(moving)) == 1
    # The same voxels at twice the size hold eight times the volume.
    assert mean_volume_ratio(volume(moving, (2.0, 2.0, 2.0)), volume(moving)) == pytest.approx(8)


def test_a_structure_that_vanished_counts_as_zero() -> None:
    moving = cube(10, 20)
    moving[0, 0, 0] = 3
    assert mean_volume_ratio(volume(cube(10, 20)), volume(moving)) == pytest.approx(0.5)
    assert math.isnan(mean_volume_ratio(volume(moving), volume(np.zeros((4, 4, 4), np.uint8))))


def test_errors_are_median_and_95th_percentile() -> None:
    assert errors(np.arange(101.0)) == (50, 95)
    assert errors(np.array([3.0])) == (3, 3)


def test_points_of_a_mask_are_its_voxels_in_the_world() -> None:
    matrix = np.array([[0, 0, 2.0, 10], [-1, 0, 0, 20], [0, 3, 0, 30], [0, 0, 0, 1]])
    mask = np.zeros((4, 5, 6), bool)
    mask[3, 1, 2] = mask[0, 0, 0] = True
    # (i, j, k) = (0, 0, 0) and (2, 1, 3).
    expected = [(10, 20, 30), (10 + 2 * 3, 20 - 2, 30 + 3)]
    np.testing.assert_allclose(voxel_points_ras(Geometry((4, 5, 6), matrix), mask), expected)
