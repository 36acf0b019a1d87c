"""Settings of a training run: the presets, JSON there and back, and one sentence for every wrong value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.losses import LossConfig
from MMLNRegistrationLib.model.network import MMLNConfig
from MMLNRegistrationLib.training.config import (
    NO_AFFINE,
    PRESETS,
    StageConfig,
    TrainConfig,
    as_json,
    fast_preset,
    from_json,
    paper_preset,
    read_config,
)
from training_cases import QUICK, write_config


def leaves(values: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every setting that is no object of settings, by its path."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for name in reversed(path):
        value = {name: value}
    return value


LEAVES = dict(leaves(as_json(fast_preset())))


def refusal(folder: Path, values: Any) -> str:
    """The one sentence that a configuration file is refused with."""
    file = write_config(folder / "mine.json", values)
    with pytest.raises(InputError) as caught:
        read_config(file)
    sentence = str(caught.value)
    assert "mine.json" in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_the_papers_preset_has_the_papers_numbers() -> None:
    paper = paper_preset()
    assert paper.loss.similarity == "correlation"
    assert paper.loss.slice_weights == (0.25, 0.5)  # alpha, beta
    assert paper.loss.core_weight == 0.25  # theta
    assert paper.loss.dice_weight == 0
    assert paper.network.levels == 3
    assert paper.network.feature_feedback
    assert paper.network.branch_2d
    assert paper.network.branch_core
    assert [stage.level for stage in paper.stages] == [1, 2, 3]
    assert {(stage.learning_rate, stage.final_learning_rate) for stage in paper.stages} == {(1e-4, 1e-4)}
    assert paper.stages[0].frozen_steps == 0
    assert all(0 < stage.frozen_steps < stage.steps for stage in paper.stages[1:])
    assert paper.atlases == 5
    assert paper.batch_size == 1
    assert paper.spacing_mm == 1
    assert paper.synthetic_share == 0
    assert paper.augment.common == paper.augment.relative == NO_AFFINE
    assert paper.augment.flip_share == paper.augment.gamma == paper.augment.bias == 0
    assert not paper.mixed_precision
    assert not paper.start_from_below


def test_the_fast_preset_differs_where_it_says_so_and_is_the_default(tmp_path: Path) -> None:
    fast = fast_preset()
    assert fast.loss.similarity == "local_correlation"
    assert fast.loss.dice_weight > 0
    assert fast.mixed_precision
    assert fast.start_from_below
    for stage in fast.stages:
        assert stage.learning_rate > 1e-4 > stage.final_learning_rate
    assert fast.total_steps < paper_preset().total_steps
    assert read_config(None) == fast == read_config(write_config(tmp_path / "empty.json", {}))


@pytest.mark.parametrize("config", [*(make() for make in PRESETS.values()), QUICK], ids=[*PRESETS, "quick"])
def test_json_there_and_back(config: TrainConfig, tmp_path: Path) -> None:
    text = json.dumps(as_json(config))
    assert from_json(json.loads(text), "config.json") == config
    for preset in PRESETS:
        assert read_config(write_config(tmp_path / "all.json", {"preset": preset, **json.loads(text)})) == config


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_file_changes_what_it_names_and_nothing_else(preset: str, tmp_path: Path) -> None:
    values = {
        "preset": preset,
        "seed": 7,
        "network": {"width": 8, "branch_2d": False},
        "augment": {"common": {"rotation_degrees": 3}},
        "stages": [
            {"level": 1, "steps": 9, "frozen_steps": 0, "learning_rate": 1, "final_learning_rate": 0.5},
        ],
        "loss": {"slice_weights": [1, 0.5]},
    }
    start = PRESETS[preset]()
    expected = replace(
        start,
        seed=7,
        network=replace(start.network, width=8, branch_2d=False),
        augment=replace(start.augment, common=replace(start.augment.common, rotation_degrees=3.0)),
        stages=(StageConfig(1, 9, 0, 1.0, 0.5),),
        loss=replace(start.loss, slice_weights=(1.0, 0.5)),
    )
    found = read_config(write_config(tmp_path / "some.json", values))
    assert found == expected
    assert isinstance(found.stages[0].learning_rate, float)


@pytest.mark.parametrize("path", [(), ("network",), ("loss",), ("augment",), ("augment", "common"), ("synthesis",)])
def test_unknown_settings_are_named_with_the_known_ones(path: tuple[str, ...], tmp_path: Path) -> None:
    sentence = refusal(tmp_path, nested((*path, "widht"), 3))
    assert "there is no setting 'widht'; known are" in sentence
    for name in path:
        assert name in sentence


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
@pytest.mark.parametrize("wrong", [None, {"value": 1}, [[]]], ids=["null", "object", "list"])
def test_every_setting_refuses_wrong_types_by_name(path: tuple[str, ...], wrong: Any, tmp_path: Path) -> None:
    sentence = refusal(tmp_path, nested(path, wrong))
    assert ": ".join(path) in sentence
    assert "must be" in sentence


@pytest.mark.parametrize("path", [path for path, value in LEAVES.items() if not isinstance(value, list)], ids=".".join)
def test_words_numbers_and_truths_are_told_apart(path: tuple[str, ...], tmp_path: Path) -> None:
    usual = LEAVES[path]
    for wrong in ("three", True, 1, 2.5):
        if type(wrong) is type(usual) or (isinstance(usual, float) and not isinstance(wrong, str | bool)):
            continue
        assert ": ".join(path) in refusal(tmp_path, nested(path, wrong))


@pytest.mark.parametrize("path", [("network",), ("augment", "common")])
def test_groups_of_settings_must_be_objects(path: tuple[str, ...], tmp_path: Path) -> None:
    assert f"{': '.join(path)} must be an object of settings." in refusal(tmp_path, nested(path, 3))


STAGE = {"level": 1, "steps": 9, "frozen_steps": 0, "learning_rate": 0.1, "final_learning_rate": 0.1}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"validate_every": -1}, "validate_every"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"validation_pairs": 0}, "validation_pairs"),
        ({"dice_structures": 0}, "dice_structures"),
        ({"synthetic_share": 1.1}, "synthetic_share must lie between 0 and 1"),
        ({"validation_share": -0.1}, "validation_share"),
        ({"atlases": -1}, "atlases"),
        ({"spacing_mm": 0.0}, "spacing_mm"),
        ({"network": {"width": 0}}, "network: The network's width"),
        ({"network": {"levels": 2}, "stages": [STAGE]}, "loss.slice_weights needs 1 values"),
        ({"loss": {"similarity": "ssim"}}, "loss: Unknown similarity 'ssim'"),
        ({"loss": {"k": -1}}, "loss: The weights of the loss"),
        ({"loss": {"slice_weights": [0.1]}}, "loss.slice_weights needs 2 values"),
        ({"augment": {"common": {"scale": 9}}}, "augment: common: The random affine map's scale"),
        ({"synthesis": {"contrast": "t9"}}, "synthesis: Unknown contrast 't9'"),
        ({"stages": []}, "no step"),
        ({"stages": [STAGE | {"steps": 0}]}, "no step"),
        ({"stages": [STAGE, STAGE]}, "levels 1 to 3 in order, each at most once"),
        ({"stages": [STAGE | {"level": 2}, STAGE]}, "in order"),
        ({"stages": [STAGE | {"level": 4}]}, "levels 1 to 3"),
        ({"stages": [STAGE | {"frozen_steps": 10}]}, "frozen_steps"),
        ({"stages": [STAGE | {"final_learning_rate": 1}]}, "final learning rate"),
        ({"stages": [STAGE | {"steps": 2.5}]}, "stages[0].steps must be a whole number, not 2.5"),
        ({"stages": [{"level": 1}]}, "stages[0] must be an object with final_learning_rate, frozen_steps, "),
        ({"stages": {}}, "stages must be a list"),
        ({"preset": "slow"}, "unknown preset 'slow'; choose paper or fast"),
        ({"preset": ["fast"]}, "unknown preset"),
        ([], "one JSON object"),
    ],
)
def test_wrong_values_are_refused_by_file_and_field(values: Any, words: str, tmp_path: Path) -> None:
    assert words in refusal(tmp_path, values)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"seed": NaN}', b'{"loss": {"k": Infinity}}', b"\xff\xfe", b"[" * 100_000]
)
def test_files_that_are_no_json_are_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"mine\.json cannot be read as JSON"):
        read_config(file)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json cannot be read"):
        read_config(tmp_path / "none.json")


def test_a_network_without_the_2d_branch_needs_no_weights_for_it() -> None:
    network = MMLNConfig(levels=2, branch_2d=False)
    config = TrainConfig((StageConfig(1, 1, 0, 0.1, 0.1),), network=network, loss=LossConfig(slice_weights=()))
    assert config.total_steps == 1
