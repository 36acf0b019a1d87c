"""The `qt` module: PySide6's classes, each as a thin class that behaves as under PythonQt."""

from __future__ import annotations

import types
from collections.abc import Callable

from PySide6 import QtCore, QtGui, QtWidgets

from . import properties, signals


class PythonQtType(type(QtCore.QObject)):
    """Class of the thin classes: an object that Qt itself made is an instance of them too."""

    def __instancecheck__(cls, instance: object) -> bool:
        native = cls.__dict__.get("_pythonqt")
        return isinstance(instance, native) if native else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        native = cls.__dict__.get("_pythonqt")
        return issubclass(subclass, native) if native else super().__subclasscheck__(subclass)


_thin: dict[type, type] = {}


def thin(native: type) -> type:
    """The class that module code sees instead of a class of the library. `type(widget)` is exactly this one."""
    if native not in _thin:
        cls = PythonQtType(native.__name__, (native,), dict(_members(native), __doc__=native.__doc__))
        cls._pythonqt = native
        _thin[native] = cls
    return _thin[native]


def stand_in(cls: type) -> type:
    """Class decorator for a widget of ours that takes the place of one in C++."""
    signals.signals_become_bound(cls)
    return thin(cls)


def _native(cls: type) -> type:
    return getattr(cls, "_pythonqt", cls)


def _members(native: type) -> dict[str, object]:
    def find_child(self: QtCore.QObject, cls: type = QtCore.QObject, name: str = "") -> QtCore.QObject | None:
        return native.findChild(self, _native(cls), name)

    def find_children(self: QtCore.QObject, cls: type | str = QtCore.QObject, name: str = "") -> list:
        if isinstance(cls, str):
            found = native.findChildren(self, QtCore.QObject, name)
            return [child for child in found if child.inherits(cls)]
        if name:
            return native.findChildren(self, _native(cls), name)
        return native.findChildren(self, _native(cls))

    return {
        "connect": signals.connect_method,
        "disconnect": signals.disconnect_method,
        "__setattr__": properties.refusing_new_attributes(native),
        "__getattr__": properties.child_or_dynamic_property,
        "findChild": find_child,
        "findChildren": find_children,
        "className": lambda self: type(self).__name__,
    }


_patched = False


def _patch_library() -> None:
    global _patched
    if _patched:
        return
    _patched = True
    for cls in properties.qt_classes():
        properties.properties_become_attributes(cls)
        signals.signals_become_bound(cls)
    QtCore.QObject.name = QtCore.QObject.__dict__["objectName"]
    for cls in (QtWidgets.QDialog, QtWidgets.QMenu, QtWidgets.QApplication, QtCore.QEventLoop):
        cls.exec_ = cls.exec


def make_qt_module(replacements: dict[str, object]) -> types.ModuleType:
    """The flat `qt` module; replacements are what the host puts in the place of a class, such as its message boxes."""
    _patch_library()
    module = types.ModuleType("qt", "Qt as module code sees it in Slicer")
    for library in (QtCore, QtGui, QtWidgets):
        for name in dir(library):
            if not name.startswith("_"):
                setattr(module, name, _seen(getattr(library, name)))
    for name, member in replacements.items():
        setattr(module, name, member)
    return module


def _seen(member: object) -> object:
    if isinstance(member, type) and issubclass(member, QtCore.QObject) and member is not QtCore.QCoreApplication:
        return thin(member)
    return member


Slot = Callable[..., object]
