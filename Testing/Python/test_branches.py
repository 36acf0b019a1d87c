"""The training-only branches against slice-by-slice and crop-by-hand references."""

import pytest
import torch

from mmln_reference import WIDTH, blob_pair, enlarge_outputs, literal_subnet, splice, tiny_network
from MMLNRegistrationLib.model import branches
from MMLNRegistrationLib.model.branches import (
    ORIENTATIONS,
    SliceBranch,
    core_box,
    from_slices,
    in_plane,
    run_core,
    to_slices,
)
from MMLNRegistrationLib.model.network import LevelRun, MMLNConfig
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import warp


def last_run(level: int, batch: int = 1) -> LevelRun:
    *_, run = tiny_network().run_levels(*blob_pair(16, batch), level)
    return run


def slice_branch(shared: bool, reads_velocity: bool) -> SliceBranch:
    torch.manual_seed(7)
    config = MMLNConfig(width=WIDTH, blocks=2, shared_2d=shared)
    branch = SliceBranch(config, reads_velocity=reads_velocity)
    enlarge_outputs(branch)
    return branch


@pytest.mark.parametrize("axis", ORIENTATIONS)
def test_slices_are_the_planes_of_the_volume_and_come_back(axis: int) -> None:
    volume = torch.rand(2, 3, 4, 5, 6)
    slices = to_slices(volume, axis)
    count = volume.shape[2 + axis]
    for batch in range(2):
        for index in range(count):
            assert torch.equal(slices[batch * count + index], volume[batch].select(1 + axis, index))
    assert torch.equal(from_slices(slices, axis, 2), volume)


@pytest.mark.parametrize("axis", ORIENTATIONS)
def test_spliced_velocity_is_in_plane_and_zero_across(axis: int) -> None:
    velocity = torch.rand(2, 3, 4, 5, 6)
    flat = splice(to_slices(in_plane(velocity, axis), axis), axis, 2)
    expected = velocity.clone()
    expected[:, axis] = 0
    assert torch.equal(flat, expected)


@pytest.mark.parametrize("axis", ORIENTATIONS)
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("shared", [True, False])
def test_slice_branch_equals_registering_the_slices_one_by_one(axis: int, level: int, shared: bool) -> None:
    run = last_run(level, batch=2)
    branch = slice_branch(shared, reads_velocity=level == 2)
    velocity = splice(branch.velocity(run, axis), axis, 2)
    subnet = branch.subnets[0 if shared else axis]
    planes = [component for component in range(3) if component != axis]
    expected = torch.zeros_like(velocity)
    for index in range(run.fixed.shape[2 + axis]):
        place = 2 + axis
        images = torch.cat(
            [
                run.fixed.select(place, index),
                run.inputs.images[:, 1:].select(place, index),
                run.output.features.select(place, index),
            ],
            dim=1,
        )
        before = None if level == 1 else run.inputs.velocity[:, planes].select(place, index)
        flat, _ = literal_subnet(subnet.state_dict(), images, before, None, blocks=2, range_voxels=8.0)
        for channel, component in enumerate(planes):
            expected[:, component].select(axis + 1, index).copy_(flat[:, channel])
    torch.testing.assert_close(velocity, expected, rtol=1e-4, atol=1e-4)
    assert velocity.abs().max() > 0.05
    warped = branch(run)
    torch.testing.assert_close(warped[axis], warp(run.moving, integrate(expected)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("values", [1, 3 * WIDTH * 8 * 8, 10**6])
def test_slices_give_the_same_in_chunks_of_any_size(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run, branch = last_run(2), slice_branch(True, reads_velocity=True)
    expected = branch.velocity(run, 1)
    monkeypatch.setattr(branches, "CHUNK_VALUES", values)
    torch.testing.assert_close(branch.velocity(run, 1), expected, rtol=1e-4, atol=1e-5)


def test_at_level_2_the_2d_subnet_reads_the_moving_image_under_the_coarser_map() -> None:
    run = last_run(2)
    assert torch.equal(run.inputs.images[:, :1], run.fixed)
    assert not torch.allclose(run.inputs.images[:, 1:], run.moving, atol=1e-3)


@pytest.mark.parametrize("level", [1, 2])
def test_2d_loss_reaches_the_3d_features_and_all_weights_below_them(level: int) -> None:
    network = tiny_network()
    *_, run = network.run_levels(*blob_pair(16), level)
    branch = slice_branch(True, reads_velocity=level == 2)
    sum(image.square().mean() for image in branch(run)).backward()
    subnet = network.levels[level - 1]
    for name in ("encode_first", "encode_second", "down", "blocks.0.first", "blocks.1.second", "up"):
        gradient = subnet.get_submodule(name).weight.grad
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
    for parameter in branch.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_one_subnet_for_all_orientations_or_one_for_each() -> None:
    shared = sum(p.numel() for p in slice_branch(True, reads_velocity=False).parameters())
    own = sum(p.numel() for p in slice_branch(False, reads_velocity=False).parameters())
    assert own == 3 * shared


def test_core_of_the_papers_grid_is_the_papers_core() -> None:
    assert core_box((160, 192, 224), 0.5) == (slice(40, 120), slice(48, 144), slice(56, 168))


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 0.77, 1.0])
def test_core_is_centred_and_fits_the_half_resolution(fraction: float) -> None:
    for size in range(8, 120, 8):
        (box,) = core_box((size,), fraction)
        assert box.start % 2 == box.stop % 2 == 0
        assert 0 <= box.start < box.stop <= size
        assert abs(box.start - (size - box.stop)) <= 2
        assert abs(box.stop - box.start - fraction * size) <= 2


def test_core_run_is_the_last_subnet_on_the_cropped_input() -> None:
    network = tiny_network()
    *_, run = network.run_levels(*blob_pair(16))
    core = run_core(network, run)
    box, half_box = (..., *[slice(4, 12)] * 3), (..., *[slice(2, 6)] * 3)
    expected, _ = literal_subnet(
        network.levels[-1].state_dict(),
        run.inputs.images[box],
        run.inputs.velocity[box],
        run.inputs.features[half_box],
        blocks=2,
        range_voxels=8.0,
    )
    torch.testing.assert_close(core.velocity, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(core.fixed, run.fixed[box])
    whole = torch.zeros_like(run.output.velocity)
    whole[box] = integrate(core.velocity)
    torch.testing.assert_close(core.warped, warp(run.moving, whole)[box], rtol=1e-4, atol=1e-5)
    # Where the map stays inside the core, that is the core of M warped by the core's flow, as the paper writes it.
    inner = (..., *[slice(3, 5)] * 3)
    torch.testing.assert_close(
        core.warped[inner], warp(run.moving[box], integrate(core.velocity))[inner], rtol=1e-4, atol=1e-5
    )


def test_a_core_as_large_as_the_image_repeats_the_whole_registration() -> None:
    network = tiny_network(core_fraction=1.0)
    *_, run = network.run_levels(*blob_pair(16))
    core = run_core(network, run)
    torch.testing.assert_close(core.velocity, run.output.velocity)
    torch.testing.assert_close(core.warped, warp(run.moving, integrate(run.output.velocity)))
