"""One propagation from the click to its nodes: sample given transforms, write files, ask the worker, fill the scene.

The scene is touched by the first and the last, all else is done by threads and the worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import qt
import slicer

from ..backend.jobs import Job, JobError
from ..backend.messages import Outcome
from ..errors import InputError
from ..scene.propagation import PropagatedArrays, PropagationNodes, add_propagation, read_propagation
from .propagate_plan import PropagationPlan
from .register_run import READING, WRITING
from .session import Session
from .volume_files import write_files

SAMPLING = "sample the transform"
_SECONDS_AT_ONCE = 0.015
"""How long the window may wait for the sampling of transforms, each time."""


class PropagateRun:
    """A propagation under way. It ends by exactly one call of on_done or on_error, unless it is abandoned."""

    def __init__(
        self,
        session: Session,
        plan: PropagationPlan,
        nodes: PropagationNodes,
        subject: slicer.vtkMRMLVolumeNode,
        on_progress: Callable[[str, float], None],
        on_done: Callable[[PropagationNodes, PropagatedArrays, Mapping[str, Any]], None],
        on_error: Callable[[JobError], None],
    ) -> None:
        """nodes: where the result goes."""
        self.plan = plan
        self._session, self._nodes, self._subject = session, nodes, subject
        self._subject_name = subject.GetName()
        self._on_progress, self._on_done, self._on_error = on_progress, on_done, on_error
        self._job: Job | None = None
        self._is_cancelled = self._is_over = False
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._sample)

    def start(self) -> None:
        """Begin. Returns at once."""
        self._timer.start()

    def cancel(self) -> None:
        """Stop it; it ends with an error of the cause cancelled."""
        self._is_cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """Stop it and tell nobody: the scene or the window that it was for is gone."""
        self._is_over = True
        self._timer.stop()
        self.cancel()

    def _sample(self) -> None:
        if self._stops():
            self._timer.stop()
            return
        fields = self.plan.fields
        field = next((field for field in fields if field.fraction < 1), None)
        if field is not None:
            field.sample(_SECONDS_AT_ONCE)
            self._on_progress(SAMPLING, sum(field.fraction for field in fields) / len(fields))
            return
        self._timer.stop()
        self._on_progress(WRITING, 0.0)
        write_files(self._session, self.plan.inputs, self._submit, self._fail)

    def _submit(self) -> None:
        if self._stops():
            return
        names = tuple(f"{number}={name}" for number, name in self.plan.codes.names().items() if name.strip())
        try:
            request = replace(self.plan.request, names=names)
            self._job = self._session.submit(request, self._progress, self._read, self._fail)
        except InputError as error:
            self._fail(error)

    def _progress(self, step: str, fraction: float) -> None:
        if not self._is_over:
            self._on_progress(step, fraction)

    def _read(self, outcome: Outcome) -> None:
        if self._stops():
            return
        self._on_progress(READING, 0.0)
        plan = self.plan
        several = len(plan.request.atlases) > 1
        read = partial(read_propagation, plan.request.output, plan.geometry, plan.codes, several)
        self._session.in_thread(read, partial(self._finish, outcome.report), self._fail)

    def _finish(self, report: Mapping[str, Any], result: PropagatedArrays) -> None:
        if self._stops():
            return
        chosen = self._nodes.segmentation, self._nodes.agreement, self._nodes.table
        nodes = PropagationNodes(*(node if _is_in_scene(node) else None for node in chosen))
        subject = self._subject if _is_in_scene(self._subject) else None
        nodes = add_propagation(slicer.mrmlScene, result, self._subject_name, subject, nodes)
        self._is_over = True
        self._tidy_up()
        self._on_done(nodes, result, report)

    def _tidy_up(self) -> None:
        """Remove the files, which are in the scene by now; what cannot be removed yet goes with the session."""
        folder = self.plan.request.output.parent
        self._session.in_thread(partial(shutil.rmtree, folder, ignore_errors=True), _pass_over, _pass_over)

    def _stops(self) -> bool:
        """Whether nobody wants it any more; the one who should know is told."""
        if self._is_cancelled and not self._is_over:
            self._fail(JobError("cancelled", "Cancelled."))
        return self._is_over

    def _fail(self, error: Exception) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._tidy_up()
        if isinstance(error, JobError):
            self._on_error(error)
        elif isinstance(error, OSError) and error.strerror:
            self._on_error(
                JobError("input", f"The files cannot be written ({error.strerror}); check the space left on the disk.")
            )
        elif isinstance(error, InputError):
            self._on_error(JobError("input", str(error)))
        else:
            self._on_error(JobError("failed", f"A fault of the program ({type(error).__name__}: {error})."))


def _pass_over(outcome: object) -> None:
    """Nobody needs to know."""


def _is_in_scene(node: slicer.vtkMRMLNode | None) -> bool:
    return node is not None and node.GetScene() is not None
