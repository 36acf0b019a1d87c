"""From the velocity to u in millimetres, back again, and the images and labels that u carries."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MMLNRegistrationLib import io
from MMLNRegistrationLib.pipeline.field import (
    Deformation,
    deformation,
    forward_displacement,
    inverse_displacement,
    inverse_points,
    linear_displacement,
    moving_coordinates,
    warp_labels,
    warp_volume,
)
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.spatial.separable import gaussian_smooth
from MMLNRegistrationLib.spatial.velocity import border_taper
from MMLNRegistrationLib.spatial.warp import identity_grid, sample
from phantoms import (
    DIRECTIONS,
    affine_map,
    blob,
    displacement_of,
    grid,
    image,
    matrix_4x4,
    rotation,
    transform_points,
    voxels_ras,
    wave,
)

NET = grid("identity", (40, 48, 44), (2.0, 2.0, 2.0), (3.0, -4.0, 5.0))
VELOCITY_SHAPE = (20, 24, 22)
LINEAR = matrix_4x4(rotation((10.0, -15.0, 20.0)) @ np.diag([1.1, 0.9, 1.05]), (40.0, -70.0, 25.0))


def smooth_velocity(size_voxels: float = 2.0) -> torch.Tensor:
    """On half of NET's resolution, vanishing at the border."""
    noise = torch.randn(1, 3, *VELOCITY_SHAPE, generator=torch.Generator().manual_seed(3))
    smooth = gaussian_smooth(noise, 2.5) * border_taper(VELOCITY_SHAPE, 4)
    return smooth * (size_voxels / smooth.abs().max())


def constant_shift(shift_ras_mm: tuple[float, float, float]) -> Deformation:
    """Every point of NET moved by the same millimetres."""
    shift_kji = torch.tensor(shift_ras_mm[::-1]).view(1, 3, 1, 1, 1) / 2.0
    return Deformation(shift_kji.expand(1, 3, *NET.shape_kji).float(), NET)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_u_is_the_shift_and_then_the_linear_map(direction: str) -> None:
    geometry = grid(direction, (8, 9, 10), (1.5, 2.0, 1.0), (5.0, 3.0, -2.0))
    u = forward_displacement(geometry, constant_shift((1.0, -2.0, 3.5)), LINEAR)
    assert u.dtype == np.float32
    points = voxels_ras(geometry)
    np.testing.assert_allclose(points + u, transform_points(LINEAR, points + np.array((1, -2, 3.5))), atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_inverse_undoes_the_linear_map_and_then_the_shift(direction: str) -> None:
    geometry = grid(direction, (8, 9, 10), (1.5, 2.0, 1.0), tuple(LINEAR[:3, 3]))
    shift_kji = torch.tensor([3.5, -2.0, 1.0]) / 2.0 * torch.tensor([19 / 39, 23 / 47, 21 / 43])
    velocity = shift_kji.view(1, 3, 1, 1, 1).expand(1, 3, *VELOCITY_SHAPE).contiguous()
    points = voxels_ras(geometry)
    expected = transform_points(np.linalg.inv(LINEAR), points) - (1, -2, 3.5)
    sampled = inverse_displacement(geometry, velocity, NET, LINEAR)
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(points + sampled, expected, atol=1e-3)
    found = inverse_points(points.reshape(-1, 3), velocity, NET, LINEAR)
    np.testing.assert_allclose(found, expected.reshape(-1, 3), atol=1e-3)


def test_the_linear_displacement_is_that_of_the_matrix() -> None:
    geometry = grid("oblique_left_handed", (8, 9, 10), (1.5, 2.0, 1.0), (5.0, 3.0, -2.0))
    found = linear_displacement(geometry, LINEAR)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, displacement_of(affine_map(LINEAR), geometry), atol=1e-4)


def test_a_deformation_is_on_the_network_grid_in_its_voxels() -> None:
    velocity = torch.zeros(1, 3, *VELOCITY_SHAPE)
    velocity[:, 1] = 1.5  # a constant velocity moves by itself; 1.5 of its voxels, stretched to NET's
    deform = deformation(velocity, NET)
    assert deform.displacement_voxels.shape == (1, 3, *NET.shape_kji)
    expected = torch.zeros(3)
    expected[1] = 1.5 * 47 / 23
    torch.testing.assert_close(deform.displacement_voxels[0].flatten(1).mean(dim=1), expected, atol=1e-4, rtol=0)
    assert deform.displacement_voxels.std(dim=(2, 3, 4)).max() < 1e-4


def test_outside_the_network_grid_only_the_linear_map_is_left() -> None:
    beyond = grid("oblique", (8, 8, 8), (2.0, 2.0, 2.0), (200.0, 0.0, 0.0))
    u = forward_displacement(beyond, deformation(smooth_velocity(), NET), LINEAR)
    np.testing.assert_allclose(u, displacement_of(affine_map(LINEAR), beyond), atol=1e-4)


@pytest.mark.parametrize("size_voxels", [1.0, 2.5])
def test_points_carried_there_come_back(size_voxels: float) -> None:
    """x -> x + u(x) -> inverse ends at x again, in the middle of the network grid."""
    velocity = smooth_velocity(size_voxels)
    fixed = grid("oblique_left_handed", (22, 20, 24), (2.5, 2.5, 2.5), tuple(NET.centre_ras))
    u = forward_displacement(fixed, deformation(velocity, NET), LINEAR)
    assert np.linalg.norm(u - linear_displacement(fixed, LINEAR), axis=-1).max() > 2 * size_voxels
    starts = voxels_ras(fixed).reshape(-1, 3)
    back = inverse_points(starts + u.reshape(-1, 3), velocity, NET, LINEAR)
    remaining_mm = np.linalg.norm(back - starts, axis=1)
    assert np.median(remaining_mm) < 0.01
    assert np.percentile(remaining_mm, 95) < 0.05
    # And the other way round: a point of moving space, its origin in fixed space, and there again.
    ends = transform_points(LINEAR, starts)
    origins = inverse_points(ends, velocity, NET, LINEAR)
    again = origins + _displacement_at(origins, velocity)
    assert np.median(np.linalg.norm(again - ends, axis=1)) < 0.01


def _displacement_at(points: np.ndarray, velocity: torch.Tensor) -> np.ndarray:
    """u at points (N, 3) anywhere."""
    deform = deformation(velocity, NET)
    net_kji = transform_points(NET.ijk_from_ras, points)[:, ::-1]
    where = torch.from_numpy(net_kji.T.copy()).float().view(1, 3, -1, 1, 1)
    shift = sample(deform.displacement_voxels, where).view(3, -1).numpy().T[:, ::-1]
    moved = transform_points(NET.ras_from_ijk, net_kji[:, ::-1] + shift)
    return transform_points(LINEAR, moved) - points


def test_the_sampled_inverse_is_the_inverse_of_points() -> None:
    velocity = smooth_velocity()
    moving = grid("left_handed", (10, 11, 12), (4.0, 4.0, 4.0), tuple(transform_points(LINEAR, NET.centre_ras)))
    points = voxels_ras(moving)
    sampled = points + inverse_displacement(moving, velocity, NET, LINEAR)
    np.testing.assert_allclose(
        sampled.reshape(-1, 3), inverse_points(points.reshape(-1, 3), velocity, NET, LINEAR), atol=2e-3
    )


def test_world_origins_far_away_cost_no_precision() -> None:
    """A scan placed ten kilometres off: single precision of world coordinates would be a millimetre there."""
    away = (1e7, 1e7, -1e7)
    velocity = smooth_velocity()
    (near, near_net), (far, far_net) = (
        (grid("oblique", (8, 9, 10), (1.5, 2.0, 1.0), centre), grid("identity", (40, 48, 44), (2.0, 2.0, 2.0), centre))
        for centre in ((0.0, 0.0, 0.0), away)
    )
    expected = forward_displacement(near, deformation(velocity, near_net), np.eye(4))
    u = forward_displacement(far, deformation(velocity, far_net), np.eye(4))
    np.testing.assert_allclose(u, expected, atol=1e-4)
    points = voxels_ras(near).reshape(-1, 3)
    expected_back = inverse_points(points, velocity, near_net, np.eye(4))
    back = inverse_points(points + away, velocity, far_net, np.eye(4))
    np.testing.assert_allclose(back - away, expected_back, atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_coordinates_on_the_moving_grid(direction: str) -> None:
    fixed, moving = grid("oblique", (8, 9, 10)), grid(direction, (30, 31, 32), (0.7, 1.2, 2.0), (1.0, 2.0, 3.0))
    u = displacement_of(wave(2.0, 30.0), fixed)
    expected = transform_points(moving.ijk_from_ras, voxels_ras(fixed) + u)[..., ::-1]
    found = moving_coordinates(moving, u, fixed)[0].permute(1, 2, 3, 0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_warped_image_shows_moving_at_x_plus_u_on_the_fixed_grid() -> None:
    def spots(points: np.ndarray) -> np.ndarray:
        return blob(points, (3.0, -4.0, 5.0), 6.0) + 0.7 * blob(points, (-9.0, 7.0, -4.0), 5.0)

    fixed = grid("oblique", (20, 22, 24), (1.5, 1.5, 1.5))
    moving = image(spots, grid("left_handed", (36, 38, 40), (1.2, 1.2, 1.2)), "moving scan")
    bend = wave(2.0, 40.0)
    warped = warp_volume(moving, displacement_of(bend, fixed), fixed)
    np.testing.assert_allclose(warped.array_kji, spots(bend(voxels_ras(fixed))), atol=0.03)
    assert warped.geometry is fixed
    assert warped.name == "moving scan"


def test_warped_images_and_labels_are_those_of_simpleitk() -> None:
    fixed = grid("oblique_left_handed", (20, 22, 24), (1.5, 1.5, 1.5))
    geometry = grid("rotated_90", (18, 20, 16), (1.2, 2.0, 1.6), (2.0, 0.0, 1.0))
    random = np.random.default_rng(0)
    scan = Volume(random.random(geometry.shape_kji).astype(np.float32) + 1, geometry, "scan")
    labels = Volume(random.integers(0, 40000, geometry.shape_kji).astype(np.uint16), geometry, "labels")
    u = displacement_of(wave(2.0, 40.0), fixed)
    transform = io.displacement_transform(u, fixed)
    warped = warp_volume(scan, u, fixed).array_kji
    expected = io.resample(scan, transform, fixed, nearest=False).array_kji
    inside = (expected > 1.0001) & (warped > 0)
    assert inside.mean() > 0.4
    np.testing.assert_allclose(warped[inside], expected[inside], atol=2e-3)
    carried = warp_labels(labels, u, fixed)
    assert carried.array_kji.dtype == np.uint16
    assert (carried.array_kji == 0).mean() > 0.05  # what lies outside
    # The nearest voxel may differ where a point lies half way between two.
    assert (carried.array_kji == io.resample(labels, transform, fixed, nearest=True).array_kji).mean() > 0.999


def test_labels_are_never_mixed_and_end_at_the_border() -> None:
    geometry = grid("identity", (8, 8, 8))
    labels = Volume(np.full((8, 8, 8), 200, np.uint8), geometry, "labels")
    u = np.zeros((8, 8, 8, 3), np.float32)
    u[..., 2] = 0.3
    assert (warp_labels(labels, u, geometry).array_kji == 200).all()
    u[..., 2] = 0.7
    carried = warp_labels(labels, u, geometry).array_kji
    assert (carried[:-1] == 200).all()
    assert (carried[-1] == 0).all()
    assert (warp_labels(labels, np.full((8, 8, 8, 3), 1e6, np.float32), geometry).array_kji == 0).all()


def test_the_sitk_frame_is_not_ours() -> None:
    """A guard for the tests above: their reference really goes through LPS files' convention."""
    transform = io.displacement_transform(np.tile(np.float32([1, 2, 3]), (8, 8, 8, 1)), grid("identity", (8, 8, 8)))
    assert isinstance(transform, sitk.Transform)
    np.testing.assert_allclose(transform.TransformPoint((0.0, 0.0, 0.0)), (-1, -2, 3))


def test_an_identity_everywhere_changes_nothing() -> None:
    geometry = grid("oblique", (9, 10, 11), (1.0, 2.0, 1.5))
    zero = Deformation(torch.zeros(1, 3, *NET.shape_kji), NET)
    u = forward_displacement(geometry, zero, np.eye(4))
    assert np.abs(u).max() < 1e-5
    values = identity_grid(geometry.shape_kji)[0].sum(dim=0).numpy()
    np.testing.assert_allclose(warp_volume(Volume(values, geometry, "x"), u, geometry).array_kji, values, atol=1e-4)
