"""The table of pairs of a batch: what is to be registered, and the name of each pair's folder of results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..tables import read_rows
from .messages import LINEAR_STARTS, Register, Settings
from .request_files import with_absolute_paths

COLUMNS = ("fixed", "moving")

RESULTS_TABLE, SETTINGS_FILE = "results.csv", "batch.json"
"""Files of a batch beside the folders of its pairs, which cannot be called so."""

_NAME = re.compile(r"\w([\w.+=@-]{0,118}\w)?")
_LONGEST_STEM = 50
_SUFFIXES = (".nii.gz", ".seg.nrrd")


@dataclass(frozen=True)
class BatchPair:
    """One row. request: what registers it. fixed, moving: as the table writes them. fixed_labels: to score by."""

    name: str
    request: Register
    fixed: str
    moving: str
    fixed_labels: Path | None = None


def read_pairs(table: Path, output: Path, settings: Settings) -> list[BatchPair]:
    """The rows of a CSV table; relative paths start at the table's folder, results go to output/NAME.

    The column initial overrides the settings' for its row. A file that is not there is no fault of the table: that
    pair alone will fail. Raises InputError when the table cannot be read, or a row says what cannot be.
    """
    rows = read_rows(table, COLUMNS)
    names = _names(rows, table)
    return [
        _pair(row, name, table, number, output, settings)
        for number, (row, name) in enumerate(zip(rows, names, strict=True), start=2)
    ]


def _pair(row: dict[str, str], name: str, table: Path, number: int, output: Path, settings: Settings) -> BatchPair:
    where = f"{table.name}, line {number}"
    if not all(row[column] for column in COLUMNS):
        raise InputError(f"{where}: a field is empty; name the fixed and the moving volume.")
    if row.get("fixed_labels") and not row.get("moving_labels"):
        raise InputError(f"{where}: fixed_labels needs moving_labels to compare with; give both or neither.")

    def path(column: str) -> Path | None:
        return table.parent / row[column] if row.get(column) else None

    initial = row.get("initial") or settings.initial
    if row.get("initial") and initial not in LINEAR_STARTS:
        initial = str(table.parent / initial)
    request = Register(
        fixed=table.parent / row["fixed"],
        moving=table.parent / row["moving"],
        output=output / name,
        fixed_mask=path("fixed_mask"),
        moving_mask=path("moving_mask"),
        moving_labels=path("moving_labels"),
        overwrite=True,  # the batch owns its folder; what is there is of an attempt that failed
        **{entry: getattr(settings, entry) for entry in Settings.__dataclass_fields__},
    )
    request = replace(request, initial=initial)
    absolute = with_absolute_paths(request)
    assert isinstance(absolute, Register)
    fixed_labels = path("fixed_labels")
    return BatchPair(name, absolute, row["fixed"], row["moving"], fixed_labels.absolute() if fixed_labels else None)


def _names(rows: Sequence[dict[str, str]], table: Path) -> list[str]:
    """A name for each row that is safe as a folder's and unlike all others, also where case does not count."""
    taken = {RESULTS_TABLE, SETTINGS_FILE}
    names: dict[int, str] = {}
    for index, row in enumerate(rows):
        name = row.get("name", "")
        if not name:
            continue
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{table.name}, line {index + 2}: {name!r} cannot name a folder; use letters, digits and . _ + = @ - "
                "between them, 120 at most."
            )
        if name.lower() in taken:
            raise InputError(f"{table.name}, line {index + 2}: the name {name} is taken; give each pair its own.")
        taken.add(name.lower())
        names[index] = name
    for index, row in enumerate(rows):
        if index not in names:
            names[index] = _free(f"{_stem(row['moving'])}_to_{_stem(row['fixed'])}", taken)
            taken.add(names[index].lower())
    return [names[index] for index in range(len(rows))]


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _stem(path: str) -> str:
    """The file's name without its ending, other signs than a folder's name may have replaced."""
    name = re.split(r"[/\\]", path.rstrip("/\\"))[-1]
    ending = next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), Path(name).suffix)
    stem = re.sub(r"[^\w+=@-]+", "_", name[: len(name) - len(ending)])
    return stem[:_LONGEST_STEM].strip("_+=@-") or "volume"
