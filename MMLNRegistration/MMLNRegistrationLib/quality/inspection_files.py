"""What an inspection leaves: volumes, tables, figures as JSON, and the report, in one folder."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__, io
from ..errors import InputError
from ..pipeline.volume import Volume
from ..progress import Progress, silent
from ..tables import read_rows
from . import folds, landmarks, structures
from .charts import HISTOGRAM_BINS
from .inspection import Inspection, judgement
from .inspection_page import inspection_html
from .report import plain
from .structures import voxels_of_labels
from .verdict import Verdict

INSPECTION_FILES = (
    "jacobian.nii",
    "folded.nii",
    "warped.nii",
    "quality.json",
    "folds.csv",
    "structures.csv",
    "landmarks.csv",
    "histogram.csv",
    "report.html",
)
"""By name; warped.nii needs a moving image, structures.csv labels, landmarks.csv landmarks. The volumes are not
compressed: a program that shows them reads them at once."""

FOREGROUND = "foreground"
LISTED_FOLDS = 1000
"""quality.json lists so many clusters; folds.csv has all."""


def write_inspection(inspection: Inspection, folder: Path, progress: Progress = silent) -> dict[str, Any]:
    """Write the files of an inspection to an existing folder, and return what quality.json holds."""
    progress("write", 0.0)
    io.write_volume(inspection.jacobian, folder / "jacobian.nii")
    io.write_volume(inspection.folded, folder / "folded.nii")
    if inspection.warped is not None:
        io.write_volume(inspection.warped, folder / "warped.nii")
    figures = quality_json(inspection)
    (folder / "quality.json").write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    _write_table(folder / "folds.csv", folds.COLUMNS, inspection.folds)
    if inspection.structures:
        _write_table(folder / "structures.csv", structures.COLUMNS, inspection.structures)
    if inspection.landmarks:
        _write_table(folder / "landmarks.csv", landmarks.COLUMNS, inspection.landmarks)
    histogram = figures["histogram"]
    columns = [histogram["log_jacobian"], *histogram["percent"].values()]
    _write_table(folder / "histogram.csv", ["log_jacobian", *histogram["percent"]], list(zip(*columns, strict=True)))
    progress("write", 0.5)
    (folder / "report.html").write_text(inspection_html(inspection), encoding="utf-8")
    return figures


def quality_json(inspection: Inspection) -> dict[str, Any]:
    """Everything that was measured, in JSON's own types; None is what was not. Lengths in mm, volumes in mm3."""
    judged: Verdict = judgement(inspection)
    before, after = inspection.similarity_before, inspection.similarity_after
    first, last = (inspection.landmark_distances(after=when) for when in (False, True))
    windows = {"fixed": inspection.fixed, "warped": inspection.warped}
    values = {
        "version": __version__,
        "name": inspection.name,
        "fixed": inspection.fixed.name,
        "moving": inspection.moving.name if inspection.moving else None,
        "level": judged.level,
        "headline": judged.headline,
        "sentence": judged.sentence,
        **inspection.folding._asdict(),
        "fold_clusters": len(inspection.folds),
        "affine_determinant": inspection.affine_determinant,
        "scale_limit": inspection.scale_limit,
        "similarity_before": before._asdict() if before else None,
        "similarity_after": after._asdict() if after else None,
        "mean_dice": inspection.mean_dice,
        "mean_tc": inspection.mean_tc,
        "landmarks_before": first._asdict() if first else None,
        "landmarks_after": last._asdict() if last else None,
        "windows": {name: list(inspection.window(volume)) for name, volume in windows.items() if volume},
        "folds": [fold._asdict() for fold in inspection.folds[:LISTED_FOLDS]],
        "structures": [score._asdict() for score in inspection.structures],
        "landmarks": [landmark._asdict() for landmark in inspection.landmarks],
        "histogram": log_jacobian_histograms(inspection),
    }
    return {name: plain(value) for name, value in values.items()}


def log_jacobian_histograms(inspection: Inspection) -> dict[str, Any]:
    """The middles of the bins of log J, and for the foreground and each structure the percentage in each.

    The outermost bins also hold what lies beyond them; voxels with J <= 0 are in none.
    """
    jacobian = inspection.jacobian.array_kji
    limit_log = float(np.log(inspection.scale_limit))
    edges = np.linspace(-limit_log, limit_log, HISTOGRAM_BINS + 1)

    def percent(values: np.ndarray) -> list[float]:
        logarithms = np.log(values[values > 0])
        counts = np.histogram(np.clip(logarithms, edges[0], edges[-1]), bins=edges)[0]
        return [round(share, 4) for share in (100.0 * counts / max(len(values), 1)).tolist()]

    names = {score.label: score.name for score in inspection.structures}
    columns = {FOREGROUND: percent(jacobian[inspection.foreground])}
    flat = jacobian.reshape(-1)
    for layer in inspection.labels.on_fixed_grid:
        for label, places in voxels_of_labels(layer.array_kji):
            columns[_unused(names[label], columns)] = percent(flat[places])
    return {
        "log_jacobian": [round(value, 6) for value in (edges[:-1] + np.diff(edges) / 2).tolist()],
        "percent": columns,
    }


def read_label_names(table: Path) -> dict[int, str]:
    """Names of labels from a CSV table with the columns label and name. Raises InputError."""
    names = {}
    for row in read_rows(table, ["label", "name"]):
        try:
            names[int(row["label"])] = row["name"]
        except ValueError as error:
            raise InputError(f"{table.name}: {row['label']!r} is no label; give whole numbers.") from error
    return names


def read_label_layers(files: Sequence[Path]) -> tuple[Volume, ...]:
    """The label maps of one image. Raises InputError as io.read_labels does."""
    return tuple(io.read_labels(file) for file in files)


def _unused(name: str, taken: Iterable[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name} ({number})"
    return unique


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(["" if value != value else value for value in row])
