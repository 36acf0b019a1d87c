"""A validation pair of a training in the slice views, on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..backend.jobs import Job, JobError
from ..backend.messages import Outcome, Preview
from ..errors import InputError
from ..scene.training_preview import PreviewArrays, read_preview, show_preview
from .session import Session
from .train_words import preview_text


class TrainPreview:
    """Each press of the button shows the pair that the spin box names, by the newest checkpoint."""

    def __init__(self, session: Session, ui: Any, on_error: Callable[[str], None]) -> None:
        """ui: with the widgets previewButton, previewPair and previewFigures."""
        self._session, self._ui, self._on_error = session, ui, on_error
        self._job: Job | None = None
        self._reads = False
        self._is_wanted = True
        self.forget()

    @property
    def busy(self) -> bool:
        """Whether a picture is being made."""
        return self._job is not None or self._reads

    def start(self, run: Path) -> None:
        """Make one of the run; until it is there the button is disabled. Raises InputError as Session.submit."""
        request = Preview(run=run, output=self._session.new_folder(), pair=self._ui.previewPair.value - 1)
        self._is_wanted = True
        self._job = self._session.submit(request, None, self._done, self._failed)
        self._say(_("The newest network registers the pair ..."))

    def forget(self) -> None:
        """The run is another one, or the scene was closed: what is on its way is not to be shown any more."""
        self._is_wanted = False
        if self._job is not None:
            self._job.cancel()
        self._say("")

    def _done(self, outcome: Outcome) -> None:
        self._job = None
        if not self._is_wanted:
            self._say("")
            return
        self._reads = True

        def show(arrays: PreviewArrays) -> None:
            self._reads = False
            self._say("")
            if self._is_wanted:
                nodes = show_preview(slicer.mrmlScene, arrays)
                # The label layer too: what another panel shows there, such as folds, is of other images.
                slicer.util.setSliceViewerLayers(
                    background=nodes["fixed"], foreground=nodes["warped"], label=None, foregroundOpacity=0.5, fit=True
                )
                self._say(preview_text(outcome.report))

        self._session.in_thread(lambda: read_preview(outcome.files, outcome.report), show, self._not_read)

    def _not_read(self, error: Exception) -> None:
        self._reads = False
        self._say("")
        self._on_error(str(error) if isinstance(error, InputError) else _("The preview cannot be shown."))

    def _failed(self, error: JobError) -> None:
        self._job = None
        self._say("")
        if error.cause != "cancelled" and self._is_wanted:
            self._on_error(str(error))

    def _say(self, text: str) -> None:
        self._ui.previewFigures.text = text
        self._ui.previewFigures.visible = bool(text)
        self._ui.previewButton.enabled = not (self.busy or self._session.is_remote)
