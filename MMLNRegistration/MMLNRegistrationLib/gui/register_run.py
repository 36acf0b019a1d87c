"""One registration from the click to its nodes: write the volumes, ask the worker, read the result, fill the scene.

Only the first and the last touch the scene, all else is done by threads and the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import slicer

from ..backend.jobs import JobError
from ..backend.messages import Outcome
from ..errors import InputError
from ..scene.results import ResultArrays, ResultNodes, adding_result, read_result
from .register_plan import Plan
from .session import LastRegistration, Session
from .volume_files import write_files
from .worker_run import READING, WRITING, WorkerRun, is_in_scene


class RegisterRun(WorkerRun):
    """A registration under way. It ends by exactly one call of on_done or on_error, unless it is abandoned."""

    files_word = "volumes"

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
        super().__init__(on_progress, on_error)
        self.plan, self.pair = plan, pair
        self._session, self._nodes = session, nodes
        self._names = pair[0].GetName(), pair[1].GetName()
        self._on_done = on_done

    def start(self) -> None:
        """Begin. Returns at once."""
        self._on_progress(WRITING, 0.0)
        write_files(self._session, self.plan.inputs, self._submit, self._fail)

    def _submit(self) -> None:
        if self._stops():
            return
        try:
            self._job = self._session.submit(self.plan.request, self._progress, self._read, self._fail)
        except InputError as error:
            self._fail(error)

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
        fixed, moving = (node if is_in_scene(node) else None for node in self.pair)
        nodes = ResultNodes(*(node if is_in_scene(node) else None for node in self._targets()))
        steps = adding_result(slicer.mrmlScene, result, self._names, (fixed, moving), nodes)
        self._pump.start(self._taken(steps), partial(self._added, report), self._fail)

    def _taken(self, steps: Iterator[ResultNodes]) -> Iterator[float]:
        for nodes in steps:
            self._nodes = nodes
            yield 0.0

    def _added(self, report: Mapping[str, Any]) -> None:
        fixed, moving = (node if is_in_scene(node) else None for node in self.pair)
        assert self._nodes.transform is not None
        self._session.last = LastRegistration(
            fixed.GetID() if fixed is not None else "",
            moving.GetID() if moving is not None else "",
            self._nodes.transform.GetID(),
            self.plan.request.output,
        )
        self._end()
        self._on_done(self._nodes, report)

    def _targets(self) -> tuple[slicer.vtkMRMLNode | None, ...]:
        return self._nodes.transform, self._nodes.warped, self._nodes.jacobian
