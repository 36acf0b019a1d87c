"""The worker: a process that reads requests from its standard input and answers on its standard output.

    python -m MMLNRegistrationLib.backend.worker [--folder DIR] [--idle SECONDS] [--orphan SECONDS]

It keeps torch, the device and networks warm between requests, which it carries out one by one, in their order. The
standard output belongs to the protocol alone: whatever else is printed, by libraries too, goes to the standard error.
The worker ends when its standard input is closed, which is what the death of its client looks like.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from .. import __version__
from ..errors import InputError
from ..processors import share_processors
from ..writing import PARTIAL_PREFIX, partial_folders
from .cancelling import Cancelling, Task
from .failures import CANCELLED, Failure, breaks_the_device, failure_of
from .messages import (
    Cancel,
    CheckData,
    EntryEvent,
    ErrorEvent,
    Event,
    HelloEvent,
    Info,
    ProgressEvent,
    Request,
    ResultEvent,
    Shutdown,
    Train,
)
from .private_folder import PrivateFolder, join_private_folder, new_private_folder
from .protocol import ProtocolError, encode_event, oversized_line, parse_request, read_lines

if TYPE_CHECKING:
    from .runner import Runner

BEGIN_STEP = "begin"
"""The step of the progress that says that a request has been taken up."""

_SECONDS_BETWEEN_PROGRESS = 0.05
_SECONDS_TO_STOP = 2.0
_SECONDS_TO_STOP_TRAINING = 120.0
"""How long a worker that is to end lets a request stop by itself; a training writes a checkpoint. Another may hold when
the client has died, see --orphan."""
_SECONDS_TO_DIE = 1.0
"""How long the system may take to close all files of a process that was killed."""


class Worker:
    """One worker process: its streams, its requests, and the thread that reads them."""

    def __init__(
        self,
        requests: BinaryIO,
        answers: BinaryIO,
        folder: PrivateFolder,
        owns_folder: bool,
        idle_seconds: float,
        orphan_seconds: float,
    ) -> None:
        """owns_folder: there is no client that would remove it. orphan_seconds: what a training gets to end its step
        when the client has died."""
        self._requests, self._answers = requests, answers
        self._folder, self._removes_folder = folder, owns_folder
        self._idle_seconds, self._training_seconds = idle_seconds, _SECONDS_TO_STOP_TRAINING
        self._orphan_seconds = orphan_seconds
        self._answering = threading.Lock()
        self._waiting: queue.Queue[Task | None] = queue.Queue()
        self._cancelling = Cancelling()
        self._closing = False
        self._is_broken = False

    def run(self) -> None:
        """Carry out requests until the client closes the stream, asks to shut down, or has nothing to do for long."""
        self._cancelling.listen()
        signal.signal(signal.SIGTERM, self._terminate)
        threading.Thread(target=self._read, daemon=True).start()
        runner = self._warm_runner()
        while not (self._closing or self._is_broken):
            try:
                task = self._waiting.get(timeout=self._idle_seconds)
            except queue.Empty:
                return
            if task is not None and self._cancelling.begin(task):
                self._carry_out(task, runner)

    def _warm_runner(self) -> Runner:
        import torch

        from ..pipeline.device import choose_device, device_label
        from .runner import Runner
        from .turns import turns_folder

        device = choose_device("auto")
        torch.zeros(1, device=device)  # the first use of a GPU takes seconds
        turns = turns_folder()
        # From here on whatever makes temporary files makes them where they are removed with all the rest.
        tempfile.tempdir = str(self._folder.scratch)
        os.environ.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), tempfile.tempdir))
        runner = Runner(turns)
        self._answer(
            HelloEvent(version=__version__, pid=os.getpid(), device=device_label(device), folder=self._folder.path)
        )
        return runner

    def tell_failure(self, error: BaseException) -> None:
        """Say why the worker cannot go on, or could not begin."""
        sentence = " ".join(f"The worker cannot run ({type(error).__name__}: {error}); see its log.".split())
        self._answer(ErrorEvent(id=None, cause="failed", sentence=sentence))

    def _carry_out(self, task: Task, runner: Runner) -> None:
        from .runner import free_memory

        answer = self._answer_to(task, runner)
        self._cancelling.end()
        free_memory()
        try:
            self._answer(answer)
        except InputError as error:
            self._answer(_error(task.id, failure_of(error, task.request)))

    def _answer_to(self, task: Task, runner: Runner) -> Event:
        id, last_step, told_at = task.id, "", 0.0

        def progress(step: str, fraction: float) -> None:
            nonlocal last_step, told_at
            self._cancelling.check(step)
            now = time.monotonic()
            if step != last_step or now - told_at > _SECONDS_BETWEEN_PROGRESS:
                last_step, told_at = step, now
                self._answer(ProgressEvent(id=id, step=step, fraction=min(max(float(fraction), 0.0), 1.0)))

        def report(entry: Mapping[str, Any]) -> None:
            self._answer(EntryEvent(id=id, entry=dict(entry)))

        try:
            progress(BEGIN_STEP, 0.0)
            outcome = runner.run(task.request, progress, report, f"{PARTIAL_PREFIX}{id}")
            return ResultEvent(id=id, files=outcome.files, report=outcome.report)
        except Exception as error:
            # Whatever goes wrong in a task that is being stopped goes wrong because of that.
            failure = CANCELLED if task.unwanted else failure_of(error, task.request)
            if failure.cause == "failed":
                _log_error()
            self._is_broken = breaks_the_device(error)
            return _error(id, failure)

    def _read(self) -> None:
        """In a thread of its own: requests are taken in, and cancelled, while another one runs."""
        with suppress(OSError):
            for line in read_lines(self._requests):
                try:
                    if line is None:
                        raise oversized_line()
                    self._take(*parse_request(line))
                except ProtocolError as error:
                    self._answer(ErrorEvent(id=error.id, cause="input", sentence=str(error)))
                if self._closing:
                    break
        if not self._closing:
            self._be_orphan()
        self._close()

    def _be_orphan(self) -> None:
        """The client has died."""
        self._removes_folder, self._training_seconds = True, self._orphan_seconds

    def _take(self, id: str, request: Request) -> None:
        if isinstance(request, Cancel):
            if self._cancelling.cancel(id):
                self._answer(_error(id, CANCELLED))
        elif isinstance(request, Shutdown):
            self._closing = True
        elif task := self._cancelling.accept(id, request):
            self._waiting.put(task)
        else:
            raise ProtocolError(f"There is a request of the id {id} already; give each one of its own.")

    def _close(self) -> None:
        """Stop what runs and end, by force if need be."""
        self._closing = True
        for id in self._cancelling.cancel_all():
            self._answer(_error(id, CANCELLED))
        self._waiting.put(None)
        task = self._cancelling.running()
        time.sleep(self._training_seconds if task and isinstance(task.request, Train) else _SECONDS_TO_STOP)
        if task:
            for folder in partial_folders_of(task):
                shutil.rmtree(folder, ignore_errors=True)
        self.end(1)

    def end(self, code: int) -> NoReturn:
        """Tidy up and end the process at once: HDF5 would crash in a usual exit after a full disk."""
        if self._removes_folder:
            self._folder.remove_after("client", _SECONDS_TO_DIE)
        else:
            self._folder.leave()
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        threading.Thread(target=self._close, daemon=True).start()

    def _answer(self, event: Event) -> None:
        line = encode_event(event)
        try:
            with self._answering:
                self._answers.write(line)
                self._answers.flush()
        except OSError:
            # Nobody reads: the client has died, which the end of the standard input is about to say too.
            self._be_orphan()
            self._closing = True
            self._cancelling.cancel_all()


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Be a worker, and end the process."""
    parser = argparse.ArgumentParser(prog="MMLNRegistrationLib.backend.worker", description=__doc__)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="the client's private folder; default: a new one")
    parser.add_argument("--idle", type=float, default=float("inf"), metavar="SECONDS", help="end after so long idle")
    parser.add_argument(
        "--orphan",
        type=float,
        default=_SECONDS_TO_STOP_TRAINING,
        metavar="SECONDS",
        help="for a training to end its step when the client has died",
    )
    parsed = parser.parse_args(arguments)
    requests, answers = _own_streams()
    share_processors()
    if parsed.folder:
        folder = join_private_folder(parsed.folder, seconds=_SECONDS_TO_DIE)
    else:
        folder = new_private_folder("worker")
    folder.empty_scratch()
    idle_seconds = min(parsed.idle, threading.TIMEOUT_MAX)
    worker = Worker(requests, answers, folder, parsed.folder is None, idle_seconds, parsed.orphan)
    try:
        worker.run()
    except BaseException as error:
        _log_error()
        worker.tell_failure(error)
        worker.end(1)
    worker.end(0)


def _own_streams() -> tuple[BinaryIO, BinaryIO]:
    """The standard input and output for this process alone: nothing else, nor a child of it, can read or write them."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def partial_folders_of(task: Task) -> tuple[Path, ...]:
    """Where a task that was broken off may have left unfinished results."""
    output = None if isinstance(task.request, Train | CheckData | Info) else task.request.output
    return partial_folders(output, f"{PARTIAL_PREFIX}{task.id}") if output else ()


def _log_error() -> None:
    with suppress(OSError):  # a client that has died reads no log
        traceback.print_exc()


def _error(id: str, failure: Failure) -> ErrorEvent:
    return ErrorEvent(id=id, cause=failure.cause, sentence=failure.sentence, offers=failure.offers)


if __name__ == "__main__":
    main()
