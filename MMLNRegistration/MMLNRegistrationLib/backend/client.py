"""What the clients have in common, whether the worker is here or behind a server: how to wait for work."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from .jobs import Job, JobError, OnEntry, OnError, OnProgress, OnResult
from .messages import Outcome, Work

_SECONDS_BETWEEN_LOOKS = 0.1


class Client(ABC):
    """Who asks for work. In a program with an event loop nothing must wait: there `submit` returns at once, and a
    timer calls `poll`, which calls the callbacks in the thread that it is called in. A client belongs to one thread.
    """

    @property
    @abstractmethod
    def busy(self) -> bool:
        """Whether a job runs or waits. While it is so, poll has to be called."""

    @property
    @abstractmethod
    def is_starting(self) -> bool:
        """Whether it makes itself ready, see start. It goes on without poll, but only poll learns of its end."""

    @abstractmethod
    def new_folder(self) -> Path:
        """A new folder for volumes to pass to the worker and for its results, which goes when the client is closed."""

    @abstractmethod
    def start(self) -> None:
        """Make ready what the first request would wait for. Raises InputError when there can be no worker."""

    @abstractmethod
    def submit(
        self,
        request: Work,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        on_error: OnError | None = None,
        on_entry: OnEntry | None = None,
    ) -> Job:
        """Ask for work. Returns at once, relative paths start here and now.

        Raises InputError when the request cannot be sent.
        """

    @abstractmethod
    def poll(self, seconds: float = 0.0) -> None:
        """Call the callbacks for all that has happened; wait up to so many seconds for something to happen."""

    @abstractmethod
    def close(self, seconds: float = 3.0) -> None:
        """End all, by force after so many seconds, and remove the private folder.

        Jobs that are not done end as cancelled; their callbacks are not called. A second time does nothing.
        """

    def leave(self) -> None:
        """Close without waiting: a thread does it, for whose end the end of this process waits. Nobody may use it any
        more.
        """
        threading.Thread(target=self.close, name="end of a client", daemon=False).start()

    def wait(self, job: Job, seconds: float | None = None) -> Outcome:
        """Poll until a job is done, and give its result.

        Raises JobError when it gives none, and TimeoutError after so many seconds; the job then goes on.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while not job.done:
            if end is not None and time.monotonic() > end:
                raise TimeoutError(f"The request is not done after {seconds:g} s.")
            self.poll(_SECONDS_BETWEEN_LOOKS)
        return job.result()

    def run(self, request: Work, on_progress: OnProgress | None = None, on_entry: OnEntry | None = None) -> Outcome:
        """Submit a request and wait for it. An exception that comes meanwhile, such as by Ctrl-C, cancels it.

        Raises InputError as submit does, and JobError when the request gives no result.
        """
        job = self.submit(request, on_progress, on_entry=on_entry)
        try:
            return self.wait(job)
        except BaseException:
            if not job.done:
                job.cancel()
                with suppress(JobError):
                    self.wait(job)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
