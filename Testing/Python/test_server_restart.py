"""A server that ends, politely or not: every accepted job is done, or its client is told that it is lost and why."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from backend_cases import LONG, alive, begun, posix, register, soon
from MMLNRegistrationLib.backend.messages import Info
from server_cases import Server, until, workers_of

pytestmark = posix


def ask(server: Server, pair, **changes: object) -> str:
    """A registration without a client. Returns its key."""
    fixed, moving = (server.upload(path) for path in (pair.fixed, pair.moving))
    return server.submit(
        {"kind": "register", "fixed": fixed, "moving": moving, "initial": "identity", "model": "none", **changes}
    )


def runs(server: Server, key: str) -> bool:
    """Whether a job is in the middle of its work."""
    return (server.state(key)["step"] or "").startswith("refine")


def test_killed_under_load_loses_nothing(pair, tmp_path):
    """Clients hang on while the server is killed twice; each gets the result of its own job."""
    server = Server(tmp_path)
    clients = [server.client() for _ in range(4)]
    try:
        jobs = {}
        for number, client in enumerate(clients):
            output = tmp_path / f"out-{number}"
            jobs[number] = [client.submit(register(pair, output)), client.submit(Info())]
        for enough in (1, 3):
            until(lambda enough=enough: _done(clients, jobs) >= enough)
            workers = workers_of(server) if sys.platform == "linux" else []
            assert server.stop(signal.SIGKILL) == -signal.SIGKILL
            assert soon(lambda workers=workers: not any(map(alive, workers)))
            server.start()
        until(lambda: _done(clients, jobs) == 8)
        for number, (first, second) in jobs.items():
            assert first.result().files["transform.h5"] == tmp_path / f"out-{number}" / "transform.h5"
            assert second.result().report["automatic_device"] == "cpu"
        until(lambda: not server.files())
    finally:
        for client in clients:
            client.close()
        server.stop()
    assert server.leftovers() == []


def _done(clients: list, jobs: dict) -> int:
    for client in clients:
        client.poll()
    return sum(job.done for pair_of_jobs in jobs.values() for job in pair_of_jobs)


def test_a_job_that_ends_the_server_twice_is_said_to_be_lost(pair, tmp_path):
    server = Server(tmp_path)
    try:
        key = ask(server, pair, refine=LONG)
        for _ in range(2):
            until(lambda: runs(server, key))
            server.stop(signal.SIGKILL)
            server.start()
        state = server.state(key)
        assert state["state"] == "failed"
        assert "is lost: the server broke down 2 times" in state["event"]["sentence"]
        (line,) = server.ask("GET", f"/v1/jobs/{key}/events?after=1000000").content.splitlines()
        assert b"is lost" in line
        server.ask("DELETE", f"/v1/jobs/{key}")
    finally:
        server.stop()
    assert server.leftovers() == []


def test_polite_end_lets_the_running_job_be_delivered(pair, tmp_path):
    server = Server(tmp_path, "--grace-seconds", 120)
    with server.client() as client:
        job = client.submit(register(pair, tmp_path / "out", refine=60))
        begun(client, job, "refine")
        server.process.terminate()
        until(lambda: server.ask("GET", "/v1/status").message["stopping"])
        refused = server.ask("PUT", f"/v1/jobs/{uuid.uuid4().hex}", {"kind": "info"})
        assert (refused.status, "about to stop" in refused.message["sentence"]) == (503, True)
        assert client.wait(job, 120).files["transform.h5"].exists()
    assert server.process.wait(20) == 0
    server.stop()
    assert server.leftovers() == []


def test_polite_end_keeps_what_could_not_be_done_in_time(pair, tmp_path):
    server = Server(tmp_path, "--grace-seconds", 1)
    running, waiting = ask(server, pair, refine=LONG), ask(server, pair, refine=0)
    until(lambda: runs(server, running))
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 15
    assert f"job {running[:8]}: stopped, to be begun anew" in "\n".join(server.lines)
    assert list((tmp_path / "system").iterdir()) == []
    server.start()
    try:
        assert [server.state(key)["state"] for key in (running, waiting)] == ["running", "waiting"]
        until(lambda: runs(server, running))
        server.ask("DELETE", f"/v1/jobs/{running}")
        until(lambda: server.state(waiting)["state"] == "done")
        server.ask("DELETE", f"/v1/jobs/{waiting}")
        until(lambda: not server.files())
    finally:
        server.stop()
    assert server.leftovers() == []


def test_a_second_signal_does_not_wait(pair, tmp_path):
    server = Server(tmp_path, "--grace-seconds", 600)
    key = ask(server, pair, refine=LONG)
    until(lambda: runs(server, key))
    server.process.terminate()
    until(lambda: server.ask("GET", "/v1/status").message["stopping"])
    assert server.stop() == 0
    assert (Path(server.folder) / "jobs" / key / "job.json").exists()
