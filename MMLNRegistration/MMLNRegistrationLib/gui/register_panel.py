"""The Register panel: two volumes in, one transform out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from ..backend.jobs import JobError
from ..errors import InputError
from ..scene.results import ResultNodes
from . import installation
from .device_choice import DeviceChoice
from .panel import Panel
from .preselection import preselect
from .register_plan import hindrance, plan
from .register_presets import Preset
from .register_progress import RegisterProgress
from .register_result import MovedVolume, can_be_moved, fade, show_overlay, verdict
from .register_run import RegisterRun
from .server_choice import ServerChoice
from .session import Session

_LOG_LINES = 2000


class RegisterPanel(Panel):
    """One button, which is Cancel while there is something to cancel. All that goes wrong is said beside it."""

    ui_name = "Register"

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        ui = self.ui
        self.run: RegisterRun | None = None
        self._asked: Any = None
        self._result: ResultNodes | None = None
        self._fixed: slicer.vtkMRMLVolumeNode | None = None
        self._moving: slicer.vtkMRMLVolumeNode | None = None
        self._moved: MovedVolume | None = None
        self._progress = RegisterProgress(ui.progress, ui.status)
        self._device = DeviceChoice(session, ui.device, ui.refreshDevices, self._device_chosen, self._say)
        self._server = ServerChoice(session, ui.server, ui.token, self._server_changed)
        ui.log.setMaximumBlockCount(_LOG_LINES)
        ui.model.nameFilters = ["*.safetensors"]
        ui.resultFrame.visible = False
        ui.offerFrame.visible = False
        ui.registerButton.connect("clicked(bool)", self._clicked)
        ui.onProcessor.connect("clicked(bool)", self._again_on_processor)
        ui.onCoarserGrid.connect("clicked(bool)", self._again_on_coarser_grid)
        ui.model.connect("currentPathChanged(QString)", self._model_chosen)
        ui.expertButton.connect("contentsCollapsed(bool)", self._expert_toggled)
        ui.fader.connect("valueChanged(double)", fade)
        ui.showOverlay.connect("clicked(bool)", self._show_overlay)
        ui.applyTransform.connect("clicked(bool)", self._move_moving)
        session.on_log = self._log

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self._node_added)
        preselect(parameters)
        self._update()

    def scene_closes(self) -> None:
        """See Panel."""
        if self.run is not None:
            self.run.abandon()
            self.run = None
            self._progress.end({})
        self.session.last = None
        self._asked, self._result, self._fixed, self._moving, self._moved = None, None, None, None, None
        self.ui.resultFrame.visible = False
        self._complain("")

    def cleanup(self) -> None:
        """See Panel."""
        if self.run is not None:
            self.run.abandon()
            self.run = None
        self.session.on_log = None
        super().cleanup()

    def _clicked(self) -> None:
        if self.run is not None:
            self.ui.registerButton.enabled = False
            self.ui.registerButton.text = _("Cancelling ...")
            self.run.cancel()
        else:
            self._start("fail")

    def _again_on_processor(self) -> None:
        self._start("cpu")

    def _again_on_coarser_grid(self) -> None:
        self._start("coarser")

    def _start(self, on_out_of_memory: str) -> None:
        self._complain("")
        parameters = self.parameters.register
        if not self.session.ready():
            self._complain(_("PyTorch is not installed: nothing can be registered without it."))
            return
        if parameters.extract_brains and not self.session.is_remote and not installation.ensure_brain_extraction():
            self._complain(
                _("Brain extraction needs deepbet; install it, or switch brain extraction off under Expert.")
            )
            return
        try:
            planned = plan(parameters, self.session.new_folder(), on_out_of_memory)
        except InputError as error:
            self._complain(str(error))
            return
        self._asked = self.parameters
        self._fixed, self._moving = parameters.fixed, parameters.moving
        nodes = ResultNodes(parameters.transform, parameters.warped, parameters.jacobian)
        self.ui.resultFrame.visible = False
        self._progress.start()
        self.run = RegisterRun(
            self.session, planned, nodes, (self._fixed, self._moving), self._progress.tell, self._done, self._failed
        )
        self.run.start()
        self._update()

    def _done(self, nodes: ResultNodes, report: Mapping[str, Any]) -> None:
        self.run = None
        self._progress.end(report["seconds"])
        self._result, self._moved = nodes, None
        if self._asked is not None:  # also where another module is seen now, and the widgets are bound to none
            with slicer.util.NodeModify(self._asked.parameterNode):
                parameters = self._asked.register
                parameters.transform, parameters.warped, parameters.jacobian = (
                    nodes.transform, nodes.warped, nodes.jacobian
                )  # fmt: skip
        self.ui.verdict.text = verdict(report)
        self.ui.resultFrame.visible = True
        self.ui.applyTransform.checked = False
        self.ui.applyTransform.enabled = can_be_moved(nodes, self._moving)
        self._show_overlay(fit=True)
        self._update()

    def _failed(self, error: JobError) -> None:
        self.run = None
        self._progress.end({})
        if error.cause != "cancelled":
            self._complain(str(error))
        self.ui.onProcessor.visible = "cpu" in error.offers
        self.ui.onCoarserGrid.visible = "coarser" in error.offers
        self.ui.offerFrame.visible = bool(error.offers)
        self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring the button, its reason and the hints in line with the choices."""
        if self.parameters is None:
            return
        parameters, button = self.parameters.register, self.ui.registerButton
        running = self.run is not None
        reason = "" if running else hindrance(parameters) or self._server.hindrance()
        button.text = _("Cancel") if running else _("Register")
        button.enabled = not reason
        button.toolTip = reason or (_("Stop the registration.") if running else _("Register moving to fixed."))
        self.ui.reason.text = reason
        self.ui.reason.visible = bool(reason)
        self.ui.presetHint.text = parameters.preset.hint()
        self.ui.start.enabled = parameters.initial_transform is None
        self.ui.brains.enabled = None in (parameters.fixed_mask, parameters.moving_mask)
        self.ui.iterations.enabled = self.ui.similarity.enabled = parameters.preset is not Preset.NETWORK
        for widget in (self.ui.inputsButton, self.ui.outputsButton, self.ui.expertButton):
            widget.enabled = not running
        if self.ui.model.currentPath != parameters.model:
            self.ui.model.currentPath = parameters.model
        self._device.show(parameters.device)

    def _complain(self, sentence: str) -> None:
        """Say what went wrong, or, with an empty sentence, take back what was said."""
        self.ui.offerFrame.visible = False
        self.ui.message.text = sentence
        self.ui.message.visible = bool(sentence)
        if sentence:
            self._log(sentence)

    def _log(self, line: str) -> None:
        self.ui.log.appendPlainText(line)

    def _say(self, sentence: str) -> None:
        self._complain(sentence)

    def _device_chosen(self, name: str) -> None:
        if self.parameters is not None:
            self.parameters.register.device = name

    def _model_chosen(self, path: str) -> None:
        if self.parameters is not None and self.parameters.register.model != path:
            self.parameters.register.model = path

    def _server_changed(self, complaint: str) -> None:
        self._complain(complaint)
        self._device.forget()
        self._update()

    def _expert_toggled(self, collapsed: bool) -> None:
        """The free memory is worth knowing when one looks; nobody is asked to install anything for it."""
        if not collapsed and (self.session.is_remote or installation.is_complete()):
            self._device.ask()

    def _show_overlay(self, checked: bool = False, fit: bool = False) -> None:
        if self._result is not None and self._result.warped is not None:
            fixed = self._fixed if self._fixed is not None and self._fixed.GetScene() is not None else None
            if self._result.warped.GetScene() is not None:
                show_overlay(fixed, self._result.warped, self.ui.fader.value, fit)

    def _move_moving(self) -> None:
        if self._moved is not None:
            self._moved.take_back()
            self._moved = None
        elif self._result is not None and can_be_moved(self._result, self._moving):
            try:
                self._moved = MovedVolume(self._moving, self._result.transform)
            except InputError as error:
                self._complain(str(error))
        self.ui.applyTransform.checked = self._moved is not None
        self._update()

    def _node_added(self, caller: Any, event: Any) -> None:
        # Later: the node is not yet what it will be, such as one that is being read from a file.
        qt.QTimer.singleShot(0, self._preselect)

    def _preselect(self) -> None:
        if self.parameters is not None and not slicer.mrmlScene.IsBatchProcessing() and self.run is None:
            preselect(self.parameters)
