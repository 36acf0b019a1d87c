"""What the tests of the server share: a server as a process of its own, and plain requests to it."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple

from backend_cases import ENVIRONMENT
from MMLNRegistrationLib.backend.remote import RemoteClient

TOKEN = "a-token-for-tests-alone"


class Answer(NamedTuple):
    """A plain request's answer; message: of its JSON, None where it is none."""

    status: int
    content: bytes
    message: Any


class Server:
    """`mmln serve` in a process of its own, with its folders below one of the test."""

    def __init__(self, temporary: Path, *options: object, port: int = 0) -> None:
        self.temporary = temporary
        self.folder = temporary / "server"
        token_file = temporary / "token"
        token_file.write_text(f"{TOKEN}\n")
        self._options = ("--token-file", token_file, "--folder", self.folder, "--device", "cpu", *options)
        self.port = port
        self.lines: list[str] = []
        self.start()

    def start(self) -> None:
        """Start it, again on the same port."""
        command = [sys.executable, "-m", "MMLNRegistrationLib", "serve", "--port", self.port, *self._options]
        system = self.temporary / "system"
        system.mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, "TMPDIR": str(system)},
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        assert first.startswith("Serving at "), (first, self.process.communicate())
        self.address = first.split()[-1]
        self.port = int(self.address.rpartition(":")[2])
        self._reader = threading.Thread(target=self._keep_lines, daemon=True)
        self._reader.start()

    def stop(self, number: int | None = None) -> int:
        """End it by a signal, SIGTERM by default, and wait for that. Returns its exit code."""
        if number is None:
            self.process.terminate()
        else:
            self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def client(self, **options: Any) -> RemoteClient:
        """A client of it."""
        return RemoteClient(self.address, TOKEN, **options)

    def ask(
        self,
        method: str,
        path: str,
        content: bytes | dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        token: str | None = TOKEN,
    ) -> Answer:
        """A plain request."""
        given = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if isinstance(content, dict):
            content, given["Content-Type"] = json.dumps(content).encode(), "application/json"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, content, {**given, **(headers or {})})
            return read(connection.getresponse())
        finally:
            connection.close()

    def upload(self, content: bytes | Path, suffix: str = ".nii.gz") -> str:
        """Send a file. Returns its key."""
        key = uuid.uuid4().hex
        content = content.read_bytes() if isinstance(content, Path) else content
        answer = self.ask("PUT", f"/v1/uploads/{key}?suffix={suffix}", content)
        assert answer.status == 201, answer
        return key

    def submit(self, message: dict[str, Any], key: str | None = None) -> str:
        """Ask for a job. Returns its key."""
        key = key or uuid.uuid4().hex
        answer = self.ask("PUT", f"/v1/jobs/{key}", message)
        assert answer.status == 201, answer
        return key

    def state(self, key: str) -> dict[str, Any]:
        """Of a job."""
        return self.ask("GET", f"/v1/jobs/{key}").message

    def files(self) -> list[str]:
        """All files of clients that are on its disk."""
        return sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != "server.lock"
        )

    def leftovers(self) -> list[str]:
        """What is left on the disk of a server that has ended."""
        system = self.temporary / "system"
        left = [*self.folder.rglob("*")] if self.folder.exists() else []
        return [str(path) for path in [*left, *system.iterdir()]]

    def _keep_lines(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            self.lines.extend(line.rstrip() for line in stream)


def read(response: HTTPResponse) -> Answer:
    """The whole answer."""
    content = response.read()
    try:
        message = json.loads(content)
    except ValueError:
        message = None
    return Answer(response.status, content, message)


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """What a condition gives as soon as it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.05)
    return found


def nifti_header(sizes: tuple[int, ...], bits: int = 16, magic: bytes = b"n+1\0") -> bytes:
    """A NIfTI header of so many voxels, without any."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, len(sizes), *sizes, *[1] * (7 - len(sizes)))
    struct.pack_into("<2h", header, 70, 4, bits)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352.0)
    header[344:348] = magic
    return bytes(header)


def packed_header(sizes: tuple[int, ...]) -> bytes:
    """The same in gzip."""
    return gzip.compress(nifti_header(sizes))


def workers_of(server: Server) -> list[int]:
    """The worker processes of a server. Linux only."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            if parent == server.process.pid and b"MMLNRegistrationLib.backend.worker" in words:
                found.append(int(entry.name))
    return found
