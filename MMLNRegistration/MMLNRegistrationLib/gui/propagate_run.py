"""One propagation from the click to its nodes: sample given transforms, write files, ask the worker, fill the scene.

The scene is touched by the first and the last, all else is done by threads and the worker.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import slicer

from ..backend.jobs import JobError
from ..backend.messages import Outcome
from ..errors import InputError
from ..scene.propagation import PropagatedArrays, PropagationNodes, adding_propagation, read_propagation
from .propagate_plan import PropagationPlan
from .pumping import SLICE_SECONDS
from .session import Session
from .volume_files import write_files
from .worker_run import READING, SAMPLING, WRITING, WorkerRun, is_in_scene


class PropagateRun(WorkerRun):
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
        super().__init__(on_progress, on_error)
        self.plan = plan
        self._session, self._nodes, self._subject = session, nodes, subject
        self._subject_name = subject.GetName()
        self._on_done = on_done

    def start(self) -> None:
        """Begin. Returns at once."""
        self._pump.start(self._sampled(), self._write, self._fail)

    def _sampled(self) -> Iterator[float]:
        fields = self.plan.fields
        while (field := next((field for field in fields if field.fraction < 1), None)) and not self._stops():
            field.sample(SLICE_SECONDS)
            fraction = sum(field.fraction for field in fields) / len(fields)
            self._on_progress(SAMPLING, fraction)
            yield fraction

    def _write(self) -> None:
        if self._stops():
            return
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
        nodes = PropagationNodes(*(node if is_in_scene(node) else None for node in chosen))
        subject = self._subject if is_in_scene(self._subject) else None
        steps = adding_propagation(slicer.mrmlScene, result, self._subject_name, subject, nodes)
        self._pump.start(self._taken(steps), partial(self._added, result, report), self._fail)

    def _taken(self, steps: Iterator[PropagationNodes]) -> Iterator[float]:
        for nodes in steps:
            self._nodes = nodes
            yield 0.0

    def _added(self, result: PropagatedArrays, report: Mapping[str, Any]) -> None:
        self._end()
        self._on_done(self._nodes, result, report)

    def _end(self) -> None:
        """See WorkerRun. The files are needed no more; what cannot be removed yet goes with the session."""
        super()._end()
        folder = self.plan.request.output.parent
        self._session.in_thread(partial(shutil.rmtree, folder, ignore_errors=True), _pass_over, _pass_over)


def _pass_over(outcome: object) -> None:
    """Nobody needs to know."""
