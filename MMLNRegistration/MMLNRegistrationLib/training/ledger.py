"""The ledger of a training run: a file with one JSON object a line, written as the run goes on.

A line counts once its newline is there. What a killed process left behind the last newline is no line: the reader
passes over it, and the next writer removes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..writing import replacing


class Ledger:
    """Writes a ledger. The file is opened for each entry anew: nothing waits in a buffer when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, entry: Mapping[str, object]) -> None:
        """Add an entry as one line, whole or not at all; the first one makes the file.

        Raises ValueError, by the name of the value, for NaN and infinity, which JSON does not have, and InputError
        when the file cannot be written.
        """
        line = (_json(entry) + "\n").encode("ascii")
        try:
            with FileIO(self.path, "a+") as file:
                end = _end_of_lines(file)
                file.truncate(end)
                try:
                    _write(file, line)
                except OSError:
                    file.truncate(end)
                    raise
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be written ({error.strerror}); check the folder, its rights and the space left."
            ) from error

    def truncate_after(self, step: int) -> None:
        """Drop the entries whose "step" is greater than step, in one step; the others stay byte for byte.

        Entries without a "step" stay. Raises InputError as read_ledger does, and when the file cannot be written.
        """
        kept = [line for line, entry in _lines(self.path) if entry.get("step", step) <= step]
        content = b"".join(kept)
        with replacing(self.path, len(content)) as temporary:
            temporary.write_bytes(content)


def read_ledger(path: Path) -> list[dict[str, Any]]:
    """The entries of a ledger in their order, less a last line that was cut off.

    Raises InputError for a missing file, and by its number for any other line that is no entry.
    """
    return [entry for _, entry in _lines(path)]


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each whole line, newline included, and what it says."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; give the ledger of a training run.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the ledger of a training run.") from error
    *lines, _cut_off = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _broken(path, number) from error
        step = entry.get("step", 0) if isinstance(entry, dict) else None
        if not isinstance(step, (int, float)):
            raise _broken(path, number)
        yield line + b"\n", entry


def _broken(path: Path, number: int) -> InputError:
    return InputError(f"{path} is damaged in line {number}; remove that line, or take another copy of the file.")


def _json(entry: Mapping[str, object]) -> str:
    try:
        return json.dumps(dict(entry), allow_nan=False)
    except ValueError as error:
        names = ", ".join(name for name, value in entry.items() if not _can_be_written(value))
        raise ValueError(f"The ledger cannot hold {names}: NaN and infinity are not in JSON.") from error


def _can_be_written(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def _end_of_lines(file: FileIO) -> int:
    """The place behind the last newline of a file, in bytes: its size, unless its last line was cut off."""
    size = file.seek(0, 2)
    if size == 0:
        return 0
    file.seek(size - 1)
    if file.read(1) == b"\n":
        return size
    file.seek(0)
    return file.readall().rfind(b"\n") + 1


def _write(file: FileIO, line: bytes) -> None:
    """Write all of it: a disk that is nearly full takes a part without complaint."""
    while line:
        line = line[file.write(line) :]
