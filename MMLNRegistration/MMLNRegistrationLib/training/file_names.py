"""What the names of files say: which are volumes, and what to call the scans that they hold."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..io import VOLUME_SUFFIXES

VOLUME_ENDINGS = (*VOLUME_SUFFIXES, ".nhdr", ".mhd", ".hdr", ".mgz", ".mgh")
"""How files that hold a volume end. Of files in two parts, such as .hdr and .img, the header stands for both."""


class Found(NamedTuple):
    """A scan as a layout finds it: at least one of image and labels is a path.

    place: the folders above the scan and a last part, from which its name is made.
    """

    subject: str
    place: tuple[str, ...]
    image: Path | None
    labels: Path | None


def volume_stem(file: Path) -> str | None:
    """The name of a volume file without its ending; None for any other file."""
    lowered = file.name.lower()
    ending = max((ending for ending in VOLUME_ENDINGS if lowered.endswith(ending)), key=len, default="")
    return composed(file.name[: -len(ending)]) if ending else None


def composed(text: str) -> str:
    """The same letters in one spelling: macOS takes umlauts and accents apart, others do not."""
    return unicodedata.normalize("NFC", text)


def files_under(root: Path) -> tuple[Path, ...]:
    """All files below a folder, relative to it, sorted; links are followed, each folder is entered once.

    Hidden files and folders are left out, and with them what an interrupted write left behind.
    Raises InputError for a folder that cannot be listed.
    """
    found: list[Path] = []
    entered: set[str] = set()
    waiting = [Path()]
    while waiting:
        folder = waiting.pop()
        real = os.path.realpath(root / folder)
        if real in entered:
            continue
        entered.add(real)
        try:
            with os.scandir(root / folder) as scan:
                entries = sorted((entry.name, _leads_to_folder(entry)) for entry in scan if entry.name[0] != ".")
        except OSError as error:
            raise InputError(f"{root / folder} cannot be listed ({error.strerror}); check its rights.") from error
        found += [folder / name for name, is_folder in entries if not is_folder]
        waiting += [folder / name for name, is_folder in reversed(entries) if is_folder]
    return tuple(sorted(found, key=lambda file: file.parts))


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    """As entry.is_dir(), which raises for a link to itself."""
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def place_of(root: Path, relative: Path, stem: str, subject: str) -> tuple[str, ...]:
    """The place of a file below root. Its last part names the subject: "anna_t1" of anna/t1.nii, "1_t1" of 1_t1.nii."""
    named = re.compile(rf"(?:^|[\W_]){re.escape(subject)}(?:$|[\W_])")
    folders = relative.parts[:-1]
    if named.search(stem):
        return (*root.parts, *folders, stem)
    for index in reversed(range(len(folders))):
        if named.search(composed(folders[index])):
            return (*root.parts, *folders[:index], "_".join([*folders[index:], stem]))
    return (*root.parts, *folders, f"{subject}_{stem}")


def unique_names(scans: Sequence[Found]) -> list[str]:
    """A name for each scan: the last part of its place, with as many folders before it as tell it from the others.

    Names are safe as file names, also where upper and lower case are one.
    Raises InputError where even the whole place does not tell two scans apart.
    """
    used = [1] * len(scans)
    while True:
        names = [_safe("_".join(scan.place[-count:])) for scan, count in zip(scans, used, strict=True)]
        alike: defaultdict[str, list[int]] = defaultdict(list)
        for index, name in enumerate(names):
            alike[name.casefold()].append(index)
        clashes = [group for group in alike.values() if len(group) > 1]
        if not clashes:
            return names
        for group in clashes:
            longer = [index for index in group if used[index] < len(scans[index].place)]
            if not longer:
                one, other = (scans[index].image or scans[index].labels for index in group[:2])
                raise InputError(
                    f"{one} and {other} would both be called {names[group[0]]}; "
                    "rename one, remove one, or list the scans in a table."
                )
            for index in longer:
                used[index] += 1


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", composed(text)).strip(".-") or "scan"
