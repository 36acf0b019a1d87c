"""mmln train: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cli_cases import Run, cut, one_sentence, tree
from MMLNRegistrationLib.console import ConsoleProgress, TrainingLines
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.training.config import StageConfig, as_json
from MMLNRegistrationLib.training.datasets import find_scans
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_folder import RunFolder
from MMLNRegistrationLib.training.split import split_by_subject
from MMLNRegistrationLib.writing import TRAINING_FILES
from training_cases import (
    SUBJECTS,
    checkpoint_bytes,
    command,
    events,
    losses,
    quick,
    run_training,
    start_process,
    write_brains,
    write_config,
)

SHORT = quick((2, 1, 1))


def complaint_of(complaints: list[str]) -> str:
    """The one sentence among lines that tell the progress."""
    return one_sentence(
        [line for line in complaints if not line.startswith(("prepare data", "train level", "validate"))]
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "short.json", as_json(SHORT))


def test_no_loss_is_told_before_one_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    lines = TrainingLines(ConsoleProgress())
    found = {"dice": 0.5, "dice_initial": 0.25, "similarity": 0.75, "folded_percent": 0.0, "best": True}
    lines({"event": "validation", "step": 2, "level": 1, **found})
    lines({"event": "step", "step": 3, "total": 0.125, "seconds_left": 120.0})
    lines({"event": "validation", "step": 4, "level": 1, **found})
    rest = "Dice 0.2500 -> 0.5000, correlation 0.7500, folded 0.0000 %, best so far"
    told = [f"Step 2, level 1: {rest}", f"Step 4, level 1: loss 0.1250, {rest}; about 2 min left"]
    assert capsys.readouterr().out.splitlines() == told


def test_a_run_from_the_scans_to_a_network_that_registers(run: Run, brains: Path, tmp_path: Path) -> None:
    """Without a cache of its own, on a grid that the usual one can be halved to."""
    whole = quick((2, 1, 1), spacing_mm=8.0)
    settings, output = write_config(tmp_path / "mine.json", as_json(whole)), tmp_path / "run"
    structures = tmp_path / "structures.csv"
    lines = [f"{label},{'inner' if label in (2, 41, 10, 49) else 'outer'},yes" for label in (2, 41, 10, 49, 3, 42)]
    structures.write_text("label,structure,counts_for_fine_dice\n" + "\n".join(lines) + "\n")
    outcome = run(*train(brains, output, "--config", settings, "--structures", structures))
    assert outcome.code == 0, outcome.complaints
    *steps, last = outcome.stdout.splitlines()
    validations = [entry for entry in losses(output) if entry["event"] == "validation"]
    assert len(steps) == len(validations) == 3
    for line, entry in zip(steps, validations, strict=True):
        start = f"Step {entry['step']}, level {entry['level']}: loss "
        assert line.startswith(start), line
        assert f"Dice {entry['dice_initial']:.4f} -> {entry['dice']:.4f}, correlation" in line
        assert ("best so far" in line) == entry["best"]
        assert line.endswith("min left")
    assert last.startswith("Best validation score 0.")
    assert last.endswith(str(output / "best.safetensors"))
    assert len(list((output / "prepared").glob("8mm-*/*.safetensors"))) == len(SUBJECTS)
    folder = tmp_path / "registered"
    pair = (brains / f"{name}_image.nii.gz" for name in SUBJECTS[:2])
    model = ("--model", output / "best.safetensors", "--refine", 0, "--initial", "identity", "--device", "cpu")
    registered = run("register", *pair, "--output", folder, *model)
    assert registered.code == 0, registered.complaints
    assert json.loads((folder / "report.json").read_text())["folded_voxels"] == 0


def train(brains: Path, output: Path, *more: object) -> list[object]:
    return ["train", "--data", brains, "--output", output, "--device", "cpu", "--threads", 1, *more]


def test_the_command_and_the_python_call_give_the_same_run(
    run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path
) -> None:
    outcome = run(*command(brains, prepared.folder.parent, tmp_path / "one", "--config", config))
    assert outcome.code == 0, outcome.complaints
    run_training(brains, prepared.folder.parent, tmp_path / "two", SHORT)
    assert checkpoint_bytes(tmp_path / "one") == checkpoint_bytes(tmp_path / "two")
    assert losses(tmp_path / "one") == losses(tmp_path / "two")


def test_a_folder_with_a_run_is_left_alone(
    run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    arguments = command(brains, prepared.folder.parent, output, "--config", config)
    assert run(*arguments).code == 0
    before = tree(output)
    again = run(*arguments)
    assert again.code == 2
    assert "already holds a run; go on with --resume" in complaint_of(again.complaints)
    other = write_config(tmp_path / "other.json", as_json(quick((2, 1, 2))))
    changed = run(*command(brains, prepared.folder.parent, output, "--config", other, "--resume"))
    assert changed.code == 2
    assert "was begun with other settings; resume it without --config" in complaint_of(changed.complaints)
    assert tree(output) == before
    for more in ((), ("--config", config)):  # its own settings, unnamed or named
        done = run(*command(brains, prepared.folder.parent, output, "--resume", *more))
        assert done.code == 0
        assert done.stdout.startswith("Best validation score")


def test_nothing_to_resume(run: Run, brains: Path, prepared: PreparedData, tmp_path: Path) -> None:
    output = tmp_path / "run"
    outcome = run(*command(brains, prepared.folder.parent, output, "--resume"))
    assert outcome.code == 2
    assert "There is no run in" in complaint_of(outcome.complaints)
    assert "start it without --resume." in complaint_of(outcome.complaints)
    assert not output.exists()


def test_a_run_that_a_server_has_done_is_not_begun_anew(run: Run, brains: Path, prepared: PreparedData, tmp_path: Path):
    output = tmp_path / "run"
    output.mkdir()
    for name in TRAINING_FILES:
        (output / name).write_text("{}")
    outcome = run(*command(brains, prepared.folder.parent, output, "--resume"))
    assert outcome.code == 2
    assert "has no checkpoints to go on from; begin one in another folder." in complaint_of(outcome.complaints)
    assert (output / "ledger.jsonl").read_text() == "{}"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"steps": 3}, "short.json: there is no setting 'steps'"),
        ({"network": {"width": "8"}}, "short.json: network: width must be a whole number, not '8'"),
        ({"atlases": 7}, "7 atlases leave none of"),
        ({"validation_share": 1.0}, "validation share"),
        ({"validation_share": 0.0}, "Validation needs scans of at least two subjects"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    values: dict[str, object], words: str, run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path
) -> None:
    write_config(config, json.loads(config.read_text()) | values)
    outcome = run(*command(brains, prepared.folder.parent, tmp_path / "run", "--config", config))
    assert outcome.code == 2
    assert words in complaint_of(outcome.complaints)
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_used_is_refused(run: Run, config: Path, tmp_path: Path) -> None:
    cases = {
        "does not exist": tmp_path / "nowhere",
        "holds no volume": tmp_path / "empty",
        "none can be spared for validation": write_brains(tmp_path / "few", SUBJECTS[:3]),
    }
    (tmp_path / "empty").mkdir()
    for words, folder in cases.items():
        outcome = run(*train(folder, tmp_path / "run", "--config", config))
        assert outcome.code == 2
        assert words in complaint_of(outcome.complaints)
    assert not (tmp_path / "run").exists()


def test_validation_data_of_its_own(run: Run, brains: Path, config: Path, tmp_path: Path) -> None:
    held_out = write_brains(tmp_path / "held_out", ("xaver", "yvonne"))
    both = run(*train(brains, tmp_path / "run", "--config", config, "--validation-data", brains))
    assert both.code == 2
    assert "Subject anna is in both the training and the validation data" in complaint_of(both.complaints)
    few = write_brains(tmp_path / "few", SUBJECTS[:2])
    outcome = run(*train(few, tmp_path / "run", "--config", config, "--validation-data", held_out))
    assert outcome.code == 0, outcome.complaints
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert split == {"training": ["anna", "ben"], "validation": ["xaver", "yvonne"]}


def test_a_bad_file_is_named_and_skipped_when_asked(run: Run, config: Path, tmp_path: Path) -> None:
    """Cut off, which the header does not tell: it shows when the scans are prepared."""
    folder, settings = write_brains(tmp_path / "brains", SUBJECTS[:5]), quick((1,), spacing_mm=8.0)
    bad = split_by_subject(find_scans([folder]), settings.validation_share, settings.seed).training[-1]
    cut(folder / f"{bad}_image.nii.gz", 0.6)
    write_config(config, as_json(settings))
    outcome = run(*train(folder, tmp_path / "run", "--config", config))
    assert outcome.code == 2
    assert f"{bad}_image.nii.gz" in complaint_of(outcome.complaints)
    skipped = run(*train(folder, tmp_path / "run", "--resume", "--skip-bad"))
    assert skipped.code == 0, skipped.complaints
    card = load_checkpoint(tmp_path / "run" / "best.safetensors").card
    assert card.training_data.startswith("2 images and 2 label maps")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_the_run_after_the_step(
    number: signal.Signals, brains: Path, prepared: PreparedData, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    settings = write_config(tmp_path / "long.json", as_json(quick((500,), validate_every=1000, checkpoint_every=1000)))
    process = start_process(command(brains, prepared.folder.parent, run, "--config", settings))
    while not (run / "ledger.jsonl").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    last = errors.splitlines()[-1]
    assert last == f"mmln: Stopped; go on with --resume. Results so far: {run}."
    assert "nothing was written" not in output + errors
    assert events(run) == ["start", "stopped"]
    newest = RunFolder(run).load_checkpoint()
    assert newest is not None
    assert 0 < newest.state.step < 500
    assert not list(run.rglob(".*"))


def test_a_signal_before_there_is_a_run_says_so(
    run: Run, brains: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from MMLNRegistrationLib.training import run as training_run

    def interrupted(*arguments: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the first one waits for a step to end, the second does not

    monkeypatch.setattr(training_run, "find_scans", interrupted)
    outcome = run(*train(brains, tmp_path / "run", "--config", config))
    assert outcome.code == 130
    assert complaint_of(outcome.complaints) == "mmln: Interrupted; nothing was written."


def test_a_loss_that_is_no_number_is_one_sentence(
    run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path
) -> None:
    stages = (StageConfig(1, 2, 0, 1e-3, 1e-3), StageConfig(2, 9, 0, 1e35, 1e35))
    write_config(config, as_json(replace(quick((1,), checkpoint_every=1, validate_every=100), stages=stages)))
    outcome = run(*command(brains, prepared.folder.parent, tmp_path / "run", "--config", config))
    assert outcome.code == 1
    assert "is no number any more after" in complaint_of(outcome.complaints)
    assert RunFolder(tmp_path / "run").load_checkpoint() is not None


def test_too_little_memory_is_one_sentence(
    run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = MutualLearning.forward, 0

    def hungry(self: MutualLearning, *arguments: object, **switches: bool) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return forward(self, *arguments, **switches)

    monkeypatch.setattr(MutualLearning, "forward", hungry)
    outcome = run(*command(brains, prepared.folder.parent, tmp_path / "run", "--config", config))
    assert outcome.code == 1
    assert "Out of memory" in complaint_of(outcome.complaints)
    newest = RunFolder(tmp_path / "run").load_checkpoint()
    assert newest is not None
    assert newest.state.step == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_one_sentence(run: Run, brains: Path, config: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    outcome = run(*train(brains, tmp_path / "locked" / "run", "--config", config))
    assert outcome.code == 2
    assert "cannot be made" in complaint_of(outcome.complaints)


def test_a_file_in_the_place_of_the_folder_is_one_sentence(
    run: Run, brains: Path, prepared: PreparedData, config: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").write_text("a file")
    outcome = run(*command(brains, prepared.folder.parent, tmp_path / "run", "--config", config))
    assert outcome.code == 2
    assert "cannot be made" in complaint_of(outcome.complaints)
