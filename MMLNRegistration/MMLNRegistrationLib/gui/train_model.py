"""The network that a training has made: its card, and the way into Register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import InputError
from ..model.card import ModelCard, dataclass_of, read_header
from .train_words import card_text


class TrainModel:
    """A line with the model's file, and its card as text below."""

    def __init__(self, ui: Any) -> None:
        """ui: with the widgets modelFile, modelCard, modelProblem and useModel."""
        self._ui = ui
        self._of_run = ""
        self._written: int | None = None
        ui.modelFile.nameFilters = ["*.safetensors"]
        ui.modelFile.connect("currentPathChanged(QString)", self._chosen)
        self._chosen(ui.modelFile.currentPath)

    @property
    def path(self) -> str:
        """Of the model that is shown; empty where there is none that could be used."""
        return self._ui.modelFile.currentPath if self._ui.useModel.enabled else ""

    def told(self, best: Path | None) -> None:
        """The best network of the run, None while it has none. What the user has chosen himself stays."""
        path, written = ("", None) if best is None else (str(best), _time_written(best))
        if (path, written) == (self._of_run, self._written):
            return
        is_the_runs = self._ui.modelFile.currentPath in ("", self._of_run)
        self._of_run, self._written = path, written
        if not is_the_runs:
            return
        if self._ui.modelFile.currentPath == path:
            self._chosen(path)  # the same file, with a better network in it
        else:
            self._ui.modelFile.currentPath = path

    def _chosen(self, path: str) -> None:
        ui, text, problem = self._ui, "", ""
        if path:
            try:
                text = _card(Path(path))
            except InputError as error:
                problem = str(error)
        ui.modelCard.plainText = text
        ui.modelCard.visible = bool(text)
        ui.modelProblem.text = problem
        ui.modelProblem.visible = bool(problem)
        ui.useModel.enabled = bool(text)


def _time_written(path: Path) -> int | None:
    """In nanoseconds; None while there is no such file."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _card(path: Path) -> str:
    header = read_header(path)
    config = header.get("config")
    return card_text(dataclass_of(ModelCard, header, "card", path), config if isinstance(config, dict) else {})
