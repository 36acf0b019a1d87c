"""Runs that end early: stopped, killed, out of room, gone wrong. What is there stays whole, and goes on bit for bit."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cli_cases import cut
from MMLNRegistrationLib.errors import InputError, RegistrationError
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.model.network import MMLN
from MMLNRegistrationLib.progress import Cancelled, Progress
from MMLNRegistrationLib.training.config import StageConfig, as_json
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_folder import RunFolder
from training_cases import (
    QUICK,
    ball_config,
    checkpoint_bytes,
    command,
    events,
    losses,
    quick,
    run_training,
    start_process,
    train_balls,
    write_config,
)

pytestmark = pytest.mark.usefixtures("one_thread")

VARIED = quick(synthetic_share=0.4, batch_size=2, augment=type(QUICK.augment)())
"""Twelve steps with all that is random in them: poses, brightness, synthetic pairs."""


@pytest.fixture(scope="module")
def whole(brains: Path, prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody interrupted; not to be written to."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    run_training(brains, prepared.folder.parent, folder, VARIED)
    return folder


def require_the_same(folder: Path, whole: Path) -> None:
    """Two finished runs hold the same weights, optimiser, best network and losses, to the last bit."""
    assert checkpoint_bytes(folder) == checkpoint_bytes(whole)
    assert losses(folder) == losses(whole)
    best, expected = (load_file(run / "best.safetensors") for run in (folder, whole))
    assert best.keys() == expected.keys()
    assert all(torch.equal(best[name], expected[name]) for name in best)
    assert not list(folder.rglob(".*"))


def stopping_at(total: int, *, validating: int | None = None) -> Progress:
    """Asks to stop after so many steps of a run, or in so-many-th validation since it was made."""
    validations = 0

    def progress(step: str, fraction: float) -> None:
        nonlocal validations
        validations += step == "validate"
        if step.startswith("train") and round(fraction * VARIED.total_steps) >= total:
            raise Cancelled
        if validations == validating:
            raise Cancelled

    return progress


def test_a_run_that_is_stopped_again_and_again_ends_as_an_uninterrupted_one(
    brains: Path, prepared: PreparedData, whole: Path, tmp_path: Path
) -> None:
    """At first steps, between entries of the ledger, at both borders of stages, while frozen and after, at the end."""
    run = tmp_path / "run"
    for index, step in enumerate((1, 2, 4, 5, 6, 8, 10, 12)):
        with pytest.raises(Cancelled):
            run_training(brains, prepared.folder.parent, run, VARIED, resume=index > 0, progress=stopping_at(step))
        newest = RunFolder(run).load_checkpoint()
        assert newest is not None
        assert newest.state.step == step
    state = run_training(brains, prepared.folder.parent, run, VARIED, resume=True)
    assert state.step == 12
    assert events(run)[:3] == ["start", "stopped", "resume"]
    assert events(run)[-1] == "end"
    require_the_same(run, whole)


def test_a_run_that_is_stopped_while_it_validates_makes_up_for_it(
    brains: Path, prepared: PreparedData, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    for index in range(7):  # six validations; each stop leaves one to be made up for, which is stopped in its turn
        with pytest.raises(Cancelled):
            run_training(
                brains,
                prepared.folder.parent,
                run,
                VARIED,
                resume=index > 0,
                progress=stopping_at(99, validating=1 if index in (0, 3) else 2),
            )
        newest = RunFolder(run).load_checkpoint()
        assert newest is not None
        assert newest.state.validation_due
        if newest.state.step == 12:
            break
    run_training(brains, prepared.folder.parent, run, VARIED, resume=True)
    require_the_same(run, whole)


@pytest.mark.slow
def test_a_killed_process_goes_on_bit_for_bit(
    brains: Path, prepared: PreparedData, whole: Path, tmp_path: Path
) -> None:
    run, config = tmp_path / "run", write_config(tmp_path / "config.json", as_json(VARIED))
    process = start_process(command(brains, prepared.folder.parent, run, "--config", config))
    while not list(run.glob("checkpoints/step-00000007")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "end" not in events(run)
    # What a kill within a write would have left besides.
    partial = run / "checkpoints" / ".partial-killed"
    partial.mkdir()
    shutil.copy(run / "config.json", partial / "weights.safetensors")
    for name in (".partial-killed.svg", ".partial-killed.safetensors"):
        shutil.copy(run / "config.json", run / name)
    with (run / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"event": "step", "st')
    run_training(brains, prepared.folder.parent, run, VARIED, resume=True)
    require_the_same(run, whole)


def test_a_run_killed_before_its_first_checkpoint_begins_anew(balls: PreparedData, tmp_path: Path) -> None:
    config = ball_config((12,), checkpoint_every=12)

    class Killed(BaseException):
        pass

    def kill_at_eleven(run: RunFolder) -> None:
        if len(losses(run.path)) == 1:  # the entry of step 10
            raise Killed

    with pytest.raises(Killed):
        train_balls(balls, tmp_path / "run", config, after_step=kill_at_eleven)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    train_balls(balls, tmp_path / "run", config, resume=True)
    train_balls(balls, tmp_path / "whole", config)
    assert events(tmp_path / "run") == ["start", "start", "end"]
    require_the_same(tmp_path / "run", tmp_path / "whole")


def test_a_finished_run_has_nothing_left_to_do(balls: PreparedData, tmp_path: Path) -> None:
    config = ball_config((2, 2))
    state = train_balls(balls, tmp_path / "run", config)
    before = checkpoint_bytes(tmp_path / "run")
    assert train_balls(balls, tmp_path / "run", config, resume=True) == state
    assert checkpoint_bytes(tmp_path / "run") == before
    assert len(losses(tmp_path / "run")) == 4


def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(balls: PreparedData, tmp_path: Path) -> None:
    config = ball_config((4, 4), checkpoint_every=3)
    train_balls(balls, tmp_path / "whole", config)
    run = tmp_path / "run"
    train_balls(balls, run, config)
    newest = max((run / "checkpoints").iterdir())
    for name in ("weights.safetensors", "optimiser.safetensors", "state.json"):
        kept = (newest / name).read_bytes()
        cut(newest / name, 0.5)
        with pytest.raises(InputError, match=r"step-00000008 is damaged; remove it to go on from the one before"):
            train_balls(balls, run, config, resume=True)
        (newest / name).write_bytes(kept)
    shutil.rmtree(newest)
    train_balls(balls, run, config, resume=True)
    require_the_same(run, tmp_path / "whole")


@contextmanager
def files_up_to(size_bytes: int) -> Iterator[None]:
    """Like a full disk: no file can grow beyond a size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.name != "posix", reason="limits of files are POSIX")
@pytest.mark.parametrize("room_bytes", [700, 3000, 30_000], ids=["ledger", "best", "checkpoint"])
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_with_room(
    room_bytes: int, balls: PreparedData, tmp_path: Path
) -> None:
    config = ball_config((4, 4), checkpoint_every=1, validate_every=3)
    run, steps = tmp_path / "run", 0

    def fill(folder: RunFolder) -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            limit.__enter__()

    limit = files_up_to(room_bytes)
    try:
        with pytest.raises(InputError) as caught:
            train_balls(balls, run, config, after_step=fill)
    finally:
        limit.__exit__(None, None, None)
    assert "cannot be written" in str(caught.value)
    assert "File too large" in str(caught.value)
    assert "\n" not in str(caught.value)
    newest = RunFolder(run).load_checkpoint()
    assert newest is not None
    assert newest.state.step == 5
    assert not list(run.rglob(".*"))
    load_checkpoint(run / "best.safetensors")
    train_balls(balls, run, config, resume=True)
    train_balls(balls, tmp_path / "whole", config)
    require_the_same(run, tmp_path / "whole")


def test_a_huge_learning_rate_ends_with_a_sentence(balls: PreparedData, tmp_path: Path) -> None:
    stages = (StageConfig(1, 4, 0, 1e-3, 1e-3), StageConfig(2, 4, 0, 1e35, 1e35))
    with pytest.raises(RegistrationError, match="The loss is no number any more after 5 steps; the last checkpoint is"):
        train_balls(balls, tmp_path / "run", replace(ball_config((1,), checkpoint_every=1), stages=stages))
    newest = RunFolder(tmp_path / "run").load_checkpoint()
    assert newest is not None
    assert newest.state.step == 5


def test_a_poisoned_network_is_never_the_best_nor_a_checkpoint(
    balls: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = torch.optim.Adam.step, 0

    def poison(self: torch.optim.Adam) -> None:
        nonlocal calls
        calls += 1
        step(self)
        if calls == 5:
            self.param_groups[0]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.Adam, "step", poison)
    config = ball_config((8,), checkpoint_every=1, validate_every=1)
    with pytest.raises(RegistrationError, match="The network's result is no number any more after 5 steps"):
        train_balls(balls, tmp_path / "run", config)
    newest = RunFolder(tmp_path / "run").load_checkpoint()
    assert newest is not None
    assert newest.state.step == 4
    best = load_checkpoint(tmp_path / "run" / "best.safetensors").network
    assert all(value.isfinite().all() for value in [*newest.weights.values(), *best.parameters()])


def test_a_poisoned_gradient_never_reaches_a_checkpoint(
    balls: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = MMLN.run_levels, 0

    def poisoned(self: MMLN, *arguments: object) -> object:
        nonlocal calls
        calls += 1
        runs = forward(self, *arguments)
        if calls == 3:  # the loss stays finite, its gradient does not
            self.levels[0].output.weight.register_hook(lambda gradient: gradient * float("nan"))
        return runs

    monkeypatch.setattr(MMLN, "run_levels", poisoned)
    with pytest.raises(RegistrationError, match="The gradient is no number any more after 2 steps"):
        train_balls(balls, tmp_path / "run", ball_config((5,), checkpoint_every=1))
    newest = RunFolder(tmp_path / "run").load_checkpoint()
    assert newest is not None
    assert newest.state.step == 2
    assert all(value.isfinite().all() for value in newest.weights.values())


def test_a_prepared_scan_that_vanishes_in_mid_run_is_one_sentence(balls: PreparedData, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    shutil.copytree(balls.folder, folder)
    mine = replace(balls, folder=folder)

    def remove(run: RunFolder) -> None:
        for file in folder.iterdir():
            file.unlink()

    config = replace(ball_config((1,), checkpoint_every=1), stages=(StageConfig(3, 6, 0, 1e-3, 1e-3),))
    with pytest.raises(InputError, match=r"The prepared scan .*\.safetensors cannot be read; start the training again"):
        train_balls(mine, tmp_path / "run", config, after_step=remove)
    assert RunFolder(tmp_path / "run").load_checkpoint() is not None
