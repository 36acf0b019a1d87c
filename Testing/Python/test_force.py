"""The force of local correlation: its direction, its length, and what the network makes of it."""

import pytest
import torch

from mmln_reference import blob_pair, tiny_network
from MMLNRegistrationLib.model.force import central_gradient, correlation_force
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig


def ramp(axis: int, size: int = 8) -> torch.Tensor:
    shape = [1] * 5
    shape[axis + 2] = size
    return torch.arange(size, dtype=torch.float32).view(shape).expand(1, 1, size, size, size).contiguous()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gradient_of_a_ramp(axis: int) -> None:
    inner = central_gradient(ramp(axis))[0, :, 1:-1, 1:-1, 1:-1]
    expected = torch.zeros_like(inner)
    expected[axis] = 1
    torch.testing.assert_close(inner, expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", [-1, 1])
def test_force_points_to_where_the_moving_image_shows_it(axis: int, shift: int) -> None:
    fixed, _ = blob_pair(16)
    moving = torch.roll(fixed, shift, dims=axis + 2)  # M(x + shift) = F(x)
    force = correlation_force(fixed, moving)[0]
    weight = fixed[0, 0]
    pull = (force * weight).sum(dim=(1, 2, 3))
    assert pull[axis].sign() == shift
    assert pull[axis].abs() == pull.abs().max()


def test_length_is_one_in_each_image_of_a_batch_and_zero_between_equal_images() -> None:
    fixed, moving = blob_pair(16, batch=2)
    force = correlation_force(fixed, moving)
    torch.testing.assert_close(force.square().sum(dim=1).mean(dim=(1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(force[1:], correlation_force(fixed[1:], moving[1:]))
    assert not correlation_force(fixed, fixed).any()
    assert not correlation_force(torch.zeros_like(fixed), moving).any()


def test_every_level_reads_it() -> None:
    plain, reading = tiny_network(), tiny_network(reads_force=True)
    for index, (without, with_force) in enumerate(zip(plain.levels, reading.levels, strict=True)):
        assert with_force.encode_first.in_channels == without.encode_first.in_channels + 3, index
    fixed, moving = blob_pair(16)
    first, *_ = reading.run_levels(fixed, moving)
    torch.testing.assert_close(first.inputs.images[:, 2:], correlation_force(first.fixed, first.moving))
    reading.zero_grad()
    reading(fixed, moving).velocity.square().mean().backward()
    assert reading.levels[0].encode_first.weight.grad is not None


def test_paper_network_does_not_read_it() -> None:
    assert MMLN(MMLNConfig(width=2, blocks=1)).levels[0].encode_first.in_channels == 2
