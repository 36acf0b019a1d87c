"""The force of local correlation: its direction, its length, and what the network makes of it."""

from typing import Any

import pytest
import torch

from mmln_reference import blob_pair, tiny_network
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.force import CorrelationForce, central_gradient
from MMLNRegistrationLib.model.losses import correlation_coefficient
from MMLNRegistrationLib.model.network import MMLN, SQUARINGS_BETWEEN_PASSES, MMLNConfig
from MMLNRegistrationLib.spatial.separable import gaussian_smooth
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import warp


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
    force = CorrelationForce(fixed)(moving)[0]
    weight = fixed[0, 0]
    pull = (force * weight).sum(dim=(1, 2, 3))
    assert pull[axis].sign() == shift
    assert pull[axis].abs() == pull.abs().max()


def test_components_count_by_their_sign_and_each_image_of_a_batch_alone() -> None:
    fixed, moving = blob_pair(16, batch=2)
    force = CorrelationForce(fixed)(moving)
    assert force.abs().max() < 1
    assert force[moving.expand(-1, 3, -1, -1, -1) > 0.2].abs().median() > 0.8  # where there is something to see
    torch.testing.assert_close(force[1:], CorrelationForce(fixed[1:])(moving[1:]))


def test_nothing_pulls_between_equal_images_or_flat_ones() -> None:
    fixed, moving = blob_pair(16, batch=2)
    assert not CorrelationForce(fixed)(fixed).any()
    assert not CorrelationForce(torch.zeros_like(fixed))(moving).any()


def test_every_level_reads_it() -> None:
    plain, reading = tiny_network(), tiny_network(reads_force=True)
    for index, (without, with_force) in enumerate(zip(plain.levels, reading.levels, strict=True)):
        assert with_force.encode_first.in_channels == without.encode_first.in_channels + 3, index
    fixed, moving = blob_pair(16)
    first, *_ = reading.run_levels(fixed, moving)
    torch.testing.assert_close(first.inputs.images[:, 2:], CorrelationForce(first.fixed)(first.moving))
    reading.zero_grad()
    reading(fixed, moving).velocity.square().mean().backward()
    assert reading.levels[0].encode_first.weight.grad is not None


def test_each_pass_steps_along_the_force_and_smooths() -> None:
    network = tiny_network(
        levels=1,
        reads_force=True,
        force_step_voxels=0.5,
        force_momentum=0.4,
        velocity_sigma_voxels=1.0,
        passes=(2,),
    )
    torch.nn.init.zeros_(network.levels[0].output.weight)
    fixed, moving = blob_pair(16)
    force = CorrelationForce(fixed)
    first = gaussian_smooth(0.5 * force(moving), 1.0)
    direction = force(warp(moving, integrate(first, SQUARINGS_BETWEEN_PASSES))) + 0.4 * force(moving)
    second = gaussian_smooth(first + 0.5 / 2**0.5 * direction, 1.0)
    torch.testing.assert_close(network(fixed, moving).velocity, second)
    before, after = (correlation_coefficient(fixed, image) for image in (moving, warp(moving, integrate(second))))
    assert after > before


def test_subnet_corrects_the_step() -> None:
    network = tiny_network(levels=1, reads_force=True, force_step_voxels=0.5)
    fixed, moving = blob_pair(16)
    step = 0.5 * CorrelationForce(fixed)(moving)
    *_, run = network.run_levels(fixed, moving)
    assert run.inputs.velocity is not None
    torch.testing.assert_close(run.inputs.velocity, step)
    torch.testing.assert_close(run.output.velocity, network.levels[0](run.inputs).velocity)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"force_step_voxels": 0.5}, "reads_force"),
        ({"force_step_voxels": -1.0, "reads_force": True}, "force_step_voxels"),
        ({"force_momentum": 1.0, "reads_force": True}, "force_momentum"),
        ({"velocity_sigma_voxels": float("nan")}, "velocity_sigma_voxels"),
        ({"velocity_sigma_voxels": "wide"}, "velocity_sigma_voxels"),
    ],
)
def test_wrong_settings_are_refused(values: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        MMLNConfig(**values)


def test_paper_network_does_not_read_it() -> None:
    assert MMLN(MMLNConfig(width=2, blocks=1)).levels[0].encode_first.in_channels == 2
