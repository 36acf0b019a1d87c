"""QUiLoader for .ui files with widgets of CTK and MRML. What a file names must exist."""

from __future__ import annotations

import tempfile
from pathlib import Path
from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .properties import property_names
from .pythonqt import thin


class _Loader(QtUiTools.QUiLoader):
    def __init__(self, stand_ins: dict[str, type]) -> None:
        super().__init__()
        self.stand_ins = stand_ins

    def createWidget(self, class_name: str, parent: QtWidgets.QWidget = None, name: str = "") -> QtWidgets.QWidget:
        widget = _widget_class(class_name, self.stand_ins)(parent)
        widget.setObjectName(name)
        return widget


def _widget_class(name: str, stand_ins: dict[str, type]) -> type:
    if name in stand_ins:
        return stand_ins[name]
    native = getattr(QtWidgets, {"Line": "QFrame"}.get(name, name), None)
    if native is None:
        raise LookupError(f"The .ui file has a {name}, which is neither in Qt nor among the host's stand-ins")
    return thin(native)


def make_loader(stand_ins: dict[str, type]) -> type:
    """The class that becomes qt.QUiLoader."""

    class QUiLoader:
        """Loads a .ui file as Slicer does."""

        def load(self, file: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
            """The widget that a file describes, its connections made.

            Raises LookupError for a class, a property or a connection that does not exist.
            """
            path = Path(file.fileName())
            tree = ElementTree.parse(path)
            _check_properties(tree.getroot(), stand_ins, path.name)
            wires = _take_connections(tree.getroot())
            loader = _Loader(stand_ins)
            with tempfile.TemporaryDirectory() as folder:
                # Relative icons of the file are found from its own folder.
                loader.setWorkingDirectory(QtCore.QDir(str(path.parent)))
                copy = QtCore.QFile(str(Path(folder) / path.name))
                tree.write(copy.fileName())
                copy.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
                widget = loader.load(copy, parent)
                copy.close()
            if widget is None:
                raise LookupError(f"{path.name}: {loader.errorString()}")
            _connect(widget, wires, path.name)
            return widget

    return QUiLoader


def _check_properties(root: ElementTree.Element, stand_ins: dict[str, type], file_name: str) -> None:
    """Qt silently takes a misspelt property for a new dynamic one; dynamic ones are marked by stdset="0"."""
    for element in root.iter("widget"):
        known = property_names(_widget_class(element.get("class"), stand_ins))
        for item in element.findall("property"):
            name = item.get("name")
            line = element.get("class") == "Line" and name == "orientation"
            if item.get("stdset") != "0" and name not in known and not line:
                raise LookupError(f"{file_name}: {element.get('class')} has no property {name}")


def _take_connections(root: ElementTree.Element) -> list[tuple[str, str, str, str]]:
    """Take the connections out of the file, for QUiLoader does not know pointers to VTK objects."""
    found = []
    for connections in root.findall("connections"):
        for item in connections.findall("connection"):
            found.append(tuple(item.findtext(part) for part in ("sender", "signal", "receiver", "slot")))
        root.remove(connections)
    return found


def _connect(root: QtWidgets.QWidget, wires: list[tuple[str, str, str, str]], file_name: str) -> None:
    def find(name: str) -> QtCore.QObject:
        found = root if root.objectName == name else root.findChild(QtCore.QObject, name)
        if found is None:
            raise LookupError(f"{file_name}: a connection names {name}, which is not there")
        return found

    for sender, signal, receiver, slot in wires:
        find(sender).connect(signal, getattr(find(receiver), slot.partition("(")[0]))
