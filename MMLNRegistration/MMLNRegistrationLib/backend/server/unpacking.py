"""From what a client asks for to what the worker is asked for: tables of a job's uploads, which the server writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path

from ...quality.cases import COLUMNS
from ..job_requests import JobEvaluate, JobRequest, JobScan, JobTrain, subject_name
from ..messages import Evaluate, Settings, Train, Work

_SCAN_COLUMNS = ("image", "labels", "subject")


def unpacked(asked: JobRequest, input: Path, output: Path) -> tuple[Work, dict[Path, bytes]]:
    """The worker's request, and what the server has to write for it to read: contents by their paths.

    input: the job's folder for files to read. output: for results. Raises InputError for what cannot be carried out.
    """
    if isinstance(asked, JobEvaluate):
        return _evaluation(asked, input, output)
    if isinstance(asked, JobTrain):
        return _training(asked, input, output)
    return asked, {}


def _evaluation(asked: JobEvaluate, input: Path, output: Path) -> tuple[Work, dict[Path, bytes]]:
    cases, structures = input / "cases.csv", input / "structures.csv"
    texts = {cases: _table(COLUMNS, [[asdict(case)[column].name for column in COLUMNS] for case in asked.cases])}
    if asked.structures is not None:
        texts[structures] = asked.structures.encode()
    settings = {entry.name: getattr(asked, entry.name) for entry in fields(Settings)}
    request = Evaluate(
        cases=cases, output=output, structures=None if asked.structures is None else structures, **settings
    )
    return request, texts


def _training(asked: JobTrain, input: Path, output: Path) -> tuple[Work, dict[Path, bytes]]:
    data, validation_data = input / "scans.csv", input / "validation_scans.csv"
    config, structures = input / "training.json", input / "structures.csv"
    texts = {data: _scan_table(asked.data)}
    if asked.validation_data:
        texts[validation_data] = _scan_table(asked.validation_data)
    if asked.config is not None:
        texts[config] = json.dumps(asked.config).encode()
    if asked.structures is not None:
        texts[structures] = asked.structures.encode()
    request = Train(
        data=(data,),
        output=output,
        config=None if asked.config is None else config,
        validation_data=(validation_data,) if asked.validation_data else (),
        structures=None if asked.structures is None else structures,
        skip_bad=asked.skip_bad,
        device=asked.device,
        threads=asked.threads,
    )
    return request, texts


def _scan_table(scans: Iterable[JobScan]) -> bytes:
    rows = (
        (*(file.name if file else "" for file in (scan.image, scan.labels)), subject_name(scan.subject))
        for scan in scans
    )
    return _table(_SCAN_COLUMNS, rows)


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([columns, *rows])
    return stream.getvalue().encode()
