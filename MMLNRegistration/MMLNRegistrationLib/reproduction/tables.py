"""The result of a reproduction as files: tables.md, with the paper's own figures beside it, and tables.csv."""

from __future__ import annotations

import csv
import datetime
import io as text_io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from .. import __version__
from ..errors import InputError
from ..training.config import TrainConfig
from ..writing import write_whole
from .published import CITATION, LPBA40, OASIS, OASIS_STRUCTURES, PUBLISHED, SUBJECTS, Published
from .record import Record
from .results import Figure, Result
from .scoring import PairScore

_COLUMNS = (
    "network", "figures from", "Dice", "Dice, all labels", "folded, strict %", "folded, central %", "TC",
    "seconds a pair", "GPU memory of the training, GiB",
)  # fmt: skip


def write_tables(
    folder: Path, results: Sequence[Result], record: Record, config: TrainConfig, shape_kji: tuple[int, int, int]
) -> None:
    """Write both. config: what the trainings share. shape_kji: of the common grid, in voxels.

    Raises InputError when they cannot be written.
    """
    contents = {"tables.md": tables_page(results, record, config, shape_kji), "tables.csv": tables_csv(results)}
    for name, text in contents.items():
        try:
            write_whole(folder / name, text.encode())
        except OSError as error:
            raise InputError(
                f"{folder / name} cannot be written ({error.strerror}); make room, and give the same command again."
            ) from error


def tables_csv(results: Sequence[Result]) -> str:
    """One row for each network, data set and pair."""
    stream = text_io.StringIO()
    columns = ("data", "network", *(field.name for field in fields(PairScore)))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    for result in results:
        writer.writerows(
            {"data": result.data, "network": result.network.name, **asdict(pair)} for pair in result.scores
        )
    return stream.getvalue()


def tables_page(results: Sequence[Result], record: Record, config: TrainConfig, shape_kji: tuple[int, int, int]) -> str:
    """The page in Markdown: a table for each data set, the trainings, the data, and how to read it."""
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    parts = [
        "# The paper's tables, on another copy of its data",
        f"Written by `mmln reproduce`, version {__version__}, on {today}. Rows marked *paper* are published results of "
        f"{CITATION}; those marked **here** were measured with the networks trained here. Standard deviations, in "
        "parentheses, are over the pairs; the paper does not say over what its own are.",
    ]
    for data in (OASIS, LPBA40):
        if of_data := [result for result in results if result.data == data]:
            parts += [f"## {_title(data)}", _data_table(of_data)]
    parts += ["## The trainings", _training_table(results), _settings_sentence(config, record.seed)]
    parts += ["## The data", *_data_sentences(record, config, shape_kji), "## How to read it", _notes(config)]
    return "\n\n".join(parts) + "\n"


def _title(data: str) -> str:
    return f"OASIS, {len(OASIS_STRUCTURES)} structures" if data == OASIS else "LPBA40, every structure, not trained on"


def _data_table(results: Sequence[Result]) -> str:
    data = results[0].data
    every = "dice_all_initial" if data == OASIS else ""
    first = results[0]
    rows = [["as aligned", _here(first), _dice(first, "dice_initial"), _dice(first, every), "", "", "", "", ""]]
    rows += _published_rows(data, None, "as aligned")
    for result in results:
        memory = result.training.gpu_bytes
        rows.append(
            [
                result.network.title,
                _here(result),
                _dice(result, "dice"),
                _dice(result, "dice_all" if data == OASIS else ""),
                _text(result.figure("folded_strict_percent"), 4),
                _text(result.figure("folded_central_percent"), 4),
                _text(result.figure("tc"), 4),
                f"{result.figure('seconds').mean:.2f}, {'; '.join(result.devices)}",
                "" if memory is None else f"{memory / 2**30:.2f}",
            ]
        )
        rows += _published_rows(data, result.network.name, result.network.title)
    return _markdown(_COLUMNS, rows)


def _published_rows(data: str, network: str | None, title: str) -> list[list[str]]:
    return [_published_row(row, title) for row in PUBLISHED if (row.data, row.network) == (data, network)]


def _published_row(row: Published, title: str) -> list[str]:
    return [title, f"*paper*, {row.place}", row.dice, "", "", row.folded, row.tc, row.seconds, row.training_gib]


def _here(result: Result) -> str:
    return f"**here**, {len(result.scores)} pairs"


def _dice(result: Result, name: str) -> str:
    return _text(result.figure(name), 3) if name else ""


def _text(figure: Figure, digits: int) -> str:
    return f"{figure.mean:.{digits}f} ({figure.sd:.{digits}f})"


def _training_table(results: Sequence[Result]) -> str:
    columns = ("network", "steps by level", "best network after step", "its validation Dice", "hours", "device", "with")
    rows = []
    for result in (result for result in results if result.data == OASIS):
        facts = result.training
        dice = "" if facts.validation_dice is None else f"{facts.validation_dice:.3f}"
        steps = ", ".join(map(str, facts.steps))
        best = f"{facts.best_step} (level {facts.best_level})"
        rows.append([result.network.title, steps, best, dice, f"{facts.hours:.1f}", facts.device, facts.versions])
    return _markdown(columns, rows)


def _settings_sentence(config: TrainConfig, seed: int) -> str:
    rates = ", ".join(sorted({f"{stage.learning_rate:g}" for stage in config.stages}))
    recomputed = "recomputed on the way back" if config.checkpoint_activations else "kept"
    return (
        f"Adam at {rates}, batches of {config.batch_size}, k = {config.loss.k:g} (Eq. 5), weights of the branches "
        f"{', '.join(f'{weight:g}' for weight in (*config.loss.slice_weights, config.loss.core_weight))} (alpha, beta, "
        f"theta), {config.atlases or 'no'} atlases in training, width {config.network.width}, "
        f"feature maps {recomputed}, seed of the split {seed}. All settings are in `config.json` of each run, all that "
        "happened in its `ledger.jsonl`."
    )


def _data_sentences(record: Record, config: TrainConfig, shape_kji: tuple[int, int, int]) -> list[str]:
    split = record.split
    sizes = len(split.training), len(split.validation), len(split.test)
    count = sum(sizes)
    shares = "" if count == sum(SUBJECTS) else ", here the same shares of another number"
    paper = "{} to train, {} to validate and {} to test".format(*SUBJECTS)
    sentences = [
        f"OASIS: {count} subjects with image and label map, {sizes[0]} to train, {sizes[1]} to validate, {sizes[2]} to "
        f"test (the paper: {paper}{shares}). {len(split.atlases)} of the test subjects, drawn by the seed, are the "
        f"atlases that the other {sizes[2] - len(split.atlases)} are registered to: {', '.join(split.atlases)}."
    ]
    if record.lpba40_atlases:
        rest = len(record.lpba40_subjects) - len(record.lpba40_atlases)
        sentences.append(
            f"LPBA40: {len(record.lpba40_subjects)} subjects; {rest} are registered to the atlases "
            f"{', '.join(record.lpba40_atlases)}. No network has seen them before."
        )
    size = " x ".join(str(number) for number in reversed(shape_kji))
    sentences.append(
        f"Every scan was aligned affinely to one training scan by this program and sampled on a grid of {size} voxels "
        f"of {config.spacing_mm:g} mm. The paper normalised its scans in a way of its own and cut them to 160 x 192 x "
        "224 voxels, so the Dice before registration need not be the same."
    )
    return sentences


def _notes(config: TrainConfig) -> str:
    structures = ", ".join(sorted({name.partition(" ")[2] for name in OASIS_STRUCTURES.values()}))
    steps = ", ".join(str(stage.steps) for stage in config.stages)
    notes = [
        f"The paper gives neither its number of steps nor k of Eq. 5. {steps} steps and k = {config.loss.k:g} are "
        "choices of this program; other ones move Dice against folding.",
        f"The paper scores {len(OASIS_STRUCTURES)} structures of OASIS and does not name them. Scored here, left and "
        f"right: {structures}. *Dice, all labels* is over all of the fixed label map.",
        "How the 2D subnets teach the 3D ones does not follow from the paper's equations; what is done here stands in "
        "the README, and there are other readings.",
        "The field is the network's own: no refinement, and folds are not removed, as `mmln register` would.",
        "*Strict*: a voxel is folded where any of the eight determinants of one-sided differences is not positive. "
        "*Central*: by central differences, which others use and which overlook some folds. The paper does not say how "
        "it differentiates; its figures stand under *central*.",
        "TC is the volume of a structure in the carried label map / in the moving one, mean of the scored structures.",
        "Seconds are those of the network and of the integration of its velocity. GPU memory is the most that one "
        "training step held; on a processor it is not measured. Both depend on the machine.",
        "Tables 3 and 4 of the paper are over four atlases; here all rows are over the same ones.",
    ]
    return "\n".join(f"- {note}" for note in notes)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
