"""The Dice of one pair of a batch, from the label map that its registration has carried over."""

from __future__ import annotations

from pathlib import Path

from .. import io
from ..errors import InputError
from ..quality.metrics import label_counts, mean_dice
from .batch_results import PairEnd, finished_report
from .batch_table import BatchPair


def finished_pair(pair: BatchPair) -> PairEnd | None:
    """How a pair ended whose results are there, scored if there are label maps of both; None when there are none."""
    report = finished_report(pair.request.output)
    if report is None:
        return None
    if pair.fixed_labels is None:
        return PairEnd(report)
    try:
        return PairEnd(report, carried_dice(pair.request.output / "labels.nii.gz", pair.fixed_labels))
    except InputError as error:
        return PairEnd(report, sentence=str(error))


def carried_dice(carried: Path, fixed_labels: Path) -> float:
    """Mean Dice over the labels of the fixed map. Raises InputError when the maps cannot be compared."""
    found, true = io.read_labels(carried), io.read_labels(fixed_labels)
    if not true.geometry.matches(found.geometry, tolerance_mm=0.1):
        raise InputError(f"{true.name} does not lie on the grid of the fixed volume; resample it first.")
    labels = label_counts(true.array_kji)
    if not labels:
        raise InputError(f"{true.name} holds no label but 0; give a label map that shows structures.")
    return mean_dice(true.array_kji, found.array_kji, labels)
