"""The worker over bare pipes: who may write where, lines that are no requests, clients that die, and the page of
examples."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from backend_cases import ENVIRONMENT, LONG, BareWorker, alive, faulty_python, new_client, posix, register, soon
from cli_cases import tree
from MMLNRegistrationLib.backend.jobs import JobError
from MMLNRegistrationLib.backend.private_folder import PREFIX, remove_stale
from MMLNRegistrationLib.backend.protocol import LARGEST_LINE_BYTES, PROTOCOL_VERSION
from repository import ROOT


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareWorker]:
    """A worker for the tests that leave it running. It must leave no temporary files."""
    temporary = tmp_path_factory.mktemp("temporary")
    bare = BareWorker(temporary)
    yield bare
    assert bare.close() == 0
    assert tree(temporary) == {}


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """The system's folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def long_request(pair: Any, output: Path) -> dict[str, Any]:
    values = {"fixed": pair.fixed, "moving": pair.moving, "output": output}
    settings = {"model": "none", "initial": "identity", "refine": LONG}
    return {"kind": "register", "id": "long", **{name: str(path) for name, path in values.items()}, **settings}


def test_bad_lines_are_answered_one_by_one(worker, pair, tmp_path):
    """While a request runs; they do not disturb it, and it can still be cancelled."""
    worker.send(long_request(pair, tmp_path / "out"))
    worker.read_until("progress", step="refine: 1/4 resolution")
    worker.send(b"{", b"\xff", b"x" * (2 * LARGEST_LINE_BYTES), {"kind": "dance", "id": "d"})
    sentences = [worker.read_until("error", cause="input") for _ in range(4)]
    assert [message["id"] for message in sentences] == [None, None, None, "d"]
    assert [re.search("no JSON|not UTF-8|longer|Unknown kind", m["sentence"]).group() for m in sentences] == [
        "no JSON", "not UTF-8", "longer", "Unknown kind",
    ]  # fmt: skip
    worker.send({"kind": "info", "id": "long"})
    assert "id long already" in worker.read_until("error")["sentence"]
    worker.send({"kind": "cancel", "id": "nobody"}, {"kind": "cancel", "id": "long"})
    assert worker.read_until("error")["cause"] == "cancelled"
    worker.send({"kind": "info", "id": "long"})  # the id is free again
    assert worker.read_until("result", id="long")["report"]["devices"][0]["name"] == "cpu"
    assert not (tmp_path / "out").exists()


def test_noise_is_answered_by_errors_alone(worker):
    """Random bytes, and lines of a request in which some bytes were exchanged."""
    random = Random(3)
    good = b'{"protocol": 1, "kind": "info", "id": "x", "threads": 1}'
    lines = [random.randbytes(random.randrange(1, 200)).replace(b"\n", b"") + b"!" for _ in range(100)]
    for _ in range(100):
        line = bytearray(good)
        for place in random.sample(range(len(line)), 3):
            line[place] = random.choice(b'{}[]",:0 a\\')
        lines.append(bytes(line))
    worker.send(*lines, {"kind": "info", "id": "last"})
    answers = []
    while not answers or answers[-1]["id"] != "last":
        answers.append(worker.read())
    errors = [answer for answer in answers if answer["kind"] == "error"]
    assert len(errors) == len(lines)
    assert {error["cause"] for error in errors} == {"input"}
    worker.read_until("result", id="last")


def test_waiting_request_is_cancelled_at_once(worker, pair, tmp_path):
    """While another one runs; the others are answered in their order, and its id is free again."""
    worker.send(long_request(pair, tmp_path / "out"), {"kind": "info", "id": "a"}, {"kind": "info", "id": "b"})
    worker.read_until("progress", step="refine: 1/4 resolution")
    worker.send({"kind": "cancel", "id": "a"})
    assert worker.read_until("error", id="a")["cause"] == "cancelled"
    worker.send({"kind": "info", "id": "a"}, {"kind": "cancel", "id": "long"})
    assert worker.read_until("error")["id"] == "long"
    assert [worker.read_until("result")["id"] for _ in range(2)] == ["b", "a"]


def test_shutdown_ends_it_in_mid_run(pair, tmp_path, temporary):
    worker = BareWorker(temporary)
    worker.send(long_request(pair, tmp_path / "out"))
    worker.read_until("progress", step="refine: 1/4 resolution")
    worker.send({"kind": "shutdown", "id": "end"})
    assert worker.read_until("error", id="long")["cause"] == "cancelled"
    assert worker.close() == 0
    assert list(tmp_path.iterdir()) == [temporary]
    assert tree(temporary) == {}


def test_examples_of_the_page(pair, tmp_path, temporary):
    """docs/protocol.md: what it says is sent is understood, and what it says is answered has those fields."""
    worker = BareWorker(temporary)
    data = tmp_path / "data"
    data.mkdir()
    for name in ("fixed", "moving", "labels", "fixed_labels"):
        shutil.copy(getattr(pair, name), data / f"{name}.nii.gz")
    (data / "cases.csv").write_text(
        "fixed,moving,fixed_labels,moving_labels\nfixed.nii.gz,moving.nii.gz,fixed_labels.nii.gz,labels.nii.gz\n"
    )
    (data / "brains").mkdir()
    for name, copy in (("fixed", "anna_t1"), ("moving", "ben_t1"), ("labels", "ben_labels")):
        shutil.copy(getattr(pair, name), data / "brains" / f"{copy}.nii.gz")
    page = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    lines = re.findall(r"^([<>]) (\{.*\})$", page, re.MULTILINE)
    kinds = [json.loads(line)["kind"] for _, line in lines]
    assert {"hello", "register", "propagate", "evaluate", "info", "cancel", "shutdown", "result", "error"} <= set(kinds)
    for direction, line in lines:
        example = json.loads(line.replace('"/data/', f'"{data}/'))
        assert example["protocol"] == PROTOCOL_VERSION
        if direction == ">":
            worker.send(json.dumps(example).encode())
        else:
            chosen = {name: example[name] for name in ("id", "step", "cause", "files") if name in example}
            answer = worker.read_until(example["kind"], **chosen)
            assert set(answer) == set(example), line
            assert set(example.get("report", {})) <= set(answer.get("report", {})), line
            assert set(example.get("entry", {})) <= set(answer.get("entry", {})), line
    assert worker.close() == 0
    assert tree(temporary) == {}


@posix
def test_noise_full_disks_and_broken_gpus_are_survived(pair, tmp_path):
    """A library that prints breaks no message; a file that cannot be written is one sentence; a process whose GPU has
    failed, in which every other request would fail too, makes way for a new one."""
    code = f"""
import resource
from MMLNRegistrationLib import io, writing
writing._reserve = lambda path, size_bytes: None
read = io.read_image
def noisy(path):
    os.write(1, b'{{"protocol": 1, "kind": "noise')
    os.system("echo noise of a child")
    print("noise of Python", flush=True)
    if os.path.exists({str(tmp_path / "broken")!r}):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    limit = 100_000 if os.path.exists({str(tmp_path / "full")!r}) else resource.RLIM_INFINITY
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    return read(path)
io.read_image = noisy"""
    with new_client(tmp_path, python=faulty_python(tmp_path, code)) as client:
        assert client.run(register(pair, tmp_path / "one")).files["transform.h5"].exists()
        pid = client.hello.pid
        assert soon(lambda: any("noise of a child" in line for line in client.log))
        assert not any("does not understand" in line for line in client.log)
        (tmp_path / "full").touch()
        with pytest.raises(JobError, match="cannot be written") as caught:
            client.run(register(pair, tmp_path / "two"))
        assert caught.value.cause == "input"
        (tmp_path / "full").unlink()
        assert client.run(register(pair, tmp_path / "two")).files["transform.h5"].exists()
        assert client.hello.pid == pid
        (tmp_path / "broken").touch()
        with pytest.raises(JobError, match="illegal memory access"):
            client.run(register(pair, tmp_path / "three"))
        (tmp_path / "broken").unlink()
        assert client.run(register(pair, tmp_path / "three")).files["transform.h5"].exists()
        assert client.hello.pid != pid
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fault.py", "launcher", "one", "three", "two"]


CLIENT = """
import sys, time
from pathlib import Path
from MMLNRegistrationLib.backend.local import LocalClient
from MMLNRegistrationLib.backend.messages import Register
fixed, moving, output = map(Path, sys.argv[1:])
client = LocalClient(idle_seconds=None)
folder = client.new_folder()
(folder / "volume.nii.gz").write_bytes(b"a patient's")
def tell(step, fraction):
    if step.startswith("refine"):
        print(client.hello.pid, folder.parent, flush=True)
request = Register(fixed=fixed, moving=moving, output=output, model="none", initial="identity", refine=10000)
client.submit(request, tell)
while True:
    client.poll(1)
"""


@posix
@pytest.mark.parametrize("both", [False, True], ids=["client", "client and worker"])
def test_killed_client_leaves_nothing(both, pair, tmp_path, temporary):
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, pair.fixed, pair.moving, tmp_path / "out"],
        stdout=subprocess.PIPE,
        env={**ENVIRONMENT, "TMPDIR": str(temporary)},
        text=True,
    )
    pid, folder = client.stdout.readline().split()
    assert sorted(entry.name for entry in Path(folder).iterdir())[0] == "client.lock"
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    remove_stale(temporary)
    assert Path(folder).exists()  # those who own it are alive
    if both:
        os.kill(int(pid), signal.SIGSTOP)
    client.kill()
    client.wait()
    client.stdout.close()
    if both:
        os.kill(int(pid), signal.SIGKILL)
        assert soon(lambda: not alive(int(pid)))
        assert Path(folder).exists()
        # The last of its threads may hold the lock for a moment.
        assert soon(lambda: (remove_stale(temporary), not Path(folder).exists())[1])
    else:
        assert soon(lambda: not alive(int(pid)))
        assert not (tmp_path / "out").exists()
        assert list(tmp_path.iterdir()) == [temporary]
    assert list(temporary.glob(f"{PREFIX}*")) == []


@posix
def test_client_that_dies_takes_a_worker_with_it_that_does_not_listen(pair, tmp_path, temporary):
    """The work is stuck in a library: there is nothing to interrupt."""
    launcher = faulty_python(
        tmp_path, "from MMLNRegistrationLib.backend import runner\nrunner.io.read_image = lambda path: time.sleep(1000)"
    )
    worker = BareWorker(temporary, python=launcher)
    pid = worker.read_until("hello")["pid"]
    worker.send(long_request(pair, tmp_path / "out"))
    worker.read_until("progress", step="read")
    assert worker.close() == 1
    assert not alive(pid)
    assert tree(temporary) == {}
