"""Any folder of volumes: which files are label maps, which image each belongs to, and whose scan it is, by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import InputError
from .file_names import Found, composed, place_of, volume_stem

_WORDS = {
    "labels": re.compile(r"label(s|maps?)?|seg(s|m|\d+|mentations?)?|dseg|aseg|aparc|wmparc|parc(ellations?)?|gt"),
    "mask": re.compile(r"(brain)?masks?"),
    "image": re.compile(
        r"t1(w|c|ce|gd)?|t2w?|pdw?|flair|mp2?rage|spgr|mri?|anat|im(g|age)s?|scans?|vol(umes?)?|brains?|head|norm|orig|nu|"
        r"(skull)?stripped|bet|bfc|n4|native|preproc|space|desc"
    ),
}
"""Words (lower case) that say what a file shows, by its kind."""

_SEPARATORS = re.compile(r"([_\-.+ ]+)")
_SUBJECT = re.compile(r"(?:^|[^A-Za-z0-9])(sub-[A-Za-z0-9]+)")
_SESSION = re.compile(
    r"(?:ses|session|visit|run|timepoint|tp|baseline|followup|mr)(?:[-_ ]?\d+)?|ses-\w+", re.IGNORECASE
)
"""How folders of one subject's visits are called, and the ends of the names of their files."""

_CHANNEL = re.compile(r"_000\d$")
"""nnU-Net numbers the contrasts of a case so."""

Kind = Literal["image", "labels", "mask"]


class _Words(NamedTuple):
    stem: str  # without the words at its ends that say what a file shows
    kind: Kind | None  # None where no such word says it


class _File(NamedTuple):
    path: Path  # relative
    folders: tuple[str, ...]  # above it, without words such as images and labels
    stem: str
    kind: Kind


def subject_of(folders: Sequence[str], stem: str) -> str:
    """Who a file shows: `sub-01` of its name or its folders', else its stem, else the last folder that is no session's.

    Of a stem that ends in a session or run, such as `1000_ses-2`, what stands before it.
    """
    for part in (stem, *reversed(folders)):
        match = _SUBJECT.search(part)
        if match:
            return match[1]
    while (cut := re.fullmatch(rf"(.+?)[_-](?:{_SESSION.pattern})", stem, re.IGNORECASE)) is not None:
        stem = cut[1]
    names = [name for name in (_words(folder).stem for folder in folders) if name and not _SESSION.fullmatch(name)]
    return stem or (names[-1] if names else folders[-1])


def common_stem(stem: str) -> str:
    """What an image's name and its label map's share: `1000` of `1000_t1`, `1000_t1_seg` and `labels-1000`."""
    return _words(stem).stem


def folder_scans(root: Path, files: Sequence[Path]) -> list[Found]:
    """Scans of a folder: every image, with the label map of the same stem in the same or a parallel folder.

    A label map is a file with a label word at an end of its name, or one in a folder called labels, labelsTr or the
    like. One without an image stands alone. Masks are left out. Files of one stem are of one subject, except where
    all files have the same one, without a digit: then the folders say who they show.
    Raises InputError where two label maps would belong to the same image.
    """
    known = _without_channels([file for file in (_file(root, path) for path in files) if file is not None])
    labels: dict[tuple[tuple[str, ...], str], Path] = {}
    for file in known:
        if file.kind == "labels":
            other = labels.setdefault((file.folders, file.stem), file.path)
            if other != file.path:
                raise InputError(
                    f"{root / other} and {root / file.path} are both label maps of the same scan by their names; "
                    "keep one of them, or list the scans in a table."
                )
    images = [file for file in known if file.kind == "image"]
    used = {(file.folders, file.stem) for file in images}
    alone = [file for file in known if file.kind == "labels" and (file.folders, file.stem) not in used]
    cases = {(file.folders, file.stem) for file in images + alone}
    stems = {file.stem for file in images + alone}
    stem_says_nothing = len(cases) > 1 and len(stems) == 1 and not any(map(str.isdigit, min(stems)))
    found = []
    for file in sorted(images + alone):
        subject = subject_of((root.name, *file.folders), "" if stem_says_nothing else file.stem)
        place = place_of(root, file.path, volume_stem(file.path) or "", subject)
        if file.kind == "image":
            drawn = labels.get((file.folders, file.stem))
            found.append(Found(subject, place, root / file.path, drawn and root / drawn))
        else:
            found.append(Found(subject, place, None, root / file.path))
    return found


def _words(text: str) -> _Words:
    """Take the words that say what a file shows from both ends of a name."""
    pieces = _SEPARATORS.split(composed(text))
    first, last, taken = 0, len(pieces), set()
    while first < last and (kind := _kind_of(pieces[first])):
        taken.add(kind)
        first += 2
    while first < last and (kind := _kind_of(pieces[last - 1])):
        taken.add(kind)
        last -= 2
    says: Kind | None = next((kind for kind in ("labels", "mask", "image") if kind in taken), None)
    return _Words("".join(pieces[first:last]), says)


def _kind_of(word: str) -> Kind | None:
    kinds: tuple[Kind, ...] = ("labels", "mask", "image")
    return next((kind for kind in kinds if _WORDS[kind].fullmatch(word.lower())), None)


def _folder_words(folder: str) -> _Words:
    """As _words; of imagesTr and labelsTs, the names of nnU-Net's folders, Tr and Ts stay."""
    match = re.fullmatch(r"(image|label)s?(Tr|Ts|Val)", folder)
    if match:
        return _Words(match[2], "labels" if match[1] == "label" else "image")
    return _words(folder)


def _file(root: Path, path: Path) -> _File | None:
    name = volume_stem(path)
    if name is None:
        return None
    stem, kind = _words(name)
    folders = [_folder_words(folder) for folder in path.parts[:-1]]
    # Nearest first; the given folder's own name counts too, as when the path of a folder "labels" is given.
    given = _folder_words(composed(root.name))
    for words in [*reversed(folders), given]:
        if words.kind is not None and words.stem in ("", "Tr", "Ts", "Val"):
            kind = kind if words.kind == "image" else words.kind
            break
    return _File(path, tuple(words.stem for words in folders if words.stem), stem, kind or "image")


def _without_channels(files: Sequence[_File]) -> list[_File]:
    """Names of nnU-Net's images without the number of the contrast, where all images of a folder carry one."""
    stems: defaultdict[Path, set[str]] = defaultdict(set)
    for file in files:
        if file.kind == "image":
            stems[file.path.parent].add(file.stem)
    numbered = {
        folder for folder, names in stems.items() if all(_CHANNEL.sub("", name) + "_0000" in names for name in names)
    }
    shortened = [_shortened(file) if file.kind == "image" and file.path.parent in numbered else file for file in files]
    cases = {(file.folders, file.stem) for file in shortened if file.kind == "image"}

    def is_meant_shorter(file: _File) -> bool:
        return (file.folders, file.stem) not in cases and (file.folders, _shortened(file).stem) in cases

    # The label map of case_0000 is called case by nnU-Net, and case_0000 by others who use its folders.
    return [_shortened(file) if file.kind == "labels" and is_meant_shorter(file) else file for file in shortened]


def _shortened(file: _File) -> _File:
    return file._replace(stem=_CHANNEL.sub("", file.stem))
