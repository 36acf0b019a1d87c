"""Carrying out what a worker can be asked about training: to train, to check data, to show where a run stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from ..pipeline.device import choose_device
from ..pipeline.volume import Volume
from ..progress import Progress
from ..quality import evaluate as evaluation
from ..result_folder import output_folder
from ..training.config import TrainConfig, read_config
from ..training.data_check import check_data
from ..training.preview import preview as make_preview
from ..training.run import RunSettings
from ..training.run import train as train_network
from ..training.run_folder import RunFolder
from .messages import CheckData, Outcome, Preview, Train

MOST_PROBLEMS = 200
"""Told one by one; a message has a limit."""


def train(request: Train, progress: Progress, report: Callable[[Mapping[str, Any]], None]) -> Outcome:
    """Train a network. Raises as training.run.train does."""
    progress("read", 0.0)
    folder = RunFolder(request.output)
    structures = evaluation.read_structures(request.structures) if request.structures else None
    settings = RunSettings(
        data=request.data,
        output=request.output,
        config=_train_config(request, folder),
        validation_data=request.validation_data,
        structure_of_label=structures.coarse if structures else None,
        cache=request.cache,
        workers=request.threads or torch.get_num_threads(),
        skip_bad=request.skip_bad,
        device=request.device,
        resume=request.resume,
    )
    state = train_network(settings, progress, report)
    return Outcome(
        {path.name: path for path in (folder.best, folder.ledger, folder.curves) if path.exists()},
        {"step": state.step, "best_score": state.best_score, "best_step": state.best_step},
    )


def check(request: CheckData, progress: Progress) -> Outcome:
    """Say what the data of a training holds. Raises InputError where it holds nothing."""
    config = read_config(request.config)
    report = check_data(request.data, request.validation_data, config, progress, read_voxels=request.read_voxels)
    values = asdict(report) | {"bad_files": len({problem.path for problem in report.problems})}
    values["problems"] = [
        {"file": str(problem.path), "sentence": problem.sentence} for problem in report.problems[:MOST_PROBLEMS]
    ]
    return Outcome(report=values)


def preview(request: Preview, progress: Progress, partial_name: str | None) -> Outcome:
    """Register a validation pair by a run's newest network. Raises InputError where that cannot be yet."""
    device = choose_device(request.device)
    with output_folder(request.output, request.overwrite, partial_name) as folder:
        shown = make_preview(RunFolder(request.run), request.pair, device, progress)
        volumes = {"fixed.npy": shown.fixed, "moving.npy": shown.moving, "warped.npy": shown.warped}
        for name, volume in volumes.items():
            np.save(folder / name, volume.array_kji)
    figures = {name: value for name, value in vars(shown).items() if not isinstance(value, Volume)}
    grid = shown.fixed.geometry
    figures |= {name.partition(".")[0]: volume.name for name, volume in volumes.items()}
    figures |= {"shape_kji": list(grid.shape_kji), "ras_from_ijk": grid.ras_from_ijk.tolist()}
    return Outcome({name: request.output / name for name in volumes}, figures)


def _train_config(request: Train, folder: RunFolder) -> TrainConfig:
    """What was asked for; a run that is resumed without saying so keeps its own."""
    if request.resume and request.config is None and folder.exists():
        return folder.read_config()
    return read_config(request.config)
