"""slicer.util.mainWindow(): status bar and module selector."""

from __future__ import annotations

import slicer
from PySide6 import QtCore, QtWidgets

from .properties import state
from .pythonqt import stand_in


@stand_in
class ModuleSelector(QtWidgets.QToolBar):
    """Goes from one module to another."""

    moduleSelected = QtCore.Signal(str)

    def __init__(self) -> None:
        super().__init__()
        state(self)["selected"] = ""

    def selectModule(self, name: str) -> None:
        """Leave the present module and enter this one. Slicer's own modules are only remembered."""
        before = getattr(slicer.modules, state(self)["selected"].lower(), None)
        if hasattr(before, "instance") and before.widgetRepresentation().isEntered:
            before.widgetRepresentation().exit()
        state(self)["selected"] = name
        module = getattr(slicer.modules, name.lower(), None)
        if hasattr(module, "instance") and not module.widgetRepresentation().isEntered:
            module.widgetRepresentation().enter()
        self.moduleSelected.emit(name)

    selectedModule = QtCore.Property(str, lambda self: state(self)["selected"])


@stand_in
class MainWindow(QtWidgets.QMainWindow):
    """Never shown."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        state(self)["selector"] = ModuleSelector()

    def moduleSelector(self) -> ModuleSelector:
        """The list of modules."""
        return state(self)["selector"]
