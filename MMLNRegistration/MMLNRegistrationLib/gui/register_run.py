"""One registration from the click to its nodes: write the volumes, ask the worker, read the result, fill the scene.

Only the first and the last touch the scene, all else is done by threads and the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import slicer

from ..backend.jobs import Job, JobError
from ..backend.messages import Outcome
from ..errors import InputError
from ..scene.results import ResultArrays, ResultNodes, adding_result, read_result
from .pumping import Pump
from .register_plan import Plan
from .session import LastRegistration, Session
from .volume_files import write_files

WRITING, READING = "write the volumes", "load the result"
"""Steps that are done here, told of as the worker tells of its own."""


class RegisterRun:
    """A registration under way. It ends by exactly one call of on_done or on_error, unless it is abandoned."""

    def __init__(
        self,
        session: Session,
        plan: Plan,
        nodes: ResultNodes,
        pair: tuple[slicer.vtkMRMLVolumeNode, slicer.vtkMRMLVolumeNode],
        on_progress: Callable[[str, float], None],
        on_done: Callable[[ResultNodes, Mapping[str, Any]], None],
        on_error: Callable[[JobError], None],
    ) -> None:
        """nodes: where the result goes. pair: the fixed and the moving node."""
        self.plan, self.pair = plan, pair
        self._session, self._nodes = session, nodes
        self._names = pair[0].GetName(), pair[1].GetName()
        self._on_progress, self._on_done, self._on_error = on_progress, on_done, on_error
        self._job: Job | None = None
        self._pump = Pump()
        self._is_cancelled = self._is_over = False

    def start(self) -> None:
        """Begin. Returns at once."""
        self._on_progress(WRITING, 0.0)
        write_files(self._session, self.plan.inputs, self._submit, self._fail)

    def cancel(self) -> None:
        """Stop it; it ends with an error of the cause cancelled."""
        self._is_cancelled = True
        if self._job is not None:
            self._job.cancel()

    def abandon(self) -> None:
        """Stop it and tell nobody: the scene or the window that it was for is gone."""
        self._is_over = True
        self._pump.stop()
        self.cancel()

    def _submit(self) -> None:
        if self._stops():
            return
        try:
            self._job = self._session.submit(self.plan.request, self._progress, self._read, self._fail)
        except InputError as error:
            self._fail(error)

    def _progress(self, step: str, fraction: float) -> None:
        if not self._is_over:
            self._on_progress(step, fraction)

    def _read(self, outcome: Outcome) -> None:
        if self._stops():
            return
        self._on_progress(READING, 0.0)
        read = partial(
            read_result, self.plan.request.output, self.plan.fixed.geometry, self.plan.moving.world_from_file
        )
        self._session.in_thread(read, partial(self._finish, outcome.report), self._fail)

    def _finish(self, report: Mapping[str, Any], result: ResultArrays) -> None:
        if self._stops():
            return
        fixed, moving = (node if _is_in_scene(node) else None for node in self.pair)
        nodes = ResultNodes(*(node if _is_in_scene(node) else None for node in self._targets()))
        steps = adding_result(slicer.mrmlScene, result, self._names, (fixed, moving), nodes)
        self._pump.start(self._taken(steps), partial(self._end, report), self._fail)

    def _taken(self, steps: Iterator[ResultNodes]) -> Iterator[float]:
        for nodes in steps:
            self._nodes = nodes
            yield 0.0

    def _end(self, report: Mapping[str, Any]) -> None:
        fixed, moving = (node if _is_in_scene(node) else None for node in self.pair)
        assert self._nodes.transform is not None
        self._session.last = LastRegistration(
            fixed.GetID() if fixed is not None else "",
            moving.GetID() if moving is not None else "",
            self._nodes.transform.GetID(),
            self.plan.request.output,
        )
        self._is_over = True
        self._on_done(self._nodes, report)

    def _targets(self) -> tuple[slicer.vtkMRMLNode | None, ...]:
        return self._nodes.transform, self._nodes.warped, self._nodes.jacobian

    def _stops(self) -> bool:
        """Whether nobody wants it any more; the one who should know is told."""
        if self._is_cancelled and not self._is_over:
            self._fail(JobError("cancelled", "Cancelled."))
        return self._is_over

    def _fail(self, error: Exception) -> None:
        if self._is_over:
            return
        self._is_over = True
        if isinstance(error, JobError):
            self._on_error(error)
        elif isinstance(error, OSError) and error.strerror:
            self._on_error(
                JobError(
                    "input", f"The volumes cannot be written ({error.strerror}); check the space left on the disk."
                )
            )
        elif isinstance(error, InputError):
            self._on_error(JobError("input", str(error)))
        else:
            self._on_error(JobError("failed", f"A fault of the program ({type(error).__name__}: {error})."))


def _is_in_scene(node: slicer.vtkMRMLNode | None) -> bool:
    return node is not None and node.GetScene() is not None
