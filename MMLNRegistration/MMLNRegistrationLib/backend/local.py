"""The client of a worker on this machine: starts it, keeps it, and asks it for work. Needs the standard library alone.

    with LocalClient() as client:
        outcome = client.run(Register(fixed=..., moving=..., output=...))

In a program with an event loop nothing must wait: there `submit` returns at once, and a timer calls `poll`, which
calls the callbacks in the thread that it is called in. A client belongs to one thread.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import InputError
from ..writing import PARTIAL_PREFIX, partial_folders
from .client import Client
from .jobs import Job, JobError, OnEntry, OnError, OnProgress, OnResult, job_error
from .messages import (
    Cancel,
    CheckData,
    EntryEvent,
    ErrorEvent,
    Event,
    HelloEvent,
    Info,
    Outcome,
    ProgressEvent,
    ResultEvent,
    Shutdown,
    Train,
    Work,
)
from .private_folder import PrivateFolder, new_private_folder
from .protocol import encode_request
from .request_files import with_absolute_paths
from .worker_process import Said, WorkerProcess

_SECONDS_TO_CANCEL = 5.0
_SECONDS_TO_CANCEL_TRAINING = 120.0
"""What a training that has begun gets to end its step and write a checkpoint."""

_TRIES = 2


class LocalClient(Client):
    """A worker of one's own. It starts with `start` or a request, and again after it has crashed or gone to sleep."""

    def __init__(
        self,
        python: str | Path | None = None,
        *,
        idle_seconds: float | None = 900.0,
        orphan_seconds: float | None = None,
        environment: Mapping[str, str] | None = None,
        on_log: Callable[[str], None] | None = None,
    ) -> None:
        """python: the interpreter, in Slicer its launcher PythonSlicer; by default the one that runs here.

        idle_seconds: the worker ends after so long without work, None for never. orphan_seconds: what it gives a
        training to end its step when this process has died, by default as long as on a cancel. environment: of the
        worker, by default that of this process. on_log: called by poll with each line that the worker writes about
        itself.
        """
        self._python = str(python or sys.executable)
        self._idle_seconds, self._orphan_seconds = idle_seconds, orphan_seconds
        self._environment = dict(os.environ if environment is None else environment)
        self._on_log = on_log
        self._inbox: queue.SimpleQueue[Said] = queue.SimpleQueue()
        self._folder: PrivateFolder | None = None
        self._process: WorkerProcess | None = None
        self._waiting: deque[Job] = deque()
        self._current: Job | None = None
        self._tries = 0
        self._is_cancelling = False
        self._kill_at: float | None = None
        self._complaint = ""
        self._is_closed = False
        self.hello: HelloEvent | None = None
        """What the worker said of itself; None while there is none, or it is starting."""

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits. While it is so, poll has to be called."""
        return self._current is not None or bool(self._waiting)

    @property
    def is_starting(self) -> bool:
        """See Client."""
        return self._process is not None and self.hello is None

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines that the present worker wrote about itself."""
        return tuple(self._process.log) if self._process else ()

    def new_folder(self) -> Path:
        """A new folder for volumes to pass to the worker and for its results, which goes when the client is closed."""
        return Path(tempfile.mkdtemp(prefix="job-", dir=self._private_folder().path))

    def start(self) -> None:
        """Start the worker, if it does not run: before there is work, the first request need not wait for torch then.

        Raises InputError when it cannot be started.
        """
        if self._is_closed:
            raise InputError("The client is closed; make a new one.")
        if self._process is not None:
            return
        self._complaint = ""
        try:
            self._process = WorkerProcess(
                self._python,
                self._private_folder().path,
                self._idle_seconds,
                self._orphan_seconds,
                self._environment,
                self._inbox,
            )
        except OSError as error:
            raise InputError(
                f"The worker cannot be started by {self._python} ({error.strerror}); give a Python that has torch."
            ) from error

    def submit(
        self,
        request: Work,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_entry: OnEntry | None = None,
    ) -> Job:
        """Ask for work; requests are done one after the other. Returns at once, relative paths start here and now.

        Raises InputError when the request cannot be sent, or the worker cannot be started.
        """
        job = Job(
            uuid.uuid4().hex,
            with_absolute_paths(request),
            on_progress,
            on_entry,
            on_result,
            on_error,
            self._cancel,
        )
        encode_request(job.id, job.request)  # now, so that whoever asks learns what is wrong with it
        self.start()
        self._waiting.append(job)
        self._send_next()
        return job

    def poll(self, seconds: float = 0.0) -> None:
        """Call the callbacks for all that has happened; wait up to so many seconds for something to happen."""
        with suppress(queue.Empty):
            self._handle(self._inbox.get(timeout=seconds) if seconds > 0 else self._inbox.get_nowait())
            while True:
                self._handle(self._inbox.get_nowait())
        if self._kill_at is not None and time.monotonic() > self._kill_at and self._process:
            self._kill_at = None
            self._process.kill()
        self._send_next()

    def close(self, seconds: float = 3.0) -> None:
        """End the worker, by force after so many seconds, and remove the private folder.

        Jobs that are not done end as cancelled; their callbacks are not called. A second time does nothing.
        """
        self._is_closed = True
        jobs = [*([self._current] if self._current else []), *self._waiting]
        if self._process is not None:
            with suppress(OSError):
                self._process.send(encode_request("end", Shutdown()))
            self._process.end(seconds)
        if self._current is not None:
            _remove_partial(self._current)
        self._current, self._process, self.hello = None, None, None
        self._waiting.clear()
        for job in jobs:
            job.fail(JobError("cancelled", "The client was closed."), silently=True)
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> LocalClient:
        return self

    def _private_folder(self) -> PrivateFolder:
        """The folder; a new one when somebody has tidied up the system's temporary files."""
        if self._folder is None or not self._folder.path.is_dir():
            self._folder = new_private_folder()
        return self._folder

    def _send_next(self) -> None:
        """Send the next request, one at a time: what a crash takes with it is then never more than one."""
        if self._current is not None or not self._waiting:
            return
        try:
            self.start()
        except InputError as error:
            self._waiting.popleft().fail(JobError("failed", str(error)))
            return
        self._current = self._waiting.popleft()
        self._tries += 1
        self._write(encode_request(self._current.id, self._current.request))

    def _write(self, line: bytes) -> None:
        assert self._process is not None
        with suppress(OSError):  # the worker is about to end, which the thread that listens to it tells
            self._process.send(line)

    def _cancel(self, job: Job) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
            job.fail(JobError("cancelled", "Cancelled."))
        elif job is self._current and not self._is_cancelling:
            self._is_cancelling = True
            self._write(encode_request(job.id, Cancel()))
            in_order = isinstance(job.request, Train) and job.begun
            seconds = _SECONDS_TO_CANCEL_TRAINING if in_order else _SECONDS_TO_CANCEL
            self._kill_at = time.monotonic() + seconds

    def _handle(self, said: Said) -> None:
        if said.process is not self._process:
            return
        if said.what is None:
            self._ended()
        elif isinstance(said.what, str):
            if self._on_log is not None:
                self._on_log(said.what)
        else:
            self._handle_event(said.what)

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, HelloEvent):
            self.hello = event
            return
        job = self._current
        if isinstance(event, ErrorEvent) and event.id is None:
            self._complaint = event.sentence
        elif job is None or event.id != job.id:
            return
        elif isinstance(event, ProgressEvent):
            job.tell_progress(event.step, event.fraction)
        elif isinstance(event, EntryEvent):
            job.tell_entry(event.entry)
        else:
            self._release()
            if isinstance(event, ResultEvent):
                job.finish(Outcome(event.files, event.report))
            else:
                job.fail(job_error(event))

    def _release(self) -> None:
        """The current job needs the worker no more."""
        self._current, self._kill_at, self._is_cancelling, self._tries = None, None, False, 0

    def _ended(self) -> None:
        """The worker's process is over."""
        assert self._process is not None
        process, was_ready, job = self._process, self.hello is not None, self._current
        assert process.code is not None
        self._process, self.hello = None, None
        if self._folder is not None and self._folder.path.is_dir():
            self._folder.empty_scratch()
        if job is None:
            return
        if not (job.begun or self._is_cancelling) and was_ready and process.code == 0 and self._tries < _TRIES:
            self._current = None  # it went to sleep just as the request came
            self._waiting.appendleft(job)
            return
        _remove_partial(job)
        error = JobError("cancelled", "Cancelled.") if self._is_cancelling else self._crash(job, process, process.code)
        self._release()
        job.fail(error)

    def _crash(self, job: Job, process: WorkerProcess, code: int) -> JobError:
        if self._complaint:
            return JobError("failed", self._complaint)
        if job.begun:
            return JobError(
                "failed",
                f"The worker ended in the middle of the work ({_how(code)}); the next request starts it again.",
            )
        last = next((line.strip() for line in reversed(process.log) if line.strip()), "it wrote nothing")
        return JobError("failed", f"The worker could not be started by {self._python} ({_how(code)}): {last}")


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
        return f"killed by {name}, perhaps for want of memory" if name == "SIGKILL" else f"ended by {name}"
    return f"ended by signal {-code}"


def _remove_partial(job: Job) -> None:
    """Remove what a worker has left of unfinished results that could not do so itself."""
    if not isinstance(job.request, Train | CheckData | Info):
        for folder in partial_folders(job.request.output, f"{PARTIAL_PREFIX}{job.id}"):
            shutil.rmtree(folder, ignore_errors=True)
    for parent in job.new_parents:
        with suppress(OSError):  # somebody has put something there
            parent.rmdir()
