"""The table of results of a batch: one row for each pair that has ended, and what a finished pair has left."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..tables import read_rows
from ..writing import write_whole
from .batch_table import BatchPair

DONE, FAILED = "done", "failed"

COLUMNS = (
    "name",
    "fixed",
    "moving",
    "status",
    "seconds",
    "device",
    "folded_voxels",
    "jacobian_min",
    "correlation_before",
    "correlation_after",
    "local_correlation_before",
    "local_correlation_after",
    "dice",
    "sentence",
)
"""dice: mean over the labels of the fixed map, empty without label maps of both. sentence: why a pair failed."""

Row = dict[str, str]


class PairEnd(NamedTuple):
    """How a pair ended: with the figures of its report.json and its Dice, or with a sentence that says why not."""

    report: Mapping[str, Any] | None
    dice: float | None = None
    sentence: str = ""


def finished_report(folder: Path) -> dict[str, Any] | None:
    """The figures in a pair's folder of results; None when there is no whole result."""
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return report if isinstance(report, dict) and (folder / "transform.h5").is_file() else None


def row_of(pair: BatchPair, end: PairEnd) -> Row:
    """A pair's row of results.csv."""
    row = dict.fromkeys(COLUMNS, "") | {"name": pair.name, "fixed": pair.fixed, "moving": pair.moving}
    row["status"] = FAILED if end.sentence else DONE
    row["sentence"] = " ".join(end.sentence.split())
    if end.report is not None:
        before, after = end.report["similarity_before"], end.report["similarity_after"]
        figures = {
            "seconds": end.report["seconds"]["total"],
            "device": end.report["device"],
            "folded_voxels": end.report["folded_voxels"],
            "jacobian_min": end.report["jacobian_min"],
            "correlation_before": before["correlation"],
            "correlation_after": after["correlation"],
            "local_correlation_before": before["local_correlation"],
            "local_correlation_after": after["local_correlation"],
            "dice": end.dice,
        }
        row |= {name: _text(value) for name, value in figures.items()}
    return row


class ResultsTable:
    """results.csv, whole at any time: each change replaces the file. Rows are in the order of the table of pairs."""

    def __init__(self, path: Path, pairs: Sequence[BatchPair]) -> None:
        """Take over the rows of an earlier run. Raises InputError when they are of other pairs or unreadable."""
        self._path = path
        self._rows: dict[str, Row] = {}
        earlier = {row["name"]: row for row in read_rows(path, COLUMNS)} if path.is_file() else {}
        for pair in pairs:
            row = earlier.get(pair.name)
            if row is not None and (row["fixed"], row["moving"]) != (pair.fixed, pair.moving):
                raise InputError(
                    f"{path} holds a pair {pair.name} of other volumes ({row['moving']} to {row['fixed']}); correct "
                    "the table, or choose another folder."
                )
        self._order = [pair.name for pair in pairs]
        self._order += [name for name in earlier if name not in set(self._order)]
        self._rows = {name: {column: row[column] for column in COLUMNS} for name, row in earlier.items()}

    def is_done(self, pair: BatchPair) -> bool:
        """Whether the pair has a row that says so, and its result is still there."""
        row = self._rows.get(pair.name)
        return row is not None and row["status"] == DONE and finished_report(pair.request.output) is not None

    def put(self, row: Row) -> None:
        """Write a pair's row in place of an earlier one. Raises InputError when the file cannot be written."""
        self._rows[row["name"]] = row
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows[name] for name in self._order if name in self._rows)
        try:
            write_whole(self._path, text.getvalue().encode("utf-8"))
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written ({error.strerror}); check its rights and the space left, and go on "
                "with --resume."
            ) from error


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
