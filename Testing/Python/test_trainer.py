"""The training loop on small brains and balls: three levels learn, each switch does its work, all is on record."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from MMLNRegistrationLib.io import read_image
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.pipeline.prepare import PrepareConfig
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.training.config import StageConfig, as_json
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_folder import RunFolder
from MMLNRegistrationLib.training.trainer import learning_rate, seconds_left, stage_at
from training_cases import QUICK, SUBJECTS, ball_config, events, losses, quick, run_training, train_balls

pytestmark = pytest.mark.usefixtures("one_thread")

EACH_STEP = {"checkpoint_every": 1, "validate_every": 1000}


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Of the newest checkpoint."""
    return load_file(max((folder / "checkpoints").glob("step-*")) / "weights.safetensors")


def level_weights(weights: dict[str, Tensor], level: int) -> dict[str, Tensor]:
    start = f"network.levels.{level - 1}."
    return {name.removeprefix(start): value for name, value in weights.items() if name.startswith(start)}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def steps_of(folder: Path) -> list[dict]:
    return [entry for entry in losses(folder) if entry["event"] == "step"]


def test_three_levels_learn_an_easy_set(balls: PreparedData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    state = train_balls(balls, run, ball_config((40, 30, 20), validate_every=20))
    entries = losses(run)
    for level in (1, 2, 3):
        falls = [entry for entry in entries if entry["event"] == "step" and entry["level"] == level]
        assert falls[-1]["total"] < 0.8 * falls[0]["total"]
        assert falls[-1]["similarity"] < 0.8 * falls[0]["similarity"]
        *_, last = (entry for entry in entries if entry["event"] == "validation" and entry["level"] == level)
        assert last["dice"] > last["dice_initial"] + 0.3
        assert last["similarity"] > 0.95
        assert last["folded_percent"] == 0
    scores = {entry["step"]: entry["dice"] for entry in entries if entry["event"] == "validation"}
    assert state.best_score == max(scores.values()) == scores[state.best_step]
    rising = [entry["best"] for entry in entries if entry["event"] == "validation"]
    assert rising == [score > max([0, *list(scores.values())[:index]]) for index, score in enumerate(scores.values())]


@pytest.fixture(scope="module")
def finished(brains: Path, prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by the Python call; not to be written to."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_training(brains, prepared.folder.parent, folder, QUICK)
    return folder


def test_the_run_folder_tells_all(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    files = {"config.json", "split.json", "environment.json", "ledger.jsonl", "curves.svg", "best.safetensors"}
    assert names == files | {"validation.json", "checkpoints"}
    assert not list(finished.rglob(".*"))
    assert json.loads((finished / "config.json").read_text()) == as_json(QUICK)
    split = json.loads((finished / "split.json").read_text())
    assert sorted(split["training"] + split["validation"]) == list(SUBJECTS)
    assert len(split["validation"]) == 2
    pairs = json.loads((finished / "validation.json").read_text())
    assert [{name.partition("_")[0] for name in pair} for pair in pairs["pairs"]] == [set(split["validation"])]
    assert json.loads((finished / "environment.json").read_text())["torch"] == torch.__version__
    assert [path.name for path in sorted((finished / "checkpoints").iterdir())] == ["step-00000011", "step-00000012"]
    svg = ElementTree.parse(finished / "curves.svg").getroot()
    assert svg.tag.endswith("svg")
    assert "Dice" in "".join(svg.itertext())


def test_the_ledger_tells_each_step(finished: Path) -> None:
    entries = read_ledger(finished / "ledger.jsonl")
    assert events(finished) == ["start", "end"]
    steps = [entry for entry in entries if entry["event"] == "step"]
    assert [(entry["step"], entry["level"]) for entry in steps] == [(3, 1), (4, 1), (7, 2), (8, 2), (11, 3), (12, 3)]
    for entry in steps:
        assert {"similarity", "regularisation", "slices", "core", "dice", "seconds", "memory_bytes"} <= entry.keys()
        branch = 0.25 * entry["slices"] if entry["level"] == 1 else 0.5 * entry["slices"]
        parts = entry["similarity"] + entry["regularisation"] + branch + 0.25 * entry["core"] + 0.5 * entry["dice"]
        assert entry["total"] == pytest.approx(parts, rel=1e-5)
        assert entry["seconds"] > 0
        assert entry["seconds_left"] >= 0
    assert steps[-1]["seconds_left"] == 0
    validations = [entry for entry in entries if entry["event"] == "validation"]
    assert [entry["step"] for entry in validations] == [2, 4, 6, 8, 10, 12]
    assert len({entry["dice_initial"] for entry in validations}) == 1


def test_the_best_network_loads_and_registers(finished: Path, brains: Path) -> None:
    model = load_checkpoint(finished / "best.safetensors")
    validations = [entry for entry in losses(finished) if entry["event"] == "validation"]
    best = max(validations, key=lambda entry: (entry["dice"], -entry["step"]))
    assert model.network.config.levels == best["level"]
    assert model.card.grid_spacing_mm == QUICK.spacing_mm * 2 ** (3 - best["level"])
    assert model.card.name == "run"
    assert "4 images and 4 label maps" in model.card.training_data
    fixed, moving = (read_image(brains / f"{name}_image.nii.gz") for name in SUBJECTS[:2])
    grid = PrepareConfig(spacing_mm=QUICK.spacing_mm)
    options = Options(model=model, initial="identity", device="cpu", prepare=grid, refine=RefineConfig(iterations=0))
    registration = register(fixed, moving, options, silent)
    assert registration.displacement_mm.shape == (*fixed.geometry.shape_kji, 3)
    assert registration.folding.folded_voxels == 0


def test_the_same_run_twice_is_the_same(balls: PreparedData, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train_balls(balls, tmp_path / name, ball_config((2, 2, 2)))
    assert same(weights_of(tmp_path / "one"), weights_of(tmp_path / "two"))
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


@pytest.fixture(scope="module")
def ablations(balls: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same short run with each strategy switched off in turn."""
    torch.set_num_threads(1)
    root, plain = tmp_path_factory.mktemp("ablations"), ball_config((3, 3, 3), **EACH_STEP)
    for name in ("all", "branch_2d", "branch_core", "feature_feedback"):
        network = plain.network if name == "all" else replace(plain.network, **{name: False})
        train_balls(balls, root / name, replace(plain, network=network))
    return {path.name: path for path in root.iterdir()}


def test_without_the_2d_branch_its_weights_and_its_term_are_gone(ablations: dict[str, Path]) -> None:
    everything, without = ablations["all"], ablations["branch_2d"]
    assert any(name.startswith("slice_branches.") for name in weights_of(everything))
    assert not any(name.startswith("slice_branches.") for name in weights_of(without))
    assert [entry["slices"] > 0 for entry in steps_of(everything)] == [True] * 6 + [False] * 3
    assert all(entry["slices"] == 0 for entry in steps_of(without))
    first, other = steps_of(everything), steps_of(without)
    assert first[0]["similarity"] == other[0]["similarity"]  # the same pair and the same start
    assert first[2]["similarity"] != other[2]["similarity"]  # but it teaches the 3D subnets


def test_without_the_core_branch_its_term_is_gone(ablations: dict[str, Path]) -> None:
    everything, without = ablations["all"], ablations["branch_core"]
    assert [entry["core"] > 0 for entry in steps_of(everything)] == [False] * 6 + [True] * 3
    assert all(entry["core"] == 0 for entry in steps_of(without))
    first, other = weights_of(everything), weights_of(without)
    assert first.keys() == other.keys()
    assert steps_of(everything)[:6] == steps_of(without)[:6]
    assert not same(level_weights(first, 3), level_weights(other, 3))


def test_without_feature_feedback_the_finer_levels_learn_another_way(ablations: dict[str, Path]) -> None:
    everything, without = steps_of(ablations["all"]), steps_of(ablations["feature_feedback"])
    assert weights_of(ablations["all"]).keys() == weights_of(ablations["feature_feedback"]).keys()
    assert everything[:3] == without[:3]
    assert everything[4]["similarity"] != without[4]["similarity"]


def test_ablations_are_on_record_in_the_shipped_network(ablations: dict[str, Path]) -> None:
    for name in ("branch_2d", "branch_core", "feature_feedback"):
        config = load_checkpoint(ablations[name] / "best.safetensors").network.config
        assert not getattr(config, name)
        assert sum([config.branch_2d, config.branch_core, config.feature_feedback]) == 2


def test_lower_levels_are_frozen_exactly_so_long(balls: PreparedData, tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []
    config = ball_config((1, 1, 1), **EACH_STEP)
    stages = (StageConfig(1, 1, 0, 5e-3, 5e-3), StageConfig(2, 4, 2, 5e-3, 5e-3), StageConfig(3, 3, 1, 5e-3, 5e-3))
    config = replace(config, stages=stages)
    train_balls(balls, tmp_path / "run", config, after_step=lambda run: seen.append(weights_of(run.path)))
    changed = [
        [not same(level_weights(before, level), level_weights(after, level)) for level in (1, 2, 3)]
        for before, after in itertools.pairwise(seen)
    ]
    # From the first step's end on: two frozen steps of level 2, two released ones, one frozen of level 3, two released.
    assert [row[0] for row in changed] == [False, False, True, True, False, True, True]
    assert [row[1] for row in changed] == [True, True, True, True, False, True, True]
    assert [row[2] for row in changed] == [False, False, False, False, True, True, True]
    branches = [
        [not torch.equal(before[name], after[name]) for name in before if name.startswith(f"slice_branches.{index}.")]
        for index in (0, 1)
        for before, after in itertools.pairwise(seen)
    ]
    assert not any(any(row) for row in branches[:7])  # that of level 1 learns with level 1 alone
    assert [any(row) for row in branches[7:]] == [True] * 4 + [False] * 3


@pytest.mark.parametrize("start", [True, False])
def test_a_level_starts_from_the_one_below_when_asked(start: bool, balls: PreparedData, tmp_path: Path) -> None:
    """With a rate of zero nothing learns, so that the last weights are those that each level started from."""
    stages = tuple(StageConfig(level, 1, 0, 0.0, 0.0) for level in (1, 2, 3))
    config = replace(ball_config((1, 1, 1)), stages=stages, start_from_below=start)
    train_balls(balls, tmp_path / "run", config)
    weights = weights_of(tmp_path / "run")
    one, two, three = (level_weights(weights, level) for level in (1, 2, 3))
    first = "encode_first.weight"
    shared = [name for name in one if name != first and name.endswith("weight")]
    assert all(torch.equal(one[name], two[name]) == start for name in shared)
    assert all(torch.equal(two[name], three[name]) == start for name in [*shared, first])
    assert torch.equal(one[first], two[first][:, :2]) == start  # the images' channels
    velocity = two[first][:, 2:]  # its channels start from zero, as there is nothing below to start from
    assert bool((velocity == 0).all()) == start


def test_the_dice_term_teaches_where_labels_are(balls: PreparedData, tmp_path: Path) -> None:
    plain = ball_config((2, 2, 2), **EACH_STEP)
    labelled = replace(plain, loss=replace(plain.loss, dice_weight=1.0))
    train_balls(balls, tmp_path / "plain", plain)
    train_balls(balls, tmp_path / "labelled", labelled)
    assert all("dice" not in entry for entry in steps_of(tmp_path / "plain"))
    assert all(0 < entry["dice"] < 1 for entry in steps_of(tmp_path / "labelled"))
    assert not same(weights_of(tmp_path / "plain"), weights_of(tmp_path / "labelled"))


def test_synthetic_steps_learn_from_structures_alone(balls: PreparedData, tmp_path: Path) -> None:
    config = ball_config((2, 2, 2), **EACH_STEP)
    config = replace(config, synthetic_share=1.0, loss=replace(config.loss, dice_weight=1.0))
    seen: list[dict[str, Tensor]] = []
    train_balls(balls, tmp_path / "run", config, after_step=lambda run: seen.append(weights_of(run.path)))
    for entry in steps_of(tmp_path / "run"):
        assert not {"similarity", "slices", "core"} & entry.keys()
        assert entry["total"] == pytest.approx(entry["regularisation"] + entry["dice"], rel=1e-5)
    assert not same(level_weights(seen[0], 1), level_weights(seen[1], 1))
    assert not same(level_weights(seen[4], 3), level_weights(seen[5], 3))
    mixed = replace(config, synthetic_share=0.5, stages=(StageConfig(1, 10, 0, 1e-3, 1e-3),))
    train_balls(balls, tmp_path / "mixed", mixed)
    kinds = ["similarity" in entry for entry in steps_of(tmp_path / "mixed")]
    assert 0 < sum(kinds) < 10


def test_without_labels_the_images_similarity_chooses_the_best(brains: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in SUBJECTS[:4]:
        (folder / f"{name}_image.nii.gz").symlink_to(brains / f"{name}_image.nii.gz")
    state = run_training(folder, tmp_path / "cache", tmp_path / "run", quick((2,)))
    (entry,) = (entry for entry in losses(tmp_path / "run") if entry["event"] == "validation")
    assert entry["dice"] is entry["dice_initial"] is None
    assert state.best_score == entry["similarity"]
    assert all("dice" not in step for step in steps_of(tmp_path / "run"))


def test_learning_rates_follow_half_a_cosine_and_the_papers_stays() -> None:
    stage = StageConfig(1, 100, 0, 1e-2, 1e-4)
    assert learning_rate(stage, 0) == pytest.approx(1e-2)
    assert learning_rate(stage, 50) == pytest.approx((1e-2 + 1e-4) / 2)
    assert 1e-4 < learning_rate(stage, 99) < 1.1e-4
    rates = [learning_rate(stage, index) for index in range(100)]
    assert rates == sorted(rates, reverse=True)
    assert {learning_rate(StageConfig(1, 9, 0, 1e-4, 1e-4), index) for index in range(9)} == {1e-4}


def test_steps_belong_to_stages_and_a_finer_level_takes_eight_times_as_long() -> None:
    config = quick((3, 0, 2))
    assert [(stage_at(config, step)[0].level, stage_at(config, step)[1]) for step in range(5)] == [
        (1, 0),
        (1, 1),
        (1, 2),
        (3, 0),
        (3, 1),
    ]
    with pytest.raises(ValueError, match="beyond the last stage"):
        stage_at(config, 5)
    assert [seconds_left(config, step, 2.0) for step in (1, 3, 4, 5)] == [2 * (2 + 2 * 64), 2 * 2 * 64, 2, 0]


def test_only_the_last_two_checkpoints_are_kept(balls: PreparedData, tmp_path: Path) -> None:
    kept: list[list[int]] = []

    def look(run: RunFolder) -> None:
        kept.append([int(path.name.removeprefix("step-")) for path in sorted(run.checkpoints.iterdir())])

    train_balls(balls, tmp_path / "run", ball_config((4,), checkpoint_every=1), after_step=look)
    assert kept == [[1], [1, 2], [2, 3], [3, 4]]
