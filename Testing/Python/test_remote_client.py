"""The client of a server: broken connections, strange servers, and the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from backend_cases import LONG, begun, posix, register
from cli_cases import one_sentence
from MMLNRegistrationLib.backend.jobs import JobError
from MMLNRegistrationLib.backend.messages import Info
from MMLNRegistrationLib.backend.remote import RemoteClient
from MMLNRegistrationLib.errors import InputError
from repository import SOURCE_ROOT
from server_cases import TOKEN, Server, until

pytestmark = posix


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    shared = Server(tmp_path_factory.mktemp("served"), "--grace-seconds", 0)
    yield shared
    until(lambda: not shared.files())
    assert shared.stop() == 0
    assert shared.leftovers() == []


class BadLine:
    """A way to a server on which connections break, as a rule says by a connection's first line."""

    def __init__(self, port: int, most_bytes: Callable[[str], int | None]) -> None:
        """most_bytes: that a connection carries in either direction; None for as many as need be."""
        self._target, self._most_bytes = port, most_bytes
        self.broken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        start = near.recv(1 << 16)
        limit = self._most_bytes(start.partition(b"\r\n")[0].decode())
        far = socket.create_connection(("127.0.0.1", self._target))
        far.sendall(start)
        back = threading.Thread(target=self._pump, args=(far, near, limit), daemon=True)
        back.start()
        self._pump(near, far, limit)
        back.join()
        near.close()
        far.close()

    def _pump(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        carried = 0
        try:
            while piece := source.recv(1 << 12):
                carried += len(piece)
                if limit is not None and carried > limit:
                    self.broken += 1
                    for end in (source, target):
                        end.shutdown(socket.SHUT_RDWR)
                    return
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_broken_connections_do_no_harm(server, pair, tmp_path):
    """Uploads, the stream of events and downloads each break several times."""
    counts: dict[str, int] = {}

    def most_bytes(line: str) -> int | None:
        for word, limit in (("/uploads/", 4000), ("/events", 300), ("/files/", 2000)):
            if word in line:
                counts[word] = counts.get(word, 0) + 1
                return limit if counts[word] <= 4 else None
        return None

    line = BadLine(server.port, most_bytes)
    told: list[str] = []
    with RemoteClient(line.address, TOKEN) as client:
        outcome = client.run(register(pair, tmp_path / "out", refine=3), lambda step, fraction: told.append(step))
    line.close()
    assert line.broken >= 8
    assert outcome.report["folded_voxels"] == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(outcome.files)
    with server.client() as client:
        client.run(register(pair, tmp_path / "direct", refine=3))
    for name in ("jacobian.nii.gz", "warped.nii.gz", "velocity.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "direct" / name).read_bytes()


def test_cancel_when_the_server_has_gone_silent(server, pair, tmp_path):
    silent = threading.Event()

    def most_bytes(line: str) -> int | None:
        return 0 if silent.is_set() else None

    line = BadLine(server.port, most_bytes)
    with RemoteClient(line.address, TOKEN) as client:
        job = client.submit(register(pair, tmp_path / "out", refine=LONG))
        begun(client, job, "refine")
        silent.set()
        start = time.monotonic()
        job.cancel()
        with pytest.raises(JobError) as caught:
            client.wait(job, 20)
        assert caught.value.cause == "cancelled"
        assert time.monotonic() - start < 8
    line.close()
    (row,) = (row for row in server.ask("GET", "/v1/status").message["jobs"] if row["state"] == "running")
    (folder,) = (server.folder / "jobs").glob(f"{row['job']}*")
    server.ask("DELETE", f"/v1/jobs/{folder.name}")


def test_no_server_is_told(tmp_path, pair, monkeypatch):
    monkeypatch.setattr("MMLNRegistrationLib.backend.errand._SECONDS_TO_CONNECT", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with RemoteClient(f"http://127.0.0.1:{port}", TOKEN) as client:
        with pytest.raises(JobError, match=r"127.0.0.1 cannot be reached: Connection refused") as caught:
            client.run(register(pair, tmp_path / "out"))
        assert caught.value.cause == "failed"


class _Strange(BaseHTTPRequestHandler):
    answers: dict[str, bytes]

    def do_GET(self) -> None:
        content = next((value for path, value in self.answers.items() if path in self.path), b"{}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    do_DELETE = do_GET  # noqa: N815 the name is http.server's

    def log_message(self, format: str, *words: object) -> None:
        pass


def strange_event(**event: object) -> bytes:
    return json.dumps({"number": 1, "event": {"protocol": 1, "id": "x", **event}}).encode() + b"\n"


LIMITS = json.dumps({"limits": {"suffixes": [".nii.gz"], "upload_bytes": 10**9}}).encode()


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"status": b"<html>"}, "no JSON"),
        ({"status": b"[]"}, "no JSON object"),
        ({"status": LIMITS, "events": b"nonsense\n"}, "does not understand"),
        ({"status": LIMITS, "events": strange_event(kind="result", files={"../../x": "x"}, report={})}, "as no server"),
        ({"status": LIMITS, "events": strange_event(kind="result", files={".bashrc": "x"}, report={})}, "as no server"),
    ],
)
def test_strange_servers(answers, words, pair, tmp_path):
    handler = type("Handler", (_Strange,), {"answers": answers})
    with HTTPServer(("127.0.0.1", 0), handler) as strange:
        threading.Thread(target=strange.serve_forever, args=(0.05,), daemon=True).start()
        with RemoteClient(f"http://127.0.0.1:{strange.server_port}", TOKEN, patience_seconds=0.1) as client:
            with pytest.raises(JobError, match=words) as caught:
                client.run(register(pair, tmp_path / "out"))
            assert caught.value.cause == "failed"
        strange.shutdown()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["", "gpu", "ftp://x", "http://", "http://x:port", "https://x/?a=b"])
def test_what_is_no_address(address):
    with pytest.raises(InputError, match="no address of a server"):
        RemoteClient(address, TOKEN)
    with pytest.raises(InputError, match="token"):
        RemoteClient("http://localhost", "two\nlines")


def test_closed_client(server, pair, tmp_path):
    client = server.client()
    told: list[object] = []
    job = client.submit(register(pair, tmp_path / "out", refine=LONG), on_error=told.append)
    folder = client.new_folder()
    begun(client, job, "refine")
    client.close()
    client.close()
    assert (job.error.cause, told, client.busy) == ("cancelled", [], False)
    assert not folder.parent.exists()
    until(lambda: not server.files())
    with pytest.raises(InputError, match="is closed"):
        client.submit(Info())
    assert list(tmp_path.iterdir()) == []


def test_needs_the_standard_library_alone():
    code = (
        f"import sys; sys.path.insert(0, {str(SOURCE_ROOT)!r}); from MMLNRegistrationLib.backend import remote; "
        "names = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names; "
        "print(*sorted(name for name in names if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["MMLNRegistrationLib"]


FAST = ("--initial", "identity", "--refine", "1", "--model", "none")


def test_command_line(server, pair, run, tmp_path, monkeypatch):
    words = ("register", pair.fixed, pair.moving, "--output", tmp_path / "out", "--server", server.address, *FAST)
    monkeypatch.delenv("MMLN_TOKEN", raising=False)
    outcome = run(*words)
    assert outcome.code == 2
    assert "--token-file, or set the variable MMLN_TOKEN" in one_sentence(outcome.complaints)
    monkeypatch.setenv("MMLN_TOKEN", "wrong")
    outcome = run(*words)
    assert outcome.code == 2
    assert outcome.complaints[-1] == "mmln: The server 127.0.0.1 does not accept the token."
    outcome = run(*words, "--token-file", server.temporary / "token")
    assert outcome.code == 0
    assert re.match(r"Similarity .* 0 folded voxels", outcome.stdout)
    assert (tmp_path / "out" / "transform.h5").exists()
    monkeypatch.setenv("MMLN_TOKEN", TOKEN)
    atlas = f"{pair.moving}={pair.labels}"
    outcome = run(
        "propagate", pair.fixed, "--atlas", atlas, "--output", tmp_path / "two", "--server", server.address, *FAST
    )
    assert outcome.code == 0
    assert (tmp_path / "two" / "labels.nii.gz").exists()


def test_interrupted_command_line_takes_its_job_along(server, pair, tmp_path):
    words = ["register", pair.fixed, pair.moving, "--output", tmp_path / "out", "--server", server.address]
    words += ["--initial", "identity", "--refine", LONG, "--model", "none"]
    with subprocess.Popen(
        [sys.executable, "-m", "MMLNRegistrationLib", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "MMLN_TOKEN": TOKEN},
    ) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("refine"):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().splitlines()[-1] == "mmln: Interrupted; nothing was written."
        assert process.wait(20) == 130
    until(lambda: not server.files())
    assert list(tmp_path.iterdir()) == []


def test_command_line_does_not_load_torch(tmp_path):
    code = "import sys; from MMLNRegistrationLib.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    words = ["register", "a.nii", "b.nii", "--output", "out", "--server", "http://127.0.0.1:1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "MMLN_TOKEN": TOKEN},
    )
    assert done.stdout.split() == ["False"]
    assert "a.nii does not exist" in done.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--token-file", "missing"), "cannot be read"),
        (("--ssl-certfile", "missing"), "certificate or its key cannot be used"),
        (("--port", "PORT"), "cannot be used; choose another port"),
        (("--folder", "FOLDER"), "Another server uses the folder"),
        (("--folder", "OPEN"), "Others can read the folder"),
    ],
)
def test_serve_refuses(options, words, server, run, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    names = {"PORT": server.port, "FOLDER": server.folder, "OPEN": tmp_path / "open", "missing": tmp_path / "missing"}
    given = [names.get(word, word) for word in options]
    if "--folder" not in given:
        given += ["--folder", tmp_path / "own"]
    if "--port" not in given:
        given += ["--port", 0]
    outcome = run("serve", *given)
    assert outcome.code == 2
    assert words in outcome.complaints[-1]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_encrypted(tmp_path, monkeypatch):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    server = Server(tmp_path / "", "--ssl-certfile", certificate, "--ssl-keyfile", key)
    try:
        assert server.address.startswith("https://127.0.0.1:")
        address = f"https://localhost:{server.port}"
        with RemoteClient(address, TOKEN) as client, pytest.raises(JobError, match="is not trusted"):
            client.run(Info())
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with RemoteClient(address, TOKEN) as client:
            assert client.run(Info()).report["automatic_device"] == "cpu"
    finally:
        server.stop()


def test_warns_where_nothing_is_encrypted(tmp_path):
    server = Server(tmp_path, "--host", "0.0.0.0")
    server.stop()
    assert any("unencrypted" in line for line in server.lines)
    assert not RemoteClient("http://localhost:1", TOKEN).sends_in_clear
    assert RemoteClient("http://gpu.example.org", TOKEN).sends_in_clear
    assert not RemoteClient("https://gpu.example.org", TOKEN).sends_in_clear
