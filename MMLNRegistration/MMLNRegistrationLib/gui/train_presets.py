"""The presets of Train and the choices that they set, as the window knows them.

The numbers are those of training.config, which needs torch and is therefore out of reach here; a test compares them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _


class TrainPreset(enum.Enum):
    """What to choose first. Scenes keep the name."""

    FAST = 1
    PAPER = 2

    def label(self) -> str:
        """How the window calls it."""
        return {TrainPreset.FAST: _("Fast"), TrainPreset.PAPER: _("Paper")}[self]

    def hint(self) -> str:
        """What it is for, in a line."""
        return {
            TrainPreset.FAST: _("Our recipe: hours on a GPU, any two subjects are a pair, poses are varied."),
            TrainPreset.PAPER: _("The published recipe: days on a GPU with 16 GB, five subjects are the atlases."),
        }[self]


class TrainSimilarity(enum.Enum):
    """What the training drives up. Scenes keep the name."""

    CORRELATION = 1
    LOCAL_CORRELATION = 2

    def label(self) -> str:
        """How the window calls it."""
        return {
            TrainSimilarity.CORRELATION: _("Correlation (the paper's)"),
            TrainSimilarity.LOCAL_CORRELATION: _("Local correlation"),
        }[self]


@dataclass(frozen=True)
class PresetValues:
    """What a preset sets, by the names of the parameters. steps, frozen_steps, rates: of each level, rates as first
    and final learning rate."""

    branch_2d: bool
    branch_core: bool
    feature_feedback: bool
    similarity: TrainSimilarity
    dice_weight: float
    synthetic_share: float
    augmentation: bool
    mixed_precision: bool
    save_memory: bool
    steps: tuple[int, int, int]
    frozen_steps: tuple[int, int, int]
    rates: tuple[float, float]
    width: int
    spacing_mm: float
    atlases: int
    validate_every: int
    checkpoint_every: int


PRESETS = {
    TrainPreset.FAST: PresetValues(
        branch_2d=True,
        branch_core=True,
        feature_feedback=True,
        similarity=TrainSimilarity.LOCAL_CORRELATION,
        dice_weight=1.0,
        synthetic_share=0.0,
        augmentation=True,
        mixed_precision=True,
        save_memory=False,
        steps=(1500, 3000, 6000),
        frozen_steps=(0, 100, 100),
        rates=(1e-3, 1e-5),
        width=16,
        spacing_mm=1.0,
        atlases=0,
        validate_every=200,
        checkpoint_every=100,
    ),
    TrainPreset.PAPER: PresetValues(
        branch_2d=True,
        branch_core=True,
        feature_feedback=True,
        similarity=TrainSimilarity.CORRELATION,
        dice_weight=0.0,
        synthetic_share=0.0,
        augmentation=False,
        mixed_precision=False,
        save_memory=True,
        steps=(30000, 30000, 60000),
        frozen_steps=(0, 2000, 2000),
        rates=(1e-4, 1e-4),
        width=28,
        spacing_mm=1.0,
        atlases=5,
        validate_every=2000,
        checkpoint_every=1000,
    ),
}

_STILL = {"rotation_degrees": 0.0, "scale": 0.0, "shear": 0.0, "shift_mm": 0.0}
AUGMENTATIONS: Mapping[bool, Mapping[str, Any]] = {
    True: {
        "common": {"rotation_degrees": 15.0, "scale": 0.15, "shear": 0.08, "shift_mm": 8.0},
        "relative": {"rotation_degrees": 3.0, "scale": 0.04, "shear": 0.02, "shift_mm": 2.0},
        "flip_share": 0.5,
        "gamma": 0.25,
        "bias": 0.15,
    },
    False: {"common": _STILL, "relative": _STILL, "flip_share": 0.0, "gamma": 0.0, "bias": 0.0},
}
"""Settings of the augmentation, switched on and off."""


def fill_in(parameters: Any, preset: TrainPreset) -> None:
    """Set the module's parameters to what a preset says."""
    values = PRESETS[preset]
    for name, value in vars(values).items():
        if name == "steps":
            parameters.train.steps_1, parameters.train.steps_2, parameters.train.steps_3 = value
        elif name not in ("frozen_steps", "rates"):
            setattr(parameters.train, name, value)


def settings_of(train: Any) -> dict[str, Any]:
    """The settings that the parameters stand for, as training.config.read_config takes them: what differs from the
    preset alone, so that a run's file says what the user has changed."""
    preset = PRESETS[train.preset]
    settings: dict[str, Any] = {"preset": train.preset.name.lower()}
    network = {
        name: getattr(train, name)
        for name in ("branch_2d", "branch_core", "feature_feedback", "width")
        if getattr(train, name) != getattr(preset, name)
    }
    loss: dict[str, Any] = {}
    if train.similarity is not preset.similarity:
        loss["similarity"] = train.similarity.name.lower()
    if train.dice_weight != preset.dice_weight:
        loss["dice_weight"] = train.dice_weight
    settings |= {name: value for name, value in (("network", network), ("loss", loss)) if value}
    if train.augmentation != preset.augmentation:
        settings["augment"] = AUGMENTATIONS[train.augmentation]
    for name in ("synthetic_share", "mixed_precision", "spacing_mm", "atlases", "validate_every", "checkpoint_every"):
        if getattr(train, name) != getattr(preset, name):
            settings[name] = getattr(train, name)
    if train.save_memory != preset.save_memory:
        settings["checkpoint_activations"] = train.save_memory
    if train.seed:
        settings["seed"] = train.seed
    steps = (train.steps_1, train.steps_2, train.steps_3)
    if steps != preset.steps:
        first, final = preset.rates
        settings["stages"] = [
            {
                "level": level,
                "steps": count,
                "frozen_steps": min(frozen, count),
                "learning_rate": first,
                "final_learning_rate": final,
            }
            for level, (count, frozen) in enumerate(zip(steps, preset.frozen_steps, strict=True), start=1)
        ]
    return settings
