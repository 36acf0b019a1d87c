"""The client of a local worker: the same field as a direct call, warm, cancelled, crashed, asleep, and in turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backend_cases import LONG, alive, begun, faulty_python, new_client, posix, register, soon
from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend import local
from MMLNRegistrationLib.backend.jobs import JobError
from MMLNRegistrationLib.backend.local import LocalClient
from MMLNRegistrationLib.backend.messages import Atlas, Info, Propagate, Train
from MMLNRegistrationLib.backend.turns import WAITING
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options
from MMLNRegistrationLib.pipeline.registration import register as register_directly
from MMLNRegistrationLib.training.config import as_json
from MMLNRegistrationLib.training.preparation import PreparedData
from repository import SOURCE_ROOT
from training_cases import events, quick, write_config


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalClient]:
    """One warm worker for the tests that do it no harm."""
    with new_client(tmp_path_factory.mktemp("temporary")) as shared:
        yield shared


def cancelled(client: LocalClient, job: local.Job) -> float:
    """Cancel a job; the seconds until it has ended."""
    start = time.monotonic()
    job.cancel()
    with pytest.raises(JobError) as caught:
        client.wait(job, 20)
    assert caught.value.cause == "cancelled"
    return time.monotonic() - start


def test_needs_the_standard_library_alone():
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE_ROOT)!r}); from MMLNRegistrationLib.backend import local; "
        "names = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names; "
        "print(*sorted(name for name in names if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["MMLNRegistrationLib"]


def test_same_field_as_a_direct_call(client, pair, tmp_path, one_thread):
    outcome = client.run(register(pair, tmp_path / "out", initial="affine", refine=2))
    options = Options(initial="affine", refine=RefineConfig(iterations=2), device="cpu")
    direct = register_directly(io.read_image(pair.fixed), io.read_image(pair.moving), options)
    io.write_displacement(direct.displacement_mm, direct.fixed.geometry, tmp_path / "direct.h5")
    for path in (outcome.files["transform.h5"], tmp_path / "direct.h5"):
        field, _ = io.read_displacement(path)
        np.testing.assert_array_equal(field, direct.displacement_mm)
    assert outcome.report["folded_voxels"] == direct.folding.folded_voxels == 0


def test_callbacks_come_from_poll_alone(client, pair, tmp_path):
    """As a window's timer would use it: nothing waits, requests are done in their order."""
    told: list[tuple[str, object]] = []
    polling = False

    def tell(name: str, what: object) -> None:
        assert polling
        told.append((name, what))

    for name in ("one", "two"):
        request = register(pair, tmp_path / name) if name == "one" else register(pair, tmp_path / "one" / "x" / "y")
        start = time.monotonic()
        client.submit(
            request,
            lambda step, fraction, name=name: tell(name, fraction),
            lambda outcome, name=name: tell(name, outcome),
            lambda error, name=name: tell(name, error),
        )
        assert time.monotonic() - start < 0.1
    while client.busy:
        polling = True
        client.poll()
        polling = False
        time.sleep(0.01)
    assert [name for name, _ in told] == sorted(name for name, _ in told)
    first, second = ([what for name, what in told if name == wanted] for wanted in ("one", "two"))
    assert first[-1].files["report.json"] == tmp_path / "one" / "report.json"
    assert second[-1].files["report.json"].exists()
    assert all(isinstance(fraction, float) and 0 <= fraction <= 1 for fraction in first[:-1] + second[:-1])


def test_relative_paths_are_those_of_the_client(client, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = register(pair, Path("here"), files=("labels.nii.gz",))
    (tmp_path / "moved.nii.gz").write_bytes(pair.moving.read_bytes())
    outcome = client.run(Propagate(
        subject=Path("moved.nii.gz"), atlases=(Atlas(image=request.moving, labels=pair.labels),), output=Path("here"),
        refine=0, initial="identity", model="none", files=request.files,
    ))  # fmt: skip
    assert list(outcome.files) == ["labels.nii.gz"]
    assert outcome.files["labels.nii.gz"] == tmp_path / "here" / "labels.nii.gz"
    assert outcome.files["labels.nii.gz"].exists()


def test_bad_input_is_told_as_on_the_command_line(client, pair, tmp_path):
    with pytest.raises(JobError, match=r"gone.nii does not exist; check the path\.$") as caught:
        client.run(register(pair, tmp_path / "out", fixed_mask=tmp_path / "gone.nii"))
    assert caught.value.cause == "input"
    assert list(tmp_path.iterdir()) == []


STEPS = (
    "begin", "read", "prepare", "initial: search", "initial: rigid", "initial: affine", "network", "refine: 1/4",
    "refine: full", "remove folding", "outputs", "write",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_cancel_at_every_step(step, client, pair, tmp_path):
    """It acts within half a second, the worker stays, and nothing is left."""
    asked_at: list[float] = []

    def cancel(now: str, fraction: float) -> None:
        if now.startswith(step) and not asked_at:
            asked_at.append(time.monotonic())
            job.cancel()

    client.run(Info())
    pid = client.hello.pid
    initial = "affine" if step.startswith("initial") else "identity"
    job = client.submit(register(pair, tmp_path / "out", initial=initial, refine=2), cancel)
    with pytest.raises(JobError, match=r"^Cancelled.$"):
        client.wait(job, 60)
    assert time.monotonic() - asked_at[0] < 0.5
    assert list(tmp_path.iterdir()) == []
    client.run(Info())
    assert client.hello.pid == pid


@posix
def test_cancel_between_two_calls_of_progress(pair, tmp_path):
    """A long computation of ours that does not ask: it is interrupted between two operations."""
    code = """
import torch
from MMLNRegistrationLib.pipeline import registration
def endless():
    while True:
        torch.ones(100, 100).sum()
namespace = {"__name__": "MMLNRegistrationLib.pipeline.endless", "torch": torch}
exec("def endless(*arguments):\\n    while True:\\n        torch.ones(100, 100).sum()", namespace)
registration.foreground = namespace["endless"]"""
    with new_client(tmp_path, python=faulty_python(tmp_path, code)) as client:
        job = client.submit(register(pair, tmp_path / "out"))
        begun(client, job, "prepare")
        pid = client.hello.pid
        assert cancelled(client, job) < 0.5
        assert alive(pid)


@posix
def test_worker_that_does_not_cancel_is_killed_with_its_launcher(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "_SECONDS_TO_CANCEL", 0.3)
    code = "from MMLNRegistrationLib.backend import runner\nrunner.io.read_image = lambda path: time.sleep(1000)"
    with new_client(tmp_path, python=faulty_python(tmp_path, code)) as client:
        job = client.submit(register(pair, tmp_path / "out"))
        begun(client, job, "read")
        pid = client.hello.pid
        assert 0.3 < cancelled(client, job) < 3
        assert soon(lambda: not alive(pid))


def test_waiting_job_is_cancelled_at_once(client, pair, tmp_path):
    errors: list[JobError] = []
    first = client.submit(register(pair, tmp_path / "first", refine=LONG))
    second = client.submit(register(pair, tmp_path / "second"), on_error=errors.append)
    second.cancel()
    assert [error.cause for error in errors] == ["cancelled"]
    second.cancel()
    assert len(errors) == 1
    begun(client, first, "refine")
    cancelled(client, first)


@posix
def test_killed_worker_is_told_and_started_again(pair, tmp_path):
    with new_client(tmp_path) as client:
        job = client.submit(register(pair, tmp_path / "new" / "out", refine=LONG))
        waiting = client.submit(register(pair, tmp_path / "next"))
        begun(client, job, "refine")
        folder, pid = client.new_folder().parent, client.hello.pid
        assert [path.name.startswith(".partial") for path in (tmp_path / "new").iterdir()] == [True]
        (folder / "scratch" / "left").write_text("by a library")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(JobError, match=r"ended in the middle of the work .killed by SIGKILL") as caught:
            client.wait(job, 20)
        assert caught.value.cause == "failed"
        assert not list((folder / "scratch").iterdir())
        assert not (tmp_path / "new").exists()
        assert client.wait(waiting, 30).report["folded_voxels"] == 0
        assert client.hello.pid != pid
    assert not folder.exists()


def test_python_without_torch_is_told(tmp_path, pair):
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONNOUSERSITE": "1", "PYTHONSTARTUP": ""}
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')")
    with LocalClient(environment={**environment, "PYTHONPATH": str(tmp_path)}) as client:
        with pytest.raises(JobError, match=r"The worker cannot run .ImportError: no torch here.") as caught:
            client.run(Info())
        assert caught.value.cause == "failed"


def test_what_is_no_python_is_told(tmp_path):
    with LocalClient(tmp_path / "nothing") as client, pytest.raises(InputError, match="cannot be started by"):
        client.run(Info())
    with LocalClient("false") as client, pytest.raises(JobError, match=r"could not be started by false .exit code 1"):
        client.run(Info())


def test_second_request_pays_no_start_until_the_worker_has_gone_to_sleep(pair, tmp_path):
    with new_client(tmp_path, idle_seconds=0.3) as client:
        seconds = []
        for name in ("first", "second"):
            start = time.monotonic()
            client.run(register(pair, tmp_path / name))
            seconds.append(time.monotonic() - start)
        assert seconds[1] < seconds[0] / 2, seconds
        pid = client.hello.pid
        folder = client.new_folder()
        # The client has not noticed when the next request comes: that goes nowhere, and is sent again.
        assert soon(lambda: not alive(pid))
        client.run(Info())
        assert folder.is_dir()
        assert soon(lambda: (client.poll(), client.hello is None)[1])


def test_closed_client(pair, tmp_path):
    client = new_client(tmp_path)
    told: list[object] = []
    job = client.submit(register(pair, tmp_path / "out", refine=LONG), on_error=told.append)
    begun(client, job, "refine")
    pid, folder = client.hello.pid, client.new_folder().parent
    client.close()
    client.close()
    assert (job.error.cause, told) == ("cancelled", [])
    assert not alive(pid)
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="is closed"):
        client.submit(Info())


def test_two_clients_take_turns(client, pair, tmp_path):
    """But whoever was told how many threads to use does not wait for the processor."""
    first = client.submit(register(pair, tmp_path / "first", refine=LONG))
    begun(client, first, "refine")
    with LocalClient(environment=client._environment) as other:
        waiting = other.submit(register(pair, tmp_path / "second"))
        begun(other, waiting, WAITING)
        assert cancelled(other, waiting) < 0.5
        other.run(register(pair, tmp_path / "third", threads=1))
        waiting = other.submit(register(pair, tmp_path / "fourth"))
        begun(other, waiting, WAITING)
        cancelled(client, first)
        assert other.wait(waiting, 30).files["transform.h5"].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fourth", "third"]


def test_training_is_cancelled_while_processes_prepare_its_data(client, brains, tmp_path):
    """They are ended: to wait for what they do might take minutes."""
    config = write_config(tmp_path / "config.json", as_json(quick((3,))))
    request = Train(data=(brains,), output=tmp_path / "run", config=config, cache=tmp_path / "cache", threads=2)
    job = client.submit(request)
    begun(client, job, "prepare data")
    time.sleep(0.5)  # until they are being started
    pid = client.hello.pid
    assert cancelled(client, job) < 1.5
    client.run(Info())
    assert client.hello.pid == pid


def test_training_is_cancelled_with_a_checkpoint_and_goes_on(client, brains, prepared: PreparedData, tmp_path):
    config = write_config(tmp_path / "config.json", as_json(quick((30,), validate_every=1, checkpoint_every=100)))
    request = Train(data=(brains,), output=tmp_path / "run", config=config, cache=prepared.folder.parent, threads=1)
    entries: list[dict] = []
    job = client.submit(request, on_entry=entries.append)
    begun(client, job, "train level 1")
    cancelled(client, job)
    assert events(tmp_path / "run")[-1] == "stopped"
    outcome = client.run(
        Train(data=(brains,), output=tmp_path / "run", cache=prepared.folder.parent, threads=1, resume=True)
    )
    assert outcome.report["step"] == 30
    assert outcome.files["best.safetensors"].exists()
    assert entries[0]["event"] == "start"
    assert {"validation", "stopped"} <= {entry["event"] for entry in entries}
