"""The Register panel: two volumes in, one transform out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import InputError
from ..scene.results import ResultNodes
from . import installation
from .device_choice import DeviceChoice
from .preselection import preselect
from .register_plan import hindrance, plan
from .register_presets import Preset
from .register_progress import RegisterProgress
from .register_result import MovedVolume, can_be_moved, fade, show_overlay, verdict
from .register_run import RegisterRun
from .registering_panel import RegisteringPanel
from .run_panel import ButtonWords
from .server_choice import ServerChoice
from .session import Session
from .worker_run import is_in_scene

_LOG_LINES = 2000


class RegisterPanel(RegisteringPanel):
    """What it has made stays shown below the button until the next registration."""

    ui_name = "Register"
    button_name = "registerButton"
    held_names = ("inputsButton", "outputsButton", "expertButton")
    progress_class = RegisterProgress
    run: RegisterRun | None
    _progress: RegisterProgress

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        ui = self.ui
        self._result: ResultNodes | None = None
        self._fixed: slicer.vtkMRMLVolumeNode | None = None
        self._moving: slicer.vtkMRMLVolumeNode | None = None
        self._moved: MovedVolume | None = None
        self._device = DeviceChoice(session, ui.device, ui.refreshDevices, self._device_chosen, self._complain)
        self._server = ServerChoice(session, ui.server, ui.token, self._server_changed)
        ui.log.setMaximumBlockCount(_LOG_LINES)
        ui.model.nameFilters = ["*.safetensors"]
        ui.model.connect("currentPathChanged(QString)", self._model_chosen)
        ui.expertButton.connect("contentsCollapsed(bool)", self._expert_toggled)
        ui.fader.connect("valueChanged(double)", fade)
        ui.showOverlay.connect("clicked(bool)", self._show_overlay)
        ui.applyTransform.connect("clicked(bool)", self._move_moving)
        session.on_log = self._log

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self._node_added)
        preselect(parameters)

    def scene_closes(self) -> None:
        """See Panel."""
        super().scene_closes()
        self.session.last = None
        self._result, self._fixed, self._moving, self._moved = None, None, None, None

    def cleanup(self) -> None:
        """See Panel."""
        super().cleanup()
        self.session.on_log = None

    def _words(self) -> ButtonWords:
        return ButtonWords(
            _("Register"),
            _("Register moving to fixed."),
            _("Stop the registration."),
            _("PyTorch is not installed: nothing can be registered without it."),
        )

    def _hindrance(self) -> str:
        return hindrance(self.parameters.register) or self._server.hindrance()

    def _new_run(self, on_out_of_memory: str) -> RegisterRun:
        parameters = self.parameters.register
        self._require_brain_extraction(
            parameters, _("Brain extraction needs deepbet; install it, or switch brain extraction off under Expert.")
        )
        planned = plan(parameters, self.session.new_folder(), on_out_of_memory)
        self._fixed, self._moving = pair = parameters.fixed, parameters.moving
        self.ui.resultFrame.visible = False
        nodes = ResultNodes(parameters.transform, parameters.warped, parameters.jacobian)
        return RegisterRun(self.session, planned, nodes, pair, self._progress.tell, self._done, self._failed)

    def _done(self, nodes: ResultNodes, report: Mapping[str, Any]) -> None:
        asked = self._ended()
        self._progress.learn(report["seconds"])
        self._result, self._moved = nodes, None
        with slicer.util.NodeModify(asked.parameterNode):
            parameters = asked.register
            parameters.transform, parameters.warped, parameters.jacobian = nodes.transform, nodes.warped, nodes.jacobian
        self.ui.verdict.text = verdict(report)
        self.ui.resultFrame.visible = True
        self.ui.applyTransform.checked = False
        self.ui.applyTransform.enabled = can_be_moved(nodes, self._moving)
        self._show_overlay(fit=True)
        self._update()

    def _show_choices(self) -> None:
        parameters = self.parameters.register
        self.ui.presetHint.text = parameters.preset.hint()
        self.ui.start.enabled = parameters.initial_transform is None
        self.ui.brains.enabled = None in (parameters.fixed_mask, parameters.moving_mask)
        self.ui.iterations.enabled = self.ui.similarity.enabled = parameters.preset is not Preset.FAST
        if self.ui.model.currentPath != parameters.model:
            self.ui.model.currentPath = parameters.model
        self._device.show(parameters.device)

    def _complain(self, sentence: str) -> None:
        """See RunPanel. The log keeps it."""
        super()._complain(sentence)
        if sentence:
            self._log(sentence)

    def _log(self, line: str) -> None:
        self.ui.log.appendPlainText(line)

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
        if self._result is not None and is_in_scene(self._result.warped):
            fixed = self._fixed if is_in_scene(self._fixed) else None
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
