"""A training run from its settings: what `mmln train` does, as one Python call."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from .. import __version__
from ..errors import InputError
from ..model.card import ModelCard
from ..pipeline.device import choose_device, device_label, total_memory_bytes
from ..progress import Progress
from .config import TrainConfig
from .datasets import Dataset, Scan, find_scans, good_scans, require_apart
from .distributed import Ranks, device_of_rank, joined_ranks
from .pairs import PairSource, require_pairs
from .preparation import PreparedData, prepare_scans, reference_of
from .run_folder import RunFolder, State
from .split import Split, split_by_subject
from .teacher import TaughtPair, draw_pairs, taught_pairs
from .trainer import Report, Trainer
from .validation import ValidationSet, require_validation_pairs

NORMALISATION = "background 0, 99.5th percentile of the foreground 1, clipped (pipeline.prepare.normalised)"


@dataclass(frozen=True)
class RunSettings:
    """What is trained on what, and where.

    data: folders or tables, see datasets.find_scans. output: the run folder. config: of a run that is resumed, its own.
    validation_data: scans to validate on; without it a share of data's subjects is kept for that.
    structure_of_label: for the validation's Dice; without it each label counts. cache: for the prepared scans, by
    default in the run folder. workers: processes that prepare. skip_bad: leave bad files out, instead of stopping.
    """

    data: tuple[Path, ...]
    output: Path
    config: TrainConfig
    validation_data: tuple[Path, ...] = ()
    structure_of_label: Mapping[int, str] | None = None
    cache: Path | None = None
    workers: int = 1
    skip_bad: bool = False
    device: str = "auto"
    resume: bool = False


def train(settings: RunSettings, progress: Progress, report: Report) -> State:
    """Find, check and prepare the scans, then train. Returns where the run ended.

    Raises InputError for data, settings and folders that cannot be used, RegistrationError when training fails, and
    what progress raises.
    """
    device = device_of_rank(choose_device(settings.device))
    folder = RunFolder(settings.output)
    with joined_ranks(device) as ranks:
        if ranks.rank > 0:
            return _train(settings, folder, device, ranks, progress, report)
        with folder.held():
            return _train(
                settings,
                folder,
                device,
                ranks,
                folder.followed(progress, device_label(device), total_memory_bytes(device)),
                report,
            )


def _train(
    settings: RunSettings, folder: RunFolder, device: torch.device, ranks: Ranks, progress: Progress, report: Report
) -> State:
    _require_folder(folder, settings)
    training, validation = _scans(settings, folder)
    require_pairs(training, settings.config)
    require_validation_pairs(validation)
    ranks.wait()  # until all have seen that the folder is free
    if ranks.rank == 0 and not folder.exists():
        split = Split(_subjects(training), _subjects(validation))
        folder.begin(settings.config, split, device_label(device))
    prepared = _prepared(settings, folder, training, validation, ranks, progress)
    good = set(prepared.scans)
    config = settings.config
    trained_on = tuple(scan for scan in training if scan in good)
    taught = _taught(settings, prepared, trained_on, ranks, progress)
    validation_set = ValidationSet(
        prepared,
        tuple(scan for scan in validation if scan in good),
        config.validation_pairs,
        config.seed,
        settings.structure_of_label,
    )
    if ranks.rank == 0:
        folder.write_pairs(prepared.folder, validation_set.names)
    trainer = Trainer(
        config,
        PairSource(prepared, trained_on, config, taught),
        validation_set,
        folder,
        _card(settings, trained_on),
        device,
        ranks,
        progress,
        report,
    )
    return trainer.run(settings.resume)


def _require_folder(folder: RunFolder, settings: RunSettings) -> None:
    if settings.resume:
        if not folder.exists():
            raise InputError(f"There is no run in {folder.path} to resume; start it without --resume.")
        if not folder.checkpoints.is_dir():  # a server keeps them; to begin anew here would undo the run
            raise InputError(f"The run in {folder.path} has no checkpoints to go on from; begin one in another folder.")
        if folder.read_config() != settings.config:
            raise InputError(
                f"The run in {folder.path} was begun with other settings; resume it without --config, or take another "
                "folder."
            )
    elif folder.exists():
        raise InputError(f"{folder.path} already holds a run; go on with --resume, or give another folder.")


def _scans(settings: RunSettings, folder: RunFolder) -> tuple[tuple[Scan, ...], tuple[Scan, ...]]:
    """The scans to train and to validate on; those of a run that is resumed are split as it began."""
    dataset = good_scans(find_scans(settings.data), settings.skip_bad)
    if settings.validation_data:
        held_out = good_scans(find_scans(settings.validation_data), settings.skip_bad)
        require_apart(dataset, held_out)
        return dataset.scans, held_out.scans
    if settings.resume:
        split = folder.read_split()
    else:
        split = split_by_subject(dataset, settings.config.validation_share, settings.config.seed)
    return _of(split.training, dataset), _of(split.validation, dataset)


def _of(subjects: tuple[str, ...], dataset: Dataset) -> tuple[Scan, ...]:
    return tuple(scan for scan in dataset.scans if scan.subject in subjects)


def _prepared(
    settings: RunSettings,
    folder: RunFolder,
    training: tuple[Scan, ...],
    validation: tuple[Scan, ...],
    ranks: Ranks,
    progress: Progress,
) -> PreparedData:
    """The first process prepares; the others then find all of it done."""
    scans = (*training, *validation)
    # One of the data given to train on, the same whatever the split, so that runs with other seeds can share a cache.
    reference = reference_of(training if settings.validation_data else scans)

    def prepare() -> PreparedData:
        return prepare_scans(
            scans,
            reference,
            settings.cache or folder.path / "prepared",
            settings.config.spacing_mm,
            workers=settings.workers,
            skip_bad=settings.skip_bad,
            progress=progress,
        )

    return ranks.first_then_all(prepare)


def _taught(
    settings: RunSettings, prepared: PreparedData, scans: tuple[Scan, ...], ranks: Ranks, progress: Progress
) -> tuple[TaughtPair, ...]:
    """The pairs to learn from, on the grid of the level below the last; the first process optimises them."""
    config = settings.config
    if config.taught_pairs == 0:
        return ()
    pairs = draw_pairs(scans, config.taught_pairs, config.seed)
    halvings = min(1, config.network.levels - 1)

    def optimise() -> tuple[TaughtPair, ...]:
        return taught_pairs(prepared, pairs, halvings, workers=settings.workers, progress=progress)

    return ranks.first_then_all(optimise)


def _card(settings: RunSettings, training: tuple[Scan, ...]) -> ModelCard:
    images = sum(scan.image is not None for scan in training)
    maps = sum(scan.labels is not None for scan in training)
    return ModelCard(
        name=settings.output.resolve().name,
        description="MMLN trained with this program; see its run folder.",
        training_data=f"{images} images and {maps} label maps of the user's; their terms hold for the model",
        normalisation=NORMALISATION,
        commit=f"version {__version__}",
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    )


def _subjects(scans: tuple[Scan, ...]) -> tuple[str, ...]:
    return tuple(sorted({scan.subject for scan in scans}))
