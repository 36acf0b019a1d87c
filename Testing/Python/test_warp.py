"""Sampling and resizing against grid_sample's definition, written out, and against closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.spatial.warp import (
    displacement_scale,
    identity_grid,
    resize,
    resize_displacement,
    sample,
    warp,
)

SHAPES = [(5, 6, 7), (1, 6, 7), (5, 1, 7), (5, 6, 1), (1, 1, 4), (2, 2, 2), (9, 3, 4)]


def random_image(shape: tuple[int, ...], channels: int = 1, batch: int = 1) -> torch.Tensor:
    return torch.rand(batch, channels, *shape, generator=torch.Generator().manual_seed(7))


def random_points(shape: tuple[int, ...], count: int = 300, batch: int = 1) -> torch.Tensor:
    """Coordinates in and around the image, some exactly on voxels and on the faces."""
    generator = torch.Generator().manual_seed(8)
    spans = torch.tensor(shape, dtype=torch.float32).view(1, -1, 1)
    points = torch.rand(batch, len(shape), count, generator=generator) * (spans + 6) - 3
    points[..., : count // 4] = points[..., : count // 4].round()
    return points.view(batch, len(shape), count, *[1] * (len(shape) - 1))


def literal_value(image: np.ndarray, position: np.ndarray) -> float:
    """Linear interpolation of (K, J, I) at one place, the border value outside, by its definition."""
    inside = [min(max(float(p), 0.0), n - 1.0) for p, n in zip(position, image.shape, strict=True)]
    total = 0.0
    for corner in itertools.product((0, 1), repeat=image.ndim):
        weight, index = 1.0, []
        for p, step, n in zip(inside, corner, image.shape, strict=True):
            floor = math.floor(p)
            weight *= (p - floor) if step else (1 - (p - floor))
            index.append(min(floor + step, n - 1))
        total += weight * float(image[tuple(index)])
    return total


@pytest.mark.parametrize("shape", SHAPES)
def test_fast_path_equals_the_definition(shape: tuple[int, ...]) -> None:
    image, points = random_image(shape), random_points(shape)
    expected = [literal_value(image[0, 0].numpy(), p) for p in points[0, :, :, 0, 0].T.numpy()]
    np.testing.assert_allclose(sample(image, points).flatten(), expected, atol=2e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channels", [1, 3])
def test_fast_path_equals_grid_sample(shape: tuple[int, ...], channels: int) -> None:
    image, points = random_image(shape, channels), random_points(shape)
    slow = sample(image.requires_grad_(), points)  # a wish for gradients takes the general path
    assert slow.requires_grad
    torch.testing.assert_close(sample(image.detach(), points), slow.detach(), rtol=0, atol=3e-6)


def test_fast_path_is_the_same_beyond_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    image, points = random_image((5, 6, 7), 2), random_points((5, 6, 7), 101)
    whole = sample(image, points)
    monkeypatch.setattr("MMLNRegistrationLib.spatial.warp._CHUNK", 25)
    assert torch.equal(sample(image, points), whole)


def test_positions_that_are_no_number_give_values_that_are_none() -> None:
    """A network that has gone wrong must neither look right nor make the sampler read beyond the memory."""
    image, coordinates = torch.rand(1, 2, 3, 4, 5), identity_grid((3, 4, 5))
    coordinates[0, 0, 1], coordinates[0, 1, 2], coordinates[0, 2, 0] = float("nan"), float("inf"), -float("inf")
    values = sample(image, coordinates)
    assert values[:, :, 1].isnan().all()
    assert values[:, :, [0, 2]].isfinite().all()


def test_batches_two_dimensions_and_gradients_take_the_general_path() -> None:
    image, points = random_image((5, 6), batch=2), random_points((5, 6), batch=2)
    values = sample(image, points)
    for batch in range(2):
        expected = [literal_value(image[batch, 0].numpy(), p) for p in points[batch, :, :, 0].T.numpy()]
        np.testing.assert_allclose(values[batch].flatten(), expected, atol=3e-6)
    ramp = identity_grid((6, 6, 6))[:, 1:2] * 2.5
    where = torch.full((1, 3, 4, 1, 1), 2.3, requires_grad=True)
    (slope,) = torch.autograd.grad(sample(ramp, where).sum(), where)
    torch.testing.assert_close(slope[0, :, 0, 0, 0], torch.tensor([0.0, 2.5, 0.0]), atol=1e-5, rtol=0)


def test_nearest_and_zero_outside() -> None:
    image = torch.arange(1.0, 28.0).view(1, 1, 3, 3, 3)
    where = torch.tensor([[1.4, 0.6, 2.0], [1.0, 1.0, 2.4], [-0.4, 0.0, 0.0], [9.0, 1.0, 1.0]]).T.view(1, 3, 4, 1, 1)
    nearest = sample(image, where, nearest=True).flatten()
    # [1, 1, 2], [1, 1, 2], [0, 0, 0], and the border voxel [2, 1, 1].
    assert nearest.tolist() == [15.0, 15.0, 1.0, 23.0]
    faded = sample(image, where, outside_zero=True).flatten()
    assert faded[2].item() == pytest.approx(0.6 * 1)
    assert faded[3].item() == 0


def test_identity_grid_and_zero_displacement_change_nothing() -> None:
    grid = identity_grid((2, 3, 4))
    assert grid.shape == (1, 3, 2, 3, 4)
    assert grid[0, :, 1, 2, 3].tolist() == [1, 2, 3]
    image = random_image((4, 5, 6), 2)
    torch.testing.assert_close(warp(image, torch.zeros(1, 3, 4, 5, 6)), image, rtol=0, atol=1e-6)
    torch.testing.assert_close(sample(image, identity_grid((4, 5, 6))), image, rtol=0, atol=1e-6)


def test_warp_reads_at_x_plus_u() -> None:
    """A positive u along an axis brings what lies at larger indices: image(x + u(x))."""
    image = identity_grid((6, 7, 8))  # each channel is its own coordinate
    for axis in range(3):
        u = torch.zeros(1, 3, 6, 7, 8)
        u[:, axis] = 1.25
        shift = warp(image, u)[..., 1:4, 1:4, 1:4] - image[..., 1:4, 1:4, 1:4]
        expected = torch.zeros(3)
        expected[axis] = 1.25
        torch.testing.assert_close(shift.flatten(2).mean(dim=2)[0], expected, atol=1e-5, rtol=0)


def test_resize_keeps_the_corner_voxels_and_linear_images() -> None:
    image = (identity_grid((5, 6, 7)) * torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
    larger = resize(image, (9, 4, 13))
    assert larger[0, 0, 0, 0, 0] == image[0, 0, 0, 0, 0]
    assert larger[0, 0, -1, -1, -1] == image[0, 0, -1, -1, -1]
    fractions = identity_grid((9, 4, 13)) * torch.tensor([4 / 8, 5 / 3, 6 / 12]).view(1, 3, 1, 1, 1)
    expected = (fractions * torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(larger, expected, rtol=1e-5, atol=1e-4)
    assert resize(image, (5, 6, 7)) is image


@pytest.mark.parametrize("new_shape", [(9, 11, 13), (3, 4, 5), (5, 6, 7)])
def test_a_resized_displacement_sends_the_same_places_to_the_same_places(new_shape: tuple[int, ...]) -> None:
    """The linear map x -> (A x + b) in relative coordinates stays itself when its grid changes."""
    old_shape = (5, 6, 7)

    def linear_displacement(shape: tuple[int, ...]) -> torch.Tensor:
        span = torch.tensor([n - 1.0 for n in shape])
        relative = identity_grid(shape)[0] / span.view(3, 1, 1, 1)
        matrix = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.2, 0.1], [-0.3, 0.1, 0.05]])
        moved = torch.einsum("ab,bkji->akji", matrix, relative) + 0.04
        return (moved * span.view(3, 1, 1, 1))[None]

    resized = resize_displacement(linear_displacement(old_shape), new_shape)
    torch.testing.assert_close(resized, linear_displacement(new_shape), rtol=1e-4, atol=1e-5)


def test_displacement_scale_of_two_dimensions_and_of_single_voxels() -> None:
    assert displacement_scale((5, 9), (9, 5), torch.zeros(1)).flatten().tolist() == [2.0, 0.5]
    assert displacement_scale((1, 3, 3), (1, 5, 3), torch.zeros(1)).flatten().tolist() == [0.0, 2.0, 1.0]
