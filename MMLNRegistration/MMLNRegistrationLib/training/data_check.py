"""What a data set holds and what is wrong with it, before anybody waits for a training that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import io
from ..errors import InputError
from ..progress import Progress
from .config import TrainConfig
from .datasets import Dataset, Problem, Scan, check_scans, find_scans
from .pairs import require_pairs
from .split import split_by_subject
from .validation import require_validation_pairs


@dataclass(frozen=True)
class DataReport:
    """What was found, in numbers, and what stands in the way.

    layouts: how each path was understood. subjects: who has an image or a label map. labelled_subjects: with an image
    and its label map. structures: different labels in all maps, None unless the voxels were read.
    training_subjects, validation_subjects: as the training would split them; 0 where it could not.
    problems: files that cannot be used. obstacles: sentences on the data as a whole, without those files.
    """

    layouts: tuple[str, ...]
    subjects: int
    labelled_subjects: int
    images: int
    label_maps: int
    structures: int | None
    training_subjects: int
    validation_subjects: int
    problems: tuple[Problem, ...]
    obstacles: tuple[str, ...]


def check_data(
    data: tuple[Path, ...],
    validation_data: tuple[Path, ...],
    config: TrainConfig,
    progress: Progress,
    *,
    read_voxels: bool,
) -> DataReport:
    """Look through the data of a training. read_voxels: read every file whole, as damage shows in no header.

    Raises InputError where nothing is found at all, and what progress raises.
    """
    progress("find scans", 0.0)
    found = find_scans(data)
    held_out = find_scans(validation_data) if validation_data else None
    scans = (*found.scans, *(held_out.scans if held_out else ()))
    problems: list[Problem] = []
    labels: set[int] = set()
    for number, scan in enumerate(scans):
        progress("check scans", number / len(scans))
        of_scan = check_scans(Dataset((), (scan,)))
        if read_voxels and not of_scan:
            of_scan = _read(scan, labels)
        problems += of_scan
    bad = {problem.path for problem in problems}
    training, validation, obstacles = _parts(_without(found, bad), held_out and _without(held_out, bad), config)
    complete = {scan.subject for scan in scans if scan.image and scan.labels}
    return DataReport(
        layouts=(*found.layouts, *(held_out.layouts if held_out else ())),
        subjects=len({scan.subject for scan in scans}),
        labelled_subjects=len(complete),
        images=sum(scan.image is not None for scan in scans),
        label_maps=sum(scan.labels is not None for scan in scans),
        structures=len(labels) if read_voxels else None,
        training_subjects=len({scan.subject for scan in training}),
        validation_subjects=len({scan.subject for scan in validation}),
        problems=tuple(problems),
        obstacles=tuple(obstacles),
    )


def require_apart(training: Dataset, validation: Dataset) -> None:
    """Raise InputError when the data to train and to validate on share a subject or the name of a scan."""
    shared = {scan.subject for scan in training.scans} & {scan.subject for scan in validation.scans}
    if shared:
        raise InputError(f"Subject {min(shared)} is in both the training and the validation data; remove one.")
    names = {scan.name for scan in training.scans} & {scan.name for scan in validation.scans}
    if names:
        raise InputError(f"Training and validation data both have a scan {min(names)}; rename one of the files.")


def _read(scan: Scan, labels: set[int]) -> tuple[Problem, ...]:
    """What reading a scan's voxels brings to light; the labels of its map are added to the others."""
    problems = []
    if scan.image is not None:
        problems += _problem_of(lambda path: io.read_image(path), scan.image)
    if scan.labels is not None:

        def collect(path: Path) -> None:
            labels.update(int(label) for label in np.unique(io.read_labels(path).array_kji) if label)

        problems += _problem_of(collect, scan.labels)
    return tuple(problems)


def _problem_of(read: Callable[[Path], object], path: Path) -> list[Problem]:
    try:
        read(path)
    except InputError as error:
        return [Problem(path, str(error))]
    return []


def _parts(
    found: Dataset, held_out: Dataset | None, config: TrainConfig
) -> tuple[tuple[Scan, ...], tuple[Scan, ...], list[str]]:
    """The scans to train and to validate on, and why there is no training with them."""
    try:
        if held_out is not None:
            require_apart(found, held_out)
            training, validation = found.scans, held_out.scans
        else:
            split = split_by_subject(found, config.validation_share, config.seed)
            training, validation = (
                tuple(scan for scan in found.scans if scan.subject in subjects)
                for subjects in (split.training, split.validation)
            )
    except InputError as error:
        return (), (), [str(error)]
    obstacles = []
    for require in (lambda: require_pairs(training, config), lambda: require_validation_pairs(validation)):
        try:
            require()
        except InputError as error:
            obstacles.append(str(error))
    return training, validation, obstacles


def _without(dataset: Dataset, bad: set[Path]) -> Dataset:
    return dataset._replace(scans=tuple(scan for scan in dataset.scans if not {scan.image, scan.labels} & bad))
