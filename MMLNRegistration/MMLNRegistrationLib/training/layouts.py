"""The layouts of published data sets: BIDS, neurite-OASIS and LPBA40, recognised by what a folder holds.

Each function takes a folder and its files (relative, sorted) and returns its scans, or None when it is no such thing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from .file_names import Found, volume_stem

_BIDS_FILE = re.compile(r"(?:^|.*/)(sub-[^/_]+)/(?:(ses-[^/_]+)/)?anat/[^/]+")
_BIDS_IMAGES = ("T1w", "UNIT1", "T2w", "PDw", "FLAIR", "T2starw")
"""Suffixes of anatomical images, best first: the others serve only where the better ones are missing."""

_BIDS_SEGMENTATIONS = ("manual", "aparcaseg", "aseg")
"""Values of `desc` of label maps, best first: by hand, then the finer of the two that fMRIPrep writes."""

_BIDS_SPACES = (None, "T1w", "orig")
"""Values of `space` that mean the grid of the scan itself."""

_BIDS_ABOUT_LABELS = {"space", "desc", "res", "den", "atlas", "seg", "label"}
"""Entities that say how a derived file was made, and not which scan it was made of."""

_OASIS_FOLDER = re.compile(r"(OASIS_OAS\d_\d+)_MR\d+")
_OASIS_PAIRS = (
    ("norm", "seg35"),
    ("aligned_norm", "aligned_seg35"),
    ("orig", "seg35"),
    ("aligned_orig", "aligned_seg35"),
)
"""Image and label map on one grid, best first. The native ones have not been resampled."""

_LPBA40_FILE = re.compile(r"(S\d+)\.((?:delineation|native)\..+)")
_LPBA40_PAIRS = tuple(
    (f"{space}.{image}", f"{space}.structure.label")
    for space in ("delineation", "native")
    for image in ("skullstripped", "brain.bfc", "brain", "mri")
)
"""Image and label map on one grid, best first. The regions were drawn in delineation space."""


def bids_scans(root: Path, files: Sequence[Path]) -> list[Found] | None:
    """Scans of a BIDS tree (bids-specification.readthedocs.io): sub-*/[ses-*/]anat/, label maps *_dseg at any depth.

    T1-weighted images where there are any. A label map belongs to the image of its subject, session and run; one
    whose session has no image stands alone.
    """
    images: defaultdict[tuple[str, str | None], list[Path]] = defaultdict(list)
    labels: defaultdict[tuple[str, str | None], list[Path]] = defaultdict(list)
    for file in files:
        match, stem = _BIDS_FILE.fullmatch(file.as_posix()), volume_stem(file)
        if not match or stem is None:
            continue
        suffix, session = stem.rpartition("_")[2], (match[1], match[2])
        if suffix == "dseg":
            labels[session].append(file)
        elif suffix in _BIDS_IMAGES and file.parts[0] == match[1]:
            images[session].append(file)
    if not images and Path("dataset_description.json") not in files:
        return None
    found = []
    for session in {**images, **labels}:
        subject, maps = session[0], sorted(labels[session], key=_label_rank)
        chosen = _best_images(images[session])
        for image in chosen:
            of_image = (file for file in maps if _is_drawn_on(file, image, alone=len(chosen) == 1))
            found.append(_found(root, subject, image, next(of_image, None)))
        if maps and not chosen:
            found.append(_found(root, subject, None, maps[0]))
    return found


def oasis_scans(root: Path, files: Sequence[Path]) -> list[Found] | None:
    """Scans of neurite-OASIS (github.com/adalca/medical-datasets): a folder OASIS_OAS1_0001_MR1 for each."""
    folders: defaultdict[Path, dict[str, Path]] = defaultdict(dict)
    others = []
    for file in files:
        stem = volume_stem(file)
        if stem is None:
            continue
        if _OASIS_FOLDER.fullmatch((root / file).parent.name):
            folders[file.parent].setdefault(stem, root / file)
        else:
            others.append(file)
    if not folders:
        return None
    _require_no_others(root, others, "neurite-OASIS scans (OASIS_OAS1_0001_MR1, ...)")
    found = []
    for folder, by_stem in folders.items():
        name = (root / folder).name
        found.append(_best_pair(re.sub(r"_MR\d+$", "", name), (*root.parts, name), by_stem, _OASIS_PAIRS))
    return [scan for scan in found if scan is not None]


def lpba40_scans(root: Path, files: Sequence[Path]) -> list[Found] | None:
    """Scans of LPBA40 (loni.usc.edu), S01 to S40, by the names of their files, wherever these lie; one per subject."""
    subjects: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    others = []
    for file in files:
        stem = volume_stem(file)
        if match := _LPBA40_FILE.fullmatch(stem or ""):
            subjects[match[1]].setdefault(match[2], root / file)
        elif stem is not None:
            others.append(file)
    if not subjects:
        return None
    _require_no_others(root, others, "LPBA40 scans (S01.delineation.skullstripped, ...)")
    found = [_best_pair(name, (*root.parts, name), by_stem, _LPBA40_PAIRS) for name, by_stem in subjects.items()]
    return [scan for scan in found if scan is not None]


LAYOUTS: Mapping[str, Callable[[Path, Sequence[Path]], list[Found] | None]] = {
    "BIDS": bids_scans,
    "OASIS": oasis_scans,
    "LPBA40": lpba40_scans,
}


def _best_pair(
    subject: str, place: tuple[str, ...], by_stem: Mapping[str, Path], pairs: Sequence[tuple[str, str]]
) -> Found | None:
    """The first pair that is complete, else the first image, else the first label map."""
    for image, labels in pairs:
        if image in by_stem and labels in by_stem:
            return Found(subject, place, by_stem[image], by_stem[labels])
    for image, _ in pairs:
        if image in by_stem:
            return Found(subject, place, by_stem[image], None)
    for _, labels in pairs:
        if labels in by_stem:
            return Found(subject, place, None, by_stem[labels])
    return None


def _require_no_others(root: Path, others: Sequence[Path], what: str) -> None:
    if others:
        raise InputError(
            f"{root} holds {what} and other volumes, such as {others[0]}; give the folders of the data sets one by one."
        )


def _found(root: Path, subject: str, image: Path | None, labels: Path | None) -> Found:
    file = image or labels
    assert file is not None
    place = (*root.parts, volume_stem(file) or "")
    return Found(subject, place, image and root / image, labels and root / labels)


def _entities(file: Path) -> dict[str, str]:
    """What the name of a BIDS file says: {"sub": "01", "run": "2"}."""
    parts = (volume_stem(file) or "").split("_")
    return {key: value for key, dash, value in (part.partition("-") for part in parts) if dash}


def _best_images(files: Sequence[Path]) -> list[Path]:
    """All images of the best suffix; of these those on the scan's own grid, if there are any."""
    for suffix in _BIDS_IMAGES:
        chosen = [file for file in files if (volume_stem(file) or "").endswith(f"_{suffix}")]
        if chosen:
            return [file for file in chosen if _entities(file).get("space") in _BIDS_SPACES] or chosen
    return []


def _label_rank(file: Path) -> tuple[bool, int, tuple[str, ...]]:
    entities = _entities(file)
    described = entities.get("desc", "")
    known = described in _BIDS_SEGMENTATIONS
    rank = _BIDS_SEGMENTATIONS.index(described) if known else len(_BIDS_SEGMENTATIONS)
    return entities.get("space") not in _BIDS_SPACES, rank, file.parts


def _is_drawn_on(labels: Path, image: Path, alone: bool) -> bool:
    """Whether a label map of the same session belongs to an image. alone: no other image could be meant."""
    of_labels, of_image = (
        {key: value for key, value in _entities(file).items() if key not in _BIDS_ABOUT_LABELS}
        for file in (labels, image)
    )
    if _entities(labels).get("space") not in _BIDS_SPACES:
        return False
    return of_labels == of_image or (alone and of_labels.items() <= of_image.items())
