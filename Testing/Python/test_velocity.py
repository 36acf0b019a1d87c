"""Flows with known ends, inverses, and the composition of displacements."""

import math

import pytest
import torch

from MMLNRegistrationLib.spatial.velocity import border_taper, compose, integrate
from MMLNRegistrationLib.spatial.warp import identity_grid, warp


def centred(shape: tuple[int, ...]) -> torch.Tensor:
    middle = torch.tensor([(n - 1) / 2 for n in shape]).view(1, -1, *[1] * len(shape))
    return identity_grid(shape) - middle


def smooth_velocity(shape: tuple[int, ...], size_voxels: float) -> torch.Tensor:
    """A smooth velocity that vanishes at the border, of about size_voxels in the middle."""
    grid = identity_grid(shape) * (2 * math.pi / shape[0])
    k, j, i = grid[:, 0:1], grid[:, 1:2], grid[:, 2:3]
    waves = torch.cat([j.sin() * i.cos(), (i + 1).sin() * k.cos(), (k - 1).sin() * j.cos()], dim=1)
    return size_voxels * waves * border_taper(shape, 4)


def test_a_constant_velocity_moves_by_itself() -> None:
    velocity = torch.tensor([1.5, -2.0, 0.25]).view(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)
    torch.testing.assert_close(integrate(velocity), velocity, rtol=0, atol=1e-5)


def test_a_turning_velocity_ends_as_a_rotation() -> None:
    """v(x) = W x for skew W: exp(v) is the rotation by |W|, here by 0.4 about the k axis."""
    shape, angle = (5, 33, 33), 0.4
    x = centred(shape)
    velocity = angle * torch.stack([torch.zeros_like(x[:, 0]), -x[:, 2], x[:, 1]], dim=1)
    cos, sin = math.cos(angle), math.sin(angle)
    expected = torch.stack(
        [torch.zeros_like(x[:, 0]), (cos - 1) * x[:, 1] - sin * x[:, 2], sin * x[:, 1] + (cos - 1) * x[:, 2]], dim=1
    )
    near = x[:, 1:].norm(dim=1) < 11  # further out the flow comes from beyond the grid
    difference = (integrate(velocity) - expected).norm(dim=1)[near]
    assert difference.max() < 0.01
    assert expected.norm(dim=1)[near].max() > 4


def test_a_stretching_velocity_grows_exponentially() -> None:
    """v(x) = s x ends at e^s x, not at (1 + s) x."""
    x = centred((33, 5, 5))
    velocity = torch.zeros(1, 3, 33, 5, 5)
    velocity[:, 0] = 0.3 * x[:, 0]
    found = integrate(velocity)[0, 0, 16 + 8, 2, 2].item()
    assert found == pytest.approx(8 * (math.exp(0.3) - 1), abs=0.01)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_flow_of_minus_v_leads_back(dimensions: int) -> None:
    velocity = smooth_velocity((24, 28, 24), 2.5)
    if dimensions == 2:
        velocity = velocity[:, :2, :, :, 5]
    forth, back = integrate(velocity), integrate(-velocity)
    for round_trip in (compose(forth, back), compose(back, forth)):
        # What remains is the error of linear interpolation, seven squarings deep.
        assert round_trip.abs().max() < 0.35
        assert round_trip.abs().mean() < 0.02
        assert 5 * round_trip.abs().mean() < compose(forth, -forth).abs().mean()
    assert forth.abs().max() > 1.8


def test_more_steps_come_closer_to_the_flow() -> None:
    velocity = smooth_velocity((24, 24, 24), 3.0)
    flow = integrate(velocity, 9)
    errors = [(integrate(velocity, steps) - flow).abs().mean() for steps in (1, 3, 5, 7)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 6 * errors[3]


def test_compose_reads_the_outer_map_where_the_inner_one_ends() -> None:
    inner, outer = smooth_velocity((12, 12, 12), 2.0), smooth_velocity((12, 12, 12), -1.5).flip(3)
    torch.testing.assert_close(compose(outer, inner), inner + warp(outer, inner))
    translation = torch.zeros(1, 3, 12, 12, 12)
    translation[:, 0] = 2.0
    composed = compose(outer, translation)  # x -> outer(x + 2)
    torch.testing.assert_close(composed[:, :, 3], outer[:, :, 5] + torch.tensor([2.0, 0, 0]).view(1, 3, 1, 1))


def test_border_taper_is_zero_on_the_border_and_one_inside() -> None:
    window = border_taper((9, 10, 11), 3)
    assert window.shape == (1, 1, 9, 10, 11)
    inside = window[0, 0, 1:-1, 1:-1, 1:-1]
    assert window.sum() == pytest.approx(inside.sum().item())
    assert inside.min() > 0
    assert (window[0, 0, 3:-3, 3:-3, 3:-3] == 1).all()
    profile = window[0, 0, :, 5, 5]
    torch.testing.assert_close(profile, profile.flip(0))
    torch.testing.assert_close(profile[:4], torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_a_map_of_a_tapered_velocity_is_the_identity_on_the_border() -> None:
    displacement = integrate(smooth_velocity((16, 16, 16), 3.0))
    faces = torch.ones(16, 16, 16, dtype=torch.bool)
    faces[1:-1, 1:-1, 1:-1] = False
    assert displacement[0, :, faces].abs().max() == 0
