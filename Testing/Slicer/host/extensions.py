"""Slicer's list of installed extensions, so that the way to the PyTorch extension can be walked."""

from __future__ import annotations

from PySide6 import QtCore

from .properties import state
from .pythonqt import stand_in


@stand_in
class ExtensionsManagerModel(QtCore.QObject):
    """slicer.app.extensionsManagerModel()"""

    extensionInstalled = QtCore.Signal(str)
    interactive = QtCore.Property(
        bool, lambda self: state(self)["interactive"], lambda self, value: state(self).update(interactive=value)
    )

    def __init__(self) -> None:
        super().__init__()
        state(self).update(installed=[], asked=[], offered={"PyTorch"}, interactive=True)

    def isExtensionInstalled(self, name: str) -> bool:
        """Whether an extension is there."""
        return name in state(self)["installed"]

    def isExtensionEnabled(self, name: str) -> bool:
        """Whether it is switched on."""
        return name in state(self)["installed"]

    def updateExtensionsMetadataFromServer(self, *_arguments: object) -> bool:
        """Ask the server what there is."""
        return bool(state(self)["offered"])

    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = True) -> bool:
        """Install an extension if the server offers it; its modules are there after the next start."""
        state(self)["asked"].append((name, restart))
        if name not in state(self)["offered"]:
            return False
        state(self)["installed"].append(name)
        self.extensionInstalled.emit(name)
        return True

    installedExtensions = QtCore.Property("QStringList", lambda self: state(self)["installed"])
