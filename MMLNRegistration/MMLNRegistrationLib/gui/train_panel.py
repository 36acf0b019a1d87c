"""The Train panel: a network of one's own data, trained by a process that outlives this window."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..backend import detached
from ..backend.messages import Train
from ..errors import InputError
from ..training.run_files import RunFiles
from . import installation
from .device_choice import DeviceChoice
from .panel import Panel
from .session import Session, slicer_python
from .train_curves import TrainCurves
from .train_data import DataCheck, require_existing
from .train_follower import RunFollower, RunNews
from .train_model import TrainModel
from .train_paths import PathLines
from .train_plan import can_resume, hindrance, train_request, write_settings
from .train_presets import TrainPreset, fill_in, settings_of
from .train_preview import TrainPreview
from .train_runs import KnownRuns
from .train_words import best_text, state_text

_NO_RUN = detached.RunState("none")


class TrainPanel(Panel):
    """One run is shown at a time, that of the run folder. What is done to it is done to its folder, see detached."""

    ui_name = "Train"

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        ui = self.ui
        self.state = _NO_RUN
        self._preset: TrainPreset | None = None
        self._log = ""
        self._followed = ""
        self._is_acting = False
        self._processes: list[subprocess.Popen[bytes]] = []
        self.check = DataCheck(session, ui, self._complain)
        self.curves = TrainCurves(ui.curve)
        self.preview = TrainPreview(session, ui, self._complain)
        self.model = TrainModel(ui)
        self.runs = KnownRuns(ui.runs, self._run_chosen)
        self._device = DeviceChoice(session, ui.device, ui.refreshDevices, self._device_chosen, self._complain)
        self._paths = PathLines(ui, self._path_edited)
        ui.checkButton.connect("clicked(bool)", self._check_clicked)
        ui.startButton.connect("clicked(bool)", self._start_clicked)
        ui.resumeButton.connect("clicked(bool)", self._resume_clicked)
        ui.forceButton.connect("clicked(bool)", self._force_clicked)
        ui.forgetRun.connect("clicked(bool)", self._forget_clicked)
        ui.showCurves.connect("clicked(bool)", self._show_curves)
        ui.previewButton.connect("clicked(bool)", self._preview_clicked)
        ui.useModel.connect("clicked(bool)", self._use_model)
        ui.logButton.connect("contentsCollapsed(bool)", self._show_log)
        self._complain("")
        self.follower = RunFollower(self._told)

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self._preset = parameters.train.preset
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        if parameters.train.run_folder != self._followed:
            self._another_run()
        self._update()

    def scene_closes(self) -> None:
        """See Panel. The training goes on; the picture that is being made is for nobody."""
        self.preview.forget()

    def cleanup(self) -> None:
        """See Panel. A training goes on."""
        self.follower.close()
        self.check.cancel()
        self.preview.forget()
        super().cleanup()

    def _check_clicked(self) -> None:
        if self.check.job is not None:
            self.check.cancel()
            return
        self._complain("")
        if not self._is_ready():
            return
        train = self.parameters.train
        try:
            require_existing(train.data, train.validation_data)
            config = write_settings(train, self.session.new_folder())
            self.check.start(train.data, train.validation_data, config, train.read_voxels)
        except InputError as error:
            self._complain(str(error))

    def _start_clicked(self) -> None:
        self._complain("")
        if self.state.is_at_work:
            folder = self._folder()
            self._act(lambda: detached.stop(folder))
            return
        train = self.parameters.train
        if not self._is_ready():
            return
        try:
            require_existing(train.data, train.validation_data)
            self._launch(train_request(train), settings_of(train))
        except InputError as error:
            self._complain(str(error))

    def _resume_clicked(self) -> None:
        self._complain("")
        train = self.parameters.train
        if not self._is_ready():
            return
        try:
            request = detached.request_of(self._folder())
            if request is None:  # begun on a command line, where nobody has noted its data
                if not train.data:
                    raise InputError(_("Choose the data that this training was begun with, under Data."))
                request = train_request(train)
            self._launch(replace(request, device=train.device, threads=train.threads or None, resume=True), None)
        except InputError as error:
            self._complain(str(error))

    def _launch(self, request: Train, settings: dict[str, Any] | None) -> None:
        """Start it, and show the curves, which are empty as yet."""
        python = slicer_python()
        folder = str(request.output.absolute())
        if folder != self._followed:
            self._run_chosen(folder)

        def start() -> None:
            self._processes.append(detached.start(request, settings, python))

        self._act(start, lambda: self.runs.add(folder))
        self._show_curves()

    def _force_clicked(self) -> None:
        wanted = slicer.util.confirmOkCancelDisplay(
            _("End the training at once? What it has learnt since its last checkpoint is lost; it can be resumed.")
        )
        if wanted:
            folder = self._folder()
            self._act(lambda: detached.end_by_force(folder))

    def _act(self, action: Callable[[], None], on_done: Callable[[], None] = lambda: None) -> None:
        """Do something to the run in a thread, one thing at a time."""

        def end() -> None:
            self._is_acting = False
            self._follow()
            self._update()

        def done(nothing: None) -> None:
            on_done()
            end()

        def failed(error: Exception) -> None:
            end()
            self._complain(str(error))

        self._is_acting = True
        self._update()
        self.session.in_thread(action, done, failed)

    def _is_ready(self) -> bool:
        """Whether this machine has torch, whatever a server has. The user may be asked to install it."""
        if installation.ensure_torch():
            return True
        self._complain(_("PyTorch is not installed: nothing can be trained without it."))
        return False

    def _folder(self) -> Path:
        return Path(self.parameters.train.run_folder)

    def _follow(self) -> None:
        folder = self._followed
        self.follower.follow(Path(folder) if folder else None, self.runs.folders)

    def _told(self, news: RunNews) -> None:
        """How the runs stand now, also while another module is seen."""
        self._processes = [process for process in self._processes if process.poll() is None]
        if news.others is not None:
            self.runs.told(news.others)
        if self.parameters is not None and not self._followed and (working := self.runs.at_work()):
            self._run_chosen(working)  # one that an earlier session has begun
        if news.folder != (Path(self._followed) if self._followed else None):
            return  # of the run before
        ui, before = self.ui, self.state
        self.state, self._log = news.state, news.log
        if news.state.is_at_work and self._followed not in self.runs.folders:
            self.runs.add(self._followed)  # begun on a command line
            self._follow()
        if news.curves is not None:
            self.curves.told(news.curves, news.folder.name if news.folder is not None else "")
        self.model.told(RunFiles(news.folder).best if news.folder is not None and news.has_model else None)
        _show_text(ui.status, state_text(news.state, news.last_step))
        _show_text(ui.best, best_text(news.best))
        ui.progress.value = _per_mille(news.state)
        self._show_log()
        if news.state != before:
            if news.state.sentence:
                self._complain(news.state.sentence)
            self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring the widgets in line with the choices and the state of the run."""
        if self.parameters is None:
            return
        if self._preset is not self.parameters.train.preset:
            self._preset = self.parameters.train.preset
            with slicer.util.NodeModify(self.parameters.parameterNode):
                fill_in(self.parameters, self._preset)
        ui, train, state = self.ui, self.parameters.train, self.state
        self._paths.show(train)
        at_work = state.is_at_work
        reason = "" if at_work else hindrance(train, state)
        ui.startButton.text = _("Stop") if at_work else _("Start training")
        ui.startButton.enabled = not reason and not self._is_acting and state.kind != "stopping"
        ui.startButton.toolTip = reason or (
            _("End the training after its step, with a checkpoint to go on from.")
            if at_work
            else _("Train in a process of its own: it goes on when Slicer is closed.")
        )
        ui.resumeButton.enabled = can_resume(state) and not self._is_acting
        ui.resumeButton.toolTip = (
            _("Go on from the last checkpoint, with the settings that the run began with.")
            if can_resume(state)
            else _("There is nothing to resume in this run folder.")
        )
        _show_text(ui.reason, reason)
        ui.stopFrame.visible = state.kind == "stopping"
        ui.runFrame.visible = state.kind != "none"
        ui.progress.visible = at_work
        ui.presetHint.text = train.preset.hint()
        ui.settingsButton.enabled = ui.dataButton.enabled = not at_work
        ui.previewButton.enabled = not (self.preview.busy or self.session.is_remote)
        ui.checkButton.enabled = bool(train.data) and not self.session.is_remote
        ui.checkButton.toolTip = self._why_not(
            ui.checkButton.enabled, _("Say what the folders hold, and what is wrong.")
        )
        ui.previewButton.toolTip = self._why_not(
            True, _("Register the pair by the newest network, and show it in the slice views.")
        )
        ui.forgetRun.enabled = train.run_folder in self.runs.folders and not at_work
        self.runs.show(train.run_folder)
        self._device.show(train.device)

    def _why_not(self, has_data: bool, what_it_does: str) -> str:
        """The tool tip of a button that needs this machine's worker."""
        if self.session.is_remote:
            return _("A server is in use; empty its address in Register: training is done on this machine.")
        return what_it_does if has_data else _("Choose the folder with the scans to train on.")

    def _path_edited(self, parameter: str, text: str) -> None:
        if self.parameters is None or getattr(self.parameters.train, parameter) == text:
            return
        setattr(self.parameters.train, parameter, text)
        if parameter == "run_folder":
            self._another_run()
        elif parameter in ("data", "validation_data"):
            self.check.forget()

    def _run_chosen(self, folder: str) -> None:
        if self.parameters is not None and self.parameters.train.run_folder != folder:
            self.parameters.train.run_folder = folder
            self._another_run()

    def _another_run(self) -> None:
        self._followed = self.parameters.train.run_folder
        self.state = _NO_RUN
        self.preview.forget()
        self._complain("")
        for label in (self.ui.status, self.ui.best):
            _show_text(label, "")
        self._follow()
        self._update()

    def _forget_clicked(self) -> None:
        self.runs.remove(self.parameters.train.run_folder)
        self.parameters.train.run_folder = ""
        self._another_run()

    def _preview_clicked(self) -> None:
        self._complain("")
        if self.preview.busy or not self._is_ready():
            return
        try:
            self.preview.start(self._folder())
        except InputError as error:
            self._complain(str(error))

    def _show_curves(self) -> None:
        self.curves.show()

    def _use_model(self) -> None:
        self.parameters.register.model = self.model.path
        _show_text(self.ui.modelProblem, _("Register uses this network from now on."))

    def _device_chosen(self, name: str) -> None:
        if self.parameters is not None:
            self.parameters.train.device = name

    def _show_log(self, collapsed: bool = False) -> None:
        """The log is put into its widget only where it is seen, and has changed."""
        log = self.ui.log
        if not self.ui.logButton.collapsed and log.plainText != self._log:
            log.plainText = self._log
            bar = log.verticalScrollBar()
            bar.value = bar.maximum

    def _complain(self, sentence: str) -> None:
        """Say what went wrong, or, with an empty sentence, take back what was said."""
        _show_text(self.ui.message, sentence)


def _show_text(label: Any, text: str) -> None:
    label.text = text
    label.visible = bool(text)


def _per_mille(state: detached.RunState) -> int:
    """For the progress bar: of the steps, and before the first one of what is being prepared."""
    if state.step is not None and state.total_steps:
        return round(1000 * state.step / state.total_steps)
    return round(1000 * state.fraction)
