"""What a worker can be asked for that has to do with training; see messages, which knows all requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .request_checks import LARGEST_THREADS, require_device, require_whole

LARGEST_PAIR = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a network, see training.run.RunSettings; entries are those of the run's ledger. config: a JSON file."""

    data: tuple[Path, ...]
    output: Path
    config: Path | None = None
    validation_data: tuple[Path, ...] = ()
    structures: Path | None = None
    cache: Path | None = None
    skip_bad: bool = False
    resume: bool = False
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        _require_data(self.data)
        require_device(self.device)
        require_whole("threads", self.threads, 1, LARGEST_THREADS)


@dataclass(frozen=True, kw_only=True)
class CheckData:
    """Look through the data of a training, see training.data_check, without training.

    config: as of a training; the data must suffice for it. read_voxels: read every file whole, not its header alone.
    """

    data: tuple[Path, ...]
    validation_data: tuple[Path, ...] = ()
    config: Path | None = None
    read_voxels: bool = False

    def __post_init__(self) -> None:
        _require_data(self.data)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Register a validation pair of a training run by its newest network, and write the volumes to the folder output.

    run: the run's folder. pair: which one, counted from 0 and around.
    """

    run: Path
    output: Path
    pair: int = 0
    device: str = "cpu"
    threads: int | None = None
    overwrite: bool = False

    def __post_init__(self) -> None:
        require_device(self.device)
        require_whole("pair", self.pair, 0, LARGEST_PAIR)
        require_whole("threads", self.threads, 1, LARGEST_THREADS)


def _require_data(paths: tuple[Path, ...]) -> None:
    if not paths:
        raise InputError("data names nothing to train on; give at least one folder or table.")
