"""A request made ready for a server: what to ask for, which files to send, and the way back from the server's words.

Tables and folders are read here, on the client's machine, so that what is wrong with them is told before anything is
sent. The server gives all it gets names of its own; the results are told in the client's again.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..quality.cases import STRUCTURE_COLUMNS, read_cases
from ..tables import read_rows
from .job_requests import JobCase, JobEvaluate, JobRequest, Served
from .messages import Evaluate, Settings, Train
from .request_files import Place, files_of, place_stem

_GIVEN_NAME = re.compile(r"subject_\d{6}|[a-z]+(?:_[a-z]+)*_\d+_[a-z]+(?:_[a-z]+)*(?:\.[a-z]+)+")
"""What a server calls a subject, or one file of several, see job_requests.subject_name and request_files.place_stem."""


class Names:
    """The client's names by those that a server gives."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def back(self, value: Any) -> Any:
        """A value in JSON's types with the client's names in all its texts."""
        if isinstance(value, str):
            return _GIVEN_NAME.sub(lambda match: self._names.get(match[0], match[0]), value)
        if isinstance(value, list):
            return [self.back(item) for item in value]
        if isinstance(value, dict):
            return {key: self.back(item) for key, item in value.items()}
        return value


def _leave_results(folder: Path, names: Names) -> None:
    """The results of a registration hold no names of several files."""


@dataclass(frozen=True)
class Parcel:
    """request: for the server. subjects: the client's names by the server's. finish: put the client's names into the
    results in a folder."""

    request: JobRequest
    subjects: Mapping[str, str]
    finish: Callable[[Path, Names], None]

    @property
    def files(self) -> dict[Place, Path]:
        """To send, by their places in the request."""
        return files_of(self.request)

    def names(self, suffix_of: Callable[[Path], str]) -> Names:
        """The way back. suffix_of: the ending that a file is sent with."""
        names = dict(self.subjects)
        sent: set[Path] = set()
        for place, file in self.files.items():
            if len(place) > 1 and file not in sent:  # one that is named often bears the name of its first place
                names[f"{place_stem(place)}{suffix_of(file)}"] = file.name
            sent.add(file)
        return Names(names)


def packed(request: Served) -> Parcel:
    """The parcel of a request. Reads tables and, of volumes, headers. Raises InputError for what is wrong with them."""
    if isinstance(request, Evaluate):
        return Parcel(_evaluation(request), {}, _finish_evaluation)
    if isinstance(request, Train):
        from .parcel_training import packed_training

        return packed_training(request)
    return Parcel(request, {}, _leave_results)


def structures_text(table: Path | None) -> str | None:
    """The content of a table of structures. Raises InputError when it is none."""
    if table is None:
        return None
    read_rows(table, STRUCTURE_COLUMNS)
    return table.read_text(encoding="utf-8-sig")


def _evaluation(request: Evaluate) -> JobEvaluate:
    settings = {entry.name: getattr(request, entry.name) for entry in fields(Settings)}
    return JobEvaluate(
        cases=tuple(
            JobCase(
                fixed=case.fixed, moving=case.moving, fixed_labels=case.fixed_labels, moving_labels=case.moving_labels
            )
            for case in read_cases(request.cases)
        ),
        structures=structures_text(request.structures),
        **settings,
    )


def _finish_evaluation(folder: Path, names: Names) -> None:
    path = folder / "scores.csv"
    try:
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("The server's table of scores is none; is it an MMLNRegistration server?") from error
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(names.back(rows))
