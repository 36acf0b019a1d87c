"""Scoring a network on atlas-based pairs: figures that can be counted by hand, and going on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cli_cases import text
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.checkpoint import save_checkpoint
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig
from MMLNRegistrationLib.progress import Cancelled, Progress, silent
from MMLNRegistrationLib.reproduction.results import is_finished, training_facts
from MMLNRegistrationLib.reproduction.scoring import AtlasPairs, Field, PairScore, score_network, scored
from MMLNRegistrationLib.training.ledger import Ledger, read_ledger
from MMLNRegistrationLib.training.preparation import PreparedData, PreparedScan
from MMLNRegistrationLib.training.run_folder import RunFolder
from MMLNRegistrationLib.training.split import Split
from training_cases import CARD, ball, quick

CPU = torch.device("cpu")


def scan(labels: np.ndarray) -> PreparedScan:
    return PreparedScan(torch.zeros(1, 1, *labels.shape), torch.from_numpy(labels.astype(np.int16))[None, None])


def block(start: int, label: int, size: int = 12) -> np.ndarray:
    """A block of 4 x 4 x 4 voxels, beginning at start along the last axis."""
    labels = np.zeros((size,) * 3, np.int16)
    labels[4:8, 4:8, start : start + 4] = label
    return labels


def shift(voxels: float, size: int = 12) -> Tensor:
    """A displacement along the last axis, the same everywhere."""
    displacement = torch.zeros(1, 3, size, size, size)
    displacement[:, 2] = voxels
    return displacement


def test_a_known_shift_gives_the_figures_that_can_be_counted() -> None:
    """Label 1 lies two voxels further in the moving scan; label 5, which is not scored, lies at the edge of both."""
    fixed, moving = scan(block(2, 1) + block(8, 5)), scan(block(4, 1) + block(8, 5))
    result = scored(fixed, moving, Field(shift(2.0), 1.5), {1, 2}, ("a", "b"), "cpu, 1 thread")
    # Before: label 1 has two of four slices in common, label 5 all. After: label 1 all; label 5 lies at 6 to 11, as
    # the edge is repeated, and 8 to 11 are in common.
    assert result.dice_initial == pytest.approx(0.5)
    assert result.dice_all_initial == pytest.approx(0.75)
    assert result.dice == pytest.approx(1.0)
    assert result.dice_all == pytest.approx((1 + 2 * 4 / (6 + 4)) / 2)
    assert result.tc == pytest.approx(1.0)
    assert (result.folded_strict_percent, result.folded_central_percent) == (0, 0)
    assert (result.fixed, result.moving, result.seconds, result.device) == ("a", "b", 1.5, "cpu, 1 thread")
    every = scored(fixed, moving, Field(shift(2.0), 1.5), None, ("a", "b"), "cpu, 1 thread")
    assert every.dice == every.dice_all == result.dice_all


def test_tc_is_the_volume_after_by_the_volume_before() -> None:
    """A map that halves the last axis about its origin doubles what lies there."""
    stretch = torch.zeros(1, 3, 12, 12, 12)
    stretch[:, 2] = -0.5 * torch.arange(12.0)
    result = scored(scan(block(0, 1)), scan(block(1, 1)), Field(stretch, 0.0), {1}, ("a", "b"), "cpu")
    assert result.tc == pytest.approx(2.0, abs=0.25)
    shrunk = scored(scan(block(0, 1)), scan(block(1, 1)), Field(-stretch, 0.0), {1}, ("a", "b"), "cpu")
    assert shrunk.tc < 0.9


def test_strict_folds_are_not_central_ones() -> None:
    """Every second voxel is moved past its neighbour: central differences skip it."""
    displacement = shift(0.0)
    displacement[:, 2, :, :, ::2] = 1.2
    result = scored(scan(block(4, 1)), scan(block(4, 1)), Field(displacement, 0.0), {1}, ("a", "b"), "cpu")
    assert result.folded_strict_percent > 80
    assert result.folded_central_percent < 20
    turned = shift(0.0)
    turned[:, 2] = -3 * torch.arange(12.0)
    both = scored(scan(block(4, 1)), scan(block(4, 1)), Field(turned, 0.0), {1}, ("a", "b"), "cpu")
    assert (both.folded_strict_percent, both.folded_central_percent) == (100, 100)


@pytest.fixture
def pairs(balls: PreparedData) -> AtlasPairs:
    """One atlas, three others; the core is scored, its shell is not."""
    return AtlasPairs(balls, balls.scans[:1], balls.scans[1:4], frozenset({2}))


def network_file(path: Path, seed: int) -> Path:
    """A network of the balls' grid whose field is not zero."""
    torch.manual_seed(seed)
    network = MMLN(MMLNConfig(width=2, blocks=1, branch_2d=False, branch_core=False))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    save_checkpoint(path, network, replace(CARD, grid_spacing_mm=4.0))
    return path


def evaluated(network: Path, pairs: AtlasPairs, table: Path, progress: Progress = silent) -> list[PairScore]:
    return score_network(network, pairs, 4.0, CPU, table, progress)


def timeless(scores: list[PairScore]) -> list[PairScore]:
    return [replace(score, seconds=0.0) for score in scores]


def test_a_network_is_scored_on_each_pair(pairs: AtlasPairs, tmp_path: Path) -> None:
    told: list[float] = []
    network = network_file(tmp_path / "net.safetensors", 1)
    scores = evaluated(network, pairs, tmp_path / "s.jsonl", lambda step, part: told.append(part))
    assert [(score.fixed, score.moving) for score in scores] == [("atlas", "b"), ("atlas", "c"), ("atlas", "d")]
    assert told == sorted(told)
    assert (min(told), max(told)) == (0, 1)
    cores = [np.asarray(ball(voxels)[1]) == 2 for voxels in (-1.5, 0.5, 1.5, 2.5)]
    initial = [2 * (cores[0] & core).sum() / (cores[0].sum() + core.sum()) for core in cores[1:]]
    assert [score.dice_initial for score in scores] == pytest.approx(initial)
    assert all(score.dice != score.dice_initial and score.seconds > 0 for score in scores)
    assert all(score.device.startswith("cpu, ") for score in scores)


def test_a_stopped_evaluation_goes_on_and_a_finished_one_is_not_repeated(pairs: AtlasPairs, tmp_path: Path) -> None:
    network, table = network_file(tmp_path / "net.safetensors", 1), tmp_path / "scores.jsonl"
    straight = evaluated(network, pairs, tmp_path / "straight.jsonl")

    def stop(step: str, part: float) -> None:
        if part > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluated(network, pairs, table, stop)
    (kept,) = read_ledger(table)[1:]
    scores = evaluated(network, pairs, table)
    assert scores[0].seconds == kept["seconds"]
    assert timeless(scores) == timeless(straight)
    content = table.read_bytes()
    assert evaluated(network, pairs, table) == scores
    assert table.read_bytes() == content


def test_scores_of_another_network_do_not_count(pairs: AtlasPairs, tmp_path: Path) -> None:
    table = tmp_path / "scores.jsonl"
    first = evaluated(network_file(tmp_path / "one.safetensors", 1), pairs, table)
    second = evaluated(network_file(tmp_path / "two.safetensors", 2), pairs, table)
    assert timeless(second) != timeless(first)
    assert len(read_ledger(table)) == 1 + pairs.count


def test_a_table_of_something_else_is_named(pairs: AtlasPairs, tmp_path: Path) -> None:
    network, table = network_file(tmp_path / "net.safetensors", 1), tmp_path / "scores.jsonl"
    evaluated(network, pairs, table)
    text(table, table.read_text().replace('"tc"', '"ct"'))
    with pytest.raises(InputError, match=r"scores\.jsonl is not a table of scores; remove it"):
        evaluated(network, pairs, table)
    text(table, "")  # killed before the first line
    assert len(evaluated(network, pairs, table)) == pairs.count


def test_facts_of_a_training_are_those_of_its_ledger(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.begin(quick((20, 0, 10)), Split((), ()), "cuda:0, NVIDIA H100")
    ledger = Ledger(run.ledger)
    ledger.append({"event": "start", "step": 0})
    for step, seconds, held in ((10, 2.0, 5 * 2**30), (15, 4.0, 7 * 2**30), (20, 4.0, 6 * 2**30)):
        ledger.append({"event": "step", "step": step, "seconds": seconds, "memory_bytes": held})
    for step, dice, best in ((10, 0.5, True), (20, 0.6, True), (30, 0.55, False)):
        ledger.append({"event": "validation", "step": step, "level": 1, "dice": dice, "best": best})
    assert not is_finished(run)
    ledger.append({"event": "end", "step": 30})
    assert not is_finished(run)  # there is no network
    run.best.write_bytes(b"")
    assert is_finished(run)
    facts = training_facts(run)
    assert facts.steps == (20, 0, 10)
    assert (facts.best_step, facts.best_level, facts.validation_dice) == (20, 1, 0.6)
    assert facts.hours == pytest.approx((10 * 2 + 10 * 4) / 3600)
    assert (facts.device, facts.gpu_bytes) == ("cuda:0, NVIDIA H100", 7 * 2**30)
    run.write_text("environment.json", '{"device": "cpu, 2 threads"}')
    assert training_facts(run).gpu_bytes is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_figures(pairs: AtlasPairs, tmp_path: Path) -> None:
    network = network_file(tmp_path / "net.safetensors", 1)
    here = evaluated(network, pairs, tmp_path / "cpu.jsonl")
    there = score_network(network, pairs, 4.0, torch.device("cuda"), tmp_path / "gpu.jsonl", silent)
    assert [score.dice for score in there] == pytest.approx([score.dice for score in here], abs=0.02)
    assert all(score.device.startswith("cuda") for score in there)
