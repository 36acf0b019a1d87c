"""Progress on the terminal: a bar where someone watches, plain lines where the output goes to a file; for a training
run also a line for each validation, and a Ctrl-C that waits for the step to end."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from .progress import Cancelled, Progress

_BAR_WIDTH = 28
_SECONDS_BETWEEN_DRAWINGS = 0.1


class ConsoleProgress:
    """A progress callback (see progress.Progress) that writes to the standard error."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr.isatty()
        self._step = ""
        self._drawn_at = 0.0

    def __call__(self, step: str, fraction: float) -> None:
        """Show that `step` has come to `fraction` of its work."""
        new_step = step.partition(":")[0] != self._step.partition(":")[0]
        if self._on_terminal:
            now = time.monotonic()
            if new_step or now - self._drawn_at > _SECONDS_BETWEEN_DRAWINGS:
                self._drawn_at = now
                filled = round(_BAR_WIDTH * min(max(fraction, 0.0), 1.0))
                bar = "#" * filled + "." * (_BAR_WIDTH - filled)
                sys.stderr.write(f"\r\x1b[K[{bar}] {step}")
                sys.stderr.flush()
        elif new_step:
            print(step.partition(":")[0], file=sys.stderr, flush=True)
        self._step = step

    def close(self) -> None:
        """Clear the bar."""
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class TrainingLines:
    """A report (see training.trainer.Report) that prints what a reader wants to follow."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress = progress
        self._loss = ""
        self._time_left = ""

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Print an entry of the ledger, or keep it for the next line."""
        if entry["event"] == "step":
            self._loss = f"loss {entry['total']:.4f}, "
            self._time_left = f"; about {entry['seconds_left'] / 60:.0f} min left"
        elif entry["event"] == "validation":
            self._progress.close()
            dice = "" if entry["dice"] is None else f"Dice {entry['dice_initial']:.4f} -> {entry['dice']:.4f}, "
            print(
                f"Step {entry['step']}, level {entry['level']}: {self._loss}{dice}"
                f"correlation {entry['similarity']:.4f}, folded {entry['folded_percent']:.4f} %"
                f"{', best so far' if entry['best'] else ''}{self._time_left}",
                flush=True,
            )


@contextmanager
def stopping_between_steps(progress: Progress) -> Iterator[Progress]:
    """A Progress that raises Cancelled after SIGINT or SIGTERM; a second signal interrupts at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stoppable(step: str, fraction: float) -> None:
        if asked:
            raise Cancelled
        progress(step, fraction)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stoppable
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def print_verdict(report: Mapping[str, Any], folder: Path) -> None:
    """The last lines of a registration. report: what report.json holds."""
    before, after = report["similarity_before"]["correlation"], report["similarity_after"]["correlation"]
    print(
        f"Similarity {before:.3f} -> {after:.3f}, {report['folded_voxels']} folded voxels, "
        f"{report['seconds']['total']:.1f} s on {report['device']}."
    )
    for note in report["notes"]:
        print(f"Note: {note}")
    print(f"Results: {folder}")


def print_scores(scores: Sequence[Mapping[str, Any]], mean: Mapping[str, float], folder: Path) -> None:
    """The last lines of an evaluation. scores: its entries. mean: of their figures."""
    for entry in scores:
        print(
            "{fixed} <- {moving}: Dice coarse {coarse_dice_initial:.3f} -> {coarse_dice:.3f}, "
            "fine {fine_dice_initial:.3f} -> {fine_dice:.3f}, folded {folded_voxels}, "
            "inverse {inverse_median_mm:.4f} mm, {seconds:.1f} s".format(**entry)
        )
    print(
        f"Mean of {len(scores)}: Dice coarse {mean['coarse_dice']:.3f}, fine {mean['fine_dice']:.3f}; "
        f"all figures: {folder}"
    )


def print_best(report: Mapping[str, Any], folder: Path) -> None:
    """The last lines of a training. report: of its result."""
    for note in report.get("notes", ()):
        print(f"Note: {note}")
    if report["best_step"] is not None:  # only the first of several processes validates
        best = folder / "best.safetensors"
        print(f"Best validation score {report['best_score']:.4f} at step {report['best_step']}: {best}")


def print_propagation(report: Mapping[str, Any], folder: Path) -> None:
    """The last lines of a propagation. report: what report.json holds."""
    structures, atlases = len(report["volumes"]), len(report["atlases"])
    agreement = ""
    if atlases > 1 and report["mean_agreement"] is not None:
        agreement = f", mean agreement {report['mean_agreement']:.3f}"
    print(
        f"{structures} structure{'s' * (structures != 1)} from {atlases} atlas{'es' * (atlases != 1)}{agreement}, "
        f"{report['folded_voxels']} folded voxels, {report['seconds']['total']:.1f} s on {report['device']}."
    )
    for note in report["notes"]:
        print(f"Note: {note}")
    print(f"Results: {folder}")


@contextmanager
def console() -> Iterator[ConsoleProgress]:
    """Progress on the terminal, cleared at the end."""
    progress = ConsoleProgress()
    try:
        yield progress
    finally:
        progress.close()
