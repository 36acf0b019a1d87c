"""mmln reproduce from the scans to the tables: stopped, gone on with, finished, and refused."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from cli_cases import Outcome, Run, cut, leftovers, one_sentence, tree, write
from MMLNRegistrationLib import reproduce_command
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.progress import Cancelled
from MMLNRegistrationLib.reproduction import run as reproduction_run
from MMLNRegistrationLib.reproduction import scoring
from MMLNRegistrationLib.reproduction.data import scans_of, split_oasis
from MMLNRegistrationLib.reproduction.networks import ABLATION
from MMLNRegistrationLib.reproduction.published import OASIS
from MMLNRegistrationLib.reproduction.results import Result
from MMLNRegistrationLib.reproduction.run import ReproductionSettings
from MMLNRegistrationLib.reproduction.tables import write_tables
from MMLNRegistrationLib.training.config import paper_preset
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.training.run_files import RunFiles
from reproduction_cases import ATLASES, CONFIG, aligned_already, renumbered, reproduced, write_lpba40, write_oasis
from training_cases import GRID, LABELS, events, labels_of

NETWORKS = ("lapirn", "lapirn-core", "mmln")
TRAINING_LINES = re.compile(r"find scans|.*, (prepare data|check labels|train level \d|validate|pairs)")


class Copies(NamedTuple):
    """Of both data sets; not to be written to."""

    oasis: Path
    lpba40: Path


class Finished(NamedTuple):
    """A reproduction that was stopped twice before it came to its end; not to be written to."""

    output: Path
    results: list[Result]
    stops: list[str]
    after_first_stop: dict[str, bytes | None]


@pytest.fixture(scope="module", autouse=True)
def _aligned_already() -> Iterator[None]:
    with aligned_already():
        yield


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    root = tmp_path_factory.mktemp("copies")
    return Copies(write_oasis(root / "oasis"), write_lpba40(root / "lpba40"))


@pytest.fixture(scope="module")
def finished(copies: Copies, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """Stopped in the second training, then in a test, where LPBA40 joins, then at its end."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    output = tmp_path_factory.mktemp("reproduced") / "out"
    stops: list[str] = []

    def stop_at(words: str, least: float):
        def progress(step: str, fraction: float) -> None:
            if words in step and fraction > least:
                stops.append(step)
                raise Cancelled

        return progress

    with pytest.raises(Cancelled):
        reproduced(copies.oasis, output, stop_at("core, train level 2", 0.0))
    after_first_stop = tree(output)
    with pytest.raises(Cancelled):
        reproduced(copies.oasis, output, stop_at("MMLN) on LPBA40, pairs", 0.4), lpba40=copies.lpba40)
    results = reproduced(copies.oasis, output, lpba40=copies.lpba40)
    yield Finished(output, results, stops, after_first_stop)
    torch.set_num_threads(threads)


def rows(output: Path) -> list[dict[str, str]]:
    with (output / "tables.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_three_networks_differ_in_their_branches_alone(finished: Finished) -> None:
    configs = [json.loads((finished.output / name / "config.json").read_text()) for name in NETWORKS]
    branches = [(config["network"].pop("branch_2d"), config["network"].pop("branch_core")) for config in configs]
    assert branches == [(False, False), (False, True), (True, True)]
    assert configs[0] == configs[1] == configs[2]
    assert tuple(network.name for network in ABLATION) == NETWORKS


def test_each_run_is_an_ordinary_one_on_the_same_split(finished: Finished) -> None:
    record = json.loads((finished.output / "reproduction.json").read_text())
    split = record["split"]
    assert [len(split[part]) for part in ("training", "validation", "test", "atlases")] == [4, 2, 4, ATLASES]
    assert not set(split["training"]) & set(split["validation"]) | set(split["training"]) & set(split["test"])
    for name in NETWORKS:
        run = finished.output / name
        assert json.loads((run / "split.json").read_text()) == {
            part: split[part] for part in ("training", "validation")
        }
        prepared = Path(json.loads((run / "validation.json").read_text())["prepared"])
        assert prepared.parent == finished.output / "prepared/oasis"
        assert load_checkpoint(run / "best.safetensors").card.name == name
        assert (run / "curves.svg").exists()
    assert len(list((finished.output / "prepared" / "oasis").glob("*/*"))) == 10
    assert len(list((finished.output / "prepared" / "lpba40").glob("*/*"))) == 4


def test_what_was_stopped_goes_on_and_what_is_done_stays(finished: Finished) -> None:
    assert finished.stops == ["LapIRN + core, train level 2", "LapIRN + core + 2D (MMLN) on LPBA40, pairs"]
    assert events(finished.output / "lapirn") == ["start", "end"]
    assert events(finished.output / "lapirn-core") == ["start", "stopped", "resume", "end"]
    assert events(finished.output / "mmln") == ["start", "end"]
    after = tree(finished.output)
    kept = [name for name in finished.after_first_stop if name.startswith(("lapirn/", "prepared/oasis/", "scores/"))]
    assert len(kept) > 15
    assert all(after[name] == finished.after_first_stop[name] for name in kept)
    assert leftovers(finished.output) == []
    assert not (finished.output / "run.lock").exists()


def test_every_pair_has_a_row_and_none_has_two(finished: Finished) -> None:
    found = [(row["data"], row["network"], row["fixed"], row["moving"]) for row in rows(finished.output)]
    assert len(set(found)) == len(found) == 3 * (ATLASES * 2 + ATLASES * 2)
    atlases = {name for data, _, name, _ in found if data == "OASIS"}
    moving = {name for data, _, _, name in found if data == "OASIS"}
    split = json.loads((finished.output / "reproduction.json").read_text())["split"]
    assert sorted(name.partition("_MR")[0] for name in atlases) == split["atlases"]
    assert sorted(name.partition("_MR")[0] for name in atlases | moving) == split["test"]
    for row in rows(finished.output):
        assert 0 < float(row["dice_initial"]) < 1
        assert 0 < float(row["dice"]) < 1
        assert float(row["seconds"]) > 0
        assert 0.5 < float(row["tc"]) < 2
        if row["data"] == "LPBA40":
            assert row["dice"] == row["dice_all"]


def test_the_page_has_our_figures_beside_the_papers(finished: Finished) -> None:
    page = (finished.output / "tables.md").read_text(encoding="utf-8")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    for result in finished.results:
        mean = np.mean([float(row["dice"]) for row in rows(finished.output) if _is_of(row, result)])
        (ours,) = (
            line
            for line in _section(page, result.data)
            if line[0] == result.network.title and line[1] == "**here**, 4 pairs"
        )
        assert ours[2].startswith(f"{mean:.3f} (")
        assert ours[7].endswith(", cpu, 1 thread")
        assert ours[8] == ""
    papers = {tuple(line[:3]) for line in table if line[1].startswith("*paper*")}
    assert ("LapIRN + core + 2D (MMLN)", "*paper*, Table 1", "0.791 (0.002)") in papers
    assert ("LapIRN + core + 2D (MMLN)", "*paper*, Table 2", "0.705 (0.006)") in papers
    assert len(papers) == 8
    for words in (
        "Neurocomputing 501 (2022), 102-112",
        "10 subjects with image and label map, 4 to train, 2 to validate, 4 to test (the paper: 255 to train, 20 to "
        "validate and 150 to test, here the same shares of another number)",
        "LPBA40: 4 subjects; 2 are registered to the atlases",
        "32 x 32 x 32 voxels of 8 mm",
        "1, 1, 1 steps and k = 0.1 are choices",
        "scores 28 structures of OASIS and does not name them",
        "version 0.1.0",
    ):
        assert words in page, words


def _is_of(row: dict[str, str], result: Result) -> bool:
    return (row["data"], row["network"]) == (result.data, result.network.name)


def _section(page: str, data: str) -> list[list[str]]:
    """The table below a data set's title."""
    body = page.partition(f"## {data}")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines() if line[:1] == "|"]


def test_the_same_again_changes_nothing(
    copies: Copies, finished: Finished, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are the tables written with a part of their rows, for an interruption to leave them so."""
    written: list[int] = []

    def kept(folder: Path, results: list[Result], *others: object) -> None:
        written.append(len(results))
        write_tables(folder, results, *others)

    monkeypatch.setattr(reproduction_run, "write_tables", kept)
    before = {name: content for name, content in tree(finished.output).items() if "reproduction.json" not in name}
    again = reproduced(copies.oasis, finished.output, lpba40=copies.lpba40)
    assert again == finished.results
    assert written == [6]
    assert {name: tree(finished.output)[name] for name in before} == before


def test_other_data_and_settings_are_refused(copies: Copies, finished: Finished, tmp_path: Path) -> None:
    other = write_oasis(tmp_path / "other", 12)
    output, before = finished.output, tree(finished.output)

    def refusal(oasis: Path = copies.oasis, **changes: object) -> str:
        with pytest.raises(InputError) as caught:
            reproduced(oasis, output, **{"lpba40": copies.lpba40, **changes})
        return str(caught.value)

    assert f"was begun with --oasis {copies.oasis}; give that again" in refusal(other)
    assert f"was begun with --lpba40 {copies.lpba40}; give that again" in refusal(lpba40=None)
    assert "was begun with other settings" in refusal(config=replace(CONFIG, seed=6))
    assert "was begun with other settings" in refusal(seed=1)
    assert "The scans are no longer those" in refusal(atlases=1)
    with RunFiles(output).held():
        assert "Another process trains in" in refusal()
    assert tree(output) == before


def test_a_changed_copy_is_refused_once_training_has_begun(finished: Finished, tmp_path: Path) -> None:
    """The record's own words, on a folder that a link keeps in its place."""
    output, oasis = tmp_path / "out", write_oasis(tmp_path / "oasis", 10)
    output.mkdir()
    record = json.loads((finished.output / "reproduction.json").read_text())
    (output / "reproduction.json").write_text(json.dumps({**record, "oasis": str(oasis), "lpba40": None}))
    (output / "lapirn").mkdir()
    (output / "lapirn" / "config.json").write_text("{}")
    shutil.rmtree(oasis / "OASIS_OAS1_0001_MR1")
    with pytest.raises(InputError, match="The scans are no longer those"):
        reproduced(oasis, output)


@pytest.mark.parametrize("kind", ["a file", "something else", "a damaged record"])
def test_a_folder_of_something_else_is_left_alone(kind: str, copies: Copies, tmp_path: Path) -> None:
    output = tmp_path / "out"
    if kind == "a file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / ("mine.txt" if kind == "something else" else "reproduction.json")).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"is a file|holds no reproduction|is damaged"):
        reproduced(copies.oasis, output)
    assert tree(tmp_path) == before


def test_files_that_cannot_be_used_stop_it_before_the_first_training(tmp_path: Path) -> None:
    oasis, output = write_oasis(tmp_path / "oasis"), tmp_path / "out"
    split = split_oasis(tuple(scans_of(oasis, OASIS)), ATLASES, 0)
    whole = shutil.copytree(oasis, tmp_path / "whole")
    test = split.test[0]
    others = [f"{name}_MR1/{file}.nii.gz" for name, file in ((split.training[1], "norm"), (test, "seg35"))]
    for bad, words in (
        ([f"{split.training[0]}_MR1/norm.nii.gz"], rf"{split.training[0]}_MR1/norm.*cut off"),  # the reference
        (others, r"_MR1/norm\.nii\.gz.*cut off.*\(2 files are bad\)"),
    ):
        for name in bad:
            cut(oasis / name, 0.6)
        with pytest.raises(InputError, match=words):
            reproduced(oasis, output)
        assert not (output / "lapirn").exists()
        for name in bad:
            shutil.copy(whole / name, oasis / name)
    seg35 = oasis / f"{test}_MR1" / "seg35.nii.gz"
    write(seg35, labels_of(int(test[-4:])), GRID)
    with pytest.raises(InputError, match="holds the label 49, but the maps of neurite-OASIS"):
        reproduced(oasis, output)
    write(seg35, renumbered(labels_of(int(test[-4:])), dict.fromkeys(LABELS, 13)), GRID)
    with pytest.raises(InputError, match="holds none of the structures that are scored"):
        reproduced(oasis, output)
    assert not (output / "lapirn").exists()


def test_it_is_one_process(copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="start it without torchrun"):
        reproduced(copies.oasis, tmp_path / "out")
    assert tree(tmp_path) == {}


@pytest.fixture
def command(run: Run, finished: Finished, copies: Copies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command with quick settings, on a copy of the finished reproduction's folder."""
    shutil.copytree(finished.output, tmp_path / "out")
    monkeypatch.setattr(reproduce_command, "paper_preset", lambda: CONFIG)
    monkeypatch.setattr(
        reproduce_command, "ReproductionSettings", lambda **given: ReproductionSettings(**given, atlases=ATLASES)
    )

    def of_copies(**changes: object) -> Outcome:
        given = {"oasis": copies.oasis, "lpba40": copies.lpba40, "output": tmp_path / "out", **changes}
        options = [word for name, value in given.items() for word in (f"--{name}", value)]
        outcome = run("reproduce", *options, "--device", "cpu", "--threads", 1)
        return outcome._replace(complaints=[line for line in outcome.complaints if not TRAINING_LINES.fullmatch(line)])

    return of_copies


def test_the_command_goes_on_after_ctrl_c(command, finished, tmp_path, monkeypatch) -> None:
    """The last network is trained anew; the signal comes while its second pair is measured."""
    output, calls = tmp_path / "out", []
    shutil.rmtree(output / "mmln")
    (output / "scores" / "oasis-mmln.jsonl").unlink()
    original = scoring.scored

    def interrupted(*arguments: object) -> scoring.PairScore:
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    monkeypatch.setattr(scoring, "scored", interrupted)
    stopped = command()
    assert stopped.code == 130
    sentence = one_sentence(stopped.complaints)
    assert sentence == f"mmln: Stopped; the same command goes on from here. Results so far: {output}."
    assert stopped.stdout.splitlines()[0] == "LapIRN + core + 2D (MMLN):"
    assert len(read_ledger(output / "scores" / "oasis-mmln.jsonl")) == 1 + 2
    assert leftovers(output) == []

    done = command()
    assert done.code == 0, done.complaints
    assert done.complaints == []
    lines = done.stdout.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("LapIRN on OASIS, 4 pairs: Dice 0.")
    assert lines[-1] == f"Tables, beside the paper's: {output / 'tables.md'}"
    timeless = [{name: value for name, value in row.items() if name != "seconds"} for row in rows(output)]
    assert timeless == [
        {name: value for name, value in row.items() if name != "seconds"} for row in rows(finished.output)
    ]


def test_the_command_refuses_in_one_sentence(command, copies, tmp_path) -> None:
    for words, changes in (
        ("does not exist", {"oasis": tmp_path / "nowhere"}),
        ("does not have the layout of neurite-OASIS", {"oasis": copies.lpba40}),
        ("does not have the layout of LPBA40", {"lpba40": copies.oasis}),
        ("is not empty and holds no reproduction", {"output": copies.lpba40}),
    ):
        outcome = command(**changes)
        assert outcome.code == 2
        assert words in one_sentence(outcome.complaints)
        assert outcome.stdout == ""


def test_the_command_takes_the_papers_preset(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[ReproductionSettings] = []

    def kept(settings: ReproductionSettings, progress: object, report: object) -> list[Result]:
        given.append(settings)
        raise InputError("Enough.")

    monkeypatch.setattr(reproduce_command, "reproduce_tables", kept)
    assert run("reproduce", "--oasis", tmp_path / "a", "--output", tmp_path / "b").code == 2
    (settings,) = given
    assert (settings.config, settings.atlases, settings.lpba40, settings.device) == (paper_preset(), 5, None, "auto")
    missing = run("reproduce", "--output", tmp_path / "b")
    assert missing.code == 2
    assert "--oasis" in one_sentence(missing.complaints)
