"""Who is trained on and who is tested: the subjects of a copy of OASIS in the paper's shares, and those of LPBA40.

A subject counts once, by the first of its scans that has an image and a label map.
"""

from __future__ import annotations

import csv
import io as text_io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..training.datasets import Scan, check_scans, find_scans
from ..training.split import in_drawn_order
from ..writing import write_whole
from .published import LPBA40, OASIS, SUBJECTS

_EXAMPLES = {OASIS: "OASIS_OAS1_0001_MR1 with norm and seg35", LPBA40: "S01.delineation.skullstripped"}
_FEWEST_TO_VALIDATE = 2
"""A pair of two subjects."""


@dataclass(frozen=True)
class OasisSplit:
    """Subjects by name; no subject is in two of the three parts, and the atlases are among those of the test."""

    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    atlases: tuple[str, ...]


def scans_of(folder: Path, layout: str) -> dict[str, Scan]:
    """One scan with image and label map of each subject in a folder of this layout (OASIS or LPBA40), by subject.

    Raises InputError for a folder of any other kind, and for files whose headers show that they cannot be used.
    """
    dataset = find_scans([folder])
    if dataset.layouts != (layout,):
        name = "neurite-OASIS" if layout == OASIS else layout
        raise InputError(
            f"{folder} does not have the layout of {name} ({_EXAMPLES[layout]}); give the folder of that data set."
        )
    chosen: dict[str, Scan] = {}
    for scan in dataset.scans:
        if scan.image and scan.labels:
            chosen.setdefault(scan.subject, scan)
    problems = check_scans(dataset._replace(scans=tuple(chosen.values())))
    if problems:
        # With the folder: the files of all subjects have the same names.
        raise bad_files([f"{problem.path.parent}: {problem.sentence}" for problem in problems])
    return chosen


def bad_files(sentences: Sequence[str]) -> InputError:
    """What to raise for files that cannot be used: the first one's sentence."""
    more = f" ({len(sentences)} files are bad)" if len(sentences) > 1 else ""
    return InputError(f"{sentences[0]}{more} Get it again, or take its scan out of the folder.")


def shares(subjects: int) -> tuple[int, int, int]:
    """How many of so many subjects train, validate and test: the paper's 255, 20 and 150, or as large a part of them.

    At least two validate.
    """
    of_paper = sum(SUBJECTS)
    validation = max(round(subjects * SUBJECTS[1] / of_paper), _FEWEST_TO_VALIDATE)
    test = round(subjects * SUBJECTS[2] / of_paper)
    return subjects - validation - test, validation, test


def split_oasis(subjects: Sequence[str], atlases: int, seed: int) -> OasisSplit:
    """Draw the three parts, and so many atlases among the test subjects. Depends on names, number and seed alone.

    Raises InputError for fewer subjects than leave one in the test beside the atlases, and two to train on.
    """
    training, validation, test = shares(len(subjects))
    if test <= atlases or training < 2:
        raise InputError(
            f"OASIS has {len(subjects)} subjects with image and label map here, of which {max(test, 0)} would be "
            f"tested on, {atlases} of them as atlases; give the whole data set."
        )
    order = in_drawn_order(subjects, seed)
    return OasisSplit(
        training=tuple(sorted(order[test + validation :])),
        validation=tuple(sorted(order[test : test + validation])),
        test=tuple(sorted(order[:test])),
        atlases=tuple(sorted(order[:atlases])),
    )


def draw_atlases(subjects: Sequence[str], atlases: int, seed: int) -> tuple[str, ...]:
    """So many of LPBA40's subjects. Raises InputError when nobody else would be left."""
    if len(subjects) <= atlases:
        raise InputError(
            f"LPBA40 has {len(subjects)} subjects with image and label map here, too few for {atlases} atlases and "
            "others to register to them; give the whole data set."
        )
    return tuple(sorted(in_drawn_order(subjects, seed)[:atlases]))


def write_scan_table(path: Path, scans: Mapping[str, Scan], subjects: Sequence[str]) -> None:
    """A table image,labels,subject that `mmln train --data` reads. Raises InputError when it cannot be written."""
    stream = text_io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("image", "labels", "subject"))
    writer.writerows((scans[name].image, scans[name].labels, name) for name in subjects)
    try:
        write_whole(path, stream.getvalue().encode())
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); check the folder and its rights.") from error
