"""What a worker can be asked for, and what it answers: frozen data classes, the same on a pipe and over a network.

Every request that can be carried out is checked when it is made: InputError says what is wrong and what to do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..writing import PROPAGATION_RESULT_FILES, RESULT_FILES
from .request_checks import LARGEST_THREADS as LARGEST_THREADS
from .request_checks import require_choice, require_device, require_whole
from .training_messages import CheckData as CheckData
from .training_messages import Preview as Preview
from .training_messages import Train as Train

BRAINS = ("auto", "none")
LINEAR_STARTS = ("affine", "rigid", "identity")
ON_OUT_OF_MEMORY = ("fail", "cpu", "coarser")
FUSIONS = ("local_similarity", "majority")
CAUSES = ("input", "cancelled", "out_of_memory", "failed")

DEFAULT_MODEL = "t1-brain"
"""What registers where no model is asked for: see BENCHMARKS.md for what it is worth."""
NO_MODEL = "none"
"""Asked for instead of a model: the refinement starts from zero."""

LARGEST_ITERATIONS = 10_000
LARGEST_ATLASES = 100
SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.2, 16.0


@dataclass(frozen=True, kw_only=True)
class Search:
    """How to refine, and on what.

    brain: auto extracts it first. refine: iterations at full resolution, 0 for none. similarity: what the refinement
    drives up, see pipeline.refine.SIMILARITIES. device: auto, cpu, cuda or cuda:N. threads: of the processor, all when
    not given. on_out_of_memory: fail, or register again on the cpu, or on a grid of twice the spacing (coarser).
    """

    brain: str = "none"
    refine: int | None = None
    similarity: str = "local_correlation"
    device: str = "auto"
    threads: int | None = None
    on_out_of_memory: str = "fail"

    def __post_init__(self) -> None:
        require_choice("brain", self.brain, BRAINS)
        require_choice("on_out_of_memory", self.on_out_of_memory, ON_OUT_OF_MEMORY)
        require_device(self.device)
        require_whole("refine", self.refine, 0, LARGEST_ITERATIONS)
        require_whole("threads", self.threads, 1, LARGEST_THREADS)


@dataclass(frozen=True, kw_only=True)
class Settings(Search):
    """How to register; the defaults are the accurate preset.

    model: name or file of a trained network, or the word none for a refinement from zero. When not given it is
    DEFAULT_MODEL, and none where similarity or spacing_mm are not the defaults, which that was made for.
    initial: affine, rigid, identity, or a transform file. spacing_mm: voxel size of the grid that holds the field.
    """

    model: str | None = None
    initial: str = "affine"
    spacing_mm: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not SMALLEST_SPACING_MM <= self.spacing_mm <= LARGEST_SPACING_MM:
            raise InputError(
                f"spacing_mm must lie between {SMALLEST_SPACING_MM:g} and {LARGEST_SPACING_MM:g}, not "
                f"{self.spacing_mm:g}."
            )


@dataclass(frozen=True, kw_only=True)
class Register(Settings):
    """Register moving to fixed, and write the result's files to the folder output.

    files: which of them, see writing.RESULT_FILES; all of the REGISTRATION_FILES there are when none is named.
    """

    fixed: Path
    moving: Path
    output: Path
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    moving_labels: Path | None = None
    overwrite: bool = False
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_files(self.files)


@dataclass(frozen=True, kw_only=True)
class Refine(Search):
    """Refine a registration of the same volumes further, from the velocity.safetensors in its folder, which is result.

    On its own grid; what is found is added to what is there.
    files: as in Register.
    """

    result: Path
    fixed: Path
    moving: Path
    output: Path
    fixed_mask: Path | None = None
    moving_mask: Path | None = None
    moving_labels: Path | None = None
    overwrite: bool = False
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_files(self.files)
        if self.on_out_of_memory == "coarser":
            raise InputError("A result can be refined on its own grid alone; on_out_of_memory must be fail or cpu.")


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """An image and the label map that was drawn on it.

    transform: a file of one that takes points of the subject to the atlas, found earlier, or of numpy's, see
    writing.ARRAY_FILES, with its displacement on the subject's grid. Without it they are registered.
    """

    image: Path
    labels: Path
    transform: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Propagate(Settings):
    """Register atlases to a subject, carry their label maps over, and make one of them.

    fusion: how, see pipeline.fusion. names: of labels for the table of volumes, each LABEL=NAME. files: which files of
    the result to write, see writing.PROPAGATION_RESULT_FILES; PROPAGATION_FILES when none is named.
    """

    subject: Path
    atlases: tuple[Atlas, ...]
    output: Path
    fusion: str = FUSIONS[0]
    names: tuple[str, ...] = ()
    overwrite: bool = False
    files: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("fusion", self.fusion, FUSIONS)
        _require_files(self.files, PROPAGATION_RESULT_FILES)
        if not 1 <= len(self.atlases) <= LARGEST_ATLASES:
            raise InputError(f"atlases must list 1 to {LARGEST_ATLASES} atlases, not {len(self.atlases)}.")
        for name in self.names:
            if not re.fullmatch(r"[0-9]{1,10}=.+", name, re.ASCII | re.DOTALL):
                raise InputError(f"names must hold texts such as 17=Left hippocampus, not {name!r}.")

    @property
    def name_of_label(self) -> dict[int, str]:
        """The names by their labels."""
        return {int(label): name for label, _, name in (entry.partition("=") for entry in self.names)}


@dataclass(frozen=True, kw_only=True)
class Evaluate(Settings):
    """Register the pairs of a table and score them by their labels; an entry tells of each pair as it is done."""

    cases: Path
    output: Path
    structures: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class Inspect:
    """Judge a transform of any origin, from fixed to moving, and write what quality.inspection finds to output.

    transform: any transform file of ITK, or a displacement image. labels: label maps, several where structures
    overlap. names: a table of label and name. landmarks: a table, see quality.landmarks. title: of the report.
    """

    transform: Path
    fixed: Path
    output: Path
    moving: Path | None = None
    fixed_labels: tuple[Path, ...] = ()
    moving_labels: tuple[Path, ...] = ()
    names: Path | None = None
    landmarks: Path | None = None
    title: str | None = None
    overwrite: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        require_whole("threads", self.threads, 1, LARGEST_THREADS)


@dataclass(frozen=True, kw_only=True)
class Info:
    """What is installed on the worker's machine, its devices with their free memory, and the models."""


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Stop the request of this id, or take it from those that wait. An id that is not known is passed over: the
    request may have ended meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Shutdown:
    """Stop what runs, take no more, and end."""


Work = Register | Refine | Propagate | Evaluate | Inspect | Train | CheckData | Preview | Info
"""Requests that are carried out one after the other; each is answered by one result or one error."""

Request = Work | Cancel | Shutdown

REQUESTS: dict[str, type[Any]] = {
    "register": Register,
    "refine": Refine,
    "propagate": Propagate,
    "evaluate": Evaluate,
    "inspect": Inspect,
    "train": Train,
    "check_data": CheckData,
    "preview": Preview,
    "info": Info,
    "cancel": Cancel,
    "shutdown": Shutdown,
}
"""By the word that a message calls them."""


@dataclass(frozen=True, kw_only=True)
class HelloEvent:
    """The worker is ready: torch is loaded, the device awake. version: of this program."""

    version: str
    pid: int
    device: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class ProgressEvent:
    """A request has come to this fraction, 0 to 1, of this step. The first one of a request says that it has begun."""

    id: str
    step: str
    fraction: float


@dataclass(frozen=True, kw_only=True)
class EntryEvent:
    """A line of a table that a request writes as it goes: the ledger of a training, the scores of an evaluation."""

    id: str
    entry: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ResultEvent:
    """A request is done. files: what was written, by its name. report: its figures."""

    id: str
    files: dict[str, Path]
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class ErrorEvent:
    """A request has ended without a result, or a line was none (then id may be unknown).

    cause: one of CAUSES. sentence: for the user. offers: values of on_out_of_memory that may help.
    """

    id: str | None
    cause: str
    sentence: str
    offers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_choice("cause", self.cause, CAUSES)


Event = HelloEvent | ProgressEvent | EntryEvent | ResultEvent | ErrorEvent

EVENTS: dict[str, type[Any]] = {
    "hello": HelloEvent,
    "progress": ProgressEvent,
    "entry": EntryEvent,
    "result": ResultEvent,
    "error": ErrorEvent,
}


@dataclass(frozen=True)
class Outcome:
    """What carrying out a request gave: the files it wrote, by their names, and its figures as plain values."""

    files: dict[str, Path] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


def _require_files(names: tuple[str, ...], known: tuple[str, ...] = RESULT_FILES) -> None:
    for name in names:
        require_choice("files", name, known)
