"""Pairs painted from a label map of nested ellipsoids: what they show, what survives, what is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.spatial.folding import folded
from MMLNRegistrationLib.spatial.warp import identity_grid
from MMLNRegistrationLib.training.augment import AffineConfig, AugmentConfig, random_pair_pose
from MMLNRegistrationLib.training.synthesis import (
    SynthesisConfig,
    SyntheticPair,
    paint,
    random_contrast,
    random_displacement,
    synthetic_pair,
)
from MMLNRegistrationLib.training.tissues import TISSUES, brain_labels, tissues_of

SHAPE = (36, 44, 40)
SPACING_MM = 4.0
STILL = SynthesisConfig(deformation_mm=(0.0,), deformation_scale_mm=(16.0,))
CLEAN = dataclasses.replace(
    STILL, texture=0.0, bias=0.0, blur_mm=0.0, thick_slice_share=0.0, noise=0.0, gamma=0.0, skull_stripped_share=1.0
)


def head() -> torch.Tensor:
    """(1, 1, *SHAPE) label map: skin, bone, fluid, cortex, white matter, ventricles; left and right labels."""
    grid = identity_grid(SHAPE)[0]
    centred = [(axis - (size - 1) / 2) / size for axis, size in zip(grid, SHAPE, strict=True)]
    radius = sum(axis**2 for axis in centred).sqrt()
    labels = torch.zeros(SHAPE, dtype=torch.int32)
    right = centred[2] > 0
    for outer, left_label, right_label in (
        (0.46, 511, 511),
        (0.42, 515, 515),
        (0.38, 24, 24),
        (0.34, 3, 42),
        (0.26, 2, 41),
        (0.12, 4, 43),
    ):
        inside = radius < outer
        labels[inside & ~right], labels[inside & right] = left_label, right_label
    return labels[None, None]


HEAD = head()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(config: SynthesisConfig, seed: int = 0) -> SyntheticPair:
    return synthetic_pair(HEAD, HEAD, SPACING_MM, config, seeded(seed))


@pytest.mark.parametrize("contrast", ["t1", "random"])
@pytest.mark.parametrize("stripped", [0.0, 1.0])
def test_images_lie_between_zero_and_one_on_black(contrast: str, stripped: float) -> None:
    found = pair(SynthesisConfig(contrast=contrast, skull_stripped_share=stripped), seed=3)
    for image, labels in ((found.fixed, found.fixed_labels), (found.moving, found.moving_labels)):
        assert image.shape == labels.shape == HEAD.shape
        assert image.dtype == torch.float32
        assert labels.dtype == torch.int16
        assert image.min() == 0
        assert image.max() == 1
        assert image.isfinite().all()
        # The corners are outside every head.
        assert image[..., :3, :3, :3].max() == 0
        assert image[labels > 0].std() > 0.01
        assert set(labels.unique().tolist()) == {0, 2, 3, 4, 41, 42, 43}


def test_the_same_seed_gives_the_same_pair_and_another_seed_another() -> None:
    config = SynthesisConfig(contrast="random")
    first, again, other = pair(config, 1), pair(config, 1), pair(config, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first.fixed, first.moving)
    assert not torch.equal(first.fixed_labels, first.moving_labels)


def test_deformation_moves_the_labels_and_keeps_their_volumes() -> None:
    volumes, changed = HEAD.flatten().bincount(), []
    for seed in range(4):
        found = pair(SynthesisConfig(), seed)
        for labels in (found.fixed_labels, found.moving_labels):
            changed.append((labels != HEAD * brain_labels(HEAD)).float().mean().item())
            for label in (2, 3, 4, 41, 42, 43):
                assert 0.5 < (labels == label).sum() / volumes[label] < 2
    # How far each map moves is drawn as well: every one does, some much.
    assert min(changed) > 0
    assert 0.03 < max(changed) < 0.5


def test_without_deformation_the_brain_labels_stay() -> None:
    found = pair(STILL)
    assert torch.equal(found.fixed_labels, (HEAD * brain_labels(HEAD)).to(torch.int16))
    assert torch.equal(found.moving_labels, found.fixed_labels)


def test_stripping_shows_the_brain_and_a_thin_rim_alone() -> None:
    brain = brain_labels(HEAD)
    whole = paint(HEAD, SPACING_MM, False, CLEAN, seeded(0))
    assert (whole[HEAD == 511] > 0.3).all()
    for seed in range(5):
        stripped = paint(HEAD, SPACING_MM, True, CLEAN, seeded(seed))
        assert (stripped[brain] > 0).all()
        assert stripped[HEAD == 511].max() == 0
        assert stripped[HEAD == 0].max() == 0
    shares = [bool(pair(SynthesisConfig(skull_stripped_share=0.5), s).fixed[HEAD == 511].max() == 0) for s in range(8)]
    assert {True, False} == set(shares)


def test_both_images_of_a_pair_are_stripped_or_neither() -> None:
    config = dataclasses.replace(CLEAN, skull_stripped_share=0.5)
    for seed in range(8):
        found = pair(config, seed)
        assert (found.fixed[HEAD == 511].max() == 0) == (found.moving[HEAD == 511].max() == 0)


def test_t1_shows_fluid_darker_than_cortex_darker_than_white_matter() -> None:
    for seed in range(8):
        found = pair(dataclasses.replace(STILL, contrast="t1"), seed)
        for image, labels in ((found.fixed, found.fixed_labels), (found.moving, found.moving_labels)):
            fluid, cortex, white = (
                image[torch.isin(labels, torch.tensor(sides))].mean() for sides in ([4, 43], [3, 42], [2, 41])
            )
            assert fluid < cortex < white


def test_random_contrast_turns_the_order_of_tissues_around_for_each_image() -> None:
    orders = set()
    for seed in range(6):
        found = pair(dataclasses.replace(CLEAN, contrast="random"), seed)
        for image, labels in ((found.fixed, found.fixed_labels), (found.moving, found.moving_labels)):
            means = [image[labels == label].mean().item() for label in (4, 3, 2)]
            orders.add(tuple(sorted(range(3), key=means.__getitem__)))
    assert len(orders) >= 4


def test_both_sides_of_the_brain_get_the_same_brightness() -> None:
    for contrast in ("t1", "random"):
        image = paint(HEAD, SPACING_MM, True, dataclasses.replace(CLEAN, contrast=contrast), seeded(5))
        torch.testing.assert_close(image, image.flip(4))


def test_the_pair_is_the_same_whatever_whole_number_type_the_maps_have() -> None:
    found = pair(SynthesisConfig(), 7)
    for dtype in (torch.int16, torch.int64):
        again = synthetic_pair(HEAD.to(dtype), HEAD.to(dtype), SPACING_MM, SynthesisConfig(), seeded(7))
        assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_a_pose_moves_images_and_labels_together() -> None:
    """A shift of the common map by whole voxels shifts the pair, when nothing else is drawn after it."""
    shift = AffineConfig(rotation_degrees=0.0, scale=0.0, shear=0.0, shift_mm=20.0)
    none = AffineConfig(rotation_degrees=0.0, scale=0.0, shear=0.0, shift_mm=0.0)
    pose = random_pair_pose(seeded(4), AugmentConfig(common=shift, relative=none, flip_share=0.0), SPACING_MM)
    matrix = pose.fixed_source_from_output.clone()
    matrix[:3, 3] = torch.tensor([2.0, -1.0, 3.0])
    moved = synthetic_pair(HEAD, HEAD, SPACING_MM, CLEAN, seeded(0), pose._replace(fixed_source_from_output=matrix))
    still = pair(CLEAN, 0)
    expected = still.fixed_labels.roll((-2, 1, -3), (2, 3, 4))
    assert torch.equal(moved.fixed_labels, expected)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4), slice(4, -4))
    rolled = still.fixed.roll((-2, 1, -3), (2, 3, 4))
    torch.testing.assert_close(moved.fixed[inside], rolled[inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize("largest", [False, True])
def test_deformations_do_not_fold_and_have_the_size_asked_for(largest: bool) -> None:
    sizes_mm = (9.6, 3.2) if largest else SynthesisConfig().deformation_mm
    config = SynthesisConfig(deformation_mm=sizes_mm)
    lengths_mm = []
    for seed in range(8):
        displacement = random_displacement((40, 48, 36), SPACING_MM, config, seeded(seed))
        assert displacement.shape == (1, 3, 40, 48, 36)
        assert not folded(displacement[0]).any()
        lengths_mm.append(displacement.norm(dim=1).mean().item() * SPACING_MM)
    assert 1 < sum(lengths_mm) / len(lengths_mm) < 2 * sum(sizes_mm)


def test_a_deformation_has_the_same_millimetres_on_a_finer_grid() -> None:
    coarse = random_displacement((25, 25, 25), 4.0, SynthesisConfig(), seeded(0)) * 4.0
    fine = random_displacement((49, 49, 49), 2.0, SynthesisConfig(), seeded(0)) * 2.0
    torch.testing.assert_close(fine[..., ::2, ::2, ::2], coarse, atol=0.05, rtol=0)


def test_noise_blur_texture_bias_and_gamma_each_change_the_image() -> None:
    plain = paint(HEAD, SPACING_MM, True, CLEAN, seeded(2))
    for changes in (
        {"noise": 0.3},
        {"texture": 0.3},
        {"bias": 0.5},
        {"blur_mm": 8.0},
        {"gamma": 1.5},
        {"thick_slice_share": 1.0, "thick_slice_mm": 20.0},
    ):
        changed = paint(HEAD, SPACING_MM, True, dataclasses.replace(CLEAN, **changes), seeded(2))
        assert (changed - plain).abs().max() > 0.05, changes


def test_every_label_has_one_tissue_and_left_shares_it_with_right() -> None:
    labels = [label for tissue in TISSUES for label in tissue.labels]
    assert len(labels) == len(set(labels))
    left, right = torch.tensor([2, 3, 4, 7, 8, 10, 17, 1005]), torch.tensor([41, 42, 43, 46, 47, 49, 53, 2005])
    assert torch.equal(tissues_of(left), tissues_of(right))
    assert brain_labels(torch.tensor([3, 16, 4, 85])).all()
    assert not brain_labels(torch.tensor([0, 24, 502, 507, 511, 515])).any()
    means, deviations = random_contrast(SynthesisConfig(contrast="random"), seeded(0))
    assert means[0] == deviations[0] == 0
    assert (means[1:] > 0).all()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"contrast": "t2"}, "t2"),
        ({"skull_stripped_share": 1.5}, "skull_stripped_share"),
        ({"noise": -0.1}, "noise"),
        ({"gamma": float("nan")}, "gamma"),
        ({"bias": "much"}, "bias"),
        ({"blur_mm": True}, "blur_mm"),
        ({"deformation_mm": (5.0,)}, "deformation_mm"),
        ({"deformation_mm": (), "deformation_scale_mm": ()}, "deformation_mm"),
        ({"deformation_mm": (5.0, 9.0)}, "deformation_mm over 16 mm"),
        ({"deformation_scale_mm": (48.0, 1.0)}, "deformation_scale_mm"),
    ],
)
def test_nonsense_settings_are_refused(changes: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        SynthesisConfig(**changes)


@pytest.mark.parametrize(
    ("first", "second", "spacing_mm", "message"),
    [
        (HEAD.float(), HEAD, 4.0, "whole numbers"),
        (HEAD[0], HEAD[0], 4.0, "whole numbers"),
        (HEAD, HEAD[..., 1:], 4.0, "different sizes"),
        (HEAD, HEAD + 5000, 4.0, "cannot paint"),
        (HEAD - 1, HEAD, 4.0, "cannot paint"),
        (torch.full_like(HEAD, 999), HEAD, 4.0, "999"),
        (torch.zeros_like(HEAD), HEAD, 4.0, "no brain"),
        (HEAD, HEAD, 0.0, "spacing_mm"),
    ],
)
def test_label_maps_that_cannot_be_painted_are_refused(
    first: torch.Tensor, second: torch.Tensor, spacing_mm: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        synthetic_pair(first, second, spacing_mm, SynthesisConfig(), seeded(0))
