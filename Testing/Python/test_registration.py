"""What each option of a registration does, what is refused, and what the result says about itself."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from mmln_reference import tiny_network
from MMLNRegistrationLib.errors import InputError, RegistrationError
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.checkpoint import Checkpoint
from MMLNRegistrationLib.model.network import MMLN
from MMLNRegistrationLib.pipeline.prepare import PrepareConfig
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.progress import Cancelled
from MMLNRegistrationLib.spatial.geometry import Geometry
from phantoms import affine_map, brain, displacement_of, grid, image, matrix_4x4, rotation, transform_points, voxels_ras

FIXED_GRID = grid("lps_axes", (26, 30, 28), (4.0, 4.0, 4.0))
LINEAR = matrix_4x4(rotation((6.0, -5.0, 8.0)) @ np.diag([1.05, 0.96, 1.0]), (8.0, -6.0, 5.0))
FIXED = image(lambda points: brain(transform_points(LINEAR, points)), FIXED_GRID, "fixed.nii.gz")
MOVING = image(brain, grid("oblique", (28, 34, 32), (4.0, 4.0, 4.0)), "moving.nii.gz")
LINEAR_ONLY = Options(
    initial=LINEAR, device="cpu", prepare=PrepareConfig(spacing_mm=4.0), refine=RefineConfig(iterations=0)
)
CARD = ModelCard("tiny", "for tests", "none", "none", "none", "2026-01-01", grid_spacing_mm=4.0)


def mask(image_volume: Volume, voxels: np.ndarray) -> Volume:
    return Volume(voxels.astype(np.uint8), image_volume.geometry, "mask.nii.gz")


def test_a_given_linear_map_is_the_whole_map_when_nothing_refines() -> None:
    result = register(FIXED, MOVING, LINEAR_ONLY)
    np.testing.assert_allclose(result.displacement_mm, displacement_of(affine_map(LINEAR), FIXED_GRID), atol=1e-3)
    assert not result.velocity_voxels.any()
    assert result.affine_determinant == pytest.approx(np.linalg.det(LINEAR[:3, :3]))
    assert result.similarity_after.correlation > 0.97
    assert result.similarity_before.correlation < 0.9
    assert result.notes == ()


def test_identity_and_no_refinement_move_nothing() -> None:
    result = register(FIXED, FIXED, replace(LINEAR_ONLY, initial="identity"))
    assert np.abs(result.displacement_mm).max() < 1e-4
    np.testing.assert_allclose(result.warped.array_kji, FIXED.array_kji, atol=1e-4)
    np.testing.assert_allclose(result.jacobian.array_kji, 1, atol=1e-4)
    assert result.similarity_before == result.similarity_initial == result.similarity_after
    assert result.similarity_after.correlation == pytest.approx(1)


@pytest.mark.parametrize(("initial", "off_mm"), [("identity", 0.04), ("affine", 0.2)])
def test_identical_images_stay_identical(initial: str, off_mm: float) -> None:
    """On a grid of 4 mm: within a hundredth of a voxel, or what the linear search is off."""
    result = register(FIXED, FIXED, replace(LINEAR_ONLY, initial=initial, refine=RefineConfig(iterations=2)))
    assert np.linalg.norm(result.displacement_mm, axis=-1)[result.foreground].max() < off_mm
    assert result.similarity_after.correlation > 0.9999
    assert result.similarity_after.local_correlation > result.similarity_before.local_correlation - 1e-4


@pytest.mark.parametrize("wish", ["affine", "rigid"])
def test_the_linear_map_is_searched_for_when_asked(wish: str) -> None:
    result = register(FIXED, MOVING, replace(LINEAR_ONLY, initial=wish))
    points = voxels_ras(FIXED_GRID)[FIXED.array_kji > 0.2]
    error_mm = np.linalg.norm(
        transform_points(result.moving_ras_from_fixed_ras, points) - transform_points(LINEAR, points), axis=1
    )
    assert np.median(error_mm) < (1.5 if wish == "affine" else 4)
    if wish == "rigid":
        assert result.affine_determinant == pytest.approx(1, abs=1e-6)
    assert result.settings["initial"] == wish


def test_a_mask_hides_what_it_leaves_out() -> None:
    """Half of the fixed brain masked away: similarity, foreground and the network grid are those of the other half."""
    half = FIXED.array_kji > 0
    half[..., : half.shape[2] // 2] = False
    result = register(FIXED, MOVING, replace(LINEAR_ONLY, fixed_mask=mask(FIXED, half)))
    np.testing.assert_array_equal(result.foreground, half)
    assert np.prod(result.net_geometry.shape_kji) < np.prod(register(FIXED, MOVING, LINEAR_ONLY).net_geometry.shape_kji)
    assert result.settings["fixed_mask"] == "mask.nii.gz"
    # What is delivered is the unmasked image all the same.
    assert (result.warped.array_kji[~half] > 0.2).any()


def test_a_moving_mask_on_the_fixed_grid_is_refused() -> None:
    with pytest.raises(InputError, match=r"does not lie on the grid of moving\.nii\.gz"):
        register(FIXED, MOVING, replace(LINEAR_ONLY, moving_mask=mask(FIXED, FIXED.array_kji > 0)))


def test_foregrounds_of_very_different_size_are_remarked_on() -> None:
    core = MOVING.array_kji > 0.75
    result = register(FIXED, MOVING, replace(LINEAR_ONLY, moving_mask=mask(MOVING, core)))
    assert len(result.notes) == 1
    assert "-fold in volume" in result.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(LINEAR_ONLY, initial="magic"), "'magic'; choose affine, rigid, identity or a file"),
        (replace(LINEAR_ONLY, brain="yes"), "choose auto or none"),
        (replace(LINEAR_ONLY, device="gpu"), "choose auto, cpu"),
        (replace(LINEAR_ONLY, initial=matrix_4x4(np.eye(3), (1e4, 0.0, 0.0))), "do not overlap"),
    ],
)
def test_what_cannot_be_is_refused(options: Options, message: str) -> None:
    with pytest.raises(InputError, match=message):
        register(FIXED, MOVING, options)


def test_an_unknown_similarity_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="'ssd'; choose local_correlation, "):
        RefineConfig(similarity="ssd")


def test_a_field_that_cannot_be_trusted_is_no_result() -> None:
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    with pytest.raises(RegistrationError, match="still folds"):
        register(FIXED, MOVING, replace(LINEAR_ONLY, initial=mirror))


def test_the_inputs_stay_as_they_were() -> None:
    fixed, moving = FIXED.array_kji.copy(), MOVING.array_kji.copy()
    register(FIXED, MOVING, replace(LINEAR_ONLY, refine=RefineConfig(iterations=1)))
    np.testing.assert_array_equal(FIXED.array_kji, fixed)
    np.testing.assert_array_equal(MOVING.array_kji, moving)


def test_intensity_scale_and_offset_do_not_matter() -> None:
    options = replace(LINEAR_ONLY, refine=RefineConfig(iterations=2))
    scaled = Volume(MOVING.array_kji * 3000 - 200, MOVING.geometry, "moving")
    plain, other = (register(FIXED, moving, options).displacement_mm for moving in (MOVING, scaled))
    np.testing.assert_allclose(plain, other, atol=0.05)


def test_the_worlds_of_both_images_may_be_anywhere() -> None:
    """Fixed and moving moved by themselves: the same voxels meet."""
    options = replace(LINEAR_ONLY, refine=RefineConfig(iterations=2))
    fixed_move, moving_move = matrix_4x4(np.eye(3), (500.0, 300.0, -200.0)), matrix_4x4(np.eye(3), (-900.0, 40.0, 70.0))

    def moved(volume: Volume, by: np.ndarray) -> Volume:
        return Volume(volume.array_kji, Geometry(volume.geometry.shape_kji, by @ volume.geometry.ras_from_ijk), "moved")

    there = replace(options, initial=moving_move @ LINEAR @ np.linalg.inv(fixed_move))
    result = register(moved(FIXED, fixed_move), moved(MOVING, moving_move), there)
    expected = register(FIXED, MOVING, options)
    np.testing.assert_allclose(result.warped.array_kji, expected.warped.array_kji, atol=2e-3)
    shift = moving_move[:3, 3] - fixed_move[:3, 3]
    np.testing.assert_allclose(result.displacement_mm - shift, expected.displacement_mm, atol=2e-2)


def stepping_network() -> MMLN:
    """One whose field does bring images closer, as it must to be used: it follows the force alone."""
    network = tiny_network(reads_force=True, force_step_voxels=0.5, velocity_sigma_voxels=1.0).eval()
    for level in network.levels:
        torch.nn.init.zeros_(level.output.weight)
    return network


def test_a_network_gives_the_start_and_its_name() -> None:
    network = stepping_network()
    options = replace(LINEAR_ONLY, initial="identity", model=Checkpoint(network, CARD))
    result = register(FIXED, MOVING, options)
    assert result.model == "tiny"
    assert all(size % network.config.total_stride == 0 for size in result.net_geometry.shape_kji)
    assert np.abs(result.velocity_voxels).max() > 0.05
    assert np.abs(result.displacement_mm).max() > 0.2
    assert result.folding.folded_voxels == 0
    assert register(FIXED, MOVING, LINEAR_ONLY).model.startswith("none")


def test_a_network_s_map_is_the_linear_map_on_the_border_of_its_grid() -> None:
    """Beyond the network grid there is no deformation: at its border there must be none either."""
    options = replace(LINEAR_ONLY, initial="identity", model=Checkpoint(stepping_network(), CARD))
    result = register(FIXED, MOVING, options)
    assert result.repair.rounds == 0  # which would smooth
    velocity = result.velocity_voxels
    assert np.abs(velocity).max() > 0.05
    inner = np.zeros(velocity.shape, bool)
    inner[:, 1:-1, 1:-1, 1:-1] = True
    assert np.abs(velocity[~inner]).max() == 0


def test_the_settings_are_plain_values() -> None:
    settings = register(FIXED, MOVING, LINEAR_ONLY).settings
    assert json.loads(json.dumps(settings)) == json.loads(json.dumps(settings, default=str))
    assert settings["initial"] == "given"
    assert settings["refine"]["iterations"] == 0  # type: ignore[index]
    assert settings["prepare"]["spacing_mm"] == 4.0  # type: ignore[index]


def test_progress_goes_through_the_steps_in_order_and_can_stop_them() -> None:
    told: list[str] = []
    options = replace(LINEAR_ONLY, refine=RefineConfig(iterations=1))
    register(FIXED, MOVING, options, lambda step, fraction: told.append(step.partition(":")[0]))
    assert list(dict.fromkeys(told)) == ["prepare", "initial", "network", "refine", "remove folding", "outputs"]

    def cancel(step: str, fraction: float) -> None:
        if step == "remove folding":
            raise Cancelled

    with pytest.raises(Cancelled):
        register(FIXED, MOVING, options, cancel)


def test_gradients_are_not_kept() -> None:
    result = register(FIXED, MOVING, replace(LINEAR_ONLY, model=Checkpoint(tiny_network(), CARD)))
    assert isinstance(result.velocity_voxels, np.ndarray)
    assert torch.is_grad_enabled()
