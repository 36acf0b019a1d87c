"""The client of a server (see docs/server.md), with the surface of the local one. Needs the standard library alone.

    with RemoteClient("https://gpu.example.org", token) as client:
        outcome = client.run(Register(fixed=..., moving=..., output=...))

Volumes are uploaded, results arrive in the request's output folder. A broken connection does no harm: the client comes
back and goes on waiting. What it is doing while it does not poll, it does in threads of its own.
"""

from __future__ import annotations

import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from .client import Client
from .errand import Errand
from .job_requests import Served
from .jobs import Job, JobError, OnEntry, OnError, OnProgress, OnResult
from .messages import Outcome, Work
from .private_folder import PrivateFolder, new_private_folder
from .protocol import encode_request
from .request_files import with_absolute_paths
from .server_connection import ServerConnection

_AT_ONCE = 8
"""Jobs that are on their way or in the server's queue at the same time; more wait here."""

_SECONDS_TO_CANCEL = 5.0


class _News(NamedTuple):
    """What a job's thread has to tell."""

    job: Job
    what: tuple[str, float] | Mapping[str, Any] | Outcome | JobError


class RemoteClient(Client):
    """A server's worker, used as if it were here."""

    def __init__(self, server: str, token: str, *, patience_seconds: float = 600.0) -> None:
        """server: http://HOST:PORT or https://HOST. patience_seconds: how long a server may be silent, as when it is
        started anew, before its jobs are given up.

        Raises InputError for what is no address or token.
        """
        self._connection = ServerConnection(server, token, uuid.uuid4().hex)
        self._patience_seconds = patience_seconds
        self._inbox: queue.SimpleQueue[_News] = queue.SimpleQueue()
        self._errands: dict[Job, Errand] = {}
        self._cancelled_at: dict[Job, float] = {}
        self._places = threading.Semaphore(_AT_ONCE)
        self._folder: PrivateFolder | None = None
        self._is_closed = False

    @property
    def busy(self) -> bool:
        """See Client."""
        return bool(self._errands)

    @property
    def is_starting(self) -> bool:
        """See Client."""
        return False

    @property
    def sends_in_clear(self) -> bool:
        """Whether the token and the volumes go unencrypted over a network."""
        return not self._connection.is_encrypted and self._connection.host not in ("localhost", "127.0.0.1", "::1")

    def new_folder(self) -> Path:
        """See Client."""
        if self._folder is None or not self._folder.path.is_dir():
            self._folder = new_private_folder()
        return Path(tempfile.mkdtemp(prefix="job-", dir=self._folder.path))

    def start(self) -> None:
        """Nothing: the server's workers are warm."""

    def submit(
        self,
        request: Work,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_entry: OnEntry | None = None,
    ) -> Job:
        """See Client. Jobs may be done in any order, and several at once."""
        if self._is_closed:
            raise InputError("The client is closed; make a new one.")
        if not isinstance(request, Served):
            raise InputError("A server does not take such a request; carry it out on your own machine.")
        key = uuid.uuid4().hex
        request = with_absolute_paths(request)
        job = Job(key, request, on_progress, on_entry, on_result, on_error, self._cancel)
        encode_request(key, job.request)  # now, so that whoever asks learns what is wrong with it

        def tell(step: str, fraction: float) -> None:
            self._inbox.put(_News(job, (step, fraction)))

        def enter(entry: Mapping[str, Any]) -> None:
            self._inbox.put(_News(job, entry))

        errand = Errand(key, request, self._connection, tell, enter, self._patience_seconds)
        self._errands[job] = errand
        threading.Thread(target=self._go, args=(job, errand), name=f"job {key[:8]}", daemon=True).start()
        return job

    def poll(self, seconds: float = 0.0) -> None:
        """See Client."""
        with suppress(queue.Empty):
            self._handle(self._inbox.get(timeout=seconds) if seconds > 0 else self._inbox.get_nowait())
            while True:
                self._handle(self._inbox.get_nowait())
        for job, asked_at in list(self._cancelled_at.items()):
            if time.monotonic() - asked_at > _SECONDS_TO_CANCEL:  # the server does not answer
                self._handle(_News(job, JobError("cancelled", "Cancelled.")))

    def close(self, seconds: float = 3.0) -> None:
        """See Client."""
        self._is_closed = True
        threads = [errand.cancel() for errand in self._errands.values()]
        for job in self._errands:
            job.fail(JobError("cancelled", "The client was closed."), silently=True)
        self._errands.clear()
        end = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0.0))
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> RemoteClient:
        return self

    def _go(self, job: Job, errand: Errand) -> None:
        with self._places:
            try:
                self._inbox.put(_News(job, errand.run()))
            except JobError as error:
                self._inbox.put(_News(job, error))
            except Exception as error:  # the thread's end must not be the end of all news
                self._inbox.put(
                    _News(job, JobError("failed", f"The client has failed ({type(error).__name__}: {error})."))
                )

    def _cancel(self, job: Job) -> None:
        if job not in self._cancelled_at:
            self._cancelled_at[job] = time.monotonic()
            self._errands[job].cancel()

    def _handle(self, news: _News) -> None:
        job, what = news
        if job.done or self._is_closed:
            return
        if isinstance(what, tuple):
            job.tell_progress(*what)
            return
        if isinstance(what, Mapping):
            job.tell_entry(what)
            return
        del self._errands[job]
        self._cancelled_at.pop(job, None)
        if isinstance(what, Outcome):
            job.finish(what)
        else:
            job.fail(what)
