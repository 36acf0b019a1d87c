"""The table of pairs to evaluate on: images and label maps as files. Read without torch, as a server's client does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..tables import read_rows

COLUMNS = ("fixed", "moving", "fixed_labels", "moving_labels")

STRUCTURE_COLUMNS = ("label", "structure", "counts_for_fine_dice")
"""Of the table of structures, see evaluate.read_structures."""


@dataclass(frozen=True)
class Case:
    """One row of the table: four files."""

    fixed: Path
    moving: Path
    fixed_labels: Path
    moving_labels: Path


def read_cases(table: Path) -> list[Case]:
    """The rows of a CSV table with the four columns; relative paths start at the table's folder.

    Raises InputError when it cannot be read, lacks a column, has no row, or names a file that is not there.
    """
    rows = read_rows(table, COLUMNS)
    cases = [Case(*(table.parent / row[column] for column in COLUMNS)) for row in rows]
    for number, (row, case) in enumerate(zip(rows, cases, strict=True), start=2):
        if not all(row[column] for column in COLUMNS):
            raise InputError(f"{table.name}, line {number}: a field is empty; name all four files.")
        for path in (case.fixed, case.moving, case.fixed_labels, case.moving_labels):
            if not path.exists():
                raise InputError(f"{table.name}, line {number}: {path} does not exist; correct the table.")
    return cases
