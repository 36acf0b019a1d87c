"""mmln batch: a table of pairs, one folder of results for each, and one table of what came out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from .backend.batch_folder import batch_folder, require_outputs_apart, results_table
from .backend.batch_local import OnEnd, OnStep, batch_devices, run_local
from .backend.batch_results import PairEnd, ResultsTable, Row, row_of
from .backend.batch_score import finished_pair
from .backend.batch_table import BatchPair, read_pairs
from .backend.messages import Settings
from .command_requests import settings_of
from .console import ConsoleProgress, console
from .errors import InputError, RegistrationError

_Road = Callable[[Sequence[BatchPair], OnEnd, OnStep], None]
"""Registers pairs and tells of each as it ends, and of the steps that they come to."""


def batch(arguments: argparse.Namespace) -> None:
    """mmln batch CASES.csv --output DIR."""
    settings = Settings(**settings_of(arguments))
    pairs = read_pairs(arguments.cases, arguments.output, settings)
    require_outputs_apart(pairs, arguments.output)
    run = _road(arguments)
    try:
        with batch_folder(arguments.output, settings, arguments.resume), console() as progress:
            results = ResultsTable(results_table(arguments.output), pairs)
            lines = _Lines(progress, results, len(pairs))
            left = [pair for pair in pairs if not lines.passed_over(pair)]
            if left:
                run(left, lines.ended, lines.step)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"Stopped; go on with --resume. Results so far: {arguments.output}.") from None
    print(
        f"{len(pairs) - len(lines.failed)} of {len(pairs)} pairs done; all figures: {results_table(arguments.output)}"
    )
    if lines.failed:
        print("Failed:")
        for row in lines.failed:
            print(f"  {row['name']}: {row['sentence']}")
        raise RegistrationError(
            f"{len(lines.failed)} of {len(pairs)} pairs failed; mend what their sentences say, and go on with --resume."
        )


def _road(arguments: argparse.Namespace) -> _Road:
    """How the pairs are registered: on this machine, or by a Dask cluster. Raises InputError when that cannot be."""
    if arguments.dask is None:
        return partial(run_local, devices=batch_devices(arguments.device), workers=arguments.workers)
    try:
        from .backend.batch_dask import run_dask
    except ModuleNotFoundError as error:
        raise InputError(
            f"A Dask cluster needs {error.name}, which is not installed; pip install 'mmln-registration[dask]'."
        ) from error
    print(f"The Dask workers read and write the same paths as this machine; {arguments.output} must be shared.")
    return partial(run_dask, address=arguments.dask)


class _Lines:
    """What a reader follows: a line for each pair as it ends, and how far all are."""

    def __init__(self, progress: ConsoleProgress, results: ResultsTable, total: int) -> None:
        self._progress, self._results, self._total = progress, results, total
        self._ended = 0
        self.failed: list[Row] = []

    def passed_over(self, pair: BatchPair) -> bool:
        """Whether an earlier run has done the pair. One that was killed may not have written its row."""
        if self._results.is_done(pair):
            self._ended += 1
            return True
        end = finished_pair(pair)
        if end is not None:
            self.ended(pair, end)
        return end is not None

    def ended(self, pair: BatchPair, end: PairEnd) -> None:
        """A pair has ended: keep its row and tell of it."""
        row = row_of(pair, end)
        self._results.put(row)
        self._ended += 1
        if end.sentence:
            self.failed.append(row)
        self._progress.close()
        print(f"{pair.name}: {_summary(row)}", flush=True)

    def step(self, name: str, step: str) -> None:
        """A pair has come to a step."""
        self._progress(f"pairs: {self._ended} of {self._total} done; {name} {step}", self._ended / self._total)


def _summary(row: Row) -> str:
    if row["sentence"]:
        return f"failed. {row['sentence']}"
    dice = f", Dice {float(row['dice']):.3f}" if row["dice"] else ""
    return (
        f"correlation {float(row['correlation_before']):.3f} -> {float(row['correlation_after']):.3f}{dice}, "
        f"{row['folded_voxels']} folded voxels, {float(row['seconds']):.1f} s"
    )
