"""What Register and Propagate have in common: brains to be found, and what can be done when the memory is too small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..backend.jobs import JobError
from ..errors import InputError
from . import installation
from .run_panel import RunPanel
from .session import Session


class RegisteringPanel(RunPanel):
    """The .ui file has offerFrame too, with the buttons onProcessor and onCoarserGrid, and resultFrame."""

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        self.ui.resultFrame.visible = False
        self.ui.onProcessor.connect("clicked(bool)", self._again_on_processor)
        self.ui.onCoarserGrid.connect("clicked(bool)", self._again_on_coarser_grid)

    def scene_closes(self) -> None:
        """See Panel."""
        super().scene_closes()
        self.ui.resultFrame.visible = False

    def _again_on_processor(self) -> None:
        self._start("cpu")

    def _again_on_coarser_grid(self) -> None:
        self._start("coarser")

    def _require_brain_extraction(self, parameters: Any, otherwise: str) -> None:
        """Raises InputError(otherwise) where brains are to be found here, and what finds them is not wanted."""
        if parameters.extract_brains and not self.session.is_remote and not installation.ensure_brain_extraction():
            raise InputError(otherwise)

    def _failed(self, error: JobError) -> None:
        super()._failed(error)
        self.ui.onProcessor.visible = "cpu" in error.offers
        self.ui.onCoarserGrid.visible = "coarser" in error.offers
        self.ui.offerFrame.visible = bool(error.offers)

    def _complain(self, sentence: str) -> None:
        """Say what went wrong, or, with an empty sentence, take back what was said, and what was offered."""
        super()._complain(sentence)
        self.ui.offerFrame.visible = False
