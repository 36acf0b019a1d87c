"""The paper's tables from its data: the networks of its ablation are trained, scored on the test pairs, and tabulated.

What lies in the folder of a reproduction:

reproduction.json                         the data, its split, the settings
training.csv, validation.csv, test.csv    the scans of each part, as tables that `mmln train --data` reads
prepared/                                 all scans on one common grid
lapirn/, lapirn-core/, mmln/              a run folder for each training, see training.run_folder
scores/oasis-mmln.jsonl, ...              the pairs that were scored so far
tables.md, tables.csv                     the result, written anew after each training
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..pipeline.device import choose_device
from ..progress import Progress
from ..training.config import TrainConfig, as_json
from ..training.datasets import Scan, find_scans
from ..training.pairs import require_pairs
from ..training.preparation import PreparedData, prepare_scans, reference_of
from ..training.run import RunSettings, train
from ..training.run_files import RunFiles
from ..training.run_folder import RunFolder
from .data import OasisSplit, bad_files, draw_atlases, scans_of, split_oasis, write_scan_table
from .networks import ABLATION, AblationNetwork, ablation_configs
from .published import ATLASES, HIGHEST_LABEL, LPBA40, OASIS, OASIS_STRUCTURES
from .record import Record, require_same, write_record
from .results import Result, is_finished, training_facts
from .scoring import AtlasPairs, score_network
from .tables import write_tables

Report = Callable[[AblationNetwork, Mapping[str, Any]], None]
"""Called with every entry of a training's ledger, as it is written."""

_PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class ReproductionSettings:
    """What is reproduced from what.

    oasis, lpba40: folders in the layouts of neurite-OASIS and LPBA40; lpba40 is for tests alone. config: of the
    trainings, which differ from it and from each other in the two branches alone. atlases: to which the other test
    subjects are registered. seed: of the split and the atlases. workers: processes that prepare scans.
    """

    oasis: Path
    output: Path
    config: TrainConfig
    lpba40: Path | None = None
    atlases: int = ATLASES
    seed: int = 0
    workers: int = 1
    device: str = "auto"


@dataclass(frozen=True)
class _Plan:
    """What the data has to offer, before anything is written."""

    oasis: Mapping[str, Scan]
    lpba40: Mapping[str, Scan]
    record: Record


def reproduce(settings: ReproductionSettings, progress: Progress, report: Report) -> list[Result]:
    """Do what is not done yet in the output folder. Returns each network's result on each data set.

    Raises InputError for data, settings and folders that cannot be used, RegistrationError when a training fails, and
    what progress raises; what was done until then is kept.
    """
    device = choose_device(settings.device)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("A reproduction is one process; start it without torchrun.")
    progress("find scans", 0.0)
    plan = _plan(settings)
    folders = {network: RunFolder(settings.output / network.name) for network in ABLATION}
    begun = any(folder.exists() for folder in folders.values())
    require_same(settings.output, plan.record, begun)
    with RunFiles(settings.output).held():
        write_record(settings.output, plan.record)
        tests = _prepared_tests(settings, plan, progress)
        results: list[Result] = []
        for number, (network, folder) in enumerate(folders.items(), start=1):
            if not is_finished(folder):
                _train(settings, network, folder, progress, report)
            results += _results(settings, network, folder, tests, device, progress)
            if any(map(is_finished, list(folders.values())[number:])):
                continue  # the tables that are there may have its rows already
            write_tables(settings.output, results, plan.record, settings.config, tests[OASIS].data.shape_kji)
    return results


def _plan(settings: ReproductionSettings) -> _Plan:
    oasis = scans_of(settings.oasis, OASIS)
    lpba40 = scans_of(settings.lpba40, LPBA40) if settings.lpba40 else {}
    split = split_oasis(tuple(oasis), settings.atlases, settings.seed)
    configs = ablation_configs(settings.config)
    for config in configs.values():
        require_pairs(tuple(oasis[subject] for subject in split.training), config)
    record = Record(
        oasis=str(settings.oasis.resolve()),
        lpba40=str(settings.lpba40.resolve()) if settings.lpba40 else None,
        seed=settings.seed,
        networks={name: as_json(config) for name, config in configs.items()},
        split=split,
        lpba40_subjects=tuple(sorted(lpba40)),
        lpba40_atlases=draw_atlases(tuple(lpba40), settings.atlases, settings.seed) if lpba40 else (),
    )
    return _Plan(oasis, lpba40, record)


def _prepared_tests(settings: ReproductionSettings, plan: _Plan, progress: Progress) -> dict[str, AtlasPairs]:
    """The pairs to test on, by data set, once all scans lie on the common grid, those of the trainings too.

    All at the very beginning, so that no training of days ends at a scan that cannot be read.
    """
    split = plan.record.split
    parts = _parts(settings.output, plan.oasis, split)
    reference = reference_of(parts["training"])
    oasis = tuple(scan for part in _PARTS for scan in parts[part])
    held_out = {scan.subject: scan for part in _PARTS[1:] for scan in parts[part]}
    data = _prepared(settings, oasis, reference, OASIS, progress)
    tests = {OASIS: _atlas_pairs(data, {name: held_out[name] for name in split.test}, split.atlases, OASIS)}
    _require_labels(data, tuple(held_out.values()), OASIS, progress)
    if plan.lpba40:
        data = _prepared(settings, tuple(plan.lpba40.values()), reference, LPBA40, progress)
        tests[LPBA40] = _atlas_pairs(data, plan.lpba40, plan.record.lpba40_atlases, LPBA40)
        _require_labels(data, tuple(plan.lpba40.values()), LPBA40, progress)
    return tests


def _parts(output: Path, scans: Mapping[str, Scan], split: OasisSplit) -> dict[str, tuple[Scan, ...]]:
    """The scans of each part by the names that a training from its table gives them."""
    parts = {}
    for part in _PARTS:
        table = output / f"{part}.csv"
        write_scan_table(table, scans, getattr(split, part))
        parts[part] = find_scans([table]).scans
    return parts


def _prepared(
    settings: ReproductionSettings, scans: tuple[Scan, ...], reference: Scan, data: str, progress: Progress
) -> PreparedData:
    prepared = prepare_scans(
        scans,
        reference,
        _cache(settings, data),
        settings.config.spacing_mm,
        workers=settings.workers,
        skip_bad=True,  # to name them all at once, as the others take hours
        progress=_named(data, progress),
    )
    if prepared.problems:
        raise bad_files([problem.sentence for problem in prepared.problems])
    return prepared


def _cache(settings: ReproductionSettings, data: str) -> Path:
    return settings.output / "prepared" / data.lower()


def _atlas_pairs(data: PreparedData, scans: Mapping[str, Scan], atlases: tuple[str, ...], name: str) -> AtlasPairs:
    return AtlasPairs(
        data,
        tuple(scans[subject] for subject in atlases),
        tuple(scan for subject, scan in sorted(scans.items()) if subject not in atlases),
        frozenset(OASIS_STRUCTURES) if name == OASIS else None,
    )


def _require_labels(data: PreparedData, scans: tuple[Scan, ...], name: str, progress: Progress) -> None:
    """Raise InputError for a label map that a Dice cannot be taken from."""
    for number, scan in enumerate(scans):
        progress(f"{name}, check labels", number / len(scans))
        labels = data.load(scan).labels
        assert labels is not None
        if name == OASIS and int(labels.max()) > HIGHEST_LABEL:
            raise InputError(
                f"{scan.labels} holds the label {int(labels.max())}, but the maps of neurite-OASIS (seg35) end at "
                f"{HIGHEST_LABEL}; give the data set as it is published."
            )
        shown = torch.isin(labels, torch.tensor(sorted(OASIS_STRUCTURES))) if name == OASIS else labels
        if not shown.any():
            raise InputError(f"{scan.labels} holds none of the structures that are scored; get it again.")


def _train(
    settings: ReproductionSettings, network: AblationNetwork, folder: RunFolder, progress: Progress, report: Report
) -> None:
    run = RunSettings(
        data=(settings.output / "training.csv",),
        validation_data=(settings.output / "validation.csv",),
        output=folder.path,
        config=ablation_configs(settings.config)[network.name],
        structure_of_label=OASIS_STRUCTURES,
        cache=_cache(settings, OASIS),
        workers=settings.workers,
        device=settings.device,
        resume=folder.exists(),
    )
    train(run, _named(network.title, progress), lambda entry: report(network, entry))


def _results(
    settings: ReproductionSettings,
    network: AblationNetwork,
    folder: RunFolder,
    tests: Mapping[str, AtlasPairs],
    device: torch.device,
    progress: Progress,
) -> list[Result]:
    """The network on each data set."""
    facts, results = training_facts(folder), []
    tables = settings.output / "scores"
    tables.mkdir(exist_ok=True)
    for name, pairs in tests.items():
        scores = score_network(
            folder.best,
            pairs,
            settings.config.spacing_mm,
            device,
            tables / f"{name.lower()}-{network.name}.jsonl",
            _named(f"{network.title} on {name}", progress),
        )
        results.append(Result(network, name, facts, scores))
    return results


def _named(name: str, progress: Progress) -> Progress:
    """A Progress that says what its steps belong to."""
    return lambda step, fraction: progress(f"{name}, {step}", fraction)
