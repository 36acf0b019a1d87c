"""What the tests of training share: small labelled brains as files, quick settings, and runs on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from cli_cases import lps_from_ijk, write
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.losses import LossConfig
from MMLNRegistrationLib.model.network import MMLNConfig
from MMLNRegistrationLib.progress import Progress, silent
from MMLNRegistrationLib.training.augment import AugmentConfig
from MMLNRegistrationLib.training.config import NO_AFFINE, StageConfig, TrainConfig
from MMLNRegistrationLib.training.datasets import Scan
from MMLNRegistrationLib.training.distributed import Ranks
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.training.pairs import PairSource
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run import RunSettings, train
from MMLNRegistrationLib.training.run_folder import RunFolder, State
from MMLNRegistrationLib.training.split import Split
from MMLNRegistrationLib.training.trainer import Trainer
from MMLNRegistrationLib.training.validation import ValidationSet

SIZE, SPACING_MM = 26, 4.0
GRID = lps_from_ijk((SIZE,) * 3, (SPACING_MM,) * 3)
SUBJECTS = ("anna", "ben", "cleo", "dina", "emil", "fay")
"""Of the usual data set; each has an image and a label map."""

LABELS = frozenset({2, 3, 4, 10, 41, 42, 43, 49})
"""FreeSurfer's numbers of what the brains hold: white matter, cortex, ventricles and thalami of both sides."""

_BRIGHTNESS = {0: 0.0, 2: 1.0, 41: 1.0, 3: 0.55, 42: 0.55, 4: 0.15, 43: 0.15, 10: 0.75, 49: 0.75}

STILL = AugmentConfig(NO_AFFINE, NO_AFFINE, flip_share=0.0, gamma=0.0, bias=0.0)
"""No augmentation: an easy set."""

QUICK = TrainConfig(
    stages=tuple(StageConfig(level, 4, 2 if level > 1 else 0, 2e-3, 1e-3) for level in (1, 2, 3)),
    network=MMLNConfig(width=2, blocks=1),
    loss=LossConfig(k=0.1, dice_weight=0.5),
    augment=STILL,
    seed=5,
    spacing_mm=5.0,
    validation_share=0.34,
    validation_pairs=1,
    validate_every=2,
    checkpoint_every=3,
    dice_structures=3,
)
"""Twelve steps on a grid of 32 x 32 x 32 voxels."""


def labels_of(subject: int) -> NDArray[np.int16]:
    """(K, J, I) label map of one of any number of people: nested egg shapes, bent in each one's own way."""
    return _anatomy(subject)[0]


def image_of(subject: int) -> NDArray[np.float32]:
    """(K, J, I) what a scanner would show of that map, on black."""
    labels, points = _anatomy(subject)
    value = np.vectorize(_BRIGHTNESS.__getitem__, otypes=[float])(labels)
    texture = np.sin(points[0] / 9) * np.sin(points[1] / 10) * np.sin(points[2] / 8 + 0.5)
    return np.where(labels > 0, 100 * value + 12 * texture, 0).astype(np.float32)


def _anatomy(subject: int) -> tuple[NDArray[np.int16], list[NDArray[np.float64]]]:
    """Labels, and where each voxel lies in the straight brain, in mm."""
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij")[::-1], axis=-1)
    points = index @ GRID[:3, :3].T + GRID[:3, 3]
    random = np.random.default_rng(subject)
    phases, lengths = random.uniform(0, 6, 3), random.uniform(14, 20, 3)
    x, y, z = np.moveaxis(points + 5 * np.sin(points[..., [1, 2, 0]] / lengths + phases), -1, 0)
    outline = np.sqrt((x / 38) ** 2 + ((y - 0.003 * z**2) / 46) ** 2 + ((z + 0.1 * x) / 36) ** 2)
    right = x < 0  # the files' first axis runs to the left of the patient
    labels = np.zeros(x.shape, dtype=np.int16)
    for inside, left_label, right_label in (
        (outline < 1, 3, 42),
        (outline < 0.75, 2, 41),
        ((np.abs(x) - 12) ** 2 + (y + 8) ** 2 + z**2 < 10**2, 10, 49),
        ((np.abs(x) - 10) ** 2 + ((y - 14) / 1.6) ** 2 + (z - 6) ** 2 < 9**2, 4, 43),
    ):
        labels[inside & ~right], labels[inside & right] = left_label, right_label
    return labels, [x, y, z]


def write_brains(folder: Path, subjects: tuple[str, ...] = SUBJECTS, labels: bool = True) -> Path:
    """A folder of scans: NAME_image.nii.gz and NAME_labels.nii.gz of each subject."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in subjects:
        number = sum(name.encode())
        write(folder / f"{name}_image.nii.gz", image_of(number), GRID)
        if labels:
            write(folder / f"{name}_labels.nii.gz", labels_of(number), GRID)
    return folder


def quick(steps: tuple[int, ...] = (4, 4, 4), **changes: Any) -> TrainConfig:
    """QUICK with so many steps for each level, at most two of them frozen, and other changes."""
    stages = tuple(
        replace(stage, steps=count, frozen_steps=min(stage.frozen_steps, count))
        for stage, count in zip(QUICK.stages, steps, strict=False)
    )
    return replace(QUICK, stages=stages, **changes)


def run_training(
    data: Path, cache: Path, output: Path, config: TrainConfig, *, resume: bool = False, progress: Progress = silent
) -> State:
    """A run as the Python call makes it, without a listener."""
    settings = RunSettings((data,), output, config, cache=cache, device="cpu", resume=resume)
    return train(settings, progress, lambda entry: None)


def command(data: Path, cache: Path, output: Path, *more: object) -> list[str]:
    """The same run as arguments of the command."""
    fixed = ("train", "--data", data, "--output", output, "--cache", cache, "--device", "cpu", "--threads", 1)
    return [str(argument) for argument in (*fixed, *more)]


def start_process(arguments: list[str], *python: str, **environment: str) -> subprocess.Popen[str]:
    """The command as a process of its own, whose output is kept; python: options before the module."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "MMLNRegistrationLib", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def losses(folder: Path) -> list[dict[str, Any]]:
    """What a run's ledger says of its steps and validations, less what depends on the machine's speed and memory."""
    machine = {"seconds", "seconds_left", "memory_bytes"}
    entries = read_ledger(folder / "ledger.jsonl")
    return [
        {name: value for name, value in entry.items() if name not in machine}
        for entry in entries
        if entry["event"] in ("step", "validation")
    ]


def events(folder: Path) -> list[str]:
    """What happened to a run, steps and validations aside."""
    names = [entry["event"] for entry in read_ledger(folder / "ledger.jsonl")]
    return [name for name in names if name not in ("step", "validation")]


def checkpoint_bytes(folder: Path) -> dict[str, bytes]:
    """The newest checkpoint's weights and optimiser, and the best network without its card, byte for byte."""
    newest = max((folder / "checkpoints").glob("step-*"))
    return {name: (newest / name).read_bytes() for name in ("weights.safetensors", "optimiser.safetensors")}


def write_config(path: Path, config: Mapping[str, Any]) -> Path:
    """A configuration file."""
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def ball(shift_voxels: float, size: int = 16) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """(K, J, I) image and label map of a ball with a bright core, shifted along k from the centre of a grid."""
    k, j, i = np.meshgrid(*[np.arange(size) - (size - 1) / 2] * 3, indexing="ij")
    radius = np.sqrt((k - shift_voxels) ** 2 + j**2 + i**2) * 16 / size
    image = 0.5 / (1 + np.exp(2 * (radius - 5))) + 0.5 / (1 + np.exp(2 * (radius - 2.5)))
    return image.astype(np.float16), np.select([radius < 2.5, radius < 5], [2, 3], 0).astype(np.int16)


def write_prepared(folder: Path, shifts: Mapping[str, float]) -> PreparedData:
    """Balls as if they had been prepared, each by its subject's name."""
    folder.mkdir(parents=True, exist_ok=True)
    scans = []
    for name, shift in shifts.items():
        image, labels = ball(shift)
        save_file({"image": image, "labels": labels}, folder / f"{name}.safetensors")
        scans.append(Scan(name, name, folder / name, folder / name))
    return PreparedData(folder, tuple(scans), (16, 16, 16), ())


CARD = ModelCard("test", "A test's.", "none", "none", "none", "2026-01-01")


def write_balls(folder: Path) -> PreparedData:
    """An easy set: whatever is not the atlas lies two to four voxels beyond it. The last two are for validation."""
    return write_prepared(folder, {"atlas": -1.5, "b": 0.5, "c": 1.5, "d": 2.5, "left": -1.5, "right": 1.0})


def ball_config(steps: tuple[int, ...], **changes: Any) -> TrainConfig:
    """Settings that learn the balls quickly."""
    config = TrainConfig(
        stages=tuple(StageConfig(level, count, 0, 5e-3, 2e-3) for level, count in enumerate(steps, start=1)),
        network=MMLNConfig(width=4, blocks=1, range_voxels=2.0),
        loss=LossConfig(k=0.02),
        augment=STILL,
        spacing_mm=4.0,
        atlases=1,
        validation_pairs=1,
        validate_every=1000,
        checkpoint_every=1000,
    )
    return replace(config, **changes)


def train_balls(
    balls: PreparedData,
    folder: Path,
    config: TrainConfig,
    *,
    after_step: Callable[[RunFolder], None] | None = None,
    resume: bool = False,
) -> State:
    """A run without preparation, with a seed for which `atlas` is the atlas and right is carried onto left.

    after_step is called after each step with the folder.
    """
    training, validation = balls.scans[:4], balls.scans[4:]
    config = next(
        seeded
        for seeded in (replace(config, seed=seed) for seed in range(1000))
        if ValidationSet(balls, validation, 1, seeded.seed).names == [("left", "right")]
        and (not config.atlases or PairSource(balls, training, seeded).atlases == {"atlas"})
    )
    run = RunFolder(folder)
    if not resume:
        run.begin(config, Split((), ()), "cpu")

    def progress(step: str, fraction: float) -> None:
        if after_step and step.startswith("train"):
            after_step(run)

    pairs, validated = PairSource(balls, training, config), ValidationSet(balls, validation, 1, config.seed)
    device = torch.device("cpu")
    trainer = Trainer(config, pairs, validated, run, CARD, device, Ranks(), progress, lambda entry: None)
    return trainer.run(resume=resume)
