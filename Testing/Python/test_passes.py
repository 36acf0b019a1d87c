"""A level that registers several times."""

import pytest
import torch

from mmln_reference import blob_pair, tiny_network
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.level import LevelInput
from MMLNRegistrationLib.model.network import SQUARINGS_BETWEEN_PASSES, MMLNConfig
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import warp


def test_second_pass_registers_what_the_first_has_left() -> None:
    network = tiny_network(levels=1, passes=(2,))
    fixed, moving = blob_pair(16)
    level = network.levels[0]
    nothing = torch.zeros(1, 3, 16, 16, 16)
    first = level(LevelInput(torch.cat([fixed, moving], 1), nothing, None)).velocity
    warped = warp(moving, integrate(first, SQUARINGS_BETWEEN_PASSES))
    second = level(LevelInput(torch.cat([fixed, warped], 1), first, None)).velocity
    torch.testing.assert_close(network(fixed, moving).velocity, second)
    *_, once = network.run_levels(fixed, moving, last_passes=1)
    torch.testing.assert_close(once.output.velocity, first)


def test_only_the_last_pass_carries_gradients() -> None:
    network = tiny_network(levels=1, passes=(3,))
    fixed, moving = blob_pair(16)
    with torch.no_grad():
        *_, run = network.run_levels(fixed, moving, last_passes=2)
        before = run.output.velocity
    *_, run = network.run_levels(fixed, moving)
    run.output.velocity.square().mean().backward()
    found = network.levels[0].output.weight.grad.clone()
    network.zero_grad()
    inputs = LevelInput(torch.cat([fixed, warp(moving, integrate(before, SQUARINGS_BETWEEN_PASSES))], 1), before, None)
    network.levels[0](inputs).velocity.square().mean().backward()
    torch.testing.assert_close(found, network.levels[0].output.weight.grad)


def test_all_levels_read_a_velocity_then() -> None:
    config = MMLNConfig(passes=(2,))
    assert [config.reads_velocity(level) for level in (1, 2, 3)] == [True, True, True]
    assert [MMLNConfig().reads_velocity(level) for level in (1, 2, 3)] == [False, True, True]


def test_levels_not_named_register_once() -> None:
    config = MMLNConfig(passes=(3, 2))
    assert [config.passes_of(level) for level in (1, 2, 3)] == [3, 2, 1]
    network, fewer = (tiny_network(levels=2, passes=passes) for passes in ((2, 2), (2,)))
    fewer.load_state_dict(network.state_dict())
    fixed, moving = blob_pair(16)
    *_, run = network.run_levels(fixed, moving, last_passes=1)
    torch.testing.assert_close(fewer(fixed, moving).velocity, run.output.velocity)


@pytest.mark.parametrize("passes", [2, (0,), (-1,), (1.5,), (True,), [2]])
def test_wrong_counts_are_refused(passes: object) -> None:
    with pytest.raises(InputError, match="passes"):
        MMLNConfig(passes=passes)  # type: ignore[arg-type]
