"""What is particular about a training among the jobs: it may last for days, and goes on where it was interrupted."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...training.ledger import read_ledger
from ...writing import TRAINING_FILES
from ..messages import ErrorEvent, ResultEvent, Train, Work

_BEST, _CONFIG, _LEDGER = "best.safetensors", "config.json", "ledger.jsonl"

KEPT_LONGER = 24
"""Results of a training stay so many times as long as others: they took long, and may be there in the middle of the
night."""


def going_on(request: Work) -> Work:
    """The request; of a training that was begun before and interrupted, to go on from its last checkpoint."""
    if isinstance(request, Train):
        return replace(request, resume=(request.output / _CONFIG).is_file())
    return request


def came_further(output: Path, since: float) -> bool:
    """Whether a training has written a checkpoint after that time, in seconds since 1970."""
    times = []
    for checkpoint in output.glob("checkpoints/step-*"):
        with suppress(OSError):
            times.append(checkpoint.stat().st_mtime)
    return any(time > since for time in times)


def remove_all_but_results(output: Path) -> None:
    """Remove the prepared scans and the checkpoints of a training that has ended."""
    for path in output.iterdir() if output.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in TRAINING_FILES:
            with suppress(OSError):
                path.unlink()


def stopped_in_time(key: str, output: Path, hours: float) -> ResultEvent | ErrorEvent:
    """How a training ends that has used up its time: with the best network so far, if there is one."""
    sentence = f"The training was stopped after {hours:g} hours, the most that this server gives one"
    files = {name: output / name for name in TRAINING_FILES if (output / name).is_file()}
    if _BEST not in files:
        return ErrorEvent(id=key, cause="failed", sentence=f"{sentence}; it had no result yet. Ask for fewer steps.")
    report: dict[str, Any] = {"step": None, "best_score": None, "best_step": None}
    with suppress(InputError):
        for entry in read_ledger(output / _LEDGER):
            report["step"] = entry.get("step", report["step"])
            if entry.get("best"):
                score = entry["similarity"] if entry["dice"] is None else entry["dice"]
                report |= {"best_score": score, "best_step": entry["step"]}
    report["notes"] = [f"{sentence}; this is the best network until then."]
    return ResultEvent(id=key, files=files, report=report)
