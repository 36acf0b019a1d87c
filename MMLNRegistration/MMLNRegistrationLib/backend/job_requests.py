"""What a server is asked for. A registration is asked for as a worker is; an evaluation and a training, which a worker
finds by tables and folders, with all files that these name, and without a name of the client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .messages import Evaluate, Info, Propagate, Refine, Register, Settings, Train

EVENTS_OF_AN_ATTEMPT = 1_000_000_000
"""The numbers of a job's events begin here when it is begun a second time, at twice this the third time."""

LARGEST_SUBJECT = 999_999


@dataclass(frozen=True, kw_only=True)
class JobCase:
    """A pair of an evaluation."""

    fixed: Path
    moving: Path
    fixed_labels: Path
    moving_labels: Path


@dataclass(frozen=True, kw_only=True)
class JobEvaluate(Settings):
    """messages.Evaluate with the rows of its table. structures: the content of that table."""

    cases: tuple[JobCase, ...]
    structures: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cases:
            raise InputError("cases names no pair; list at least one.")


@dataclass(frozen=True, kw_only=True)
class JobScan:
    """An image, a label map, or both, of a subject, who is but a number."""

    subject: int
    image: Path | None = None
    labels: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.subject <= LARGEST_SUBJECT:
            raise InputError(f"subject must be a whole number from 0 to {LARGEST_SUBJECT}, not {self.subject}.")
        if self.image is None and self.labels is None:
            raise InputError("A scan needs an image, labels, or both.")


@dataclass(frozen=True, kw_only=True)
class JobTrain:
    """messages.Train with the scans that its folders hold. config, structures: the contents of these files."""

    data: tuple[JobScan, ...]
    config: dict[str, Any] | None = None
    validation_data: tuple[JobScan, ...] = ()
    structures: str | None = None
    skip_bad: bool = False
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise InputError("data names no scan; list at least one.")


JobRequest = Register | Refine | Propagate | JobEvaluate | JobTrain | Info

JOBS: dict[str, type[Any]] = {
    "register": Register,
    "refine": Refine,
    "propagate": Propagate,
    "evaluate": JobEvaluate,
    "train": JobTrain,
    "info": Info,
}
"""By the word that a message calls them."""


Served = Register | Refine | Propagate | Evaluate | Train | Info
"""What a client of a server can be asked for; all else needs files that are on its own machine already."""


def subject_name(number: int) -> str:
    """What a server calls a subject."""
    return f"subject_{number:06d}"
