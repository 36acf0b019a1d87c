"""The loss of each level (Eq 6-8) assembled by hand, what each strategy changes, and that training works."""

import itertools

import pytest
import torch

from mmln_reference import (
    WIDTH,
    blob_pair,
    enlarge_outputs,
    literal_correlation,
    literal_diffusion,
    splice,
    tiny_network,
)
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.branches import run_core
from MMLNRegistrationLib.model.losses import LossConfig, Structures, dice_loss
from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig, pyramid
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import warp

ALPHA, BETA, THETA, K = 0.25, 0.5, 0.25, 0.7


def on_grid_of(level: int, *images: torch.Tensor) -> list[torch.Tensor]:
    return [pyramid(image, 4 - level)[0] for image in images]


def mutual_learning(**switches: bool) -> MutualLearning:
    learning = MutualLearning(tiny_network(**switches), LossConfig(k=K))
    enlarge_outputs(learning.slice_branches)
    return learning


def test_default_weights_are_the_papers() -> None:
    assert LossConfig().slice_weights == (ALPHA, BETA)
    assert LossConfig().core_weight == THETA


@pytest.mark.parametrize(("level", "weight", "halvings"), [(1, ALPHA, 2), (2, BETA, 1)])
def test_equations_6_and_7(level: int, weight: float, halvings: int) -> None:
    learning = mutual_learning()
    fixed, moving = on_grid_of(level, *blob_pair(16))
    *_, run = learning.network.run_levels(fixed, moving, level)
    velocity = run.output.velocity
    similarity = 1 - literal_correlation(run.fixed, warp(run.moving, integrate(velocity)))
    branch = learning.slice_branches[level - 1]
    slices = [
        1 - literal_correlation(run.fixed, warp(run.moving, integrate(splice(branch.velocity(run, axis), axis, 1))))
        for axis in range(3)
    ]
    regularisation = K / 2**halvings * literal_diffusion(velocity[0].detach())
    loss = learning(level, fixed, moving)
    assert loss.similarity.item() == pytest.approx(similarity, abs=1e-4)
    assert loss.regularisation.item() == pytest.approx(regularisation, rel=1e-4)
    assert loss.slices.item() == pytest.approx(sum(slices) / 3, abs=1e-4)
    assert loss.core == 0
    assert loss.total.item() == pytest.approx(regularisation + similarity + weight * sum(slices) / 3, abs=2e-4)


def test_equation_8() -> None:
    learning = mutual_learning()
    fixed, moving = blob_pair(16)
    *_, run = learning.network.run_levels(fixed, moving)
    velocity = run.output.velocity
    core = run_core(learning.network, run)
    similarity = 1 - literal_correlation(fixed, warp(moving, integrate(velocity)))
    core_similarity = 1 - literal_correlation(fixed[..., 4:12, 4:12, 4:12], core.warped)
    regularisation = K * literal_diffusion(velocity[0].detach())
    loss = learning(3, fixed, moving)
    assert loss.slices == 0
    assert loss.core.item() == pytest.approx(core_similarity, abs=1e-4)
    assert loss.total.item() == pytest.approx(regularisation + similarity + THETA * core_similarity, abs=2e-4)


@pytest.mark.parametrize(("branch_2d", "branch_core"), list(itertools.product([True, False], repeat=2)))
def test_branches_change_their_own_term_and_nothing_at_inference(branch_2d: bool, branch_core: bool) -> None:
    fixed, moving = blob_pair(16)
    everything, some = mutual_learning(), mutual_learning(branch_2d=branch_2d, branch_core=branch_core)
    some.load_state_dict({name: everything.state_dict()[name] for name in some.state_dict()}, strict=True)
    assert torch.equal(everything.network(fixed, moving).velocity, some.network(fixed, moving).velocity)
    own = {name for name, _ in some.named_parameters()} - {f"network.{n}" for n, _ in some.network.named_parameters()}
    assert bool(own) == branch_2d
    assert all(name.startswith("slice_branches.") for name in own)
    for level in (1, 2, 3):
        full, reduced = everything(level, fixed, moving), some(level, fixed, moving)
        assert torch.equal(full.similarity, reduced.similarity)
        assert torch.equal(full.regularisation, reduced.regularisation)
        assert reduced.slices.item() == (full.slices.item() if branch_2d else 0)
        assert reduced.core.item() == (full.core.item() if branch_core else 0)
    assert everything(1, fixed, moving).slices > 0
    assert everything(3, fixed, moving).core > 0


def test_core_branch_adds_no_weight_and_trains_the_last_subnet() -> None:
    with_core, without = mutual_learning(branch_2d=False), mutual_learning(branch_2d=False, branch_core=False)
    assert with_core.state_dict().keys() == without.state_dict().keys()
    loss = with_core(3, *blob_pair(16))
    (gradient,) = torch.autograd.grad(loss.core, with_core.network.levels[-1].output.weight)
    assert gradient.abs().max() > 0


def test_the_loss_of_a_batch_is_the_mean_over_its_pairs() -> None:
    learning = mutual_learning()
    fixed, moving = blob_pair(16, batch=2)
    for level in (1, 2, 3):
        together = learning(level, fixed, moving)
        each = [learning(level, fixed[b : b + 1], moving[b : b + 1]) for b in range(2)]
        for name in together._fields:
            expected = sum(getattr(loss, name).item() for loss in each) / 2
            assert getattr(together, name).item() == pytest.approx(expected, abs=1e-4), name


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_level_does_not_train_the_levels_above_it(level: int) -> None:
    learning = mutual_learning()
    learning(level, *blob_pair(16)).total.backward()
    for index, subnet in enumerate(learning.network.levels, start=1):
        touched = [parameter.grad is not None for parameter in subnet.parameters()]
        assert all(touched) if index <= level else not any(touched)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_ten_steps_reduce_the_loss(level: int) -> None:
    torch.manual_seed(0)
    learning = MutualLearning(MMLN(MMLNConfig(width=WIDTH, blocks=2)), LossConfig(k=0.01))
    fixed, moving = blob_pair(32)
    optimiser = torch.optim.Adam(learning.parameters(), lr=3e-3)
    before = learning(level, fixed, moving)
    for _ in range(10):
        optimiser.zero_grad()
        learning(level, fixed, moving).total.backward()
        optimiser.step()
    after = learning(level, fixed, moving)
    assert after.total < 0.97 * before.total
    assert after.similarity < before.similarity


@pytest.mark.parametrize(("levels", "weights"), [(2, (0.25, 0.5)), (4, (0.25, 0.5)), (3, ())])
def test_each_2d_branch_needs_a_weight(levels: int, weights: tuple[float, ...]) -> None:
    network = tiny_network(levels)
    with pytest.raises(InputError, match=f"needs {levels - 1} weights"):
        MutualLearning(network, LossConfig(slice_weights=weights))
    alone = tiny_network(levels, branch_2d=False)
    assert len(MutualLearning(alone, LossConfig(slice_weights=weights)).slice_branches) == 0


def halves(shape: tuple[int, ...], cut: int) -> torch.Tensor:
    """(1, 2, *shape) two structures that meet at a plane, with a free rim."""
    maps = torch.zeros(1, 2, *shape)
    maps[0, 0, 2:-2, 2:-2, 2:cut] = 1
    maps[0, 1, 2:-2, 2:-2, cut:-2] = 1
    return maps


@pytest.mark.parametrize("level", [1, 2, 3])
def test_structures_are_carried_by_the_level_and_add_the_weighted_dice_term(level: int) -> None:
    learning = MutualLearning(tiny_network(), LossConfig(k=K, dice_weight=0.6))
    fixed, moving = on_grid_of(level, *blob_pair(32))
    shape = tuple(fixed.shape[2:])
    structures = Structures(halves(shape, shape[2] // 2), halves(shape, shape[2] // 2 + 1))
    plain, labelled = learning(level, fixed, moving), learning(level, fixed, moving, structures)
    displacement = integrate(learning.network(fixed, moving, level).velocity)
    expected = dice_loss(structures.fixed, warp(structures.moving, displacement))
    assert plain.dice == 0
    assert labelled.dice.item() == pytest.approx(expected.item(), abs=1e-5)
    assert labelled.dice > 0.01
    assert labelled.total.item() == pytest.approx(plain.total.item() + 0.6 * expected.item(), abs=1e-5)
    assert labelled[1:5] == plain[1:5]
    (gradient,) = torch.autograd.grad(labelled.dice, learning.network.levels[level - 1].output.weight)
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("level", [1, 2, 3])
def test_images_of_two_contrasts_are_not_compared(level: int) -> None:
    learning = MutualLearning(tiny_network(), LossConfig(k=K, dice_weight=0.6))
    fixed, moving = blob_pair(16)
    shape = tuple(fixed.shape[2:])
    structures = Structures(halves(shape, 8), halves(shape, 9))
    loss = learning(level, fixed, moving, structures, compare_images=False)
    assert loss.similarity == loss.slices == loss.core == 0
    assert loss.total.item() == pytest.approx(loss.regularisation.item() + 0.6 * loss.dice.item(), rel=1e-5)
    loss.total.backward()
    assert all(parameter.grad is None for parameter in learning.slice_branches.parameters())
    alone = learning(level, fixed, moving, compare_images=False)
    assert alone.total.item() == pytest.approx(alone.regularisation.item())
