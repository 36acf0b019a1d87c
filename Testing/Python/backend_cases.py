"""What the tests of the backend share: requests for small brains, workers over bare pipes, and Pythons with faults."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_cases import Pair
from MMLNRegistrationLib.backend.jobs import Job
from MMLNRegistrationLib.backend.local import LocalClient
from MMLNRegistrationLib.backend.messages import Register
from MMLNRegistrationLib.backend.protocol import PROTOCOL_VERSION
from repository import SOURCE_ROOT

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and shells")

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "OMP_NUM_THREADS": "1"}
LONG = 10_000
"""Iterations that no test waits for."""


def register(pair: Pair, output: Path, **changes: Any) -> Register:
    """A quick registration of the pair."""
    values: dict[str, Any] = {"initial": "identity", "refine": 1, "model": "none", "device": "cpu", **changes}
    return Register(fixed=pair.fixed, moving=pair.moving, output=output, **values)


def new_client(temporary: Path, **options: Any) -> LocalClient:
    """A client whose worker's temporary files and device locks lie in a folder of the test."""
    return LocalClient(environment={**ENVIRONMENT, "TMPDIR": str(temporary)}, **options)


def begun(client: LocalClient, job: Job, step: str, seconds: float = 60) -> None:
    """Poll until a job has come to a step."""
    end = time.monotonic() + seconds
    while not job.step.startswith(step):
        assert not job.done, job.error
        assert time.monotonic() < end, f"still at {job.step!r}"
        client.poll(0.05)


def soon(condition: Callable[[], bool], seconds: float = 10) -> bool:
    """Whether something becomes true before long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not waited for does not."""
    status = Path(f"/proc/{pid}/stat")
    if sys.platform == "linux":
        try:
            return status.read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def faulty_python(folder: Path, code: str) -> Path:
    """A launcher that runs some code in the worker's process first. Like PythonSlicer it stays its parent."""
    (folder / "fault.py").write_text(
        f"import os, sys, time\n{code}\nfrom MMLNRegistrationLib.backend import worker\nworker.main()\n"
    )
    launcher = folder / "launcher"
    launcher.write_text(f'#!/bin/sh\nshift 2\n"{sys.executable}" "{folder}/fault.py" "$@"\ncode=$?\nexit $code\n')
    launcher.chmod(0o755)
    return launcher


class BareWorker:
    """A worker and its pipes, without a client."""

    def __init__(self, temporary: Path, python: str | Path = sys.executable) -> None:
        self.process = subprocess.Popen(
            [python, "-m", "MMLNRegistrationLib.backend.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**ENVIRONMENT, "TMPDIR": str(temporary)},
        )

    def send(self, *lines: bytes | dict[str, Any]) -> None:
        """Send lines as they are, or messages of the present version."""
        assert self.process.stdin is not None
        for line in lines:
            if isinstance(line, dict):
                line = json.dumps({"protocol": PROTOCOL_VERSION, **line}).encode()
            self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        """The next message."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def read_until(self, kind: str, **values: Any) -> dict[str, Any]:
        """The next message of this kind with these values."""
        while True:
            message = self.read()
            if message["kind"] == kind and all(message[name] == value for name, value in values.items()):
                return message

    def close(self) -> int:
        """Close the worker's input and wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
