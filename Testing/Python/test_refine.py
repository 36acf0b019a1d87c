"""Instance optimisation on small pairs: it improves, it points the right way, and it can be stopped."""

from dataclasses import replace

import pytest
import torch

from MMLNRegistrationLib.model.local_correlation import LocalCorrelation
from MMLNRegistrationLib.model.losses import correlation_coefficient
from MMLNRegistrationLib.pipeline.field import deformation
from MMLNRegistrationLib.pipeline.refine import (
    FROM_VELOCITY,
    FROM_ZERO,
    SIMILARITIES,
    RefineConfig,
    Schedule,
    SimilarityGradient,
    refine,
)
from MMLNRegistrationLib.progress import Cancelled, silent
from MMLNRegistrationLib.spatial.warp import identity_grid, resize_displacement, warp
from phantoms import brain, grid, voxels_ras, wave

NET = grid("identity", (32, 36, 34), (4.0, 4.0, 4.0))
VELOCITY_SHAPE = (16, 18, 17)
AT_BEST_FOR_EQUAL_IMAGES = ("local_correlation", "correlation", "mind")
"""Not mutual information: by a finite histogram, an image can share more with a warped copy than with itself."""
QUICK = RefineConfig(iterations=6)


def tensor(values: object) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)[None, None]


BENT = wave(3.0, 70.0)
FIXED, MOVING = tensor(brain(BENT(voxels_ras(NET)))), tensor(brain(voxels_ras(NET)))


def zero_velocity() -> torch.Tensor:
    return torch.zeros(1, 3, *VELOCITY_SHAPE)


def warped_by(velocity: torch.Tensor) -> torch.Tensor:
    return warp(MOVING, deformation(velocity, NET).displacement_voxels)


def difference(image: torch.Tensor) -> float:
    return float((image - FIXED).square().mean())


def test_zero_iterations_return_the_velocity_itself() -> None:
    velocity = torch.rand(1, 3, *VELOCITY_SHAPE)
    assert torch.equal(refine(FIXED, MOVING, velocity, replace(QUICK, iterations=0), silent), velocity)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_every_similarity_improves_and_pulls_the_images_together(name: str) -> None:
    velocity = refine(FIXED, MOVING, zero_velocity(), replace(QUICK, similarity=name), silent)
    assert velocity.shape == (1, 3, *VELOCITY_SHAPE)
    warped = warped_by(velocity)
    evaluate = SIMILARITIES[name](FIXED)
    assert evaluate(warped)[0] > evaluate(MOVING)[0]
    assert difference(warped) < 0.5 * difference(MOVING)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_the_derivative_of_every_similarity_is_that_of_its_value(name: str) -> None:
    evaluate = SIMILARITIES[name](FIXED)
    middle = 0.6 * MOVING + 0.4 * FIXED
    change = 0.02 * (FIXED - MOVING)
    expected = (evaluate(middle + change)[0] - evaluate(middle - change)[0]) / 2
    assert float((evaluate(middle)[1] * change).sum()) == pytest.approx(expected, rel=0.05)


def test_the_displacement_found_is_the_one_that_was_made() -> None:
    velocity = refine(FIXED, MOVING, zero_velocity(), RefineConfig(iterations=15), silent)
    found = deformation(velocity, NET).displacement_voxels[0]
    points = voxels_ras(NET)
    true = tensor((BENT(points) - points) / 4.0)[0, 0].permute(3, 0, 1, 2).flip(0)  # R, A, S to k, j, i
    inside = FIXED[0, 0] > 0.3
    remaining = (found - true).norm(dim=0)[inside].median()
    assert remaining < 0.6 * true.norm(dim=0)[inside].median()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_blob_is_pulled_along_its_own_axis_with_the_right_sign(axis: int) -> None:
    """fixed(x) = moving(x + 2): the displacement is +2 along that axis, where the blob lies."""
    squared = (identity_grid((24, 24, 24)) - 12).square().sum(dim=1, keepdim=True)
    moving, fixed = (torch.exp(-squared / 18).roll(shift, axis + 2) for shift in (1, -1))
    velocity = refine(fixed, moving, torch.zeros(1, 3, 12, 12, 12), replace(QUICK, iterations=12), silent)
    net = grid("identity", (24, 24, 24))
    found = deformation(velocity, net).displacement_voxels[0, :, 10:15, 10:15, 10:15].flatten(1).mean(dim=1)
    # Smoothness costs the top of a lone blob some of its way.
    assert 1.3 < found[axis] < 2.1
    assert found.abs().sum() - found[axis] < 0.1


def test_the_velocity_vanishes_at_the_border() -> None:
    velocity = refine(FIXED.roll(14, 2), MOVING.roll(14, 2), zero_velocity(), QUICK, silent)
    inner = torch.zeros_like(velocity, dtype=torch.bool)
    inner[..., 1:-1, 1:-1, 1:-1] = True
    assert (velocity[~inner] == 0).all()
    assert velocity[inner].abs().max() > 0.1


def test_a_good_start_is_used() -> None:
    """What was found before is kept, however much is smoothed what is added to it."""
    careful = RefineConfig(schedule=Schedule(6, ((1, 1),), step_voxels=0.01, velocity_sigma_voxels=3.0))
    start = refine(FIXED, MOVING, zero_velocity(), RefineConfig(iterations=15), silent)
    from_start, from_zero = (warped_by(refine(FIXED, MOVING, v, careful, silent)) for v in (start, zero_velocity()))
    assert difference(from_start) < 0.5 * difference(from_zero)


@pytest.mark.parametrize("iterations", [1, 6])
@pytest.mark.parametrize("name", AT_BEST_FOR_EQUAL_IMAGES)
def test_images_that_agree_stay_where_they_are(name: str, iterations: int) -> None:
    config = RefineConfig(iterations=iterations, similarity=name)
    found = deformation(refine(FIXED, FIXED, zero_velocity(), config, silent), NET).displacement_voxels
    assert found.norm(dim=1).max() < 0.01
    assert correlation_coefficient(FIXED, warp(FIXED, found)) > 0.9999


@pytest.mark.parametrize("name", AT_BEST_FOR_EQUAL_IMAGES)
def test_images_that_almost_agree_are_not_shaken(name: str) -> None:
    """Half a hundredth of a voxel off, as after a linear start."""
    moving = warp(FIXED, torch.full((1, 3, *FIXED.shape[2:]), 0.005))
    found = deformation(refine(FIXED, moving, zero_velocity(), replace(QUICK, similarity=name), silent), NET)
    assert found.displacement_voxels.norm(dim=1).max() < 0.05
    assert correlation_coefficient(FIXED, warp(moving, found.displacement_voxels)) > 0.9999


def test_a_flat_image_moves_nothing() -> None:
    assert refine(torch.zeros_like(FIXED), MOVING, zero_velocity(), QUICK, silent).abs().max() == 0


def test_no_resolution_ends_worse_than_it_began() -> None:
    """Steps far too long: the start is still there to go back to."""
    start = refine(FIXED, MOVING, zero_velocity(), RefineConfig(iterations=15), silent)
    wild = RefineConfig(schedule=replace(FROM_VELOCITY, factors=((1, 1),), step_voxels=3.0))
    assert torch.equal(refine(FIXED, MOVING, start, wild, silent), start)


@pytest.mark.parametrize(("share", "moves"), [(1.0, True), (1e-7, False)])
def test_forces_as_small_as_rounding_move_nothing(share: float, moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam by itself takes no notice of a factor."""

    def weak(fixed: torch.Tensor) -> SimilarityGradient:
        evaluate = SIMILARITIES["local_correlation"](fixed)
        return lambda warped: tuple(share * result for result in evaluate(warped))

    monkeypatch.setitem(SIMILARITIES, "weak", weak)
    velocity = refine(FIXED, MOVING, zero_velocity(), replace(QUICK, similarity="weak"), silent)
    assert (velocity.abs().max() > 0.01) == moves


@pytest.mark.parametrize("shape", [(8, 8, 16), (9, 11, 13), (24, 8, 8)])
def test_small_and_odd_grids_work(shape: tuple[int, int, int]) -> None:
    fixed, moving = torch.rand(2, 1, 1, *shape, generator=torch.Generator().manual_seed(0))
    grid_shape = tuple(n // 2 for n in shape)
    velocity = refine(fixed, moving, torch.zeros(1, 3, *grid_shape), QUICK, silent)
    assert velocity.shape == (1, 3, *grid_shape)
    assert torch.isfinite(velocity).all()


def test_other_velocity_grids_and_levels_work() -> None:
    schedule = replace(FROM_ZERO, iterations=6, factors=((4, 2), (2, 1)), step_voxels=0.1)
    config = RefineConfig(schedule=schedule, velocity_factor=4, taper_voxels=1)
    velocity = refine(FIXED, MOVING, torch.zeros(1, 3, 8, 9, 8), config, silent)
    assert velocity.shape == (1, 3, 8, 9, 8)
    assert difference(warped_by(resize_displacement(velocity, VELOCITY_SHAPE))) < 0.95 * difference(MOVING)


def test_two_runs_give_the_same_bits() -> None:
    runs = [refine(FIXED, MOVING, zero_velocity(), replace(QUICK, iterations=2), silent) for _ in range(2)]
    assert torch.equal(*runs)


def test_progress_rises_from_zero_once_an_iteration() -> None:
    told: list[float] = []
    refine(FIXED, MOVING, zero_velocity(), replace(QUICK, iterations=2), lambda step, fraction: told.append(fraction))
    assert len(told) == 2 * (3 + 2 + 1)
    assert told[0] == 0
    assert told == sorted(told)
    assert told[-1] < 1


def test_a_cancelled_run_ends_within_one_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[None] = []
    original = LocalCorrelation.agreement_and_gradient

    def counted(self: LocalCorrelation, moving: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        computed.append(None)
        return original(self, moving)

    monkeypatch.setattr(LocalCorrelation, "agreement_and_gradient", counted)

    def cancel_at_the_third_call(step: str, fraction: float) -> None:
        if len(computed) == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        refine(FIXED, MOVING, zero_velocity(), QUICK, cancel_at_the_third_call)
    assert len(computed) == 2


def test_a_velocity_that_is_there_gets_fewer_iterations() -> None:
    """A third of those from zero, coarse to fine."""
    start, told = zero_velocity(), []
    start[:, :, 4, 4, 4] = 0.1
    assert RefineConfig().schedule_from(start) == FROM_VELOCITY
    refine(FIXED, MOVING, start, RefineConfig(), lambda step, fraction: told.append(step))
    steps = ("1/4 resolution", "1/2 resolution", "full resolution")
    assert [told.count(f"refine: {step}") for step in steps] == [21, 15, 3]
    assert 3 * len(told) <= sum(FROM_ZERO.iterations * multiple for _, multiple in FROM_ZERO.factors)


def test_a_velocity_that_is_there_is_brought_further() -> None:
    start = refine(FIXED, MOVING, zero_velocity(), RefineConfig(iterations=3), silent)
    further = refine(FIXED, MOVING, start, RefineConfig(iterations=6), silent)
    assert difference(warped_by(further)) < 0.9 * difference(warped_by(start))


def test_detail_that_is_there_stays() -> None:
    """Smoothing what is added leaves alone what it is added to: between equal images nothing is added."""
    detail = torch.randn(1, 3, *VELOCITY_SHAPE, generator=torch.Generator().manual_seed(0))
    moving = FIXED
    fixed = warp(FIXED, deformation(detail, NET).displacement_voxels)
    refined = refine(fixed, moving, detail, RefineConfig(), silent)
    assert float((refined - detail).norm()) < 0.2 * float(detail.norm())
