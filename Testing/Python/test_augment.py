"""Random poses and intensities: ranges, the centre, one frame for both images, black that stays black."""

from __future__ import annotations

import math

import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.spatial.warp import identity_grid
from MMLNRegistrationLib.training.augment import (
    AffineConfig,
    AugmentConfig,
    affine_coordinates,
    random_affine,
    random_bias,
    random_gamma,
    random_intensity,
    random_pair_pose,
    read_at,
    smooth_noise,
)

NONE = AffineConfig(rotation_degrees=0.0, scale=0.0, shear=0.0, shift_mm=0.0)
SHAPE = (16, 18, 20)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apply_affine(image: torch.Tensor, source_from_output: torch.Tensor, nearest: bool = False) -> torch.Tensor:
    """image (1, C, K, J, I) on its own grid after a map of random_affine."""
    shape = tuple(image.shape[2:])
    return read_at(image, affine_coordinates(identity_grid(shape), source_from_output, shape), nearest=nearest)


def blob() -> torch.Tensor:
    centre = torch.tensor([(size - 1) / 2 for size in SHAPE]).view(1, 3, 1, 1, 1)
    squared = ((identity_grid(SHAPE) - centre) / torch.tensor([3.0, 4.0, 5.0]).view(1, 3, 1, 1, 1)).square()
    return torch.exp(-0.5 * squared.sum(1, keepdim=True))


def test_the_identity_leaves_images_and_labels() -> None:
    image = torch.rand(1, 2, *SHAPE, generator=seeded())
    torch.testing.assert_close(apply_affine(image, torch.eye(4)), image, rtol=0, atol=1e-5)
    labels = torch.randint(0, 2036, (1, 1, *SHAPE), generator=seeded(), dtype=torch.int16)
    found = apply_affine(labels, torch.eye(4), nearest=True)
    assert found.dtype == torch.int16
    assert torch.equal(found, labels)
    torch.testing.assert_close(random_affine(seeded(), NONE, 2.0), torch.eye(4))


def test_one_range_at_a_time_gives_that_kind_of_map() -> None:
    for seed in range(5):
        turn = random_affine(seeded(seed), AffineConfig(30.0, 0.0, 0.0, 0.0), 2.0)[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), rtol=0, atol=1e-5)
        assert torch.det(turn) == pytest.approx(1, abs=1e-5)
        assert not torch.allclose(turn, torch.eye(3), atol=1e-3)
        scale = random_affine(seeded(seed), AffineConfig(0.0, 0.2, 0.0, 0.0), 2.0)
        assert torch.equal(scale, torch.diag(scale.diagonal()))
        assert scale.diagonal()[:3].log().abs().max() <= 0.2 + 1e-6
        shear = random_affine(seeded(seed), AffineConfig(0.0, 0.0, 0.1, 0.0), 2.0)[:3, :3]
        assert torch.det(shear) == pytest.approx(1, abs=1e-5)
        assert 0 < (shear - torch.eye(3)).abs().max() <= 0.1
        shift = random_affine(seeded(seed), AffineConfig(0.0, 0.0, 0.0, 10.0), 2.0)
        assert torch.equal(shift[:3, :3], torch.eye(3))
        assert 0 < shift[:3, 3].abs().max() <= 5.0  # 10 mm are 5 voxels of 2 mm


def test_maps_turn_about_the_centre_and_repeat_by_seed() -> None:
    image = blob()
    turned = apply_affine(image, random_affine(seeded(1), AffineConfig(40.0, 0.2, 0.1, 0.0), 1.0))
    grid = identity_grid(SHAPE)
    middle = ((grid * turned).sum((0, 2, 3, 4)) / turned.sum()).tolist()
    assert middle == pytest.approx([(size - 1) / 2 for size in SHAPE], abs=0.15)
    assert (turned - image).abs().max() > 0.1
    config = AffineConfig()
    assert torch.equal(random_affine(seeded(3), config, 1.0), random_affine(seeded(3), config, 1.0))
    assert not torch.equal(random_affine(seeded(3), config, 1.0), random_affine(seeded(4), config, 1.0))


def test_a_shift_reads_at_larger_indices_and_zero_beyond_the_grid() -> None:
    image = torch.rand(1, 1, *SHAPE, generator=seeded()) + 1
    matrix = torch.eye(4)
    matrix[0, 3] = 3.0
    moved = apply_affine(image, matrix)
    torch.testing.assert_close(moved[:, :, :-3], image[:, :, 3:], rtol=0, atol=1e-5)
    assert (moved[:, :, -3:] == 0).all()


def test_label_maps_must_be_read_nearest() -> None:
    with pytest.raises(ValueError, match="nearest"):
        read_at(torch.zeros(1, 1, *SHAPE, dtype=torch.int16), identity_grid(SHAPE))


def test_the_relative_map_is_what_parts_the_two_images() -> None:
    config = AugmentConfig(relative=NONE)
    pose = random_pair_pose(seeded(2), config, 2.0)
    assert torch.equal(pose.fixed_source_from_output, pose.moving_source_from_output)
    for seed in range(5):
        pose = random_pair_pose(seeded(seed), AugmentConfig(), 2.0)
        between = torch.linalg.inv(pose.fixed_source_from_output) @ pose.moving_source_from_output
        assert 0 < (between[:3, :3] - torch.eye(3)).abs().max() < 0.2
        assert between[:3, 3].abs().max() <= 1.0 + 1e-4  # 2 mm are 1 voxel


def test_a_share_of_pairs_is_mirrored_left_to_right_in_both_images() -> None:
    image = torch.rand(1, 1, *SHAPE, generator=seeded())
    always = random_pair_pose(seeded(), AugmentConfig(common=NONE, relative=NONE, flip_share=1.0), 2.0)
    for matrix in always:
        torch.testing.assert_close(apply_affine(image, matrix), image.flip(4), rtol=0, atol=1e-5)
    signs = []
    for seed in range(40):
        pose = random_pair_pose(seeded(seed), AugmentConfig(), 2.0)
        both = [torch.det(matrix[:3, :3]) < 0 for matrix in pose]
        assert both[0] == both[1]
        signs.append(bool(both[0]))
    assert 8 < sum(signs) < 32


def test_intensities_change_smoothly_and_black_stays_black() -> None:
    image = blob() * (blob() > 0.2)
    changed = random_intensity(image, 4.0, AugmentConfig(), seeded(1))
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed[image == 0] == 0).all()
    assert (changed - image).abs().max() > 0.01
    assert torch.equal(changed, random_intensity(image, 4.0, AugmentConfig(), seeded(1)))
    unchanged = random_intensity(image, 4.0, AugmentConfig(gamma=0.0, bias=0.0), seeded(1))
    torch.testing.assert_close(unchanged, image)


def test_gamma_keeps_the_order_and_bias_stays_within_its_scale() -> None:
    ramp = torch.linspace(0, 1, 50)
    for seed in range(5):
        bent = random_gamma(ramp, 0.5, seeded(seed))
        assert bent[0] == 0
        assert bent[-1] == 1
        assert (bent.diff() > 0).all()
        exponent = math.log(bent[25].item()) / math.log(ramp[25].item())
        assert abs(math.log(exponent)) <= 0.5 + 1e-4
    shaded = random_bias(torch.ones(1, 1, *SHAPE), 4.0, 0.3, 60.0, seeded(2)).log()
    assert 0 < shaded.std() < 0.6
    assert shaded.diff(dim=2).abs().max() < 0.3


def test_noise_is_smooth_over_its_scale_and_of_about_unit_size() -> None:
    noise = smooth_noise(seeded(), 3, (40, 40, 40), 2.0, 16.0)
    assert noise.shape == (1, 3, 40, 40, 40)
    assert 0.5 < noise.std() < 1.1
    assert noise.diff(dim=2).std() < 0.3 * noise.std()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: AffineConfig(rotation_degrees=-1.0), "rotation_degrees"),
        (lambda: AffineConfig(scale=float("inf")), "scale"),
        (lambda: AffineConfig(shear="a"), "shear"),  # type: ignore[arg-type]
        (lambda: AugmentConfig(flip_share=2.0), "flip_share"),
        (lambda: AugmentConfig(gamma=True), "gamma"),
        (lambda: AugmentConfig(bias=float("nan")), "bias"),
        (lambda: AugmentConfig(common=0.5), "common"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_ranges_are_refused(make, named: str) -> None:
    with pytest.raises(InputError, match=named):
        make()
