"""Finding the scans to train on: folders, BIDS, neurite-OASIS, LPBA40 and tables, recognised by what they hold."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..io import read_header
from ..pipeline.volume import require_size
from ..spatial.geometry import Geometry
from ..tables import read_rows
from .file_names import VOLUME_ENDINGS, Found, composed, files_under, place_of, unique_names, volume_stem
from .folders import common_stem, folder_scans, subject_of
from .layouts import LAYOUTS

_TABLE_COLUMNS = ("image", "labels", "subject")
_GRID_TOLERANCE_MM = 0.1
"""How far apart the corners of an image and of its label map may lie: rounding of headers."""


@dataclass(frozen=True)
class Scan:
    """An image, a label map, or both on one grid.

    subject: who it shows; scans of one subject are never split between training and validation.
    name: unique in its data set and safe as a file name.
    image: None for a label map alone, which serves synthesis only.
    labels: None for an image alone.
    """

    subject: str
    name: str
    image: Path | None
    labels: Path | None


class Dataset(NamedTuple):
    """What was found: how each given path was understood (a key of LAYOUTS, "table" or "folder"), and the scans."""

    layouts: tuple[str, ...]
    scans: tuple[Scan, ...]  # sorted by name


class Problem(NamedTuple):
    """A file that cannot be used, and why."""

    path: Path
    sentence: str


def find_scans(paths: Sequence[Path]) -> Dataset:
    """All scans in folders and tables (CSV with columns image, labels, subject; see training.layouts and .folders).

    A subject of the same name in two of the paths is taken for the same person. Files are not opened, see check_scans.
    Raises InputError when a path is missing or holds no scan, when a file is found twice, or when scans cannot be told
    apart by name.
    """
    if not paths:
        raise InputError("No data was given; give a folder of volumes or a CSV table.")
    layouts, found = zip(*(_found_at(Path(path)) for path in paths), strict=True)
    scans = [scan for group in found for scan in group]
    _require_unicode(scans)
    _require_each_once(scans)
    named = zip(unique_names(scans), scans, strict=True)
    dataset = [Scan(composed(scan.subject), name, scan.image, scan.labels) for name, scan in named]
    return Dataset(layouts, tuple(sorted(dataset, key=lambda scan: scan.name)))


def check_scans(dataset: Dataset) -> tuple[Problem, ...]:
    """What is wrong with the files of a data set as far as their headers tell, in the order of the scans.

    Each file must be a readable scalar 3D volume, and a label map must lie on its image's grid. Damage of the voxels
    themselves shows only when a file is read.
    """
    problems: list[Problem] = []
    checked: dict[Path, Geometry | None] = {}
    for scan in dataset.scans:
        for path in (scan.image, scan.labels):
            if path is not None and path not in checked:
                problem, checked[path] = _checked_header(path)
                problems += [problem] if problem else []
        if scan.image is None or scan.labels is None:
            continue
        image, labels = checked[scan.image], checked[scan.labels]
        if image is not None and labels is not None and not labels.matches(image, _GRID_TOLERANCE_MM):
            sentence = f"{scan.labels.name} does not lie on the grid of {scan.image.name}; resample it first."
            problems.append(Problem(scan.labels, sentence))
    return tuple(problems)


def good_scans(dataset: Dataset, skip_bad: bool) -> Dataset:
    """What check_scans finds nothing wrong with. Raises InputError for the rest, which skip_bad leaves out."""
    problems = check_scans(dataset)
    if problems and not skip_bad:
        more = f" ({len(problems)} files are bad)" if len(problems) > 1 else ""
        raise InputError(f"{problems[0].sentence}{more} Mend or remove it, or leave bad files out with --skip-bad.")
    bad = {problem.path for problem in problems}
    return dataset._replace(scans=tuple(scan for scan in dataset.scans if not {scan.image, scan.labels} & bad))


def require_apart(training: Dataset, validation: Dataset) -> None:
    """Raise InputError when somebody, or the name of a scan, is in both."""
    shared = {scan.subject for scan in training.scans} & {scan.subject for scan in validation.scans}
    if shared:
        raise InputError(f"Subject {min(shared)} is in both the training and the validation data; remove one.")
    names = {scan.name for scan in training.scans} & {scan.name for scan in validation.scans}
    if names:
        raise InputError(f"Training and validation data both have a scan {min(names)}; rename one of the files.")


def _found_at(path: Path) -> tuple[str, list[Found]]:
    """The layout of one path and its scans, at least one, with absolute paths."""
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    path = Path(os.path.abspath(path))
    if not path.is_dir():
        if path.suffix.lower() != ".csv":
            raise InputError(f"{path} is neither a folder nor a CSV table; give one of these.")
        return "table", _table_scans(path)
    files = files_under(path)
    for name, scans_of in LAYOUTS.items():
        found = scans_of(path, files)
        if found:
            return name, found
        if found is not None:
            raise InputError(f"{path} has the layout of {name}, but holds no image or label map of it; check the path.")
    found = folder_scans(path, files)
    if not found:
        raise InputError(
            f"{path} holds no volume ({', '.join(VOLUME_ENDINGS)}); check the path, and convert DICOM series first."
        )
    return "folder", found


def _table_scans(table: Path) -> list[Found]:
    rows = read_rows(table, ())
    unknown = [column for column in rows[0] if column not in _TABLE_COLUMNS]
    if unknown or not {"image", "labels"} & set(rows[0]):
        raise InputError(
            f"{table.name} has the columns {', '.join(rows[0])}; it needs image, labels or both, and may have subject."
        )
    found = []
    for number, row in enumerate(rows, start=2):
        image, labels = (_table_path(table, number, row.get(column, "")) for column in ("image", "labels"))
        file = image or labels
        if file is None:
            raise InputError(f"{table.name}, line {number}: names neither an image nor a label map; name one.")
        stem = volume_stem(file) or file.name
        subject = row.get("subject", "").strip() or subject_of(file.parts[1:-1] or file.parts, common_stem(stem))
        inside = file.is_relative_to(table.parent)
        root = table.parent if inside else Path(file.anchor)
        found.append(Found(subject, place_of(root, file.relative_to(root), stem, subject), image, labels))
    return found


def _table_path(table: Path, number: int, field: str) -> Path | None:
    if not field.strip():
        return None
    path = Path(os.path.abspath(table.parent / field.strip()))
    if not path.exists():
        raise InputError(f"{table.name}, line {number}: {path} does not exist; correct the table.")
    return path


def _require_unicode(scans: Sequence[Found]) -> None:
    """Other names can be neither written to a run's files nor passed to the libraries that read volumes."""
    for path in (path for scan in scans for path in (scan.image, scan.labels) if path is not None):
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            name = str(path).encode(errors="replace").decode()
            raise InputError(f"The name of {name} is not Unicode; rename the file or the folder above it.") from error


def _require_each_once(scans: Sequence[Found]) -> None:
    """Twice the same scan would weigh double, or stand on both sides of the split."""
    seen: set[str] = set()
    for scan in scans:
        file = scan.image or scan.labels
        assert file is not None
        real = os.path.realpath(file)
        if real in seen:
            raise InputError(f"{file} is found twice in the given data; give each folder and each file once.")
        seen.add(real)


def _checked_header(path: Path) -> tuple[Problem | None, Geometry | None]:
    try:
        geometry = read_header(path)
        require_size(geometry.shape_kji, path.name)
    except InputError as error:
        return Problem(path, str(error)), None
    except OSError as error:
        return Problem(path, f"{path.name} cannot be read ({error.strerror}); check its rights."), None
    return None, geometry
