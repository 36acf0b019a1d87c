"""The linear start: far misplacements, mirrored storage, meaningless origins, fallbacks, and stopping."""

import numpy as np
import pytest
import SimpleITK as sitk

from MMLNRegistrationLib.pipeline import initial
from MMLNRegistrationLib.pipeline.initial import Initial, InitialConfig, register_linear
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.progress import Cancelled, Progress, silent
from MMLNRegistrationLib.spatial.geometry import Geometry, Matrix
from phantoms import brain, grid, image, matrix_4x4, rotation, transform_points, voxels_ras

FIXED_GRID = grid("oblique", (32, 36, 34), (4.0, 4.0, 4.0))
BRAIN = image(brain, FIXED_GRID, "fixed")
QUICK = InitialConfig(search_degrees=(-15.0, 0.0, 15.0), candidates=1)


def fixed_image(moving_from_fixed: Matrix) -> Volume:
    """What the fixed grid sees when the anatomy of `brain` lies where this map sends it."""
    return image(lambda points: brain(transform_points(moving_from_fixed, points)), FIXED_GRID, "fixed")


def found_from(
    fixed: Volume,
    moving: Volume,
    config: InitialConfig | None = None,
    rigid_only: bool = False,
    progress: Progress = silent,
) -> Initial:
    masks = fixed.array_kji > 0, moving.array_kji > 0
    return register_linear(fixed, moving, *masks, rigid_only=rigid_only, progress=progress, config=config)


def median_error_mm(fixed: Volume, found: Matrix, true: Matrix) -> float:
    points = voxels_ras(fixed.geometry)[fixed.array_kji > 0.2]
    return float(np.median(np.linalg.norm(transform_points(found, points) - transform_points(true, points), axis=1)))


@pytest.mark.parametrize(
    ("degrees", "offset_mm", "direction"),
    [
        ((30.0, 0.0, 0.0), (0.0, 60.0, 80.0), "oblique_left_handed"),
        ((0.0, -30.0, 0.0), (-100.0, 0.0, 0.0), "lps_axes"),
        ((10.0, 15.0, -25.0), (57.0, -58.0, 58.0), "rotated_90"),
    ],
)
def test_thirty_degrees_and_a_hundred_millimetres(
    degrees: tuple[float, float, float], offset_mm: tuple[float, float, float], direction: str
) -> None:
    """The moving scan is in its own place, as scanners do it, in another orientation, with thicker slices."""
    true = matrix_4x4(rotation(degrees) @ np.diag([1.06, 0.95, 1.03]), offset_mm)
    fixed = fixed_image(np.linalg.inv(matrix_4x4(np.eye(3), offset_mm)) @ true)
    there = grid(direction, (30, 36, 38), (4.0, 4.0, 5.0), offset_mm)
    moving = image(lambda points: brain(points - np.array(offset_mm)), there, "moving")
    found = found_from(fixed, moving)
    assert median_error_mm(fixed, found.moving_ras_from_fixed_ras, true) < 1.5
    assert found.notes == ()


SMALL_TURN = matrix_4x4(rotation((8.0, -6.0, 10.0)), (5.0, -4.0, 3.0))
PLAIN = image(brain, grid("identity", (32, 36, 34), (4.0, 4.0, 4.0)), "moving")


@pytest.fixture(scope="module")
def plain_result() -> Matrix:
    return found_from(fixed_image(SMALL_TURN), PLAIN, QUICK).moving_ras_from_fixed_ras


@pytest.mark.parametrize("flips", [(True, False, False), (True, True, False), (True, True, True)])
def test_mirrored_storage_of_the_same_anatomy_is_no_misplacement(
    flips: tuple[bool, bool, bool], plain_result: Matrix
) -> None:
    """The array turned round along some axes, and a matrix that says so: the same picture in the world."""
    fixed = fixed_image(SMALL_TURN)
    array, matrix = PLAIN.array_kji, PLAIN.geometry.ras_from_ijk
    for axis, flip in enumerate(flips):  # i, j, k
        if flip:
            array = np.flip(array, 2 - axis)
            turn = np.eye(4)
            turn[axis, axis], turn[axis, 3] = -1, PLAIN.geometry.size_ijk[axis] - 1
            matrix = matrix @ turn
    turned = Volume(array, Geometry(PLAIN.geometry.shape_kji, matrix), "moving")
    found = found_from(fixed, turned, QUICK).moving_ras_from_fixed_ras
    assert median_error_mm(fixed, found, plain_result) < 0.3
    assert median_error_mm(fixed, found, SMALL_TURN) < 1.5
    assert np.linalg.det(found[:3, :3]) > 0


def test_the_pyramid_shows_every_place_where_it_is() -> None:
    """Averages over blocks of an even number of voxels lie between voxels: no half voxel may be lost there."""
    geometry = grid("oblique_left_handed", (32, 32, 33), (1.0, 2.0, 1.0), (7.0, -3.0, 5.0))
    for axis in range(3):
        place = Volume(voxels_ras(geometry)[..., axis].astype(np.float32), geometry, "place")
        for spacing_mm in (1.0, 2.0, 3.0, 4.0):
            coarse = initial._coarse(place, spacing_mm)
            for index in ((0, 0, 0), (1, 2, 3), tuple(n - 1 for n in coarse.GetSize())):
                shown = coarse.GetPixel(*index)
                assert shown == pytest.approx(coarse.TransformIndexToPhysicalPoint(index)[axis], abs=1e-3)


def test_rigid_is_rigid_though_the_truth_is_not() -> None:
    fixed = fixed_image(matrix_4x4(rotation((10.0, 5.0, -8.0)) @ np.diag([1.15, 0.9, 1.1]), (12.0, -7.0, 4.0)))
    linear = found_from(fixed, BRAIN, QUICK, rigid_only=True).moving_ras_from_fixed_ras[:3, :3]
    assert np.linalg.det(linear) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-6)
    affine = found_from(fixed, BRAIN, QUICK).moving_ras_from_fixed_ras[:3, :3]
    assert abs(np.linalg.det(affine) - 1) > 0.02


def test_origins_that_mean_nothing_are_no_obstacle() -> None:
    """The same scan with an origin half a kilometre away: found as exactly as from next door."""
    away = np.array((3e5, -4e5, 1e5))
    moved = Volume(
        BRAIN.array_kji,
        Geometry(FIXED_GRID.shape_kji, matrix_4x4(np.eye(3), tuple(away)) @ FIXED_GRID.ras_from_ijk),
        "m",
    )
    found = found_from(BRAIN, moved, QUICK)
    assert median_error_mm(BRAIN, found.moving_ras_from_fixed_ras, matrix_4x4(np.eye(3), tuple(away))) < 0.3


def test_masks_lead_past_what_they_leave_out() -> None:
    """A bright block beside the moving head, half as big as the head, draws the centre of mass away."""
    geometry = grid("oblique", (56, 36, 34), (4.0, 4.0, 4.0))
    moving = image(brain, geometry, "moving")
    head = moving.array_kji > 0
    moving.array_kji[46:, 6:30, 6:30] = 1.0
    true = matrix_4x4(rotation((4.0, -6.0, 5.0)), (3.0, 5.0, -4.0))
    fixed = fixed_image(true)
    masks = fixed.array_kji > 0, head
    centres = [initial._centre_of_mass(moving, mask) for mask in (head, np.ones_like(head))]
    assert np.linalg.norm(centres[0] - centres[1]) > 20
    found = register_linear(fixed, moving, *masks, rigid_only=False, progress=silent, config=QUICK)
    assert median_error_mm(fixed, found.moving_ras_from_fixed_ras, true) < 1.5


def test_contrast_may_be_reversed() -> None:
    true = matrix_4x4(rotation((8.0, -10.0, 6.0)), (6.0, -5.0, 8.0))
    moving = Volume(np.where(BRAIN.array_kji > 0, 1.3 - BRAIN.array_kji, 0).astype(np.float32), FIXED_GRID, "moving")
    fixed = fixed_image(true)
    assert median_error_mm(fixed, found_from(fixed, moving, QUICK).moving_ras_from_fixed_ras, true) < 1.5


def test_two_searches_give_the_same_matrix() -> None:
    fixed = fixed_image(matrix_4x4(rotation((8.0, -10.0, 6.0)), (6.0, -5.0, 8.0)))
    first, second = (found_from(fixed, BRAIN, QUICK).moving_ras_from_fixed_ras for _ in range(2))
    np.testing.assert_array_equal(first, second)


def throw_away(transform: sitk.Transform) -> None:
    transform.SetTranslation((500.0, 0.0, 0.0))


def blow_up(transform: sitk.Transform) -> None:
    if transform.GetName() == "AffineTransform":
        transform.SetMatrix((3.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 3.0))


@pytest.mark.parametrize(
    ("spoil", "kept"),
    [(throw_away, "the world coordinates of the files"), (blow_up, "a rigid map")],
)
def test_a_search_that_ends_worse_keeps_the_better_and_says_so(
    spoil: object, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The optimiser replaced by one that ends badly: far away, or at heads of 27 times the volume."""

    def badly(level: object, transform: sitk.Transform, *rest: object) -> None:
        spoil(transform)  # type: ignore[operator]

    monkeypatch.setattr(initial, "_optimise", badly)
    found = found_from(BRAIN, BRAIN, QUICK)
    np.testing.assert_allclose(found.moving_ras_from_fixed_ras, np.eye(4), atol=1e-9)
    assert found.notes == (
        f"The linear search did not improve on {kept}, which was kept; look at the result with care.",
    )


def test_an_optimiser_that_loses_the_image_leaves_the_start() -> None:
    """ITK gives up when nothing overlaps; that is no reason for the program to."""
    levels = tuple(initial._coarse(BRAIN, 8.0) for _ in range(2)), initial._coarse_mask(BRAIN, BRAIN.array_kji > 0, 8.0)
    far = sitk.Euler3DTransform()
    far.SetTranslation((1e4, 0.0, 0.0))
    initial._optimise((*levels[0], levels[1]), far, 8.0, QUICK, silent, "step")
    assert far.GetTranslation() == (1e4, 0.0, 0.0)


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt])
def test_it_stops_within_one_iteration_with_the_caller_s_error(error: type[BaseException]) -> None:
    told: list[str] = []

    def stop_in_the_affine_level(step: str, fraction: float) -> None:
        told.append(step)
        if sum(name.startswith("initial: affine") for name in told) == 3:
            raise error

    with pytest.raises(error):
        found_from(
            fixed_image(matrix_4x4(rotation((8.0, -10.0, 6.0)))), BRAIN, QUICK, progress=stop_in_the_affine_level
        )
    assert sum(name.startswith("initial: affine") for name in told) == 3


def test_progress_names_its_steps_and_stays_between_zero_and_one() -> None:
    told: list[tuple[str, float]] = []
    found_from(BRAIN, BRAIN, QUICK, progress=lambda step, fraction: told.append((step, fraction)))
    assert {step for step, _ in told} == {
        "initial: search",
        "initial: rigid",
        "initial: affine 4 mm",
        "initial: affine 2 mm",
    }
    assert all(0 <= fraction <= 1 for _, fraction in told)
