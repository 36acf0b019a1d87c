"""The runs that Train knows, kept in the application's settings: a training is found again at the next start."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..backend.detached import RunState
from .train_words import run_text

RUNS_SETTING = "MMLNRegistration/TrainingRuns"
_MOST_RUNS = 30


class KnownRuns:
    """A combo box of runs, the newest first, with how they stand."""

    def __init__(self, combo: Any, on_chosen: Callable[[str], None]) -> None:
        """combo: a QComboBox. on_chosen: called with the folder that the user chose."""
        self._combo, self._on_chosen = combo, on_chosen
        self.folders = _read()
        self._states: Mapping[str, RunState] = {}
        self._shown: list[str] = []
        self._current = ""
        self._is_filling = False
        combo.connect("currentIndexChanged(int)", self._chosen)
        self._show()

    def add(self, folder: str) -> None:
        """Remember a run, as the newest."""
        self.folders = [folder, *(known for known in self.folders if known != folder)][:_MOST_RUNS]
        self._write()

    def remove(self, folder: str) -> None:
        """Take a run from the list. Its folder stays."""
        self.folders = [known for known in self.folders if known != folder]
        self._write()

    def show(self, current: str) -> None:
        """Show this folder as chosen, if it is known."""
        if current != self._current:
            self._current = current
            self._show()

    def told(self, states: Mapping[str, RunState]) -> None:
        """How the runs stand."""
        self._states = states
        self._show()

    def at_work(self) -> str:
        """The newest run that trains now; empty when none does."""
        working = [folder for folder in self.folders if folder in self._states and self._states[folder].is_at_work]
        return working[0] if working else ""

    def _write(self) -> None:
        qt.QSettings().setValue(RUNS_SETTING, json.dumps(self.folders))
        self._show()

    def _show(self) -> None:
        texts = [run_text(folder, self._states.get(folder)) for folder in self.folders]
        known = self._current in self.folders
        if not known:
            texts.insert(0, _("Choose a run") if texts else _("No training yet"))
        folders = self.folders if known else ["", *self.folders]
        self._is_filling = True
        if folders != self._shown or len(texts) != self._combo.count:
            self._combo.clear()
            for _text in texts:
                self._combo.addItem("")
            self._shown = list(folders)
        for index, (text, folder) in enumerate(zip(texts, folders, strict=True)):
            if self._combo.itemText(index) != text:
                self._combo.setItemText(index, text)
                state = self._states.get(folder)
                tip = "\n".join(filter(None, (folder, state.sentence if state else "")))
                self._combo.setItemData(index, tip, qt.Qt.ToolTipRole)
        self._combo.currentIndex = folders.index(self._current) if known else 0
        self._is_filling = False

    def _chosen(self, index: int) -> None:
        if not self._is_filling and 0 <= index < len(self._shown) and self._shown[index]:
            self._on_chosen(self._shown[index])


def _read() -> list[str]:
    try:
        folders = json.loads(qt.QSettings().value(RUNS_SETTING, "[]") or "[]")
    except (TypeError, ValueError):
        return []
    return [folder for folder in folders if isinstance(folder, str)] if isinstance(folders, list) else []
