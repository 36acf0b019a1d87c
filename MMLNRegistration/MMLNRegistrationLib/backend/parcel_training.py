"""A training made ready for a server: its scans are found and checked here; there they and their subjects are numbers.

The server's worker finds the network, the split and the rest in its own words; `_finish` puts the client's in again.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..training.datasets import Dataset, Scan, find_scans, good_scans, require_apart
from ..training.split import split_by_subject
from .job_requests import JobScan, JobTrain, subject_name
from .messages import Train
from .parcel import Names, Parcel, structures_text

_MODEL, _SPLIT = "best.safetensors", "split.json"
_ALIGNMENT_BYTES = 8


def packed_training(request: Train) -> Parcel:
    """The parcel of a training. Raises InputError, as the training itself would, for data that cannot be used."""
    if request.resume:
        raise InputError("A server goes on with a training by itself; leave out --resume, or train on this machine.")
    if request.cache is not None:
        raise InputError("A server keeps the prepared scans itself; leave out --cache, or train on this machine.")
    if request.output.is_dir() and any(request.output.iterdir()):
        raise InputError(f"{request.output} is not empty; give a new folder for the run.")
    training = good_scans(find_scans(request.data), request.skip_bad)
    held_out: tuple[Scan, ...] = ()
    if request.validation_data:
        validation = good_scans(find_scans(request.validation_data), request.skip_bad)
        require_apart(training, validation)
        held_out = validation.scans
    config = _config(request.config)
    everybody = dict.fromkeys(scan.subject for scan in (*training.scans, *held_out))
    numbers = {subject: number for number, subject in enumerate(everybody, start=1)}
    if find_spec("torch"):  # else the server's worker checks this, when the job's turn comes
        _require_trainable(request.config, _numbered(training, numbers), held_out)
    job = JobTrain(
        data=_job_scans(training.scans, numbers),
        validation_data=_job_scans(held_out, numbers),
        config=config,
        structures=structures_text(request.structures),
        skip_bad=request.skip_bad,
        device=request.device,
        threads=request.threads,
    )
    subjects = {subject_name(number): subject for subject, number in numbers.items()}
    return Parcel(job, subjects, partial(_finish, request.output.resolve().name))


def rename_model(path: Path, name: str) -> None:
    """Give a model another name in its card, which stands in the file's header. Raises InputError for another file."""
    content = path.read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8 : 8 + size])
        about = json.loads(header["__metadata__"]["mmln"])
        about["card"]["name"] = name
        header["__metadata__"]["mmln"] = json.dumps(about, sort_keys=True)
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise InputError("The server's model is none; is it an MMLNRegistration server?") from error
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def _job_scans(scans: tuple[Scan, ...], numbers: Mapping[str, int]) -> tuple[JobScan, ...]:
    return tuple(JobScan(subject=numbers[scan.subject], image=scan.image, labels=scan.labels) for scan in scans)


def _config(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"The configuration {path} cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict):
        raise InputError(f"The configuration {path} must hold one JSON object.")
    return values


def _numbered(dataset: Dataset, numbers: Mapping[str, int]) -> Dataset:
    """The data set with the server's names of the subjects, which its split is drawn by."""
    scans = (replace(scan, subject=subject_name(numbers[scan.subject])) for scan in dataset.scans)
    return dataset._replace(scans=tuple(scans))


def _require_trainable(config_file: Path | None, training: Dataset, held_out: tuple[Scan, ...]) -> None:
    """Raise InputError for settings that are none, and for too few subjects."""
    from ..training.config import read_config
    from ..training.pairs import require_pairs
    from ..training.validation import require_validation_pairs

    config, scans = read_config(config_file), training.scans
    if not held_out:
        split = split_by_subject(training, config.validation_share, config.seed)
        scans, held_out = (
            tuple(scan for scan in training.scans if scan.subject in subjects)
            for subjects in (split.training, split.validation)
        )
    require_pairs(scans, config)
    require_validation_pairs(held_out)


def _finish(name: str, folder: Path, names: Names) -> None:
    split = folder / _SPLIT
    if split.exists():
        try:
            values = json.loads(split.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError("The server's split is no JSON; is it an MMLNRegistration server?") from error
        split.write_text(json.dumps(names.back(values), indent=2) + "\n", encoding="utf-8")
    if (folder / _MODEL).exists():
        rename_model(folder / _MODEL, name)
