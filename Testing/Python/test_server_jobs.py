"""Evaluations and trainings on a server: the same numbers as here, told live and without names, and none is lost."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from backend_cases import ENVIRONMENT, LONG, begun, faulty_python, posix
from cli_cases import one_sentence
from MMLNRegistrationLib.backend.jobs import JobError
from MMLNRegistrationLib.backend.messages import Evaluate, Train
from MMLNRegistrationLib.backend.protocol import encode_request
from MMLNRegistrationLib.backend.runner import Runner
from MMLNRegistrationLib.model.card import read_card
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.quality.cases import COLUMNS
from MMLNRegistrationLib.training.config import as_json
from MMLNRegistrationLib.training.ledger import read_ledger
from MMLNRegistrationLib.writing import TRAINING_FILES
from server_cases import TOKEN, Server, until
from training_cases import SUBJECTS, quick, write_config

pytestmark = posix

FILES = ("fixed", "moving", "fixed_labels", "moving_labels")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests that do it no harm; at the end nothing of theirs is left, nor any name of theirs in its log."""
    shared = Server(tmp_path_factory.mktemp("served"), "--grace-seconds", 0)
    yield shared
    until(lambda: not shared.files())
    assert shared.ask("GET", "/v1/status").message["stored_bytes"] == 0
    assert shared.stop() == 0
    assert shared.leftovers() == []
    log = "\n".join(shared.lines)
    assert "train accepted" in log
    assert not any(word in log for word in (TOKEN, *SUBJECTS, *FILES, "cases", "Traceback")), log


@pytest.fixture
def evaluation(pair, tmp_path) -> Evaluate:
    """Of two pairs of four files."""
    table, structures = tmp_path / "cases.csv", tmp_path / "structures.csv"
    rows = [COLUMNS, (pair.fixed, pair.moving, pair.fixed_labels, pair.labels)]
    rows += [(pair.moving, pair.fixed, pair.labels, pair.fixed_labels)]
    table.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    structures.write_text("label,structure,counts_for_fine_dice\n1,left,yes\n3,middle,yes\n7,right,\n")
    return Evaluate(
        cases=table, output=tmp_path / "out", structures=structures, initial="identity", refine=1, model="none",
        device="cpu", threads=1,
    )  # fmt: skip


def figures(folder: Path) -> list[dict[str, str]]:
    """The rows of a table of scores, less what a clock or the machine says."""
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [{name: row[name] for name in row if not name.startswith(("seconds", "peak_memory"))} for row in rows]


def test_evaluation_gives_the_same_numbers(server, evaluation, tmp_path):
    steps: list[str] = []
    entries: list[dict] = []
    with server.client() as client:
        outcome = client.run(evaluation, lambda step, fraction: steps.append(step), entries.append)
    local = Runner().run(replace(evaluation, output=tmp_path / "local"))
    assert figures(tmp_path / "out") == figures(tmp_path / "local")
    assert [(entry["fixed"], entry["moving"]) for entry in entries] == [
        ("fixed.nii.gz", "moving.nii.gz"),
        ("moving.nii.gz", "fixed.nii.gz"),
    ]
    assert [str(entry["coarse_dice"]) for entry in entries] == [row["coarse_dice"] for row in figures(tmp_path / "out")]
    assert outcome.report["cases"] == 2
    assert outcome.report["means"]["fine_dice"] == local.report["means"]["fine_dice"]
    assert set(outcome.files) == {"scores.csv", "summary.json"}
    assert (tmp_path / "out/scores.csv").read_bytes().count(b"\r\n") == 3
    assert [step for step in dict.fromkeys(steps) if step.startswith("upload")] == [
        f"upload: file {number} of 4" for number in (1, 2, 3, 4)
    ]
    assert any(step.startswith("moving.nii.gz refine") for step in steps)
    assert not any("case_" in step for step in steps)


def test_what_is_wrong_with_an_evaluation(server, evaluation, pair, tmp_path):
    empty = tmp_path / "anna.nii.gz"
    empty.write_bytes(pair.fixed_labels.read_bytes()[:-300])
    table = evaluation.cases.read_text()
    with server.client() as client:
        for content, words in (
            (table.replace("moving_labels", "labels"), "lacks the column moving_labels"),
            (table.replace(str(pair.labels), str(tmp_path)), "is a folder; a server takes volumes"),
            (table.replace(str(pair.labels), str(evaluation.cases)), "cases.csv cannot be sent to a server"),
            (table.replace(str(pair.fixed_labels), str(empty)), "anna.nii.gz is damaged or cut off"),
            (table.replace(str(pair.labels), str(pair.mask)), "holds none of the labels"),
        ):
            evaluation.cases.write_text(content)
            evaluation.structures.write_text("label,structure,counts_for_fine_dice\n7,right,\n")
            with pytest.raises(JobError, match=words) as caught:
                client.run(evaluation)
            assert caught.value.cause == "input"
            assert "case_" not in str(caught.value)
    assert "mask.nii.gz holds none" in str(caught.value)
    assert not (tmp_path / "out").exists()


def training(brains: Path, folder: Path, **changes: object) -> Train:
    """A quick one."""
    config = write_config(folder / "training.json", as_json(quick(**changes)))
    return Train(data=(brains,), output=folder / "my run", config=config, device="cpu", threads=1)


@pytest.mark.slow
def test_training(server, brains, tmp_path, one_thread):
    entries: list[dict] = []
    with server.client() as client:
        outcome = client.run(training(brains, tmp_path), on_entry=entries.append)
    folder = tmp_path / "my run"
    assert sorted(outcome.files) == sorted(path.name for path in folder.iterdir()) == sorted(TRAINING_FILES)
    assert read_ledger(folder / "ledger.jsonl") == entries
    assert [entry["event"] for entry in entries][:: len(entries) - 1] == ["start", "end"]
    assert json.loads((folder / "config.json").read_text()) == as_json(quick())
    split = json.loads((folder / "split.json").read_text())
    assert sorted(split["training"] + split["validation"]) == list(SUBJECTS)
    assert read_card(folder / "best.safetensors").name == "my run"
    assert (outcome.report["step"], outcome.report["best_score"]) == (12, load_best_score(entries))

    # The same as here, if the subjects are called as the server calls them: the split is drawn by their names.
    table = tmp_path / "scans.csv"
    rows = [f"{brains}/{name}_image.nii.gz,{brains}/{name}_labels.nii.gz" for name in SUBJECTS]
    table.write_text(
        "image,labels,subject\n" + "".join(f"{row},subject_{number:06d}\n" for number, row in enumerate(rows, start=1))
    )
    Runner().run(replace(training(brains, tmp_path), data=(table,), output=tmp_path / "local"))
    here, there = (load_checkpoint(path / "best.safetensors").network for path in (tmp_path / "local", folder))
    assert all(value.equal(there.state_dict()[name]) for name, value in here.state_dict().items())


def load_best_score(entries: list[dict]) -> float:
    return max(entry["dice"] for entry in entries if entry["event"] == "validation")


def test_cancelled_training_keeps_nothing(server, brains, tmp_path):
    with server.client() as client:
        job = client.submit(training(brains, tmp_path, steps=(LONG, 1, 1)))
        begun(client, job, "train")
        job.cancel()
        with pytest.raises(JobError) as caught:
            client.wait(job, 30)
        assert caught.value.cause == "cancelled"
    until(lambda: not server.files())
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]


@pytest.mark.slow
def test_training_goes_on_after_the_server_has_ended(brains, tmp_path):
    """Killed once, stopped politely once; the ledger has all steps, none twice."""
    server = Server(tmp_path, "--grace-seconds", 0)
    entries: list[dict] = []
    try:
        with server.client() as client:
            job = client.submit(training(brains, tmp_path, steps=(160, 1, 1)), on_entry=entries.append)
            for end, steps in ((signal.SIGKILL, 1), (signal.SIGTERM, 15), (signal.SIGKILL, 30)):
                client_waits(client, lambda steps=steps: any(entry["step"] >= steps for entry in entries))
                server.stop(end)
                server.start()
            client.wait(job, 120)
        until(lambda: not server.files())
    finally:
        server.stop()
    assert server.leftovers() == []
    ledger = read_ledger(tmp_path / "my run/ledger.jsonl")
    steps = [entry["step"] for entry in ledger if entry["event"] == "step"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 162
    assert [entry["event"] for entry in entries].count("resume") == 3
    assert [entry["event"] for entry in entries].count("start") == 1


def client_waits(client, condition) -> None:
    """Until a condition holds, while the client polls."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        client.poll(0.05)


SLOW_STEPS = """
from MMLNRegistrationLib.training import trainer

def slow(self, stage, batch):
    print("in a step", file=sys.stderr, flush=True)
    time.sleep(600)

trainer.Trainer._step = slow
"""


def test_orphan_of_a_server_does_not_stay_in_the_way(brains, prepared, tmp_path):
    """The worker of a server that was killed ends in the middle of a long step: the next one goes on there."""
    request = replace(training(brains, tmp_path), cache=prepared.folder.parent)
    with subprocess.Popen(
        [faulty_python(tmp_path, SLOW_STEPS), "-m", "worker", "--orphan", "0.5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
    ) as worker:
        assert worker.stdin is not None
        assert worker.stderr is not None
        worker.stdin.write(encode_request("1", request))
        worker.stdin.flush()
        while b"in a step" not in (line := worker.stderr.readline()):
            assert line, "it has ended before"
        start = time.monotonic()
        worker.stdin.close()
        assert worker.wait(30) == 1
        assert time.monotonic() - start < 10


def test_server_that_takes_no_trainings(pair, brains, tmp_path):
    server = Server(tmp_path, "--training-hours", 0, "--grace-seconds", 0)
    try:
        with server.client() as client, pytest.raises(JobError, match="takes no trainings") as caught:
            client.run(training(brains, tmp_path))
        assert caught.value.cause == "input"
        until(lambda: not server.files())
    finally:
        server.stop()


def test_evaluation_on_the_command_line(server, evaluation, run, tmp_path, monkeypatch):
    words = ["evaluate", evaluation.cases, "--output", tmp_path / "out", "--server", server.address, "--refine", 0]
    words += ["--initial", "identity", "--model", "none"]
    monkeypatch.setenv("MMLN_TOKEN", "wrong")
    outcome = run(*words)
    assert outcome.code == 2
    assert "does not accept the token" in outcome.complaints[-1]
    outcome = run(*words, "--token-file", server.temporary / "token")
    assert outcome.code == 0
    first, second, mean = outcome.stdout.splitlines()
    assert first.startswith("fixed.nii.gz <- moving.nii.gz: Dice coarse 0.")
    assert second.startswith("moving.nii.gz <- fixed.nii.gz")
    assert mean.startswith("Mean of 2")


def test_training_on_the_command_line(server, brains, run, tmp_path, monkeypatch):
    monkeypatch.setenv("MMLN_TOKEN", TOKEN)
    config = write_config(tmp_path / "training.json", as_json(quick(steps=(2, 1, 1))))
    words = ["train", "--data", brains, "--output", tmp_path / "run", "--server", server.address, "--threads", 1]
    outcome = run(*words, "--config", config)
    assert outcome.code == 0
    assert "Step 2, level 1: loss" in outcome.stdout
    assert f"{tmp_path / 'run' / 'best.safetensors'}" in outcome.stdout.splitlines()[-1]
    for options, sentence in (
        ((), "is not empty; give a new folder for the run"),
        (("--output", tmp_path / "new", "--resume"), "leave out --resume"),
        (("--output", tmp_path / "new", "--cache", tmp_path), "leave out --cache"),
        (("--output", tmp_path / "new", "--data", tmp_path / "gone"), "gone does not exist"),
        (("--output", tmp_path / "new", "--config", brains), "cannot be read as JSON"),
    ):
        outcome = run(*words, *options)
        assert outcome.code == 2
        assert sentence in one_sentence(outcome.complaints)
