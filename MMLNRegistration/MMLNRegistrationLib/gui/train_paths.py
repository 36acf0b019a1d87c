"""The lines of Train that hold a path, and the parameters that they show.

Slicer binds such lines to paths alone, for which an empty line is the working folder; here it means that nothing is
chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ctk

_LINES = {"data": "data", "validation_data": "validationData", "run_folder": "runFolder", "cache": "cache"}
"""Names of the widgets by the parameter."""


class PathLines:
    """Tells of each edit by the user; what is shown from the parameters is none."""

    def __init__(self, ui: Any, on_edited: Callable[[str, str], None]) -> None:
        """on_edited: called with the parameter's name and the text."""
        self._ui, self._on_edited = ui, on_edited
        self._is_showing = False
        for parameter, name in _LINES.items():
            line = getattr(ui, name)
            line.filters = ctk.ctkPathLineEdit.Dirs
            line.connect("currentPathChanged(QString)", self._handler(parameter))

    def show(self, train: Any) -> None:
        """Show the texts of the parameters."""
        self._is_showing = True
        for parameter, name in _LINES.items():
            line, text = getattr(self._ui, name), getattr(train, parameter)
            if line.currentPath.strip() != text:
                line.currentPath = text
        self._is_showing = False

    def _handler(self, parameter: str) -> Callable[[str], None]:
        def edited(text: str) -> None:
            if not self._is_showing:
                self._on_edited(parameter, text.strip())

        return edited
