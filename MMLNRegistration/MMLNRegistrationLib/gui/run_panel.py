"""What panels have in common that have the worker do one thing at a time: the button, its reason, what went wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import qt
import vtk
from slicer.i18n import tr as _

from ..backend.jobs import JobError
from ..errors import InputError
from .panel import Panel
from .session import Session
from .worker_run import WorkerRun


class ButtonWords(NamedTuple):
    """What the button is called and tells, before and meanwhile, and what is said where PyTorch is missing."""

    start: str
    what_it_does: str
    what_cancel_does: str
    without_torch: str


class Progress(Protocol):
    """A bar and a line of text, both seen only while there is something to tell."""

    def __init__(self, bar: Any, line: Any) -> None:
        """bar: a QProgressBar from 0 to 1000. line: a QLabel."""

    def start(self) -> None:
        """Work begins."""

    def tell(self, step: str, fraction: float) -> None:
        """It has come so far: the worker's name of the step, and the fraction done of it."""

    def end(self) -> None:
        """It is over."""


class RunPanel(Panel, ABC):
    """One button, which is Cancel while there is something to cancel. All that goes wrong is said beside it.

    The .ui file has the labels reason, message and status, and the bar progress.
    """

    button_name = ""
    """Of the button in the .ui file."""

    held_names: tuple[str, ...] = ()
    """Of the parts of the window that nothing can be chosen in while it runs."""

    progress_class: type[Progress]

    run: WorkerRun | None
    """What is under way."""

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        self.run = None
        self._asked: Any = None
        self._button = getattr(self.ui, self.button_name)
        self._button.connect("clicked(bool)", self._clicked)
        self._progress = self.progress_class(self.ui.progress, self.ui.status)
        self._progress.end()
        self._complain("")
        self._completion = qt.QTimer()
        self._completion.setSingleShot(True)
        self._completion.setInterval(0)
        self._completion.timeout.connect(self._complete_choices)

    @abstractmethod
    def _words(self) -> ButtonWords:
        """For the button."""

    @abstractmethod
    def _hindrance(self) -> str:
        """Why it cannot be started, as a sentence; empty when it can."""

    @abstractmethod
    def _new_run(self, on_out_of_memory: str) -> WorkerRun:
        """What is asked for, not yet begun. It is to call _progress.tell, and in the end _failed or what calls _ended.

        on_out_of_memory: as in the requests. Raises InputError for choices that cannot be used.
        """

    def _complete(self) -> None:
        """Choose what follows from other choices, after they have changed."""

    @abstractmethod
    def _show_choices(self) -> None:
        """Bring all but the button in line with the choices."""

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._complete()
        self._update()

    def scene_closes(self) -> None:
        """See Panel."""
        self._abandon()
        self._complain("")

    def cleanup(self) -> None:
        """See Panel."""
        self._completion.stop()
        self._abandon()
        super().cleanup()

    def _clicked(self) -> None:
        if self.run is None:
            self._start("fail")
            return
        self._button.enabled = False
        self._button.text = _("Cancelling ...")
        self.run.cancel()

    def _start(self, on_out_of_memory: str) -> None:
        self._complain("")
        if not self.session.ready():
            self._complain(self._words().without_torch)
            return
        try:
            self.run = self._new_run(on_out_of_memory)
        except InputError as error:
            self._complain(str(error))
            return
        self._asked = self.parameters
        self._progress.start()
        self._update()
        self.run.start()

    def _ended(self) -> Any:
        """It is over. Returns the parameter node of the one who asked: the panel may be bound to none by now."""
        asked, self.run, self._asked = self._asked, None, None
        self._progress.end()
        return asked

    def _failed(self, error: JobError) -> None:
        self._ended()
        if error.cause != "cancelled":
            self._complain(str(error))
        self._update()

    def _abandon(self) -> None:
        if self.run is not None:
            self.run.abandon()
            self._ended()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring the button, its reason and all else in line with the choices."""
        if self.parameters is None:
            return
        self._completion.start()  # later: each change of a choice takes its time in all panels
        words, running = self._words(), self.run is not None
        reason = "" if running else self._hindrance()
        self._button.text = _("Cancel") if running else words.start
        self._button.enabled = not reason
        self._button.toolTip = reason or (words.what_cancel_does if running else words.what_it_does)
        self.ui.reason.text = reason
        self.ui.reason.visible = bool(reason)
        for name in self.held_names:
            getattr(self.ui, name).enabled = not running
        self._show_choices()

    def _complete_choices(self) -> None:
        if self.parameters is not None:
            self._complete()

    def _complain(self, sentence: str) -> None:
        """Say what went wrong, or, with an empty sentence, take back what was said."""
        self.ui.message.text = sentence
        self.ui.message.visible = bool(sentence)
