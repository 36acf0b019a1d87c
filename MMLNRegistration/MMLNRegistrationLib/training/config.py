"""What a training run is made of: frozen settings, two presets, and JSON files that change some of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import InputError
from ..model.losses import LossConfig
from ..model.network import MMLNConfig
from .augment import AffineConfig, AugmentConfig
from .synthesis import SynthesisConfig

NO_AFFINE = AffineConfig(rotation_degrees=0.0, scale=0.0, shear=0.0, shift_mm=0.0)


@dataclass(frozen=True)
class StageConfig:
    """The training of one level (paper section 3.1).

    level: 1 is the coarsest. steps: of the optimiser, 0 skips the stage. frozen_steps: at first, during which the
    levels below do not learn. taught_steps: at first, on pairs whose velocity is known (see teacher).
    learning_rate: of Adam; final_learning_rate: reached along half a cosine at the end of the stage, the same for a
    fixed rate.
    """

    level: int
    steps: int
    frozen_steps: int
    learning_rate: float
    final_learning_rate: float
    taught_steps: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Raises InputError where values make none."""

    stages: tuple[StageConfig, ...]
    """In the order of the levels."""
    network: MMLNConfig = field(default_factory=MMLNConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    synthesis: SynthesisConfig = field(default_factory=SynthesisConfig)
    seed: int = 0
    """Of the split, the weights, the order of the pairs and all that is random in them."""
    spacing_mm: float = 1.0
    """Of the network grid: the last level's voxel size."""
    synthetic_share: float = 0.0
    """Share of the steps whose pair is synthesised from two label maps. Its images are not compared, its labels are."""
    atlases: int = 0
    """0 pairs any two subjects; otherwise the fixed image is one of so many subjects, as in the paper (section 4.1)."""
    taught_pairs: int = 0
    """Training pairs that are optimised one by one before the training, to learn from in the stages' taught_steps."""
    validation_share: float = 0.1
    """Share of the subjects kept for validation, when no folder of its own is given for it."""
    validation_pairs: int = 12
    """Fixed for the whole run."""
    validate_every: int = 200
    checkpoint_every: int = 100
    """In steps, both; a stage ends with both."""
    batch_size: int = 1
    """Pairs for each step and device."""
    dice_structures: int = 8
    """Structures in the Dice term of each step, drawn anew: all of them at once would cost more than the network."""
    start_from_below: bool = True
    """A level starts from the weights of the level below where they fit, rather than from random ones."""
    mixed_precision: bool = False
    """Convolutions in bfloat16 on a GPU; processors always compute in float32, most are slower in bfloat16."""
    checkpoint_activations: bool = False
    """Feature maps are computed a second time on the way back instead of kept: a third less memory and more time."""
    channels_last: bool = True

    def __post_init__(self) -> None:
        levels = [stage.level for stage in self.stages]
        if levels != sorted(set(levels)) or not set(levels) <= set(range(1, self.network.levels + 1)):
            raise InputError(f"The stages must train levels 1 to {self.network.levels} in order, each at most once.")
        for stage in self.stages:
            if stage.steps < 0 or not 0 <= stage.frozen_steps <= stage.steps:
                raise InputError(f"Stage {stage.level}: frozen_steps must lie between 0 and its steps.")
            if not 0 <= stage.taught_steps <= (stage.steps if self.taught_pairs else 0):
                raise InputError(f"Stage {stage.level}: taught_steps needs taught_pairs, and at most its steps.")
            if not 0 <= stage.final_learning_rate <= stage.learning_rate:
                raise InputError(f"Stage {stage.level}: the final learning rate must lie between 0 and the first one.")
        if not any(stage.steps for stage in self.stages):
            raise InputError("The stages have no step to train; give one of them steps.")
        for name in ("validate_every", "checkpoint_every", "batch_size", "validation_pairs", "dice_structures"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("synthetic_share", "validation_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie between 0 and 1, not {getattr(self, name)}.")
        if self.atlases < 0 or not 0.2 <= self.spacing_mm <= 16:
            raise InputError("atlases must not be negative, and spacing_mm must lie between 0.2 and 16.")
        if self.network.branch_2d and len(self.loss.slice_weights) != self.network.levels - 1:
            raise InputError(f"loss.slice_weights needs {self.network.levels - 1} values, one for each lower level.")

    @property
    def total_steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def level_spacing_mm(self, level: int) -> float:
        """Voxel size of a level's grid."""
        return self.spacing_mm * 2 ** (self.network.levels - level)


def paper_preset() -> TrainConfig:
    """The paper's recipe: global correlation, Adam at a fixed 1e-4, five atlases, 160 x 192 x 224 at 1 mm."""
    return TrainConfig(
        stages=(
            StageConfig(1, 30000, 0, 1e-4, 1e-4),
            StageConfig(2, 30000, 2000, 1e-4, 1e-4),
            StageConfig(3, 60000, 2000, 1e-4, 1e-4),
        ),
        atlases=5,
        augment=AugmentConfig(NO_AFFINE, NO_AFFINE, flip_share=0.0, gamma=0.0, bias=0.0),
        start_from_below=False,
        checkpoint_activations=True,
        validate_every=2000,
        checkpoint_every=1000,
    )


def fast_preset() -> TrainConfig:
    """Ours: local correlation, steps along its force, several passes, larger falling rates, random poses."""
    return TrainConfig(
        stages=(
            StageConfig(1, 1500, 0, 1e-3, 1e-5),
            StageConfig(2, 3000, 100, 1e-3, 1e-5),
            StageConfig(3, 6000, 100, 1e-3, 1e-5),
        ),
        network=MMLNConfig(
            width=16,
            reads_force=True,
            force_step_voxels=0.6,
            force_momentum=0.3,
            velocity_sigma_voxels=1.0,
            passes=(5, 5, 2),
        ),
        loss=LossConfig(similarity="local_correlation", k=0.05, dice_weight=1.0),
        mixed_precision=True,
    )


PRESETS = {"paper": paper_preset, "fast": fast_preset}


def read_config(path: Path | None) -> TrainConfig:
    """The settings in a JSON file: a `preset` (default fast) and what differs from it, in the same nested names.

    Raises InputError, naming file and field, for what cannot be read, is unknown or has the wrong type.
    """
    if path is None:
        return fast_preset()
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The configuration {path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"The configuration {path} must hold one JSON object.")
    preset = values.pop("preset", "fast")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InputError(f"{path}: unknown preset {preset!r}; choose {' or '.join(PRESETS)}.")
    return changed(PRESETS[preset](), values, path.name)


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is not a number in JSON")


def changed(config: Any, values: Mapping[str, Any], where: str) -> Any:
    """A frozen settings object with some values replaced, nested ones too.

    Raises InputError, which names where, for unknown settings, wrong types, and values that the settings refuse.
    """
    types = get_type_hints(type(config))
    names = {entry.name for entry in fields(config)}
    if unknown := sorted(set(values) - names):
        raise InputError(f"{where}: there is no setting {unknown[0]!r}; known are {', '.join(sorted(names))}.")
    converted = {
        name: _converted(value, types[name], getattr(config, name), f"{where}: {name}")
        for name, value in values.items()
    }
    try:
        return replace(config, **converted)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def as_json(config: TrainConfig) -> dict[str, Any]:
    """All settings as plain values, such that `from_json` gives the same configuration."""
    return json.loads(json.dumps(asdict(config)))


def from_json(values: Mapping[str, Any], where: str) -> TrainConfig:
    """The configuration that as_json wrote."""
    return changed(fast_preset(), values, where)


def _converted(value: Any, kind: Any, current: Any, where: str) -> Any:
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise InputError(f"{where} must be an object of settings.")
        return changed(current, value, where)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{where} must be a list.")
        arguments = get_args(kind)
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise InputError(f"{where} must be a list of {len(kinds)} values.")
        return tuple(
            _element(item, one, f"{where}[{index}]") for index, (item, one) in enumerate(zip(value, kinds, strict=True))
        )
    return _element(value, kind, where)


def _element(value: Any, kind: Any, where: str) -> Any:
    if is_dataclass(kind):
        names = {entry.name for entry in fields(kind)}
        required = {entry.name for entry in fields(kind) if entry.default is MISSING}
        if not isinstance(value, dict) or not required <= set(value) <= names:
            raise InputError(f"{where} must be an object with {', '.join(sorted(names))}.")
        types = get_type_hints(kind)
        make: Any = kind
        return make(**{name: _element(item, types[name], f"{where}.{name}") for name, item in value.items()})
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where} must be {_WORDS.get(kind, kind.__name__)}, not {value!r}.")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
