"""Message boxes and file dialogs: recorded, and answered by the test in the order in which they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PySide6 import QtCore, QtWidgets

from .properties import state
from .pythonqt import stand_in

Answer = str | Path | list | Callable | None

_BUTTONS = {
    name.lower(): getattr(QtWidgets.QMessageBox.StandardButton, name)
    for name in ("Ok", "Cancel", "Yes", "No", "Retry", "Close", "Abort", "Ignore", "Save", "Discard", "Apply")
}


@dataclass(frozen=True)
class Shown:
    """One dialog that the user would have seen."""

    kind: str
    """ "message", "file" or "dialog"."""
    text: str
    title: str = ""
    details: str = ""
    buttons: tuple[str, ...] = ()
    """Names of a message box's standard buttons, and the texts of its others."""


class Dialogs:
    """What was shown, and what is to be answered."""

    def __init__(self) -> None:
        self.shown: list[Shown] = []
        self.unexpected: list[Shown] = []
        """Questions that came when no answer was queued; they were cancelled."""
        self._answers: deque[Answer] = deque()

    def answer(self, *answers: Answer) -> None:
        """Queue answers: "ok", "cancel", "yes", "no", a button's text, a path, a list of paths, or None for closing.

        A function is called with the dialog and returns one of these.
        """
        self._answers.extend(answers)

    @property
    def texts(self) -> list[str]:
        """The text of each dialog shown, title and details left out."""
        return [shown.text for shown in self.shown]

    @property
    def unused(self) -> list[Answer]:
        """Answers that nobody asked for yet."""
        return list(self._answers)

    def clear(self) -> None:
        """Forget everything."""
        self.shown.clear()
        self.unexpected.clear()
        self._answers.clear()

    def take(self, shown: Shown, dialog: object, is_question: bool) -> Answer:
        """Record a dialog and return its answer, None when there is none."""
        self.shown.append(shown)
        if not is_question:
            # A box with nothing but OK needs no answer; one that a test queued all the same is taken.
            return self._answers.popleft() if self._answers and self._answers[0] == "ok" else "ok"
        if not self._answers:
            self.unexpected.append(shown)
            return None
        given = self._answers.popleft()
        return given(dialog) if callable(given) else given


DIALOGS = Dialogs()


@stand_in
class MessageBox(QtWidgets.QMessageBox):
    """QMessageBox and ctkMessageBox, which never wait."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        state(self).update(key="", clicked=None)

    def setDontShowAgainVisible(self, visible: bool) -> None:
        """The "do not show again" box of ctkMessageBox."""
        state(self)["again"] = visible

    dontShowAgainSettingsKey = QtCore.Property(
        str, lambda self: state(self)["key"], lambda self, v: state(self).update(key=v)
    )

    def exec(self) -> int:
        """Ask the test instead of the user; returns the standard button."""
        standard = [name for name, button in _BUTTONS.items() if self.standardButtons & button]
        others = {
            button.text: button
            for button in self.buttons()
            if not self.standardButton(button).value and not button.text.startswith("Show Details")
        }
        names = (*standard, *others) or ("ok",)
        text = self.text + (f"\n{self.informativeText}" if self.informativeText else "")
        shown = Shown("message", text, str(self.windowTitle).strip(), self.detailedText, names)
        given = DIALOGS.take(shown, self, len(names) > 1)
        if given in others:
            state(self)["clicked"] = others[given]
            return list(others).index(given)
        if given is None:
            given = next((name for name in ("cancel", "no", "close", "abort") if name in standard), names[-1])
        if given not in names:
            raise AssertionError(f"The message box has no button {given!r}, but {', '.join(names)}: {text}")
        state(self)["clicked"] = others.get(given) or self.button(_BUTTONS[given])
        return _BUTTONS[given] if given in _BUTTONS else list(others).index(given)

    exec_ = exec

    def clickedButton(self) -> QtWidgets.QAbstractButton | None:
        """The button that was answered."""
        return state(self)["clicked"]

    @staticmethod
    def _ask(parent: object, title: str, text: str, buttons: object, icon: object) -> object:
        box = MessageBox(parent)
        box.windowTitle, box.text, box.icon = title, text, icon
        box.standardButtons = buttons
        return box.exec()


def _static(icon: QtWidgets.QMessageBox.Icon, default: QtWidgets.QMessageBox.StandardButton) -> staticmethod:
    def ask(parent: object, title: str, text: str, buttons: object = default, _default: object = None) -> object:
        return MessageBox._ask(parent, title, text, buttons, icon)

    return staticmethod(ask)


_Icon, _Button = QtWidgets.QMessageBox.Icon, QtWidgets.QMessageBox.StandardButton
MessageBox.information = _static(_Icon.Information, _Button.Ok)
MessageBox.warning = _static(_Icon.Warning, _Button.Ok)
MessageBox.critical = _static(_Icon.Critical, _Button.Ok)
MessageBox.question = _static(_Icon.Question, _Button.Yes | _Button.No)


@stand_in
class FileDialog(QtWidgets.QFileDialog):
    """QFileDialog; its static functions return paths as PythonQt does, "" when the dialog is closed."""

    @staticmethod
    def getExistingDirectory(
        parent: object = None, caption: str = "", directory: str = "", _options: object = None
    ) -> str:
        """A folder."""
        return _path(caption, directory)

    @staticmethod
    def getOpenFileName(
        parent: object = None, caption: str = "", directory: str = "", filters: str = "", _selected: object = None
    ) -> str:
        """A file to read."""
        return _path(caption, filters)

    @staticmethod
    def getSaveFileName(
        parent: object = None, caption: str = "", directory: str = "", filters: str = "", _selected: object = None
    ) -> str:
        """A file to write."""
        return _path(caption, filters)

    @staticmethod
    def getOpenFileNames(
        parent: object = None, caption: str = "", directory: str = "", filters: str = "", _selected: object = None
    ) -> tuple[str, ...]:
        """Files to read."""
        given = DIALOGS.take(Shown("file", caption, details=filters), None, True)
        return tuple(str(path) for path in given) if given else ()


def _path(caption: str, details: str) -> str:
    given = DIALOGS.take(Shown("file", caption, details=details), None, True)
    return "" if given is None else str(given)


def ask_instead_of_waiting(dialog: QtWidgets.QDialog) -> int:
    """exec_ of every other dialog: "ok" accepts it, anything else closes it."""
    labels = [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
    given = DIALOGS.take(Shown("dialog", "\n".join(labels), dialog.windowTitle), dialog, True)
    if isinstance(given, int):
        return given
    (dialog.accept if given in ("ok", "yes") else dialog.reject)()
    return int(dialog.result())
