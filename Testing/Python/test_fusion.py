"""Votes of several atlases: counts by hand, ties, borders of atlases, order, memory, and what the weights are for."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline import fusion
from MMLNRegistrationLib.pipeline.fusion import Vote, equal_vote, fuse, local_vote, local_weights
from MMLNRegistrationLib.pipeline.volume import Volume
from phantoms import grid

GRID = grid("lps_axes", (20, 22, 24), (2.0, 2.0, 2.0))
NO_SHIFT = np.zeros((*GRID.shape_kji, 3), np.float32)


def vote(labels: list[int], weights: list[float] | None = None) -> Vote:
    """A vote on a row of voxels."""
    values = np.array(labels, np.uint8)[None, None]
    return Vote(values, np.array(weights or [1.0] * len(labels), np.float32)[None, None])


def outcome(*votes: Vote) -> tuple[list[int], list[float]]:
    fused = fuse(votes)
    return fused.labels_kji.ravel().tolist(), fused.agreement_kji.ravel().tolist()


def test_majority_by_hand():
    labels, agreement = outcome(vote([1, 1, 5, 0]), vote([1, 2, 6, 0]), vote([1, 2, 7, 9]))
    assert labels == [1, 2, 5, 0]
    assert agreement == pytest.approx([1, 2 / 3, 1 / 3, 2 / 3])


def test_weights_by_hand():
    """One good atlas against two poor ones, and two fair ones against one good one."""
    labels, agreement = outcome(vote([4, 4], [3, 3]), vote([2, 2], [1, 2]), vote([2, 2], [1, 2]))
    assert labels == [4, 2]
    assert agreement == pytest.approx([3 / 5, 4 / 7])


def test_tie_goes_to_the_lower_label_whatever_the_order():
    votes = [vote([9, 3]), vote([2, 8]), vote([2, 3]), vote([9, 8])]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        assert outcome(*[votes[index] for index in order])[0] == [2, 3]


def test_no_vote_counts_for_nothing():
    """An atlas that does not reach a voxel does not say background there; where none reaches, there is no label."""
    labels, agreement = outcome(vote([0, 0, 0], [0, 0, 1]), vote([6, 0, 6], [1, 0, 1]), vote([6, 0, 6], [0, 0, 1]))
    assert labels == [6, 0, 6]
    assert agreement == pytest.approx([1, 0, 2 / 3])


def test_types_and_shapes():
    small = Vote(np.full((2, 3, 4), 7, np.uint8), np.ones((2, 3, 4), np.float32))
    large = Vote(np.full((2, 3, 4), 70000, np.uint32), np.full((2, 3, 4), 2, np.float32))
    fused = fuse([small, large])
    assert fused.labels_kji.dtype == np.uint32
    assert (fused.labels_kji == 70000).all()
    with pytest.raises(ValueError, match="same grid"):
        fuse([small, vote([1])])
    with pytest.raises(InputError, match="at least one"):
        fuse([])


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_same_as_counting_label_by_label(atlases, seed):
    """Against the plain way, which keeps a map for each label; several chunks, weights with ties among them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, (atlases, 3, 4, 5)).astype(np.uint8)
    weights = rng.integers(0, 4, (atlases, 3, 4, 5)).astype(np.float32) / 4
    votes = [Vote(*pair) for pair in zip(labels, weights, strict=True)]
    scores = np.stack([(weights * (labels == label)).sum(0) for label in range(5)])
    total = weights.sum(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion, "_CHUNK_VOXELS", 7)
        fused = fuse(votes)
    some = total > 0
    np.testing.assert_array_equal(fused.labels_kji[some], scores.argmax(0)[some])
    np.testing.assert_allclose(fused.agreement_kji[some], scores.max(0)[some] / total[some], rtol=1e-6)
    assert not fused.agreement_kji[~some].any()


def test_memory_does_not_grow_with_the_number_of_labels():
    """200 labels: one map for each would be 200 times the image."""
    rng = np.random.default_rng(1)
    shape = (96, 96, 96)
    votes = [Vote(rng.integers(0, 200, shape).astype(np.uint8), np.ones(shape, np.float32)) for _ in range(3)]
    tracemalloc.start()
    fuse(votes)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 64 * 2**20


def test_atlas_has_no_vote_outside_its_grid():
    half = grid("lps_axes", (20, 22, 12), (2.0, 2.0, 2.0))
    labels = Volume(np.full(half.shape_kji, 3, np.uint8), half, "half")
    subject = Volume(np.zeros(GRID.shape_kji, np.float32), GRID, "subject")
    cast = equal_vote(labels, NO_SHIFT, subject)
    assert set(np.unique(cast.weights_kji)) == {0, 1}
    np.testing.assert_array_equal(cast.labels_kji, 3 * cast.weights_kji)
    assert 0.4 < cast.weights_kji.mean() < 0.6


def test_weights_follow_likeness_not_brightness():
    """Best where the images agree, the same for another scale or sign of contrast, equal where the subject is flat."""
    rng = np.random.default_rng(2)
    array = rng.normal(size=GRID.shape_kji).astype(np.float32)
    array[:, :, 16:] = 0
    other = rng.normal(size=GRID.shape_kji).astype(np.float32)
    mixed = np.where(np.arange(GRID.shape_kji[1])[None, :, None] < 11, array, other)
    subject = Volume(array, GRID, "subject")
    weights = local_weights(subject, Volume(mixed, GRID, "atlas"))
    assert weights.min() >= np.float32(fusion.FLOOR**fusion.GAIN) * 0.999
    assert weights[4:-4, 3:8, 3:13].min() > 20 * weights[4:-4, 14:-3, 3:13].mean()
    np.testing.assert_allclose(weights[:, :, 19:-3], fusion.FLOOR**fusion.GAIN, rtol=0.01)
    inverted = local_weights(subject, Volume(500 - 40 * mixed, GRID, "atlas"))
    np.testing.assert_allclose(inverted[4:-4, 3:8, 3:13], weights[4:-4, 3:8, 3:13], rtol=0.05)


def test_local_weights_beat_the_majority():
    """Three atlases of which each is right in another third, and far from the subject in the rest."""
    rng = np.random.default_rng(3)
    truth = (np.arange(GRID.shape_kji[2]) // 3 % 2 + 1)[None, None] * np.ones(GRID.shape_kji, np.uint8)
    texture = rng.normal(size=GRID.shape_kji).astype(np.float32)
    subject = Volume(texture, GRID, "subject")
    third = np.arange(GRID.shape_kji[1])[None, :, None] * 3 // GRID.shape_kji[1] * np.ones(GRID.shape_kji, int)
    majority, weighted = [], []
    for number in range(3):
        good = third == number
        labels = Volume(np.where(good, truth, 3 - truth).astype(np.uint8), GRID, "labels")
        warped = Volume(np.where(good, texture, rng.normal(size=GRID.shape_kji)).astype(np.float32), GRID, "atlas")
        majority.append(equal_vote(labels, NO_SHIFT, subject))
        weighted.append(local_vote(labels, NO_SHIFT, subject, warped))
    assert (fuse(majority).labels_kji == truth).mean() == 0
    assert (fuse(weighted).labels_kji == truth).mean() > 0.97
