"""A training run on the terminal: a line for each validation, and Ctrl-C that waits for the step to end."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..console import ConsoleProgress
from ..progress import Cancelled, Progress


class TrainingLines:
    """A report (see trainer.Report) that prints what a reader wants to follow."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress = progress
        self._loss = float("nan")
        self._seconds_left = 0.0

    def __call__(self, entry: Mapping[str, Any]) -> None:
        """Print an entry of the ledger, or keep it for the next line."""
        if entry["event"] == "step":
            self._loss, self._seconds_left = entry["total"], entry["seconds_left"]
        elif entry["event"] == "validation":
            self._progress.close()
            dice = "" if entry["dice"] is None else f"Dice {entry['dice_initial']:.4f} -> {entry['dice']:.4f}, "
            print(
                f"Step {entry['step']}, level {entry['level']}: loss {self._loss:.4f}, {dice}"
                f"correlation {entry['similarity']:.4f}, folded {entry['folded_percent']:.4f} %"
                f"{', best so far' if entry['best'] else ''}; about {self._seconds_left / 60:.0f} min left",
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
