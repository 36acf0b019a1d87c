"""A model on the network grid, on its own or on a finer one."""

import dataclasses

import pytest
import torch

from mmln_reference import blob_pair, tiny_network
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.checkpoint import Checkpoint
from MMLNRegistrationLib.model.network import pyramid
from MMLNRegistrationLib.pipeline.infer import brings_closer, halvings, network_velocity
from MMLNRegistrationLib.spatial.warp import resize_displacement

CARD = ModelCard("tiny", "a test", "nothing", "none", "none", "2026-01-01", grid_spacing_mm=2.0)


def test_a_coarser_model_sees_halved_images() -> None:
    model = Checkpoint(tiny_network(levels=2).eval(), CARD)
    fixed, moving = blob_pair(32)
    with torch.no_grad():
        found = network_velocity(model, fixed, moving, 1.0, (16, 16, 16))
        expected = model.network(pyramid(fixed, 2)[0], pyramid(moving, 2)[0]).velocity
        on_own_grid = network_velocity(model, pyramid(fixed, 2)[0], pyramid(moving, 2)[0], 2.0, (8, 8, 8))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(on_own_grid, resize_displacement(expected, (8, 8, 8)))


@pytest.mark.parametrize(("model_mm", "grid_mm", "count"), [(1, 1, 0), (2, 1, 1), (4, 1, 2), (2, 0.5, 2)])
def test_halvings(model_mm: float, grid_mm: float, count: int) -> None:
    assert halvings(dataclasses.replace(CARD, grid_spacing_mm=model_mm), grid_mm) == count


@pytest.mark.parametrize(("model_mm", "grid_mm"), [(1, 2), (3, 2), (1.5, 1)])
def test_grids_that_do_not_fit_are_refused(model_mm: float, grid_mm: float) -> None:
    with pytest.raises(InputError, match="model tiny works on a grid"):
        halvings(dataclasses.replace(CARD, grid_spacing_mm=model_mm), grid_mm)


def test_brings_closer() -> None:
    fixed, _ = blob_pair(32)
    moving = torch.roll(fixed, 2, dims=4)  # M(x + 2) = F(x), in voxels of the images
    velocity = torch.zeros(1, 3, 16, 16, 16)
    assert not brings_closer(velocity, fixed, moving)
    velocity[:, 2] = 0.9
    assert brings_closer(velocity, fixed, moving)
    assert not brings_closer(-velocity, fixed, moving)
    assert not brings_closer(velocity, fixed, fixed)
