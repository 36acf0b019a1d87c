"""The check of the data in Train: a button, what was found, and the files that are bad."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..backend.jobs import Job, JobError
from ..backend.messages import CheckData, Outcome
from ..errors import InputError
from .session import Session
from .train_words import findings_text


class DataCheck:
    """Asks the worker. The button is Cancel while it looks."""

    def __init__(self, session: Session, ui: Any, on_error: Callable[[str], None]) -> None:
        """ui: with the widgets checkButton, checkProgress, dataFindings and dataProblems."""
        self._session, self._ui, self._on_error = session, ui, on_error
        self.job: Job | None = None
        self.forget()

    def start(self, data: str, validation_data: str, config: Path | None, read_voxels: bool) -> None:
        """Check these. Raises InputError when nothing can be asked."""
        request = CheckData(
            data=(Path(data),),
            validation_data=(Path(validation_data),) if validation_data else (),
            config=config,
            read_voxels=read_voxels,
        )
        self.forget()
        self.job = self._session.submit(request, self._progress, self._done, self._failed)
        self._ui.checkProgress.value = 0
        self._ui.checkProgress.visible = True
        self._ui.checkButton.text = _("Cancel")

    def cancel(self) -> None:
        """Stop looking."""
        if self.job is not None:
            self.job.cancel()

    def forget(self) -> None:
        """What was found is of other data."""
        ui = self._ui
        ui.dataFindings.text = ""
        ui.dataProblems.plainText = ""
        for widget in (ui.dataFindings, ui.dataProblems, ui.checkProgress):
            widget.visible = False

    def _progress(self, step: str, fraction: float) -> None:
        self._ui.checkProgress.value = round(100 * fraction)

    def _done(self, outcome: Outcome) -> None:
        self._end()
        self._show(outcome.report)

    def _failed(self, error: JobError) -> None:
        self._end()
        if error.cause != "cancelled":
            self._on_error(str(error))

    def _end(self) -> None:
        self.job = None
        self._ui.checkProgress.visible = False
        self._ui.checkButton.text = _("Check data")

    def _show(self, report: Mapping[str, Any]) -> None:
        ui = self._ui
        ui.dataFindings.text = findings_text(report)
        ui.dataFindings.visible = True
        lines = [_line(Path(problem["file"]).name, problem["sentence"]) for problem in report["problems"]]
        ui.dataProblems.plainText = "\n".join(lines)
        ui.dataProblems.visible = bool(lines)


def _line(name: str, sentence: str) -> str:
    """A bad file in the list; most sentences name it."""
    return sentence if name in sentence else f"{name}: {sentence}"


def require_existing(data: str, validation_data: str) -> None:
    """Raise InputError for a path that is not there."""
    for path in filter(None, (data, validation_data)):
        if not Path(path).exists():
            raise InputError(_("{path} does not exist; choose another folder.").format(path=path))
