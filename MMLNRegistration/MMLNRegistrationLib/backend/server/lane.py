"""One device and the worker that computes on it, driven by a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from ...errors import InputError
from ..jobs import Job, JobError
from ..local import LocalClient
from ..messages import ErrorEvent, Info, Outcome, ResultEvent, Search, Train, Work

log = logging.getLogger("mmln.server")

_SECONDS_BETWEEN_LOOKS = 0.05
_SECONDS_TO_CLOSE = 3.0
_SECONDS_TO_CLOSE_TRAINING = 20.0
"""For the end of a step and a checkpoint; without it the steps since the last one are done again."""
_SECONDS_BESIDE = 6.0
_SECONDS_OF_ORPHANS = 1.0
"""A server that was killed and is back goes on with its training: by then the worker before must be gone."""


class Listener(Protocol):
    """Who is told what happens in a lane, in the lane's thread."""

    def progressed(self, key: str, step: str, fraction: float) -> None:
        """A job has come so far."""

    def entered(self, key: str, entry: Mapping[str, Any]) -> None:
        """A job has written a line of its table."""

    def ended(self, lane: Lane, key: str, event: ResultEvent | ErrorEvent) -> None:
        """A job is over, and the lane free."""

    def informed(self, lane: Lane, report: dict[str, Any]) -> None:
        """What information.information tells of the worker's machine, or a `sentence` why there is no worker."""


class Lane:
    """A worker for one job at a time. It outlives crashes of the worker, which end the job alone."""

    def __init__(self, device: str, listener: Listener) -> None:
        """device: auto, cpu, cuda or cuda:N."""
        self.device = device
        self.key: str | None = None
        """Of the job that runs; for the listener's thread."""
        self.report: dict[str, Any] = {}
        self._listener = listener
        self._commands: queue.SimpleQueue[Callable[[LocalClient], None] | None] = queue.SimpleQueue()
        self._job: Job | None = None
        self._job_key = ""
        self._thread = threading.Thread(target=self._run, name=f"lane {device}", daemon=True)

    def start(self) -> None:
        """Start the worker, so that the first job does not wait for torch."""
        self._thread.start()

    def fits(self, device: str) -> bool:
        """Whether a job that asks for this device can run here."""
        return device == "auto" or self.device in ("auto", device) or self.device.startswith(f"{device}:")

    def give(self, key: str, request: Work) -> None:
        """Let it carry out a job; the one before must have ended."""
        self.key = key
        if isinstance(request, Search | Train) and request.device == "auto":
            request = replace(request, device=self.device)
        self._commands.put(lambda client: self._begin(client, key, request))

    def cancel(self) -> None:
        """Stop the job that runs; it then ends as cancelled."""
        self._commands.put(lambda client: self._job.cancel() if self._job else None)

    def stop(self) -> None:
        """End the worker, by force if need be, and the thread; of a job that runs nothing more is told."""
        self._commands.put(None)

    def join(self) -> None:
        """Wait until that has happened."""
        if self._thread.is_alive():
            self._thread.join(_SECONDS_TO_CLOSE_TRAINING + _SECONDS_BESIDE)

    def _run(self) -> None:
        while True:
            client = LocalClient(orphan_seconds=_SECONDS_OF_ORPHANS)
            try:
                self._ask(client)
                self._drive(client)
                return
            except (
                Exception
            ) as error:  # a fault of the client's must not end the lane, nor leave its job without an end
                log.exception("the worker on %s is started anew", self.device)
                if self._job is not None:
                    sentence = f"The server has failed by a fault of the program ({type(error).__name__}); see its log."
                    key, self._job = self._job_key, None
                    self._listener.ended(self, key, ErrorEvent(id=key, cause="failed", sentence=sentence))
            finally:
                trains = self._job is not None and isinstance(self._job.request, Train)
                client.close(_SECONDS_TO_CLOSE_TRAINING if trains else _SECONDS_TO_CLOSE)

    def _drive(self, client: LocalClient) -> None:
        """Do what the listener wants, until it wants an end."""
        while True:
            try:
                command = self._commands.get_nowait() if client.busy else self._commands.get()
            except queue.Empty:
                client.poll(_SECONDS_BETWEEN_LOOKS)
                continue
            if command is None:
                return
            command(client)

    def _begin(self, client: LocalClient, key: str, request: Work) -> None:
        def result(outcome: Outcome) -> None:
            self._end(client, ResultEvent(id=key, files=outcome.files, report=outcome.report))

        def error(problem: JobError) -> None:
            self._end(client, ErrorEvent(id=key, cause=problem.cause, sentence=str(problem), offers=problem.offers))

        self._job_key = key
        try:
            self._job = client.submit(
                request,
                lambda step, fraction: self._listener.progressed(key, step, fraction),
                result,
                error,
                lambda entry: self._listener.entered(key, entry),
            )
        except InputError as problem:
            error(JobError("failed", str(problem)))

    def _end(self, client: LocalClient, event: ResultEvent | ErrorEvent) -> None:
        self._job = None
        assert event.id is not None
        self._listener.ended(self, event.id, event)
        if self._commands.empty():
            self._ask(client)

    def _ask(self, client: LocalClient) -> None:
        """For the status page, which shows the device's free memory."""

        def trouble(problem: Exception) -> None:
            self._listener.informed(self, {"sentence": str(problem)})

        try:
            client.submit(Info(), None, lambda outcome: self._listener.informed(self, outcome.report), trouble)
        except InputError as problem:
            trouble(problem)
