"""The server as a process: the same field as a direct call, refusals, limits, cancel, crashes, and nothing kept."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from backend_cases import LONG, alive, begun, posix, register
from cli_cases import linear
from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend.jobs import JobError
from MMLNRegistrationLib.backend.messages import Atlas, Evaluate, Info, Propagate, Refine
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options
from MMLNRegistrationLib.pipeline.registration import register as register_directly
from server_cases import TOKEN, Server, nifti_header, packed_header, until, workers_of

pytestmark = posix

UPLOAD_BYTES, VOXELS = 1 << 20, 40**3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for the tests that do it no harm; at the end nothing of theirs is left."""
    shared = Server(tmp_path_factory.mktemp("served"), "--upload-mib", 1, "--voxels", VOXELS, "--grace-seconds", 0)
    yield shared
    assert shared.files() == []
    assert shared.stop() == 0
    assert shared.leftovers() == []
    log = "\n".join(shared.lines)
    assert "accepted" in log
    assert not any(word in log for word in (TOKEN, "fixed", "moving", "Traceback")), log


def test_same_field_as_a_direct_call(server, pair, tmp_path, one_thread):
    with server.client() as client:
        outcome = client.run(register(pair, tmp_path / "out", initial="affine", refine=2, moving_labels=pair.labels))
    options = Options(initial="affine", refine=RefineConfig(iterations=2), device="cpu")
    direct = register_directly(io.read_image(pair.fixed), io.read_image(pair.moving), options)
    io.write_displacement(direct.displacement_mm, direct.fixed.geometry, tmp_path / "direct.h5")
    for path in (outcome.files["transform.h5"], tmp_path / "direct.h5"):
        field, _ = io.read_displacement(path)
        np.testing.assert_array_equal(field, direct.displacement_mm)
    assert outcome.report["folded_voxels"] == 0
    assert outcome.files["labels.nii.gz"] == tmp_path / "out" / "labels.nii.gz"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(outcome.files)


def test_refine_and_propagate(server, pair, tmp_path):
    with server.client() as client:
        client.run(register(pair, tmp_path / "first"))
        refine = Refine(
            result=tmp_path / "first", fixed=pair.fixed, moving=pair.moving, output=tmp_path / "more", refine=1
        )
        assert client.run(refine).report["folded_voxels"] == 0
        start = linear(tmp_path / "start.tfm", np.eye(3))
        propagate = Propagate(
            subject=pair.fixed,
            atlases=(
                Atlas(image=pair.moving, labels=pair.labels),
                Atlas(image=pair.fixed, labels=pair.fixed_labels, transform=start),
            ),
            output=tmp_path / "labels", initial=str(start), refine=0, model="none", names=("7=light",),
        )  # fmt: skip
        outcome = client.run(propagate)
        assert outcome.files["transform_1.h5"].exists()
        assert [entry["name"] for entry in outcome.report["volumes"]] == ["", "", "light"]
        # The second atlas is the subject itself: where it differs from the first it is the more alike.
        labels, truth = (io.read_labels(path).array_kji for path in (outcome.files["labels.nii.gz"], pair.fixed_labels))
        assert (labels == truth)[truth > 0].mean() > 0.97


def test_callbacks_come_from_poll_alone(server, pair, tmp_path):
    told: list[object] = []
    files = ("transform.h5", "report.json")
    with server.client() as client:
        start = time.monotonic()
        job = client.submit(
            register(pair, tmp_path / "out", files=files),
            lambda step, fraction: told.append(step),
            told.append,
            told.append,
        )
        assert time.monotonic() - start < 0.2
        time.sleep(0.5)
        assert told == []
        client.wait(job, 60)
    assert told[0] == "connect"
    assert {"upload: fixed", "wait in the queue", "begin", "write", "download"} <= set(told[:-1])
    assert told[-1] is job.outcome
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(files)


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], f"{TOKEN}x"])
def test_wrong_token(server, token):
    for method, path in (
        ("GET", "/v1/status"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("PUT", f"/v1/uploads/{'a' * 32}?suffix=.nii"),
        ("PUT", f"/v1/jobs/{'a' * 32}"),
        ("DELETE", f"/v1/jobs/{'a' * 32}"),
        ("POST", "/"),
    ):
        answer = server.ask(method, path, token=token)
        assert answer.status == 401
        assert "token" in answer.message["sentence"]


def test_wrong_token_is_told_before_the_body_is_read(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            f"PUT /v1/uploads/{'a' * 32}?suffix=.nii HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n".encode()
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_wrong_token_of_a_client(server, pair, tmp_path):
    from MMLNRegistrationLib.backend.remote import RemoteClient

    with RemoteClient(server.address, "wrong") as client, pytest.raises(JobError, match="accept the token") as caught:
        client.run(register(pair, tmp_path / "out"))
    assert caught.value.cause == "input"
    assert list(tmp_path.iterdir()) == []


def test_pages_are_open_and_load_nothing_from_elsewhere(server):
    for path in ("/", "/register", "/api", "/pages/style.css", "/pages/common.js"):
        answer = server.ask("GET", path, token=None)
        assert answer.status == 200
        assert b"http://" not in answer.content.replace(b"http://www.w3.org", b"")
        assert b"https://" not in answer.content


@pytest.mark.parametrize(
    ("content", "suffix", "status", "words"),
    [
        (b"\0" * (UPLOAD_BYTES + 1), ".nii.gz", 413, "larger than"),
        (packed_header((41, 40, 40)), ".nii.gz", 413, "65600 voxels"),
        (packed_header((30000, 30000, 30000)), ".nii.gz", 413, "voxels"),
        (b"", ".nii.gz", 400, "empty"),
        (b"no volume", ".nii", 400, "no NIfTI"),
        (nifti_header((4, 4, 4), magic=b"ni1\0"), ".nii", 400, "one piece"),
        (b"NRRD0004\nsizes: 4 4 4\ndata file: /etc/passwd\n\n", ".nrrd", 400, "another file"),
        (b"x", ".exe", 400, "not taken"),
        (b"x", ".h5", 400, "not taken"),
        (b"x", "/../../x.nii", 400, "not taken"),
    ],
)
def test_refused_uploads(server, content, suffix, status, words):
    answer = server.ask("PUT", f"/v1/uploads/{uuid.uuid4().hex}?suffix={suffix}", content)
    assert (answer.status, words in answer.message["sentence"]) == (status, True), answer
    assert server.files() == []


def test_endless_upload_is_broken_off(server):
    """Also one that does not say how long it is."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("PUT", f"/v1/uploads/{uuid.uuid4().hex}?suffix=.nii")
    connection.putheader("Authorization", f"Bearer {TOKEN}")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    piece = b"%x\r\n%s\r\n" % (1 << 16, b"\0" * (1 << 16))

    def send_for_ever() -> None:
        for _ in range(4000):
            connection.send(piece)

    with pytest.raises(OSError):  # noqa: PT011 broken pipe or connection reset, as it comes
        send_for_ever()
    connection.close()
    assert server.files() == []


def test_upload_that_stops_in_the_middle_leaves_nothing(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(
            f"PUT /v1/uploads/{'b' * 32}?suffix=.nii HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Length: 900000\r\n\r\n".encode()
            + b"\0" * 1000
        )
        until(lambda: server.files())
    until(lambda: not server.files())


def test_an_upload_sent_twice_is_stored_once(server, pair):
    key, content = uuid.uuid4().hex, pair.fixed.read_bytes()
    answers = [server.ask("PUT", f"/v1/uploads/{key}?suffix=.nii.gz", content) for _ in range(2)]
    assert [answer.status for answer in answers] == [201, 201]
    assert answers[0].message == answers[1].message == {"upload": key, "bytes": len(content), "voxels": 26**3}
    assert len(server.files()) == 1
    assert server.ask("DELETE", f"/v1/uploads/{key}").status == 204
    assert server.files() == []


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status"),
    [
        ("PUT", "/v1/jobs/{new}", b"{}", {"Content-Type": "text/plain"}, 415),
        ("PUT", "/v1/jobs/{new}", b'"' * 70_000, {"Content-Type": "application/json"}, 413),
        ("PUT", "/v1/jobs/{new}", b"{", {"Content-Type": "application/json"}, 400),
        ("PUT", "/v1/jobs/{new}", {"kind": "train", "data": ["/"]}, {}, 400),
        ("PUT", "/v1/jobs/{new}", {"kind": "register", "fixed": "a" * 32, "moving": "b" * 32}, {}, 404),
        ("PUT", "/v1/jobs/{new}", {"kind": "info"}, {"X-Client": "ä/"}, 400),
        ("PUT", "/v1/jobs/..%2F..%2Fx", {"kind": "info"}, {}, 404),
        ("PUT", "/v1/jobs/short", {"kind": "info"}, {}, 400),
        ("GET", "/v1/jobs/{new}", None, {}, 404),
        ("GET", "/v1/jobs/{new}/events", None, {}, 404),
        ("GET", "/v1/jobs/{new}/events?after=-1", None, {}, 400),
        ("GET", "/v1/jobs/{new}/files/transform.h5", None, {}, 404),
        ("POST", "/v1/jobs/{new}/cancel", None, {}, 404),
        ("DELETE", "/v1/jobs/{new}", None, {}, 404),
        ("GET", "/v1/nothing", None, {}, 404),
        ("POST", "/v1/status", None, {}, 405),
    ],
)
def test_refused_requests(server, method, path, content, headers, status):
    answer = server.ask(method, path.replace("{new}", uuid.uuid4().hex), content, headers)
    assert answer.status == status, answer
    assert answer.message["sentence"].endswith((".", "/api"))
    assert list(answer.message) == ["sentence"]


def test_a_job_asked_for_twice_is_done_once(server):
    key = server.submit({"kind": "info"})
    server.submit({"kind": "info"}, key)
    assert server.ask("PUT", f"/v1/jobs/{key}", {"kind": "info", "protocol": 1}).status == 409
    until(lambda: server.state(key)["state"] == "done")
    server.submit({"kind": "info"}, key)
    assert server.state(key)["state"] == "done"
    assert server.ask("GET", f"/v1/jobs/{key}/files/job.json").status == 404
    assert server.ask("DELETE", f"/v1/jobs/{key}").status == 204
    assert server.ask("GET", f"/v1/jobs/{key}").status == 404


def test_device_that_the_server_does_not_have(server):
    answer = server.ask("PUT", f"/v1/jobs/{uuid.uuid4().hex}", {"kind": "info"})
    assert answer.status == 201
    server.ask("DELETE", f"/v1/jobs/{answer.message['job']}")
    with server.client() as client, pytest.raises(InputError, match="on your own machine"):
        client.submit(Evaluate(cases=Path("cases.csv"), output=Path("out")))


def test_bad_input_is_told_by_the_files_field(server, pair, tmp_path):
    broken = tmp_path / "anna.nii.gz"
    broken.write_bytes(pair.moving.read_bytes()[:-2000])
    for request, words in (
        (register(pair, tmp_path / "out", fixed_mask=tmp_path / "gone.nii"), r"gone.nii does not exist"),
        (register(pair, tmp_path / "out", fixed_mask=tmp_path), r"is a folder; a server takes"),
        (register(pair, tmp_path, fixed_mask=tmp_path), r"is not empty"),
        (register(pair, tmp_path / "out", device="cuda"), r"does not compute on 'cuda'"),
        (register(pair, tmp_path / "out", initial=str(tmp_path / "x.h5")), r"x.h5 does not exist"),
        (register(pair._replace(moving=broken), tmp_path / "out"), r"moving.nii.gz is damaged or cut off"),
    ):
        with server.client() as client, pytest.raises(JobError, match=words) as caught:
            client.run(request)
        assert caught.value.cause == "input"
        assert str(server.folder) not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["anna.nii.gz"]
    assert server.files() == []


def test_cancel_while_it_runs_and_while_it_waits(server, pair, tmp_path):
    with server.client() as client:
        running = client.submit(register(pair, tmp_path / "one", refine=LONG))
        begun(client, running, "refine")
        waiting = client.submit(register(pair, tmp_path / "two", refine=LONG))
        begun(client, waiting, "wait in the queue")
        for job in (waiting, running):
            start = time.monotonic()
            job.cancel()
            with pytest.raises(JobError) as caught:
                client.wait(job, 10)
            assert caught.value.cause == "cancelled"
            assert time.monotonic() - start < 1
        assert client.run(Info()).report["automatic_device"] == "cpu"
    until(lambda: not server.files())
    assert list(tmp_path.iterdir()) == []


def test_cancelled_job_stays_to_be_looked_at(server, pair):
    keys = [server.upload(path) for path in (pair.fixed, pair.moving)]
    message = {"kind": "register", "fixed": keys[0], "moving": keys[1], "initial": "identity", "refine": LONG}
    job = server.submit(message)
    until(lambda: server.state(job)["step"].startswith("refine"))
    assert server.ask("GET", f"/v1/jobs/{job}/files/transform.h5").status == 409
    assert server.ask("POST", f"/v1/jobs/{job}/cancel").status == 202
    state = until(lambda: (found := server.state(job))["state"] == "failed" and found)
    assert state["event"]["cause"] == "cancelled"
    lines = server.ask("GET", f"/v1/jobs/{job}/events").content.splitlines()
    assert b'"kind": "error"' in lines[-1]
    later = server.ask("GET", f"/v1/jobs/{job}/events?after=3").content.splitlines()
    assert [line for line in later if line] == [line for line in lines if line][3:]
    assert server.files() == [f"jobs/{job}/job.json"]
    server.ask("DELETE", f"/v1/jobs/{job}")


def test_client_that_vanishes_does_no_harm(server, pair, tmp_path):
    """A job goes on without its client; here it is then removed by hand rather than by the clock."""
    code = (
        "import sys; from pathlib import Path; from MMLNRegistrationLib.backend.remote import RemoteClient; "
        "from MMLNRegistrationLib.backend.messages import Register; a = sys.argv; "
        "RemoteClient(a[1], a[2]).run(Register(fixed=Path(a[3]), moving=Path(a[4]), output=Path(a[5]), "
        "initial='identity', refine=40, model='none'), lambda step, fraction: print(step, flush=True))"
    )
    words = [sys.executable, "-c", code, server.address, TOKEN, pair.fixed, pair.moving, tmp_path / "out"]
    with subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("refine"):
            assert process.poll() is None
        process.kill()
    assert list(tmp_path.iterdir()) == []
    (row,) = (row for row in server.ask("GET", "/v1/status").message["jobs"] if row["state"] == "running")
    (folder,) = (server.folder / "jobs").glob(f"{row['job']}*")
    until(lambda: server.state(folder.name)["state"] == "done")
    assert server.ask("DELETE", f"/v1/jobs/{folder.name}").status == 204


@pytest.mark.skipif(sys.platform != "linux", reason="looks for the worker in /proc")
def test_killed_worker_takes_one_job_with_it(server, pair, tmp_path):
    with server.client() as client:
        job = client.submit(register(pair, tmp_path / "out", refine=LONG))
        begun(client, job, "refine")
        (worker,) = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(JobError, match="ended in the middle of the work") as caught:
            client.wait(job, 20)
        assert caught.value.cause == "failed"
        assert client.run(register(pair, tmp_path / "out")).files["transform.h5"].exists()
    assert not alive(worker)


def test_log_and_status_tell_little(server):
    status = server.ask("GET", "/v1/status").message
    assert status["jobs"]
    assert all(len(row["job"]) == 8 for row in status["jobs"])
    assert status["devices"][0]["device"] == "cpu"
    assert status["limits"]["voxels"] == VOXELS


def test_what_nobody_fetches_goes(pair, tmp_path):
    server = Server(tmp_path, "--keep-seconds", 2)
    try:
        server.upload(pair.fixed)
        keys = [server.upload(path) for path in (pair.fixed, pair.moving)]
        job = server.submit(
            {"kind": "register", "fixed": keys[0], "moving": keys[1], "initial": "identity", "refine": 0}
        )
        until(lambda: server.state(job)["state"] == "done")
        state = until(lambda: (found := server.state(job))["state"] == "failed" and found)
        assert "removed, since nobody fetched them" in state["event"]["sentence"]
        assert server.files() == [f"jobs/{job}/job.json"]
        until(lambda: server.ask("GET", f"/v1/jobs/{job}").status == 404)
        assert server.files() == []
        assert server.ask("GET", "/v1/status").message["stored_bytes"] == 0
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


def test_two_devices_work_at_the_same_time(pair, tmp_path):
    server = Server(tmp_path, "--device", "auto", "--threads", 1, "--grace-seconds", 0)
    try:
        with server.client() as client:
            jobs = [client.submit(register(pair, tmp_path / name, refine=LONG)) for name in ("one", "two")]
            for job in jobs:
                begun(client, job, "refine")
            status = server.ask("GET", "/v1/status").message
            assert [entry["device"] for entry in status["devices"]] == ["cpu", "auto"]
            assert sorted(entry["job"] for entry in status["devices"]) == sorted(job.id[:8] for job in jobs)
        until(lambda: not server.files())
    finally:
        assert server.stop() == 0
    assert server.leftovers() == []


def test_gzip_that_unpacks_to_too_much(server):
    bomb = gzip.compress(nifti_header((4, 4, 4)) + b"\0" * (64 << 20))
    assert len(bomb) < UPLOAD_BYTES
    answer = server.ask("PUT", f"/v1/uploads/{uuid.uuid4().hex}?suffix=.nii.gz", bomb)
    assert (answer.status, "unpacks to more" in answer.message["sentence"]) == (400, True)
