"""mmln reproduce: the paper's tables, on the user's copy of the data."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from .backend.runner import Runner
from .console import ConsoleProgress, TrainingLines, console, stopping_between_steps
from .progress import Cancelled
from .reproduction.networks import AblationNetwork
from .reproduction.record import FILE
from .reproduction.results import Result
from .reproduction.run import ReproductionSettings
from .reproduction.run import reproduce as reproduce_tables
from .training.config import paper_preset


def reproduce(arguments: argparse.Namespace) -> None:
    """mmln reproduce --oasis DIR [--lpba40 DIR] --output DIR."""
    Runner().set_threads(arguments.threads)
    settings = ReproductionSettings(
        oasis=arguments.oasis,
        output=arguments.output,
        config=paper_preset(),
        lpba40=arguments.lpba40,
        workers=arguments.threads or torch.get_num_threads(),
        device=arguments.device,
    )
    try:
        with console() as progress, stopping_between_steps(progress) as stoppable:
            results = reproduce_tables(settings, stoppable, _Lines(progress))
    except (Cancelled, KeyboardInterrupt):
        if (arguments.output / FILE).exists():
            raise KeyboardInterrupt(
                f"Stopped; the same command goes on from here. Results so far: {arguments.output}."
            ) from None
        raise KeyboardInterrupt from None
    _print_results(results)
    print(f"Tables, beside the paper's: {arguments.output / 'tables.md'}")


class _Lines:
    """What a reader follows: of each training its network's name, then a line for each validation."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress, self._lines = progress, TrainingLines(progress)

    def __call__(self, network: AblationNetwork, entry: Mapping[str, Any]) -> None:
        if entry["event"] in ("start", "resume"):
            self._progress.close()
            print(f"{network.title}:", flush=True)
        self._lines(entry)


def _print_results(results: Sequence[Result]) -> None:
    for result in results:
        before, after = result.figure("dice_initial").mean, result.figure("dice").mean
        print(
            f"{result.network.title} on {result.data}, {len(result.scores)} pairs: Dice {before:.3f} -> {after:.3f}, "
            f"folded {result.figure('folded_strict_percent').mean:.4f} %, TC {result.figure('tc').mean:.3f}, "
            f"{result.figure('seconds').mean:.2f} s a pair"
        )
