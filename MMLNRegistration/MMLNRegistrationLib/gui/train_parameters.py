"""What Train remembers in the scene."""

from typing import Annotated

from slicer.parameterNodeWrapper import WithinRange, parameterPack

from .train_presets import PRESETS, TrainPreset, TrainSimilarity

_FAST = PRESETS[TrainPreset.FAST]


@parameterPack
class TrainParameters:
    """The panel's choices. Paths are texts, empty where nothing is chosen.

    data, validation_data: a folder or a table each. run_folder: of the run that the panel shows, or is to begin.
    cache: for the prepared scans, that of the run where it is empty.
    device: auto, cpu, cuda or cuda:N. threads: of the processor, 0 for all. From branch_2d on: what the preset sets.
    """

    data: str = ""
    validation_data: str = ""
    run_folder: str = ""
    cache: str = ""
    read_voxels: bool = False
    skip_bad: bool = False
    preset: TrainPreset = TrainPreset.FAST
    device: str = "auto"
    threads: Annotated[int, WithinRange(0, 1024)] = 0
    branch_2d: bool = _FAST.branch_2d
    branch_core: bool = _FAST.branch_core
    feature_feedback: bool = _FAST.feature_feedback
    similarity: TrainSimilarity = _FAST.similarity
    dice_weight: Annotated[float, WithinRange(0.0, 10.0)] = _FAST.dice_weight
    synthetic_share: Annotated[float, WithinRange(0.0, 1.0)] = _FAST.synthetic_share
    augmentation: bool = _FAST.augmentation
    mixed_precision: bool = _FAST.mixed_precision
    save_memory: bool = _FAST.save_memory
    steps_1: Annotated[int, WithinRange(0, 1_000_000)] = _FAST.steps[0]
    steps_2: Annotated[int, WithinRange(0, 1_000_000)] = _FAST.steps[1]
    steps_3: Annotated[int, WithinRange(0, 1_000_000)] = _FAST.steps[2]
    width: Annotated[int, WithinRange(1, 128)] = _FAST.width
    spacing_mm: Annotated[float, WithinRange(0.2, 16.0)] = _FAST.spacing_mm
    atlases: Annotated[int, WithinRange(0, 1000)] = _FAST.atlases
    validate_every: Annotated[int, WithinRange(1, 100_000)] = _FAST.validate_every
    checkpoint_every: Annotated[int, WithinRange(1, 100_000)] = _FAST.checkpoint_every
    seed: Annotated[int, WithinRange(0, 1_000_000)] = 0
