"""What is the same for all that a panel has the worker do: cancelled, abandoned, followed, and how it fails."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import slicer

from ..backend.jobs import Job, JobError
from ..errors import InputError
from .pumping import Pump

WRITING, SAMPLING, READING = "write the volumes", "sample the transform", "load the result"
"""Steps that are done here, told of as the worker tells of its own."""


def job_error(error: Exception, files: str = "files") -> JobError:
    """What the user is told of an exception. files: what could not be written, where it is about that."""
    if isinstance(error, JobError):
        return error
    if isinstance(error, InputError):
        return JobError("input", str(error))
    if isinstance(error, OSError) and error.strerror:
        return JobError("input", f"The {files} cannot be written ({error.strerror}); check the space left on the disk.")
    return JobError("failed", f"A fault of the program ({type(error).__name__}: {error}).")


def is_in_scene(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether there is a node, and it has not been removed meanwhile."""
    return node is not None and node.GetScene() is not None


class WorkerRun(ABC):
    """Work under way. It ends by one call of on_error, or of what its kind calls when it is done, unless abandoned."""

    files_word = "files"
    """What the user calls the files that are written for the worker."""

    def __init__(self, on_progress: Callable[[str, float], None], on_error: Callable[[JobError], None]) -> None:
        self._on_progress, self._on_error = on_progress, on_error
        self._job: Job | None = None
        self._pump = Pump()
        self._is_cancelled = self._is_over = False

    @abstractmethod
    def start(self) -> None:
        """Begin. Returns at once."""

    def cancel(self) -> None:
        """Stop it; it ends with an error of the cause cancelled."""
        self._is_cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """Stop it and tell nobody: the scene or the window that it was for is gone."""
        self._end()
        self.cancel()

    def _end(self) -> None:
        """It is over: nothing is done for it any more. Called before anybody is told."""
        self._is_over = True
        self._pump.stop()

    def _progress(self, step: str, fraction: float) -> None:
        if not self._is_over:
            self._on_progress(step, fraction)

    def _stops(self) -> bool:
        """Whether nobody wants it any more; the one who should know is told."""
        if self._is_cancelled and not self._is_over:
            self._fail(JobError("cancelled", "Cancelled."))
        return self._is_over

    def _fail(self, error: Exception) -> None:
        if self._is_over:
            return
        self._end()
        self._on_error(job_error(error, self.files_word))
