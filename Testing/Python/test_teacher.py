"""Pairs that are optimised before the training: their velocities, their cache, and learning from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.losses import correlation_coefficient
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.spatial.velocity import integrate
from MMLNRegistrationLib.spatial.warp import resize_displacement, warp
from MMLNRegistrationLib.training.augment import AffineConfig, AugmentConfig
from MMLNRegistrationLib.training.config import NO_AFFINE, StageConfig
from MMLNRegistrationLib.training.pairs import Batch, PairSource
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.teacher import TaughtPair, draw_pairs, taught_pairs
from training_cases import STILL, ball_config, write_prepared

TURNED = AugmentConfig(AffineConfig(20.0, 0.1, 0.05, 2.0), NO_AFFINE, flip_share=0.5, gamma=0.0, bias=0.0)


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return write_prepared(tmp_path_factory.mktemp("balls"), {"a": -1.0, "b": 0.0, "c": 1.0})


def teach(balls: PreparedData, count: int = 3, workers: int = 1) -> tuple[TaughtPair, ...]:
    return taught_pairs(balls, draw_pairs(balls.scans, count, 1), 0, workers=workers, progress=silent)


def improvement(batch: Batch) -> tuple[float, float]:
    assert batch.velocity is not None
    warped = warp(batch.moving, integrate(batch.velocity))
    return tuple(float(correlation_coefficient(batch.fixed, image)) for image in (batch.moving, warped))


def test_pairs_are_of_two_subjects_each_once_and_the_same_for_a_seed(balls: PreparedData) -> None:
    pairs = draw_pairs(balls.scans, 100, 3)
    assert len(pairs) == len(set(pairs)) == 6
    assert all(one.subject != two.subject for one, two in pairs)
    assert draw_pairs(balls.scans, 2, 3) == pairs[:2]
    assert draw_pairs(balls.scans, 6, 4) != pairs


def test_velocity_carries_one_scan_onto_the_other(balls: PreparedData) -> None:
    for pair in teach(balls):
        fixed, moving = balls.load(pair.fixed).image, balls.load(pair.moving).image
        assert fixed is not None
        assert moving is not None
        displacement = resize_displacement(integrate(pair.velocity()), (16, 16, 16))
        after = correlation_coefficient(fixed, warp(moving, displacement))
        assert after > 0.5 + 0.5 * correlation_coefficient(fixed, moving)


def test_cache_is_used_until_a_scan_changes(tmp_path: Path) -> None:
    balls = write_prepared(tmp_path, {"a": -1.0, "b": 0.0, "c": 1.0})
    first = {pair.path: pair.path.stat().st_mtime_ns for pair in teach(balls, 6)}
    assert {pair.path: pair.path.stat().st_mtime_ns for pair in teach(balls, 6)} == first
    next(iter(first)).write_bytes(b"damaged")
    again = {pair.path: pair.path.stat().st_mtime_ns for pair in teach(balls, 6)}
    assert [path for path in first if again[path] != first[path]] == [next(iter(first))]


def test_two_processes_find_the_same(tmp_path: Path) -> None:
    contents = []
    for workers in (1, 2):
        balls = write_prepared(tmp_path / str(workers), {"a": -1.0, "b": 0.0})
        contents.append([pair.velocity() for pair in teach(balls, 2, workers)])
    for one, two in zip(*contents, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_vanished_file_is_named(tmp_path: Path) -> None:
    (pair,) = teach(write_prepared(tmp_path, {"a": -1.0, "b": 0.0}), 1)
    pair.path.unlink()
    with pytest.raises(InputError, match="taught pair"):
        pair.velocity()


@pytest.mark.parametrize("level", [2, 3])
@pytest.mark.parametrize("augment", [STILL, TURNED])
def test_velocity_follows_the_pose_of_its_images(balls: PreparedData, level: int, augment: AugmentConfig) -> None:
    config = ball_config((0, 0, 1), augment=augment, taught_pairs=3, atlases=0)
    pairs = PairSource(balls, balls.scans, config, teach(balls))
    for step in range(6):
        before, after = improvement(pairs.batch(step, level, taught=True, part=0))
        assert after > 0.4 + 0.6 * before


def test_stage_cannot_be_taught_without_pairs() -> None:
    stages = (StageConfig(1, 4, 0, 1e-3, 1e-3, taught_steps=2),)
    with pytest.raises(InputError, match="taught_pairs"):
        ball_config((1, 0, 0), stages=stages)
    assert replace(ball_config((1, 0, 0)), stages=stages, taught_pairs=1).taught_pairs == 1
