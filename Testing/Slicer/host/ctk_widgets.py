"""Stand-ins for the CTK widgets that modules use; each has the properties and signals of the original."""

from __future__ import annotations

import types
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets
from PySide6.QtCore import Property, Signal

from . import signals
from .properties import state
from .pythonqt import stand_in, thin
from .values import RangeWidget, SpinBoxWidget, ValueWidget

HEADER_PIXELS = 24


@stand_in
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that hides or shows what lies in it."""

    contentsCollapsed = Signal(bool)

    def __init__(self, text: str | QtWidgets.QWidget = "", parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent if isinstance(text, str) else text)
        state(self).update(collapsed=False, hidden=[])
        if isinstance(text, str):
            self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Preferred, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, HEADER_PIXELS, 0, 0)
        signals.connect(self, "toggled(bool)", self._on_toggled)

    def _on_toggled(self, checked: bool) -> None:
        state(self)["collapsed"] = not checked
        if checked:
            for child in state(self)["hidden"]:
                child.setVisible(True)
            state(self)["hidden"] = []
        else:
            children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            state(self)["hidden"] = [child for child in children if child.isVisibleTo(self)]
            for child in state(self)["hidden"]:
                child.setVisible(False)
        self.updateGeometry()
        self.contentsCollapsed.emit(not checked)

    def childEvent(self, event: QtCore.QEvent) -> None:
        if event.added() and state(self).get("collapsed") and isinstance(event.child(), QtWidgets.QWidget):
            event.child().setVisible(False)
            state(self)["hidden"].append(event.child())
        super().childEvent(event)

    def setCollapsed(self, collapsed: bool) -> None:
        """Hide or show the contents."""
        self.setChecked(not collapsed)

    collapsed = Property(bool, lambda self: state(self)["collapsed"], setCollapsed)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < HEADER_PIXELS

    def sizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        if state(self)["collapsed"] or layout is None:
            return QtCore.QSize(120, HEADER_PIXELS)
        return layout.totalSizeHint().expandedTo(QtCore.QSize(120, HEADER_PIXELS))

    def minimumSizeHint(self) -> QtCore.QSize:
        layout = self.layout()
        if state(self)["collapsed"] or layout is None:
            return QtCore.QSize(60, HEADER_PIXELS)
        return layout.totalMinimumSize().expandedTo(QtCore.QSize(60, HEADER_PIXELS))

    def paintEvent(self, _event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        try:
            self._paint(painter, self.rect)
        finally:
            # Qt crashes on a painter that outlives its event.
            painter.end()

    def _paint(self, painter: QtWidgets.QStylePainter, whole: QtCore.QRect) -> None:
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, whole.width(), HEADER_PIXELS)
        option.text = ""
        option.state |= QtWidgets.QStyle.StateFlag.State_Raised
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButtonBevel, option)
        arrow = "▸" if state(self)["collapsed"] else "▾"
        painter.drawText(QtCore.QRect(8, 0, 16, HEADER_PIXELS), QtCore.Qt.AlignmentFlag.AlignVCenter, arrow)
        text_box = QtCore.QRect(24, 0, whole.width() - 30, HEADER_PIXELS)
        painter.drawText(text_box, QtCore.Qt.AlignmentFlag.AlignVCenter, self.text)
        if not state(self)["collapsed"]:
            painter.setPen(self.palette.color(QtGui.QPalette.ColorRole.Mid))
            painter.drawRect(0, HEADER_PIXELS, whole.width() - 1, whole.height() - HEADER_PIXELS - 1)


@stand_in
class ctkSliderWidget(ValueWidget):
    """A slider with a spin box."""


@stand_in
class ctkDoubleSlider(ValueWidget):
    """A slider for fractions; built with an orientation, as the original."""

    def __init__(self, orientation: object = None, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(orientation if isinstance(orientation, QtWidgets.QWidget) else parent)


@stand_in
class ctkDoubleSpinBox(SpinBoxWidget):
    """A spin box for fractions."""


@stand_in
class ctkRangeWidget(RangeWidget):
    """A slider with two handles."""


@stand_in
class ctkDoubleRangeSlider(RangeWidget):
    """A slider with two handles for fractions."""


@stand_in
class ctkCheckBox(QtWidgets.QCheckBox):
    """A check box."""


@stand_in
class ctkComboBox(QtWidgets.QComboBox):
    """A combo box."""


@stand_in
class ctkColorPickerButton(QtWidgets.QPushButton):
    """A button that shows a colour."""

    colorChanged = Signal(QtGui.QColor)
    color = Property(
        QtGui.QColor,
        lambda self: state(self).get("color", QtGui.QColor("black")),
        lambda self, value: (state(self).update(color=value), self.colorChanged.emit(value)),
    )


@stand_in
class ctkMenuButton(QtWidgets.QPushButton):
    """A button with a menu at its side."""


@stand_in
class ctkFittedTextBrowser(QtWidgets.QTextBrowser):
    """A text that is as high as it needs."""


@stand_in
class ctkCheckablePushButton(QtWidgets.QPushButton):
    """A button with a check box on it."""

    checkBoxToggled = Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        state(self).update(box=False)

    def setCheckState(self, value: QtCore.Qt.CheckState) -> None:
        """Tick or untick."""
        ticked = value == QtCore.Qt.CheckState.Checked
        if ticked != state(self)["box"]:
            state(self)["box"] = ticked
            self.checkBoxToggled.emit(ticked)

    checkState = Property(
        QtCore.Qt.CheckState,
        lambda self: QtCore.Qt.CheckState.Checked if state(self)["box"] else QtCore.Qt.CheckState.Unchecked,
        setCheckState,
    )


class _PathWidget(QtWidgets.QWidget):
    """A line with a browse button."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        line, browse = thin(QtWidgets.QLineEdit)(self), thin(QtWidgets.QToolButton)(self)
        browse.text = "..."
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(line)
        layout.addWidget(browse)
        state(self).update(line=line, browse=browse)
        signals.connect(line, "textChanged(QString)", self._on_text)
        signals.connect(browse, "clicked()", lambda: self.browse())
        self.setFocusProxy(line)

    def _on_text(self, text: str) -> None:
        raise NotImplementedError


@stand_in
class ctkPathLineEdit(_PathWidget):
    """Path of a file or folder; filters says which (the values of ctkPathLineEdit::Filter)."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    Dirs, Files, Readable, Writable, Hidden, Executable = 0x1, 0x2, 0x10, 0x20, 0x100, 0x40
    FILTERS = types.MappingProxyType({"Dirs": 0x1, "Files": 0x2})

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        state(self).update(filters=self.Files, nameFilters=[], history=[], label="", settingKey="")

    def _on_text(self, text: str) -> None:
        self.currentPathChanged.emit(text)

    def setCurrentPath(self, path: str) -> None:
        """Show a path."""
        state(self)["line"].setText(str(path))

    def addCurrentPathToHistory(self) -> None:
        """Remember the path for the next time."""
        state(self)["history"].append(self.currentPath)

    def browse(self) -> None:
        """Ask for a path by a dialog."""
        from .dialogs import FileDialog

        if state(self)["filters"] & self.Dirs:
            path = FileDialog.getExistingDirectory(self, "Select a directory...", self.currentPath)
        elif state(self)["filters"] & self.Writable:
            path = FileDialog.getSaveFileName(self, "Select a file to save...", self.currentPath)
        else:
            path = FileDialog.getOpenFileName(self, "Open a file...", self.currentPath)
        if path:
            self.setCurrentPath(path)

    currentPath = Property(str, lambda self: state(self)["line"].text, setCurrentPath)
    filters = Property(
        int, lambda self: int(state(self)["filters"]), lambda self, v: state(self).update(filters=int(v))
    )
    nameFilters = Property(
        "QStringList", lambda self: state(self)["nameFilters"], lambda self, v: state(self).update(nameFilters=list(v))
    )
    settingKey = Property(str, lambda self: state(self)["settingKey"], lambda self, v: state(self).update(settingKey=v))
    showBrowseButton = Property(
        bool,
        lambda self: state(self)["browse"].isVisibleTo(self),
        lambda self, v: state(self)["browse"].setVisible(v),
    )
    showHistoryButton = Property(bool, lambda self: False, lambda self, v: state(self).update(showHistoryButton=v))


@stand_in
class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and asks for another."""

    directoryChanged = Signal(str)
    directorySelected = Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        button = thin(QtWidgets.QPushButton)(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(button)
        state(self).update(button=button, directory="")
        signals.connect(button, "clicked()", lambda: self.browse())

    def browse(self) -> None:
        """Ask for a folder by a dialog."""
        from .dialogs import FileDialog

        path = FileDialog.getExistingDirectory(self, "Choose a directory", self.directory)
        if path:
            self.setDirectory(path)
            self.directorySelected.emit(path)

    def setDirectory(self, path: str) -> None:
        """Show a folder."""
        if str(path) != state(self)["directory"]:
            state(self)["directory"] = str(path)
            state(self)["button"].text = Path(path).name
            self.directoryChanged.emit(str(path))

    directory = Property(str, lambda self: state(self)["directory"], setDirectory)


WIDGETS = {name: member for name, member in list(globals().items()) if name.startswith("ctk")}


def make_ctk_module() -> types.ModuleType:
    """The `ctk` module."""
    from .dialogs import MessageBox

    module = types.ModuleType("ctk", "CTK as module code sees it in Slicer")
    for name, member in WIDGETS.items():
        setattr(module, name, member)
    module.ctkMessageBox = MessageBox
    return module
