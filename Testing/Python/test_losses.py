"""Similarities, penalties and the loss of a level against the paper's equations written out."""

import itertools
import math

import numpy as np
import pytest
import torch

from mmln_reference import blob_pair, literal_correlation, literal_diffusion
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.local_correlation import LocalCorrelation
from MMLNRegistrationLib.model.losses import (
    SELF_SIMILARITY_PAIRS,
    SIMILARITY_LOSSES,
    LevelLoss,
    LossConfig,
    Structures,
    Warped,
    correlation_coefficient,
    correlation_loss,
    dice_loss,
    diffusion,
    level_loss,
    local_correlation,
    local_correlation_loss,
    mind_features,
    mind_loss,
    mutual_information,
    velocity_regularisation,
)
from MMLNRegistrationLib.spatial.warp import identity_grid


def noise(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_correlation_is_that_of_equations_2_and_3() -> None:
    fixed, moving = blob_pair(8)
    expected = literal_correlation(fixed, moving)
    assert correlation_coefficient(fixed, moving).item() == pytest.approx(expected, abs=1e-5)
    assert correlation_loss(fixed, moving).item() == pytest.approx(1 - expected, abs=1e-5)


def test_correlation_of_a_batch_is_the_mean_over_its_images() -> None:
    first, second = noise(3, 1, 4, 5, 6), noise(3, 1, 4, 5, 6, seed=4)
    second[1] = -2 * first[1] + 7
    each = [literal_correlation(first[b], second[b]) for b in range(3)]
    assert each[1] == pytest.approx(-1)
    assert correlation_coefficient(first, second).item() == pytest.approx(sum(each) / 3, abs=1e-12)


def test_correlation_is_exact_in_float32_far_from_zero() -> None:
    first, second = noise(1, 1, 16, 16, 16), noise(1, 1, 16, 16, 16, seed=4)
    expected = correlation_coefficient(first, second).item()
    shifted = correlation_coefficient((first + 100).float(), (second + 100).float()).item()
    assert shifted == pytest.approx(expected, abs=1e-4)


def test_flat_images_correlate_with_nothing_and_have_a_finite_gradient() -> None:
    flat = torch.full((1, 1, 4, 4, 4), 0.3, requires_grad=True)
    loss = correlation_loss(flat, noise(1, 1, 4, 4, 4).float())
    assert loss.item() == pytest.approx(1, abs=1e-5)
    loss.backward()
    assert torch.isfinite(flat.grad).all()


def test_diffusion_equals_the_loops() -> None:
    for shape in ((3, 4, 5, 6), (2, 5, 3)):
        velocity = noise(1, *shape)
        assert diffusion(velocity).item() == pytest.approx(literal_diffusion(velocity[0]), rel=1e-12)


def test_diffusion_of_a_linear_velocity_is_its_squared_gradient() -> None:
    matrix = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.5, -0.1], [0.2, 0.2, -0.3]])
    velocity = torch.einsum("ca,bakji->bckji", matrix, identity_grid((5, 6, 7)))
    assert diffusion(velocity).item() == pytest.approx(matrix.square().sum().item(), rel=1e-5)
    assert diffusion(velocity + 9).item() == pytest.approx(matrix.square().sum().item(), rel=1e-4)
    assert diffusion(torch.cat([velocity, 0 * velocity])).item() == pytest.approx(matrix.square().sum().item() / 2)


@pytest.mark.parametrize(("level", "factor"), [(1, 0.25), (2, 0.5), (3, 1.0)])
def test_regularisation_is_equation_5(level: int, factor: float) -> None:
    velocity = noise(1, 3, 4, 4, 4)
    expected = 1.7 * factor * literal_diffusion(velocity[0])
    assert velocity_regularisation(velocity, level, 3, 1.7).item() == pytest.approx(expected)


def test_local_correlation_is_the_value_of_its_class() -> None:
    fixed, moving = noise(1, 1, 6, 6, 6), noise(1, 1, 6, 6, 6, seed=4)
    expected = LocalCorrelation(fixed, 1, 1e-3).value(moving)
    assert torch.equal(local_correlation(fixed, moving, 1, 1e-3), expected)


def literal_mutual_information(fixed: np.ndarray, moving: np.ndarray, bins: int) -> float:
    """MI of one pair with every bin of the B-spline visited for every voxel."""

    def spline(x: float) -> float:
        x = abs(x)
        if x < 1:
            return 2 / 3 - x**2 + x**3 / 2
        return (2 - x) ** 3 / 6 if x < 2 else 0.0

    joint = np.zeros((bins, bins))
    for f, m in zip(fixed.ravel(), moving.ravel(), strict=True):
        for column in range(bins):
            joint[min(int(f * bins), bins - 1), column] += spline(m * (bins - 3) + 1 - column)
    joint /= fixed.size
    total = 0.0
    for row, column in itertools.product(range(bins), range(bins)):
        if joint[row, column] > 0:
            independent = joint[row].sum() * joint[:, column].sum()
            total += joint[row, column] * math.log(joint[row, column] / independent)
    return total


@pytest.mark.parametrize("bins", [4, 9])
def test_mutual_information_equals_the_literal_histogram(bins: int) -> None:
    fixed = noise(2, 1, 3, 4, 5)
    moving = (fixed + 0.3 * noise(2, 1, 3, 4, 5, seed=4)) / 1.3
    moving[0, 0, 0, 0, :2] = torch.tensor([0.0, 1.0], dtype=torch.float64)
    fixed[0, 0, 0, 0, :2] = torch.tensor([1.0, 0.0], dtype=torch.float64)
    each = [literal_mutual_information(fixed[b].numpy(), moving[b].numpy(), bins) for b in range(2)]
    assert mutual_information(fixed, moving, bins).item() == pytest.approx(sum(each) / 2, rel=1e-9)


def test_mutual_information_gradient() -> None:
    fixed = noise(1, 1, 3, 3, 3)
    moving = (0.1 + 0.8 * noise(1, 1, 3, 3, 3, seed=4)).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda image: mutual_information(fixed, image, 8), (moving,))


def test_mutual_information_sees_through_contrast_and_is_lost_by_shuffling() -> None:
    fixed, _ = blob_pair(16)
    inverted = mutual_information(fixed, 1 - fixed.clamp(0, 1))
    shuffled = fixed.flatten()[torch.randperm(fixed.numel(), generator=torch.Generator().manual_seed(0))]
    assert inverted > 0.5
    assert mutual_information(fixed, shuffled.view_as(fixed)) < 0.3 * inverted
    assert mutual_information(fixed, torch.zeros_like(fixed)).item() == pytest.approx(0, abs=1e-4)
    with pytest.raises(InputError, match="at least 4 bins"):
        mutual_information(fixed, fixed, bins=3)


def test_self_similarity_context_has_the_12_pairs_at_distance_root_2() -> None:
    assert len(SELF_SIMILARITY_PAIRS) == len(set(SELF_SIMILARITY_PAIRS)) == 12
    for first, second in SELF_SIMILARITY_PAIRS:
        assert sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) == 2
        assert sum(map(abs, first)) == sum(map(abs, second)) == 1


def test_mind_equals_the_loops_at_inner_voxels() -> None:
    image = noise(1, 1, 9, 9, 9)
    values = image[0, 0].numpy()
    features = mind_features(image, 1, 2)[0].numpy()
    for place in [(4, 4, 4), (3, 5, 4)]:
        distances = []
        for first, second in SELF_SIMILARITY_PAIRS:
            squares = []
            for offset in itertools.product((-1, 0, 1), repeat=3):
                one = tuple(p + o + 2 * n for p, o, n in zip(place, offset, first, strict=True))
                two = tuple(p + o + 2 * n for p, o, n in zip(place, offset, second, strict=True))
                squares.append((values[one] - values[two]) ** 2)
            distances.append(np.mean(squares))
        reduced = np.array(distances) - min(distances)
        np.testing.assert_allclose(features[(slice(None), *place)], np.exp(-reduced / reduced.mean()), rtol=1e-9)


def test_mind_ignores_linear_contrast_and_survives_flat_images() -> None:
    fixed, moving = blob_pair(12)
    torch.testing.assert_close(mind_features(fixed), mind_features(2 - 0.5 * fixed), rtol=1e-3, atol=1e-3)
    assert mind_loss(fixed, fixed).item() == 0
    assert mind_loss(fixed, moving) > 0
    assert torch.equal(mind_features(torch.ones(1, 1, 6, 6, 6)), torch.ones(1, 12, 6, 6, 6))
    moving.requires_grad_(True)
    mind_loss(fixed, moving).backward()
    assert torch.isfinite(moving.grad).all()
    assert moving.grad.abs().max() > 0


def test_mind_gradient() -> None:
    fixed = noise(1, 1, 4, 4, 4)
    moving = noise(1, 1, 4, 4, 4, seed=4).requires_grad_(True)
    (gradient,) = torch.autograd.grad(mind_loss(fixed, moving), moving)
    step = torch.zeros_like(moving)
    step[0, 0, 2, 1, 2] = 1e-6
    with torch.no_grad():
        difference = (mind_loss(fixed, moving + step) - mind_loss(fixed, moving - step)) / 2e-6
    # The noise bounds of MIND follow the image but pass no gradient; between the bounds that makes no difference.
    assert gradient[0, 0, 2, 1, 2].item() == pytest.approx(difference.item(), rel=1e-4)


@pytest.mark.parametrize("similarity", list(SIMILARITY_LOSSES))
def test_level_loss_is_the_weighted_sum_of_its_terms(similarity: str) -> None:
    measure = {"correlation": lambda *pair: 1 - literal_correlation(*pair), "local_correlation": local_loss}[similarity]
    fixed, image, velocity = noise(1, 1, 4, 4, 4), noise(1, 1, 4, 4, 4, seed=4), noise(1, 3, 4, 4, 4)
    slices = tuple(noise(1, 1, 4, 4, 4, seed=seed) for seed in (5, 6, 7))
    core = noise(1, 1, 2, 2, 2, seed=8), noise(1, 1, 2, 2, 2, seed=9)
    structures = Structures(noise(1, 2, 4, 4, 4, seed=10), noise(1, 2, 4, 4, 4, seed=11))
    known = noise(1, 3, 4, 4, 4, seed=12)
    weights = LossConfig(similarity, 0.3, (0.25, 0.5), core_weight=0.125, dice_weight=0.75, taught_weight=1.5)
    expected = LevelLoss(
        total=torch.tensor(0.0),
        similarity=measure(fixed, image),
        regularisation=0.3 / 2 * literal_diffusion(velocity[0]),
        slices=sum(measure(fixed, one) for one in slices) / 3,
        core=measure(*core),
        dice=literal_dice_loss(*structures),
        taught=(velocity - known).square().sum().item() / 64,
    )

    plain = level_loss(fixed, Warped(image, (), None, None), velocity, 2, 3, weights)
    assert plain.total.item() == pytest.approx(expected.similarity + expected.regularisation)
    assert plain.slices == plain.core == plain.dice == plain.taught == 0

    full = level_loss(fixed, Warped(image, slices, core, structures), velocity, 2, 3, weights, known)
    assert [term.item() for term in full[1:]] == pytest.approx(list(expected[1:]))
    branches = 0.5 * expected.slices + 0.125 * expected.core
    assert full.total.item() == pytest.approx(
        expected.similarity + expected.regularisation + branches + 0.75 * expected.dice + 1.5 * expected.taught
    )

    blind = level_loss(fixed, Warped(None, (), None, structures), velocity, 2, 3, weights)
    assert blind.similarity == blind.slices == blind.core == 0
    assert blind.total.item() == pytest.approx(expected.regularisation + 0.75 * expected.dice)


def local_loss(first: torch.Tensor, second: torch.Tensor) -> float:
    return 1 - local_correlation(first, second).item()


def literal_dice_loss(first: torch.Tensor, second: torch.Tensor) -> float:
    scores = []
    for one, two in zip(first.flatten(0, 1).numpy(), second.flatten(0, 1).numpy(), strict=True):
        if one.sum() + two.sum() > 0:
            scores.append(2 * (one * two).sum() / (one.sum() + two.sum()))
    return 1 - sum(scores) / len(scores)


def test_local_correlation_loss_falls_as_images_agree_whatever_their_brightness() -> None:
    fixed, moving = (image.double() for image in blob_pair(12))
    assert local_correlation_loss(fixed, moving) > local_correlation_loss(fixed, fixed) + 0.01
    textured = 50 * noise(1, 1, 8, 8, 8)  # far above what damps the correlation of nearly flat places
    assert local_correlation_loss(textured, 0.5 * textured + 2).item() == pytest.approx(0, abs=0.01)
    assert local_correlation_loss(textured, torch.zeros_like(textured)).item() == pytest.approx(1)


def test_dice_loss_of_known_overlaps() -> None:
    first, second = torch.zeros(1, 4, 4, 4, 4), torch.zeros(1, 4, 4, 4, 4)
    first[0, 0, :2], second[0, 0, :2] = 1, 1  # the same: 0
    first[0, 1, :2], second[0, 1, 2:] = 1, 1  # apart: 1
    first[0, 2, :2], second[0, 2, 1:3] = 1, 1  # half of each: 1/2; the fourth is in neither map and does not count
    assert dice_loss(first, second).item() == pytest.approx((0 + 1 + 0.5) / 3)
    assert dice_loss(second, first).item() == pytest.approx(0.5)
    assert dice_loss(first, second).item() == pytest.approx(literal_dice_loss(first, second))


def test_dice_loss_without_any_structure_is_zero_and_has_a_gradient() -> None:
    nothing = torch.zeros(2, 3, 4, 4, 4, requires_grad=True)
    loss = dice_loss(torch.zeros(2, 3, 4, 4, 4), nothing)
    loss.backward()
    assert loss == 0
    assert torch.equal(nothing.grad, torch.zeros_like(nothing))


def test_dice_loss_gradient() -> None:
    first, second = noise(1, 2, 3, 3, 3), noise(1, 2, 3, 3, 3, seed=4).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda maps: dice_loss(first, maps), (second,))


def test_unknown_similarities_are_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="'ssim'; choose correlation or local_correlation"):
        LossConfig(similarity="ssim")


def test_negative_weights_are_refused() -> None:
    for illegal in (
        {"k": -1.0},
        {"slice_weights": (0.25, -0.5)},
        {"core_weight": -0.1},
        {"dice_weight": -0.1},
        {"taught_weight": -1.0},
    ):
        with pytest.raises(InputError, match="negative"):
            LossConfig(**illegal)
