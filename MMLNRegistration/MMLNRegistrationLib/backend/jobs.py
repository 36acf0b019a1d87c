"""A request on its way, as a client's user sees it: what it is told, how it ended, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .messages import CheckData, ErrorEvent, Info, Outcome, Train, Work

OnProgress = Callable[[str, float], None]
"""Called with (step name, fraction done of that step)."""

OnEntry = Callable[[Mapping[str, Any]], None]
"""Called with each line of a table that the request writes as it goes, see messages.EntryEvent."""

OnResult = Callable[[Outcome], None]
OnError = Callable[["JobError"], None]


class JobError(Exception):
    """A request ended without a result.

    cause: input, cancelled, out_of_memory or failed. offers: values of on_out_of_memory that may help.
    """

    def __init__(self, cause: str, sentence: str, offers: tuple[str, ...] = ()) -> None:
        super().__init__(sentence)
        self.cause, self.offers = cause, offers


class Job:
    """One request of a client, from its submission on. Made by the client, read by its user.

    new_parents: of the output's folders those that are not there yet, the innermost first.
    outcome, error: one of them is there when it is done. begun: the worker has taken it up. step: the last one told.
    """

    def __init__(
        self,
        id: str,
        request: Work,
        on_progress: OnProgress | None,
        on_entry: OnEntry | None,
        on_result: OnResult | None,
        on_error: OnError | None,
        cancel: Callable[[Job], None],
    ) -> None:
        self.id, self.request = id, request
        self.new_parents = _missing_parents(request)
        self.begun, self.step = False, ""
        self.outcome: Outcome | None = None
        self.error: JobError | None = None
        self._on_progress, self._on_entry = on_progress, on_entry
        self._on_result, self._on_error = on_result, on_error
        self._cancel = cancel

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.outcome is not None or self.error is not None

    def cancel(self) -> None:
        """Stop it. It ends with an error of the cause cancelled, unless it is done before that."""
        if not self.done:
            self._cancel(self)

    def result(self) -> Outcome:
        """What a job that is done gave. Raises JobError when it gave nothing."""
        if self.error is not None:
            raise self.error
        assert self.outcome is not None, "The job is not done."
        return self.outcome

    def tell_progress(self, step: str, fraction: float) -> None:
        """For the client: the request has come so far."""
        self.begun, self.step = True, step
        if self._on_progress is not None:
            self._on_progress(step, fraction)

    def tell_entry(self, entry: Mapping[str, Any]) -> None:
        """For the client: the request has written a line."""
        if self._on_entry is not None:
            self._on_entry(entry)

    def finish(self, outcome: Outcome) -> None:
        """For the client: the request has ended well."""
        self.outcome = outcome
        if self._on_result is not None:
            self._on_result(outcome)

    def fail(self, error: JobError, *, silently: bool = False) -> None:
        """For the client: the request has ended badly."""
        self.error = error
        if self._on_error is not None and not silently:
            self._on_error(error)


def _missing_parents(request: Work) -> list[Path]:
    if isinstance(request, Train | CheckData | Info):
        return []
    return [parent for parent in request.output.absolute().parents if not parent.exists()]


def job_error(event: ErrorEvent) -> JobError:
    """The exception that an error event stands for."""
    return JobError(event.cause, event.sentence, event.offers)
