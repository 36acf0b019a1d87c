"""The worker starts when the module is opened, and ends when it is closed, and the window waits for neither."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import pytest
from mrml import slicer
from register_cases import SECONDS, add_pair, be_quick, faulty_python, open_panel, register

pytest.importorskip("PySide6")
pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))  # backend_cases

LONG = 1000
MOST_SECONDS = 0.3
TRIES = 3
"""Other programs on the machine stop us too, so that the best try counts."""
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX shells")


@pytest.fixture
def clients(slicer_host, monkeypatch):
    """The local clients that sessions make from now on."""
    from MMLNRegistrationLib.backend.local import LocalClient

    made: list[LocalClient] = []

    class Noted(LocalClient):
        """One that is noted down."""

        def start(self) -> None:
            """Start it."""
            super().start()
            self.child = self._process._process

    def make(python, on_log=None):
        made.append(Noted(python, on_log=on_log))
        return made[-1]

    monkeypatch.setattr("MMLNRegistrationLib.gui.session.LocalClient", make)
    return made


def wait_for_the_end(host, client, folder: Path) -> None:
    """Until the process and its folder are gone, as is the thread that sees to it."""
    host.wait_until(lambda: client.child.poll() is not None and not folder.exists(), SECONDS)
    host.wait_until(lambda: not [t for t in threading.enumerate() if t.name == "end of a client"], SECONDS)


def close(host) -> float:
    """Unload the module; the seconds for which the window was blocked."""
    began = time.perf_counter()
    host.unload_module("MMLNRegistration")
    return time.perf_counter() - began


def test_the_worker_is_warm_before_the_first_click(slicer_host, clients):
    panel = open_panel(slicer_host)
    (client,) = clients
    slicer_host.wait_until(lambda: client.hello is not None, SECONDS)
    pid, folder = client.hello.pid, client.hello.folder
    assert not panel.session.busy
    add_pair()
    slicer_host.process_events(0.05)
    be_quick(panel, 2)
    register(slicer_host, panel)
    assert panel.ui.message.text == ""
    assert (client.hello.pid, len(clients)) == (pid, 1)
    close(slicer_host)
    wait_for_the_end(slicer_host, client, folder)


def test_it_starts_again_when_the_module_is_opened_after_a_long_time(slicer_host, clients):
    from backend_cases import alive

    panel = open_panel(slicer_host)
    (client,) = clients
    slicer_host.wait_until(lambda: client.hello is not None, SECONDS)
    first = client.hello.pid
    client._process.close_input()  # as if it had gone to sleep
    slicer_host.wait_until(lambda: not alive(first), SECONDS)
    widget = slicer.modules.mmlnregistration.widgetRepresentation()
    widget.exit()
    slicer_host.process_events(0.3)
    widget.enter()
    slicer_host.wait_until(lambda: client.hello is not None and client.hello.pid != first, SECONDS)
    assert panel.ui.message.text == ""


def name_server(panel, address: str, token: str) -> None:
    """Fill in both lines as a user does, one after the other."""
    for line, text in ((panel.ui.server, address), (panel.ui.token, token)):
        line.text = text
        line.editingFinished.emit()


def test_back_from_a_server_the_worker_starts_again(slicer_host, clients):
    panel = open_panel(slicer_host)
    slicer_host.wait_until(lambda: clients[0].hello is not None, SECONDS)
    first = clients[0].hello
    name_server(panel, "http://localhost:1", "token")
    assert panel.session.is_remote
    slicer_host.wait_until(lambda: clients[0].child.poll() is not None, SECONDS)
    name_server(panel, "", "")  # between the two lines there is a token without an address
    assert not panel.session.is_remote
    slicer_host.wait_until(lambda: clients[-1].hello is not None, SECONDS)
    assert clients[-1].hello.pid != first.pid
    assert len(clients) == 2
    assert panel.ui.message.text == ""
    folder = clients[1].hello.folder
    close(slicer_host)
    wait_for_the_end(slicer_host, clients[1], folder)


def test_a_server_that_was_never_reached_holds_the_worker_back_only_while_it_is_named(slicer_host, clients):
    import qt

    qt.QSettings().setValue("MMLNRegistration/Server", "https://gpu.example.org")
    panel = open_panel(slicer_host)
    slicer_host.process_events(0.1)
    assert clients == []
    name_server(panel, "", "")
    (client,) = clients
    slicer_host.wait_until(lambda: client.hello is not None, SECONDS)
    assert panel.ui.message.text == ""


def test_lines_left_as_they_were_wake_nobody(slicer_host, clients):
    panel = open_panel(slicer_host)
    (client,) = clients
    slicer_host.wait_until(lambda: client.hello is not None, SECONDS)
    client._process.close_input()  # as if it had gone to sleep
    slicer_host.wait_until(lambda: client.child.poll() is not None, SECONDS)
    name_server(panel, "", "token of a server that is not named yet")
    name_server(panel, "", "")
    slicer_host.process_events(0.1)
    assert clients == [client]
    assert client.child.poll() is not None


def test_opening_does_not_block(slicer_host, clients):
    panel = open_panel(slicer_host)
    session, seconds = panel.session, []
    for _ in range(TRIES):
        session.use("http://localhost:1", "token")  # the worker is left
        session.use("", "")
        with slicer_host.gaps:
            began = time.perf_counter()
            session.warm()
            seconds.append(time.perf_counter() - began)
    assert len(clients) == TRIES + 1
    assert min(seconds) < 0.1, seconds
    close(slicer_host)
    slicer_host.wait_until(lambda: all(client.child.poll() is not None for client in clients), SECONDS)


def test_without_torch_nothing_starts(slicer_host, clients, monkeypatch):
    monkeypatch.setattr("MMLNRegistrationLib.gui.installation.is_there", lambda module: module != "torch")
    panel = open_panel(slicer_host)
    slicer_host.process_events(0.1)
    assert clients == []
    assert panel.ui.message.text == ""
    assert slicer_host.dialogs.texts == []


def test_with_a_server_nothing_starts(slicer_host, clients):
    import qt

    qt.QSettings().setValue("MMLNRegistration/Server", "https://gpu.example.org")
    open_panel(slicer_host)
    slicer_host.process_events(0.1)
    assert clients == []


@posix
@pytest.mark.parametrize("code", ["sys.exit('no such library')", None])
def test_what_goes_wrong_is_said_by_the_first_click(slicer_host, clients, tmp_path, monkeypatch, code):
    launcher = faulty_python(tmp_path, code) if code else str(tmp_path / "none")
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.slicer_python", lambda: launcher)
    panel = open_panel(slicer_host)
    add_pair()
    (client,) = clients
    slicer_host.wait_until(lambda: not client.is_starting, SECONDS)
    slicer_host.process_events(0.1)
    assert panel.ui.message.text == ""
    assert slicer_host.dialogs.texts == []
    slicer_host.click(panel.ui.registerButton)
    slicer_host.wait_until(lambda: panel.run is None, SECONDS)
    assert "cannot be started" in panel.ui.message.text or "could not be started" in panel.ui.message.text


def test_closing_does_not_wait_for_what_runs(slicer_host, clients):
    seconds = []
    for _ in range(TRIES):
        panel = open_panel(slicer_host)
        client = clients[-1]
        slicer_host.wait_until(lambda client=client: client.hello is not None, SECONDS)
        if not seconds:
            add_pair()
        slicer_host.process_events(0.05)
        be_quick(panel, LONG)
        slicer_host.click(panel.ui.registerButton)
        slicer_host.wait_until(lambda panel=panel: panel.ui.status.text.startswith("Refining"), SECONDS)
        folder = client.hello.folder
        seconds.append(close(slicer_host))
        wait_for_the_end(slicer_host, client, folder)
    print(f"closed in {[round(1000 * value) for value in seconds]} ms")
    assert min(seconds) < MOST_SECONDS


def test_closing_while_the_worker_starts(slicer_host, clients):
    panel = open_panel(slicer_host)
    (client,) = clients
    assert client.is_starting
    folder = panel.session.new_folder().parent
    assert close(slicer_host) < MOST_SECONDS
    wait_for_the_end(slicer_host, client, folder)


@posix
def test_a_worker_that_does_not_listen_is_killed(slicer_host, clients, tmp_path, monkeypatch):
    launcher = faulty_python(tmp_path, "time.sleep(1000)")
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.slicer_python", lambda: launcher)
    panel = open_panel(slicer_host)
    folder = panel.session.new_folder().parent
    assert close(slicer_host) < MOST_SECONDS
    assert clients[0].child.poll() is None
    wait_for_the_end(slicer_host, clients[0], folder)


def test_files_that_are_being_written_do_not_come_back(slicer_host, clients):
    from MMLNRegistrationLib.gui.volume_files import write_files

    class Slow:
        """A file that takes its time."""

        def write(self, path: Path) -> None:
            """Write it."""
            with path.open("wb") as stream:
                time.sleep(0.5)
                stream.write(b"x")

    session = open_panel(slicer_host).session
    folder = session.new_folder()
    told: list[object] = []
    files = {folder / name / "a.nrrd": Slow() for name in ("one", "two", "three", "four", "five", "six")}
    write_files(session, files, lambda: told.append("done"), told.append)
    close(slicer_host)
    wait_for_the_end(slicer_host, clients[0], folder.parent)
    slicer_host.wait_until(
        lambda: not [t for t in threading.enumerate() if t.name == "MMLNRegistration files"], SECONDS
    )
    assert not folder.parent.exists()
    assert told == []
