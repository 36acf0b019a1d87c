"""What a trained network is judged by: how it was trained, and its scores on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..training.ledger import read_ledger
from ..training.run_files import read_object
from ..training.run_folder import RunFolder
from .networks import AblationNetwork
from .scoring import PairScore


class Figure(NamedTuple):
    """Mean and standard deviation over the pairs."""

    mean: float
    sd: float


@dataclass(frozen=True)
class TrainingFacts:
    """A finished training, from its run folder.

    steps: of the optimiser at each level, coarsest first. best_step, best_level, validation_dice: of the network that
    is kept, None where there was no Dice. hours: of all steps, without preparation and validation. device: its label.
    gpu_bytes: most memory that the GPU held for a step; None on a processor.
    """

    steps: tuple[int, ...]
    best_step: int
    best_level: int
    validation_dice: float | None
    hours: float
    device: str
    gpu_bytes: int | None
    versions: str


@dataclass(frozen=True)
class Result:
    """One network on one data set (its name in published)."""

    network: AblationNetwork
    data: str
    training: TrainingFacts
    scores: Sequence[PairScore]

    def figure(self, name: str) -> Figure:
        """Of a field of PairScore that is a number."""
        values = [float(getattr(score, name)) for score in self.scores]
        return Figure(float(np.mean(values)), float(np.std(values)))

    @property
    def devices(self) -> tuple[str, ...]:
        """On which the pairs were registered, if an evaluation was begun on one and ended on another."""
        return tuple(sorted({score.device for score in self.scores}))


def is_finished(folder: RunFolder) -> bool:
    """Whether a training was begun in this folder and has come to its end."""
    if not folder.exists() or not folder.ledger.exists() or not folder.best.exists():
        return False
    total = folder.read_config().total_steps
    return any(entry["event"] == "end" and entry["step"] >= total for entry in read_ledger(folder.ledger))


def training_facts(folder: RunFolder) -> TrainingFacts:
    """Of a finished training. Raises InputError for files that are missing or damaged."""
    entries = read_ledger(folder.ledger)
    best = next(entry for entry in reversed(entries) if entry["event"] == "validation" and entry["best"])
    environment = read_object(folder.path / "environment.json")
    device = str(environment.get("device", "unknown"))
    steps = [entry for entry in entries if entry["event"] == "step"]
    held = [entry["memory_bytes"] for entry in steps if entry["memory_bytes"] is not None]
    return TrainingFacts(
        steps=tuple(stage.steps for stage in folder.read_config().stages),
        best_step=best["step"],
        best_level=best["level"],
        validation_dice=best["dice"],
        hours=_seconds(steps) / 3600,
        device=device,
        gpu_bytes=max(held) if held and device.startswith("cuda") else None,
        versions=f"mmln {environment.get('mmln')}, torch {environment.get('torch')}",
    )


def _seconds(entries: Sequence[dict[str, Any]]) -> float:
    """Of all steps: each entry of the ledger has their mean since the one before."""
    total, before = 0.0, 0
    for entry in entries:
        total += entry["seconds"] * (entry["step"] - before)
        before = entry["step"]
    return total
