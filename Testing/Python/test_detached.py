"""Trainings in processes of their own: started, found again, stopped, killed, resumed, and what their folders tell."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cli_cases import cut
from MMLNRegistrationLib.backend import detached
from MMLNRegistrationLib.backend.messages import Train
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training.config import TrainConfig, as_json
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_files import RunFiles
from repository import SOURCE_ROOT
from training_cases import checkpoint_bytes, events, losses, quick, run_training, write_brains

pytestmark = pytest.mark.usefixtures("one_thread")

LONG = quick((4000,), validate_every=1000, checkpoint_every=5)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """The folder of a run; whatever trains there is ended at last."""
    folder = tmp_path / "run"
    yield folder
    detached.end_by_force(folder)


def start(brains: Path, prepared: PreparedData, run: Path, config: TrainConfig, resume: bool = False) -> None:
    request = Train(data=(brains,), output=run, cache=prepared.folder.parent, device="cpu", threads=1, resume=resume)
    detached.start(request, as_json(config), sys.executable)


def wait(run: Path, wanted: Callable[[detached.RunState], bool], seconds: float = 90) -> detached.RunState:
    end = time.monotonic() + seconds
    while not wanted(state := detached.state_of(run)):
        assert time.monotonic() < end, (state, detached.log_text(run))
        time.sleep(0.05)
    return state


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    assert detached.state_of(tmp_path).kind == "none"
    assert detached.state_of(tmp_path / "nowhere").kind == "none"
    assert detached.request_of(tmp_path) is None
    assert detached.log_text(tmp_path) == ""
    detached.stop(tmp_path)
    detached.end_by_force(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_from_its_start_to_its_end(brains: Path, prepared: PreparedData, run: Path, tmp_path: Path) -> None:
    config = quick((4, 2, 1))
    start(brains, prepared, run, config)
    assert detached.state_of(run).kind == "starting"
    seen = wait(run, lambda state: state.kind == "running" and state.step is not None)
    assert seen.total_steps == 7
    assert seen.pid is not None
    done = wait(run, lambda state: not state.is_at_work)
    assert (done.kind, done.step, done.sentence) == ("finished", 7, "")
    assert "Best validation score" in detached.log_text(run)
    request = detached.request_of(run)
    assert request is not None
    assert (request.data, request.output, request.resume) == ((brains,), run, False)
    assert not any((run / name).exists() for name in ("run.lock", "running.json", "stop"))
    with pytest.raises(InputError, match="holds a training already"):
        start(brains, prepared, run, config)
    run_training(brains, prepared.folder.parent, tmp_path / "same", config)
    assert checkpoint_bytes(run) == checkpoint_bytes(tmp_path / "same")


def test_stop_kill_and_resume(brains: Path, prepared: PreparedData, run: Path) -> None:
    start(brains, prepared, run, LONG)
    wait(run, lambda state: (state.step or 0) >= 10)
    with pytest.raises(InputError, match="is under way"):
        start(brains, prepared, run, LONG, resume=True)
    with pytest.raises(InputError, match="Another process trains"), RunFiles(run).held():
        pass
    detached.stop(run)
    stopped = wait(run, lambda state: not state.is_at_work)
    assert (stopped.kind, stopped.sentence) == ("stopped", "")
    assert stopped.step is not None
    assert detached.log_text(run).splitlines()[-1].startswith("mmln: Stopped; go on with --resume.")
    assert events(run) == ["start", "stopped"]

    start(brains, prepared, run, LONG, resume=True)
    going = wait(run, lambda state: state.kind == "running" and (state.step or 0) >= stopped.step + 10)
    assert going.pid is not None
    os.kill(going.pid, 9)
    killed = wait(run, lambda state: not state.is_at_work)
    assert killed.kind == "interrupted"
    assert "without a word" in killed.sentence
    assert "resume it from the last checkpoint" in killed.sentence
    assert (run / "run.lock").exists() is False  # the first look has tidied up

    start(brains, prepared, run, LONG, resume=True)
    wait(run, lambda state: state.kind == "running" and (state.step or 0) > stopped.step + 10)
    detached.end_by_force(run)
    assert wait(run, lambda state: not state.is_at_work).kind == "interrupted"
    assert losses(run)


def test_what_a_killed_process_has_left_names_nobody(run: Path) -> None:
    """Its number may be another's by now; ending by force must meet who trains, from the moment that is somebody."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = json.dumps({"pid": dead.pid, "host": platform.node(), "step": "train level 1", "fraction": 0.5})
    run.mkdir()
    (run / "running.json").write_text(left)
    code = (
        "import time\nfrom pathlib import Path\nfrom MMLNRegistrationLib.training.run_files import RunFiles\n"
        f"with RunFiles(Path({str(run)!r})).held():\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(SOURCE_ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        state = detached.state_of(run)
        assert (state.kind, state.pid, state.activity, state.fraction) == ("running", holder.pid, "", 0.0)
        detached.end_by_force(run)
        assert holder.wait(30) != 0
    (run / "running.json").write_text(left)
    assert not detached.state_of(run).is_at_work
    assert not (run / "running.json").exists()


def test_nobody_is_ended_when_it_is_not_known_who_trains(run: Path) -> None:
    with RunFiles(run).held():
        (run / "running.json").unlink()
        with pytest.raises(InputError, match="cannot be told which process"):
            detached.end_by_force(run)


def test_a_training_outlives_the_process_that_started_it(brains: Path, prepared: PreparedData, run: Path) -> None:
    """The starter is killed with all its group; its child trains on and is found again."""
    request = {"data": str(brains), "output": str(run), "cache": str(prepared.folder.parent)}
    code = (
        "import json, sys, time\nfrom pathlib import Path\nfrom MMLNRegistrationLib.backend import detached\n"
        "from MMLNRegistrationLib.backend.messages import Train\n"
        f"values = {request!r}\n"
        "paths = {name: Path(value) for name, value in values.items()}\n"
        "data = (paths.pop('data'),)\n"
        f"detached.start(Train(data=data, device='cpu', threads=1, **paths), {as_json(LONG)!r}, sys.executable)\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)\n"
        "print('started', flush=True)\ntime.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE_ROOT)},
    )
    assert starter.stdout is not None
    assert starter.stdout.readline() == "started\n"
    os.killpg(starter.pid, 9)
    starter.communicate()
    first = wait(run, lambda state: state.kind == "running" and state.step is not None)
    wait(run, lambda state: (state.step or 0) > (first.step or 0))
    detached.stop(run)
    assert wait(run, lambda state: not state.is_at_work).kind == "stopped"


def test_a_failure_is_told_by_its_sentence(run: Path, prepared: PreparedData, tmp_path: Path) -> None:
    few = write_brains(tmp_path / "few", ("anna", "ben"))
    start(few, prepared, run, quick((2,)))
    state = wait(run, lambda state: not state.is_at_work)
    assert state.kind == "failed"
    assert "none can be spared for validation" in state.sentence
    assert not RunFiles(run).exists()
    brains = write_brains(tmp_path / "brains", ("anna", "ben", "cleo", "dina", "emil"))
    cut(brains / "ben_image.nii.gz", 0.6)
    request = Train(data=(brains,), output=run, device="cpu", threads=1, resume=True)  # nothing to resume: it begins
    detached.start(request, as_json(quick((2,), spacing_mm=8.0)), sys.executable)
    again = wait(run, lambda state: not state.is_at_work)
    assert again.kind == "failed"
    assert "ben_image.nii.gz" in again.sentence
    assert "few" not in again.sentence


def test_a_stop_before_torch_is_loaded_ends_it(brains: Path, prepared: PreparedData, run: Path) -> None:
    start(brains, prepared, run, LONG)
    assert detached.state_of(run).kind == "starting"
    detached.stop(run)
    assert wait(run, lambda state: not state.is_at_work).kind == "interrupted"
    assert not RunFiles(run).exists()


def test_a_python_that_does_not_work(brains: Path, run: Path) -> None:
    with pytest.raises(InputError, match="cannot be started"):
        detached.start(Train(data=(brains,), output=run), None, run / "nowhere" / "python")
    assert not detached.state_of(run).is_at_work


def test_the_state_is_told_of_damaged_files_too(tmp_path: Path) -> None:
    for name in ("launched.json", "config.json", "ledger.jsonl", "request.json", "running.json"):
        (tmp_path / name).write_bytes(b"{\xff")
    state = detached.state_of(tmp_path)
    assert state.kind == "interrupted"
    assert asdict(state) | {"kind": "", "sentence": ""} == asdict(detached.RunState("none", "")) | {"kind": ""}
    assert detached.request_of(tmp_path) is None
    (tmp_path / "launched.json").write_text(json.dumps({"pid": -1, "time": time.time(), "log_begins_at": "y"}))
    assert detached.state_of(tmp_path).kind == "interrupted"
