"""What the window says of the presets is what the training does: its numbers against those of training.config."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("torch")

from MMLNRegistrationLib.training.augment import AugmentConfig
from MMLNRegistrationLib.training.config import PRESETS as CONFIGS
from MMLNRegistrationLib.training.config import TrainConfig, read_config


@pytest.fixture
def presets(host):
    """The module, which can be imported where there is a host."""
    from MMLNRegistrationLib.gui import train_presets

    return train_presets


@pytest.fixture
def choices(host):
    """The parameters as they are at first."""
    from MMLNRegistrationLib.gui.train_parameters import TrainParameters

    return lambda: SimpleNamespace(train=TrainParameters())


def config_of(train, presets, folder) -> TrainConfig:
    path = folder / "settings.json"
    path.write_text(json.dumps(presets.settings_of(train)))
    return read_config(path)


@pytest.mark.parametrize("name", ["FAST", "PAPER"])
def test_a_preset_is_that_of_the_training(name, presets, choices, tmp_path):
    parameters = choices()
    preset = parameters.train.preset = presets.TrainPreset[name]
    presets.fill_in(parameters, preset)
    assert presets.settings_of(parameters.train) == {"preset": name.lower()}
    expected, values = CONFIGS[name.lower()](), presets.PRESETS[preset]
    assert config_of(parameters.train, presets, tmp_path) == expected
    found = {
        "branch_2d": expected.network.branch_2d,
        "branch_core": expected.network.branch_core,
        "feature_feedback": expected.network.feature_feedback,
        "similarity": presets.TrainSimilarity[expected.loss.similarity.upper()],
        "dice_weight": expected.loss.dice_weight,
        "synthetic_share": expected.synthetic_share,
        "augmentation": expected.augment == AugmentConfig(),
        "mixed_precision": expected.mixed_precision,
        "save_memory": expected.checkpoint_activations,
        "steps": tuple(stage.steps for stage in expected.stages),
        "frozen_steps": tuple(stage.frozen_steps for stage in expected.stages),
        "rates": (expected.stages[0].learning_rate, expected.stages[0].final_learning_rate),
        "width": expected.network.width,
        "spacing_mm": expected.spacing_mm,
        "atlases": expected.atlases,
        "validate_every": expected.validate_every,
        "checkpoint_every": expected.checkpoint_every,
    }
    assert vars(values) == found
    assert len({(stage.learning_rate, stage.final_learning_rate) for stage in expected.stages}) == 1


def test_the_choices_begin_with_the_fast_preset(presets, choices, tmp_path):
    assert config_of(choices().train, presets, tmp_path) == CONFIGS["fast"]()


@pytest.mark.parametrize("name", ["FAST", "PAPER"])
def test_each_switch_changes_its_setting(name, presets, choices, tmp_path):
    parameters = choices()
    parameters.train.preset = presets.TrainPreset[name]
    presets.fill_in(parameters, parameters.train.preset)
    preset = CONFIGS[name.lower()]()
    network, loss = preset.network, preset.loss
    other = {"correlation": "local_correlation", "local_correlation": "correlation"}[loss.similarity]
    still = preset.augment != AugmentConfig()
    changes = {
        "branch_2d": (False, replace(preset, network=replace(network, branch_2d=False))),
        "branch_core": (False, replace(preset, network=replace(network, branch_core=False))),
        "feature_feedback": (False, replace(preset, network=replace(network, feature_feedback=False))),
        "width": (12, replace(preset, network=replace(network, width=12))),
        "similarity": (presets.TrainSimilarity[other.upper()], replace(preset, loss=replace(loss, similarity=other))),
        "dice_weight": (0.25, replace(preset, loss=replace(loss, dice_weight=0.25))),
        "synthetic_share": (0.5, replace(preset, synthetic_share=0.5)),
        "mixed_precision": (not preset.mixed_precision, replace(preset, mixed_precision=not preset.mixed_precision)),
        "save_memory": (
            not preset.checkpoint_activations,
            replace(preset, checkpoint_activations=not preset.checkpoint_activations),
        ),
        "augmentation": (still, replace(preset, augment=AugmentConfig() if still else CONFIGS["paper"]().augment)),
        "spacing_mm": (2.0, replace(preset, spacing_mm=2.0)),
        "atlases": (3, replace(preset, atlases=3)),
        "validate_every": (7, replace(preset, validate_every=7)),
        "checkpoint_every": (9, replace(preset, checkpoint_every=9)),
        "seed": (5, replace(preset, seed=5)),
        "steps_3": (40, replace(preset, stages=(*preset.stages[:2], _short(preset.stages[2], 40)))),
    }
    for parameter, (value, expected) in changes.items():
        before = getattr(parameters.train, parameter)
        setattr(parameters.train, parameter, value)
        assert config_of(parameters.train, presets, tmp_path) == expected, parameter
        setattr(parameters.train, parameter, before)
    assert config_of(parameters.train, presets, tmp_path) == preset


def _short(stage, steps):
    return replace(stage, steps=steps, frozen_steps=min(stage.frozen_steps, steps))
