"""What the panels share: the worker, threads for files, and the timer that brings their news to the main thread."""

from __future__ import annotations

import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt

from ..backend.client import Client
from ..backend.jobs import Job, OnEntry, OnError, OnProgress, OnResult
from ..backend.local import LocalClient
from ..backend.messages import Work
from ..backend.remote import RemoteClient
from ..errors import InputError
from . import installation

_MILLISECONDS_BETWEEN_LOOKS = 20


@dataclass(frozen=True)
class LastRegistration:
    """What was registered last, for the panels that go on with it: IDs of nodes, which may be gone by now.

    folder: of the result's files, velocity.safetensors and report.json among them.
    """

    fixed_id: str
    moving_id: str
    transform_id: str
    folder: Path


class Session:
    """One worker for all panels, from the module's first use to its end. Belongs to the main thread."""

    def __init__(self, python: str | Path | None = None) -> None:
        """python: what the worker runs in, by default Slicer's own."""
        self._python = python
        self._server, self._token = "", ""
        self._client: Client | None = None
        self._news: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._threads = 0
        self._is_closed = False
        self._timer = qt.QTimer()
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._poll)
        self.last: LastRegistration | None = None
        """What Register made last, None when it has made nothing in this scene."""
        self.on_log: Callable[[str], None] | None = None
        """Called with each line that a local worker writes about itself."""

    @property
    def client(self) -> Client:
        """The local worker's client, or that of the server in use. It is made when it is first needed."""
        if self._is_closed:
            raise InputError("The module was closed; open it again.")
        if self._client is None:
            if self._server:
                self._client = RemoteClient(self._server, self._token)
            else:
                self._client = LocalClient(self._python or slicer_python(), on_log=self._log)
        return self._client

    @property
    def is_remote(self) -> bool:
        """Whether a server does the work."""
        return bool(self._server)

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits, or a thread is at work."""
        return self._threads > 0 or (self._client is not None and self._client.busy)

    def use(self, server: str, token: str) -> None:
        """Work on a server from now on, or, when its address is empty, here; a token counts for nothing then.

        Raises InputError for what is no address, and while there is work that would be lost.
        """
        token = token if server else ""
        if (server, token) == (self._server, self._token):
            return
        if self.busy:
            raise InputError("There is work under way; wait for its end or cancel it before you change the server.")
        client = RemoteClient(server, token) if server else None
        if self._client is not None:
            self._client.leave()
        self._client, self._server, self._token = client, server, token

    def ready(self) -> bool:
        """Whether there is torch to work with. Where it is missing the user is asked whether to install it."""
        return self.is_remote or installation.ensure_torch()

    def warm(self) -> None:
        """Let the worker on this machine start before there is work: that need not wait for Python and torch then.

        Returns at once. Where there is a server, no torch, or something in the way nothing happens: the first request
        says why.
        """
        if self.is_remote or self._is_closed or self.busy or not installation.is_complete():
            return
        with suppress(InputError, OSError):
            self.client.poll()  # perhaps it has gone to sleep meanwhile
            self.client.start()
            self._timer.start()

    def submit(
        self,
        request: Work,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_entry: OnEntry | None = None,
    ) -> Job:
        """Ask the worker for something. Returns at once; the callbacks come on the main thread.

        Raises InputError when the request cannot be sent.
        """
        job = self.client.submit(request, on_progress, on_result, on_error, on_entry)
        self._timer.start()
        return job

    def in_thread(
        self,
        work: Callable[[], Any],
        on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None],
    ) -> None:
        """Do what waits for the disk in a thread, and tell of its end on the main thread.

        work must not touch the scene or a widget. After close nobody is told.
        """

        def tell(call: Callable[[Any], None], value: Any) -> None:
            def arrive() -> None:
                self._threads -= 1
                call(value)

            self._news.put(arrive)

        def run() -> None:
            try:
                result = work()
            except Exception as error:
                tell(on_error, error)
            else:
                tell(on_done, result)

        self._threads += 1
        threading.Thread(target=run, name="MMLNRegistration files", daemon=True).start()
        self._timer.start()

    def new_folder(self) -> Path:
        """A new private folder, which goes when the session is closed."""
        return self.client.new_folder()

    def close(self) -> None:
        """End the worker and remove its files, without waiting for it. Work that is under way ends, nobody is told.

        A second time does nothing.
        """
        self._is_closed = True
        self._timer.stop()
        if self._client is not None:
            self._client.leave()
        self._client = None

    def _log(self, line: str) -> None:
        if self.on_log is not None:
            self.on_log(line)

    def _poll(self) -> None:
        if self._client is not None:
            self._client.poll()
        while not self._news.empty():
            self._news.get_nowait()()
        if not self.busy and not (self._client is not None and self._client.is_starting):
            self._timer.stop()


def worker_environment() -> dict[str, str]:
    """The variables of a process that is to find this package: those that are set here, and the way to it."""
    source = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}


def slicer_python() -> str:
    """The interpreter with Slicer's packages: its launcher PythonSlicer, or the one that runs here.

    Raises InputError when this process is no interpreter and the launcher is missing.
    """
    launcher = shutil.which("PythonSlicer")
    if launcher is not None:
        return launcher
    if Path(sys.executable).name.lower().startswith("python"):
        return sys.executable
    raise InputError("Slicer's own Python, PythonSlicer, is not to be found; install Slicer again.")
