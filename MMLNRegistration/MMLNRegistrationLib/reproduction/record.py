"""What a reproduction was begun with, in its folder, so that it goes on with the same and with nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..training.run_files import read_object
from ..writing import PARTIAL_PREFIX, write_whole
from .data import OasisSplit

FILE = "reproduction.json"
_LOCK = "run.lock"


@dataclass(frozen=True)
class Record:
    """The data, who of it is in which part, and the settings.

    oasis, lpba40: the folders, absolute; lpba40 None when it was not given. networks: settings of the trainings by the
    networks' names, as plain values. lpba40_subjects, lpba40_atlases: empty without LPBA40.
    """

    oasis: str
    lpba40: str | None
    seed: int
    networks: Mapping[str, Any]
    split: OasisSplit
    lpba40_subjects: tuple[str, ...]
    lpba40_atlases: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return json.loads(json.dumps(asdict(self)))


def require_same(folder: Path, record: Record, begun: bool) -> None:
    """Raise InputError unless the folder is new, or of a reproduction with this data and these settings.

    LPBA40 may join later. begun: whether a network was trained; until then the subjects may change.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file; give a folder for the results.")
    if not (folder / FILE).exists():
        if folder.is_dir() and any(not _is_passing(entry.name) for entry in folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no reproduction; choose another folder.")
        return
    before, now = read_object(folder / FILE), record.as_json()
    if not set(now) <= set(before):
        raise InputError(f"{folder / FILE} is damaged; choose another folder.")
    for option in ("oasis", "lpba40"):
        if before[option] not in (None, now[option]):
            raise InputError(
                f"The reproduction in {folder} was begun with --{option} {before[option]}; give that again, or choose "
                "another folder."
            )
    if any(before[name] != now[name] for name in ("networks", "seed")):
        raise InputError(
            f"The reproduction in {folder} was begun with other settings, by version {before.get('mmln')} of this "
            f"program (this is {__version__}); choose another folder."
        )
    of_lpba40 = ("lpba40_subjects", "lpba40_atlases") if before["lpba40"] else ()
    if begun and any(before[name] != now[name] for name in ("split", *of_lpba40)):
        raise InputError(
            f"The scans are no longer those that the reproduction in {folder} was begun with; put them back, or choose "
            "another folder."
        )


def write_record(folder: Path, record: Record) -> None:
    """Write what the reproduction is. Raises InputError when it cannot be written."""
    try:
        write_whole(folder / FILE, (json.dumps({"mmln": __version__, **record.as_json()}, indent=2) + "\n").encode())
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror}); check its rights and the space left."
        ) from error


def _is_passing(name: str) -> bool:
    """Whether a file is there only while a process is at work, or was left by a killed one."""
    return name == _LOCK or name.startswith(PARTIAL_PREFIX)
