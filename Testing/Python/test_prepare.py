"""Intensities, the network grid, and sampling onto it."""

import itertools

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.foreground import Foreground
from MMLNRegistrationLib.pipeline.prepare import (
    PrepareConfig,
    network_geometry,
    normalised,
    on_network_grid,
    points_on,
    sample_volume,
    velocity_shape,
)
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.spatial.geometry import Geometry, axis_aligned_geometry
from phantoms import DIRECTIONS, blob, brain, grid, image, matrix_4x4, rotation, transform_points, voxels_ras

GRID = grid("oblique", (24, 26, 24), (5.0, 5.0, 5.0))
BRAIN = image(brain, GRID)
EVERYTHING = Foreground(BRAIN.array_kji > 0, excludes_rest=False)
CONFIG = PrepareConfig()


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1000.0, -300.0), (0.01, 5.0)])
def test_background_becomes_zero_and_the_percentile_one(scale: float, offset: float) -> None:
    scaled = Volume(BRAIN.array_kji * np.float32(scale) + np.float32(offset), GRID, "scan")
    found = normalised(scaled, EVERYTHING, 99.5).array_kji
    assert found.dtype == np.float32
    assert found.min() == 0
    assert found.max() == 1
    expected = np.clip(BRAIN.array_kji / np.percentile(BRAIN.array_kji[EVERYTHING.voxels], 99.5), 0, 1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_one_hot_or_cold_voxel_does_not_dim_the_brain(value: float) -> None:
    array = BRAIN.array_kji.copy()
    array[12, 12, 12] = value
    found = normalised(Volume(array, GRID, "scan"), EVERYTHING, 99.5).array_kji
    expected = normalised(BRAIN, EVERYTHING, 99.5).array_kji
    others = np.ones(GRID.shape_kji, bool)
    others[12, 12, 12] = False
    np.testing.assert_allclose(found[others], expected[others], atol=0.02)


def test_what_a_mask_excludes_is_zero() -> None:
    chosen = voxels_ras(GRID)[..., 0] > 0
    found = normalised(Volume(BRAIN.array_kji + 1, GRID, "scan"), Foreground(chosen, excludes_rest=True), 99.5)
    assert (found.array_kji[~chosen] == 0).all()
    assert found.array_kji[chosen].max() == 1


def test_a_foreground_without_contrast_is_refused() -> None:
    flat = Volume(np.where(BRAIN.array_kji > 0.3, 0, BRAIN.array_kji + 1).astype(np.float32), GRID, "scan")
    with pytest.raises(InputError, match="scan has hardly any contrast"):
        normalised(flat, Foreground(BRAIN.array_kji > 0.3, excludes_rest=True), 99.5)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("stride", [8, 16])
def test_the_network_grid_covers_the_foreground_with_its_margin(direction: str, stride: int) -> None:
    geometry = grid(direction, (24, 26, 30), (4.0, 5.0, 3.0), (30.0, -50.0, 700.0))
    mask = np.zeros(geometry.shape_kji, bool)
    mask[5:19, 8:20, 3:25] = True
    net = network_geometry(geometry, mask, CONFIG, stride)
    np.testing.assert_allclose(net.ras_from_ijk[:3, :3], np.eye(3))
    assert all(size % stride == 0 for size in net.shape_kji)
    reach = voxels_ras(geometry)[mask]
    lower, upper = net.corners_ras.min(axis=0), net.corners_ras.max(axis=0)
    assert (reach.min(axis=0) - lower > CONFIG.margin_mm - 1.01).all()
    assert (upper - reach.max(axis=0) > CONFIG.margin_mm - 1.01).all()
    # And is not larger than the stride forces it to be, plus the voxels' own size.
    assert (upper - lower < np.ptp(reach, axis=0) + 2 * CONFIG.margin_mm + stride + 2 + 8.7).all()


@pytest.mark.parametrize("signs", list(itertools.product((1.0, -1.0), repeat=3)))
def test_its_voxels_meet_those_of_an_axis_aligned_one_millimetre_grid(signs: tuple[float, float, float]) -> None:
    matrix = matrix_4x4(np.diag(signs), (12.34, -56.78, 9.1))
    geometry = Geometry((20, 21, 22), matrix)
    mask = np.zeros(geometry.shape_kji, bool)
    mask[4:15, 3:17, 6:20] = True
    net = network_geometry(geometry, mask, CONFIG, 8)
    offset_voxels = (net.ras_from_ijk[:3, 3] - matrix[:3, 3]) / net.spacing_mm
    np.testing.assert_allclose(offset_voxels, np.rint(offset_voxels), atol=1e-9)
    image_values = np.random.default_rng(0).random(geometry.shape_kji).astype(np.float32)
    seen = on_network_grid(Volume(image_values, geometry, "scan"), net, np.eye(4))
    assert set(np.unique(seen[seen > 0])) <= set(np.unique(image_values))


def test_a_scan_with_neck_and_shoulders_is_cut_to_its_middle() -> None:
    geometry = grid("lps_axes", (50, 30, 30), (8.0, 8.0, 8.0), (0.0, 10.0, -60.0))
    net = network_geometry(geometry, np.ones(geometry.shape_kji, bool), CONFIG, 8)
    assert max(net.shape_kji) == 256
    np.testing.assert_allclose(net.centre_ras, geometry.centre_ras, atol=1)


def test_a_tiny_foreground_still_gets_a_grid_the_network_can_halve() -> None:
    mask = np.zeros(GRID.shape_kji, bool)
    mask[12, 12, 12] = True
    net = network_geometry(GRID, mask, PrepareConfig(spacing_mm=4.0, margin_mm=0.0), 16)
    assert net.shape_kji == (32, 32, 32)
    np.testing.assert_allclose(net.spacing_mm, 4)


def test_points_on_another_grid_go_through_the_world() -> None:
    other = grid("rotated_90", (9, 9, 9), (2.0, 1.0, 3.0), (4.0, 5.0, 6.0))
    found = points_on(GRID, other.ijk_from_ras @ GRID.ras_from_ijk)
    expected = transform_points(other.ijk_from_ras, voxels_ras(GRID))[..., ::-1]
    np.testing.assert_allclose(found[0].permute(1, 2, 3, 0), expected, atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_an_image_seen_by_the_network_grid_is_the_image(direction: str) -> None:
    """Through a linear map A, the network grid shows at x what the image holds at A(x)."""

    def spots(points: np.ndarray) -> np.ndarray:
        return blob(points, (8.0, -5.0, 3.0), 6.0) + 0.5 * blob(points, (-9.0, 7.0, -4.0), 5.0)

    linear = matrix_4x4(rotation((5.0, -10.0, 20.0)) @ np.diag([1.1, 0.9, 1.0]), (3.0, -2.0, 4.0))
    seen_by = image(spots, grid(direction, (34, 36, 38), (1.5, 1.7, 1.4)))
    net = axis_aligned_geometry(np.array([-15.0, -15.0, -15.0]), (32, 32, 32), 1.0)
    found = on_network_grid(seen_by, net, linear)[0, 0].numpy()
    np.testing.assert_allclose(found, spots(transform_points(linear, voxels_ras(net))), atol=0.03)


def test_outside_the_image_is_zero_from_half_a_voxel_on() -> None:
    ones = Volume(np.ones((8, 8, 8), np.float32), grid("identity", (8, 8, 8)), "scan")
    for axis in range(3):
        where = torch.full((1, 3, 4, 1, 1), 3.0)
        where[0, axis, :, 0, 0] = torch.tensor([-0.6, -0.4, 7.4, 7.6])
        assert sample_volume(ones, where).flatten().tolist() == [0, 1, 1, 0]


def test_a_finer_image_is_smoothed_to_what_the_grid_can_carry_and_a_coarser_one_is_not() -> None:
    net = axis_aligned_geometry(np.array([-15.0, -15.0, -15.0]), (16, 16, 16), 2.0)
    fine = grid("identity", (64, 64, 64), (0.5, 0.5, 0.5))
    stripes = Volume((np.indices(fine.shape_kji).sum(axis=0) % 2).astype(np.float32), fine, "scan")
    seen = on_network_grid(stripes, net, np.eye(4))[0, 0, 2:-2, 2:-2, 2:-2]
    assert seen.std() < 0.02
    assert seen.mean().item() == pytest.approx(0.5, abs=0.01)
    noise = np.random.default_rng(0).random(net.shape_kji).astype(np.float32)
    same = on_network_grid(Volume(noise, net, "scan"), net, np.eye(4))
    np.testing.assert_allclose(same[0, 0], noise, atol=1e-6)


def test_velocity_grids_have_a_share_of_the_voxels() -> None:
    assert velocity_shape((64, 80, 96), 2) == (32, 40, 48)
    assert velocity_shape((2, 3, 96), 4) == (2, 2, 24)
