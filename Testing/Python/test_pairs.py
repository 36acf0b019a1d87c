"""Training pairs: which, in what order, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training.augment import AugmentConfig
from MMLNRegistrationLib.training.config import TrainConfig
from MMLNRegistrationLib.training.datasets import Scan
from MMLNRegistrationLib.training.pairs import Batch, PairSource, at_level
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.validation import ValidationSet
from training_cases import LABELS, QUICK, quick


def source(prepared: PreparedData, config: TrainConfig = QUICK, scans: tuple[Scan, ...] | None = None) -> PairSource:
    return PairSource(prepared, prepared.scans if scans is None else scans, config)


def draw(pairs: PairSource, step: int, level: int, part: int = 0) -> Batch:
    return pairs.batch(step, level, taught=False, part=part)


def same(one: Batch, two: Batch) -> bool:
    return torch.equal(one.fixed, two.fixed) and torch.equal(one.moving, two.moving)


def subjects_in(batch: Batch, prepared: PreparedData, level: int, index: int = 0) -> tuple[str, str]:
    """Whose images a batch without augmentation shows."""
    by_image = {}
    for scan in prepared.scans:
        image = at_level(prepared.load(scan), QUICK.network.levels - level).image
        assert image is not None
        by_image[image.float().numpy().tobytes()] = scan.subject
    return tuple(by_image[image[index : index + 1].numpy().tobytes()] for image in (batch.fixed, batch.moving))


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["real", "synthetic"])
def test_a_step_has_its_own_pair_that_follows_from_the_seed(share: float, prepared: PreparedData) -> None:
    config = quick(augment=AugmentConfig(), synthetic_share=share)
    ahead, fresh = source(prepared, config), source(prepared, config)
    batches = [draw(ahead, step, 2) for step in range(4)]
    for step in (3, 1):  # in another order, by another source: as after a resume
        again = draw(fresh, step, 2)
        assert same(again, batches[step])
        assert torch.equal(torch.cat(again.structures), torch.cat(batches[step].structures))
    assert not any(same(batches[0], other) for other in batches[1:])
    assert not same(batches[0], draw(source(prepared, replace(config, seed=6)), 0, 2))


@pytest.mark.parametrize("share", [0.0, 1.0], ids=["real", "synthetic"])
def test_devices_get_different_pairs_of_one_kind(share: float, prepared: PreparedData) -> None:
    pairs = source(prepared, quick(augment=AugmentConfig(), synthetic_share=share))
    parts = [draw(pairs, 7, 1, part) for part in range(3)]
    assert not any(same(parts[0], other) for other in parts[1:])
    mixed = source(prepared, quick(synthetic_share=0.5))
    for step in range(20):
        assert len({draw(mixed, step, 1, part).compare_images for part in range(2)}) == 1


def test_a_batch_of_two_holds_the_pairs_that_two_devices_would_get(prepared: PreparedData) -> None:
    together = draw(source(prepared, quick(batch_size=2)), 3, 2)
    alone = source(prepared)
    for index in range(2):
        part = draw(alone, 3, 2, index)
        assert torch.equal(together.fixed[index], part.fixed[0])
        assert torch.equal(together.moving[index], part.moving[0])
        assert torch.equal(together.structures.fixed[index], part.structures.fixed[0])


@pytest.mark.parametrize("level", [1, 2, 3])
def test_images_and_structures_lie_on_the_grid_of_the_level(level: int, prepared: PreparedData) -> None:
    shape = tuple(size // 2 ** (3 - level) for size in prepared.shape_kji)
    for share in (0.0, 1.0):
        batch = draw(source(prepared, quick(augment=AugmentConfig(), synthetic_share=share)), 0, level)
        assert tuple(batch.fixed.shape) == tuple(batch.moving.shape) == (1, 1, *shape)
        assert batch.fixed.dtype == torch.float32
        for image in (batch.fixed, batch.moving):
            assert image.min() >= 0
            assert 0.5 < image.max() <= 1
        for maps in batch.structures:
            assert tuple(maps.shape) == (1, QUICK.dice_structures, *shape)
            assert set(maps.unique().tolist()) == {0.0, 1.0}
            assert (maps.flatten(2).sum(dim=2) > 0).all()


def test_never_two_scans_of_one_subject(prepared: PreparedData) -> None:
    """Six scans of three people, each one twice."""
    owner = {scan.name: f"person {index // 2}" for index, scan in enumerate(prepared.scans)}
    scans = tuple(replace(scan, subject=owner[scan.name]) for scan in prepared.scans)
    pairs = source(prepared, scans=scans)
    names = {scan.subject: owner[scan.name] for scan in prepared.scans}
    drawn = {subjects_in(draw(pairs, step, 1), prepared, 1) for step in range(60)}
    assert all(names[fixed] != names[moving] for fixed, moving in drawn)
    assert len(drawn) > 12  # of 24
    validated = ValidationSet(prepared, scans, 100, seed=0).names
    assert len(validated) == len(set(validated)) == 24
    assert all(owner[fixed] != owner[moving] for fixed, moving in validated)


def test_atlases_are_always_fixed_and_never_moving(prepared: PreparedData) -> None:
    pairs = source(prepared, quick(atlases=2))
    assert len(pairs.atlases) == 2
    drawn = {subjects_in(draw(pairs, step, 1), prepared, 1) for step in range(60)}
    assert {fixed for fixed, _ in drawn} == pairs.atlases
    assert {moving for _, moving in drawn} == {scan.subject for scan in prepared.scans} - pairs.atlases
    assert source(prepared, quick(atlases=2)).atlases == pairs.atlases
    draws = {frozenset(source(prepared, quick(atlases=2, seed=seed)).atlases) for seed in range(8)}
    assert len(draws) > 1


@pytest.mark.parametrize("halvings", [0, 1, 2])
def test_labels_stay_whole_on_every_grid(halvings: int, prepared: PreparedData) -> None:
    for scan in prepared.scans[:2]:
        whole = prepared.load(scan)
        image, labels = at_level(whole, halvings)
        assert labels is not None
        assert labels.dtype == torch.int16
        assert set(labels.unique().tolist()) <= {0, *LABELS}
        assert tuple(labels.shape[2:]) == tuple(size // 2**halvings for size in prepared.shape_kji)
        # The image of that grid shows the labels of that grid.
        assert image is not None
        assert ((image.float() > 0.25) == (labels > 0)).float().mean() > 0.93


def test_augmentation_moves_images_and_structures_alike(prepared: PreparedData) -> None:
    config = quick(augment=AugmentConfig(gamma=0.0, bias=0.0), dice_structures=40)
    batch = draw(source(prepared, config), 1, 3)
    plain = draw(source(prepared, quick(dice_structures=40)), 1, 3)
    assert not torch.allclose(batch.fixed, plain.fixed, atol=0.1)
    for image, maps in ((batch.fixed, batch.structures.fixed), (batch.moving, batch.structures.moving)):
        inside = maps.amax(dim=1, keepdim=True) > 0  # forty draws of eight labels hold them all
        assert ((image > 0.25) == inside).float().mean() > 0.97


def test_the_synthetic_share_of_the_steps(prepared: PreparedData) -> None:
    for share, low, high in ((0.0, 0, 0), (0.3, 8, 25), (1.0, 50, 50)):
        pairs = source(prepared, quick(synthetic_share=share))
        count = sum(not draw(pairs, step, 1).compare_images for step in range(50))
        assert low <= count <= high
    drawn = draw(source(prepared, quick(synthetic_share=1.0)), 0, 1)
    assert drawn.structures is not None


def test_structures_only_where_both_have_labels_and_they_count(prepared: PreparedData) -> None:
    assert draw(source(prepared), 0, 1).structures is not None
    without_dice = quick(loss=replace(QUICK.loss, dice_weight=0.0))
    assert draw(source(prepared, without_dice), 0, 1).structures is None


def test_label_maps_alone_serve_synthesis_and_no_real_pair(prepared: PreparedData) -> None:
    scans = tuple(replace(scan, image=None) if index < 4 else scan for index, scan in enumerate(prepared.scans))
    pairs = source(prepared, scans=scans)
    drawn = {subjects_in(draw(pairs, step, 1), prepared, 1) for step in range(20)}
    assert drawn == {("emil", "fay"), ("fay", "emil")}
    alone = source(prepared, quick(synthetic_share=1.0), scans[:4])
    assert not draw(alone, 0, 1).compare_images


@pytest.mark.parametrize(
    ("config", "count", "sentence"),
    [
        (QUICK, 1, "at least two subjects"),
        (quick(synthetic_share=0.5), 0, "at least two subjects"),
        (quick(atlases=6), 6, "6 atlases leave none of 6 subjects"),
        (quick(atlases=3), 2, "3 atlases leave none of 2 subjects"),
    ],
)
def test_too_few_subjects_are_refused(config: TrainConfig, count: int, sentence: str, prepared: PreparedData) -> None:
    with pytest.raises(InputError, match=sentence):
        source(prepared, config, prepared.scans[:count])


def test_synthesis_without_label_maps_is_refused(prepared: PreparedData) -> None:
    scans = tuple(replace(scan, labels=None) for scan in prepared.scans)
    with pytest.raises(InputError, match="needs label maps"):
        source(prepared, quick(synthetic_share=0.5), scans)


def test_validation_needs_two_subjects_and_prefers_those_with_labels(prepared: PreparedData) -> None:
    with pytest.raises(InputError, match="Validation needs scans of at least two subjects"):
        ValidationSet(prepared, prepared.scans[:1], 3, seed=0)
    scans = tuple(replace(scan, labels=None) if index < 4 else scan for index, scan in enumerate(prepared.scans))
    names = {scan.name for scan in scans[4:]}
    for seed in range(5):
        chosen = ValidationSet(prepared, scans, 3, seed).names
        assert set(chosen[0]) == set(chosen[1]) == names
        assert set(chosen[2]) != names
