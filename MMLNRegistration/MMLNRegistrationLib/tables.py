"""CSV tables that users write, read with one sentence for whatever is wrong with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError


def read_rows(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV table in UTF-8 (a mark at its start may be there), by column; the named columns must exist.

    Raises InputError when the file is missing or no such table, lacks a column, or has no or uneven rows.
    """
    if table.is_dir():
        raise InputError(f"{table} is a folder; give a CSV table.")
    if not table.is_file():
        raise InputError(f"{table} does not exist; give a CSV table.")
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{table.name} lacks the column {', '.join(missing)}; it needs {', '.join(columns)}.")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table.name} is not a CSV table in UTF-8; save it as one.") from error
    if not rows:
        raise InputError(f"{table.name} has no rows; list at least one.")
    if any(None in row or None in row.values() for row in rows):
        raise InputError(f"{table.name} has rows with more or fewer fields than its header; correct them.")
    return rows
