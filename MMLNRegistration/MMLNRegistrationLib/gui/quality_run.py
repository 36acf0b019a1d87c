"""One check from the click to its result: write the images, sample the field, ask the worker, show what it wrote.

The sampling and the end touch the scene, in slices of time; all else is done by threads and the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..backend.jobs import JobError
from ..backend.messages import Outcome
from ..displacement_file import DisplacementFile
from ..errors import InputError
from ..scene.quality_results import InspectionResult, read_inspection
from ..scene.sampling import DisplacementSampler
from .quality_plan import Plan
from .session import Session
from .volume_files import write_files
from .worker_run import READING, SAMPLING, WRITING, WorkerRun


class QualityRun(WorkerRun, VTKObservationMixin):
    """A check under way. It ends by exactly one call of on_done or on_error, unless it is abandoned."""

    def __init__(
        self,
        session: Session,
        plan: Plan,
        nodes: tuple[slicer.vtkMRMLNode, ...],
        on_progress: Callable[[str, float], None],
        fill: Callable[[InspectionResult], Iterator[float]],
        on_done: Callable[[], None],
        on_error: Callable[[JobError], None],
    ) -> None:
        """nodes: what it is about, the transform first. When one of them goes, or the transform changes, it stops.

        fill: puts the result into the scene, a little at a time.
        """
        WorkerRun.__init__(self, on_progress, on_error)
        VTKObservationMixin.__init__(self)
        self.plan, self.nodes = plan, nodes
        self._session, self._fill, self._on_done = session, fill, on_done
        self._file: DisplacementFile | None = None

    def start(self) -> None:
        """Begin. Returns at once."""
        transform = self.nodes[0]
        self.addObserver(transform, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._changed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._removed)
        self._on_progress(WRITING, 0.0)
        write_files(self._session, self.plan.inputs, self._sample, self._fail)

    def _sample(self) -> None:
        if self._stops():
            return
        try:
            self._file = DisplacementFile(self.plan.request.transform, self.plan.geometry)
        except InputError as error:
            self._fail(error)
            return
        self._pump.start(self._sampled(self._file), self._submit, self._fail)

    def _sampled(self, file: DisplacementFile) -> Iterator[float]:
        sampler = DisplacementSampler(self.nodes[0], self.plan.geometry)
        while not sampler.done and not self._stops():
            # Piece by piece: to write what is sampled in a slice of time may take many such slices.
            file.append(sampler.advance(0.0))
            self._on_progress(SAMPLING, sampler.fraction)
            yield sampler.fraction

    def _submit(self) -> None:
        if self._stops():
            return
        assert self._file is not None
        try:
            self._file.close()
            self._job = self._session.submit(self.plan.request, self._progress, self._read, self._fail)
        except InputError as error:
            self._fail(error)

    def _read(self, outcome: Outcome) -> None:
        if self._stops():
            return
        self._on_progress(READING, 0.0)
        self._session.in_thread(
            partial(read_inspection, self.plan.request.output, self.plan.geometry), self._show, self._fail
        )

    def _show(self, result: InspectionResult) -> None:
        if not self._stops():
            self._pump.start(self._fill(result), self._finish, self._fail)

    def _finish(self) -> None:
        self._end()
        self._on_done()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, caller: Any, event: str, node: slicer.vtkMRMLNode) -> None:
        if any(node is one for one in self.nodes):
            self._stop_for(_("{name} was removed while it was checked.").format(name=node.GetName()))

    def _changed(self, caller: Any, event: str) -> None:
        if self._job is None:
            self._stop_for(
                _("{name} was changed while it was checked; check it again.").format(name=self.nodes[0].GetName())
            )

    def _stop_for(self, sentence: str) -> None:
        if not self._is_over:
            job = self._job
            self._fail(JobError("input", sentence))
            if job is not None:
                job.cancel()

    def _end(self) -> None:
        super()._end()
        self.removeObservers()
        if self._file is not None:
            self._file.discard()
            self._file = None
