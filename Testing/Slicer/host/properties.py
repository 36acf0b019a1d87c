"""PythonQt's view of a Qt object: properties are attributes, and no others can be made."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import shiboken6
from PySide6 import QtCore, QtGui, QtWidgets

OWN_STATE = "_host"
"""Where a stand-in keeps what is its own; module code may not invent attributes, with or without an underscore."""


VIRTUAL = {"sizeHint", "minimumSizeHint"}
VIRTUAL_OF = {("QProgressBar", "text")}
"""Getters that Qt calls itself: these stay methods, for PySide6 looks them up on the object."""

VIRTUAL_OF = {("QProgressBar", "text")}
"""The same of one class alone."""


class QtProperty:
    """One Q_PROPERTY as an attribute that hides the getter of the same name, as PythonQt has it."""

    def __init__(self, name: str, meta: QtCore.QMetaProperty, of_class: object = None) -> None:
        self.name = name
        self.writable = meta.isWritable()
        self.type_name = meta.typeName()
        self.of_class = of_class

    def __get__(self, widget: QtCore.QObject | None, owner: type) -> object:
        if widget is None:
            return self.of_class if self.of_class is not None else self
        return widget.property(self.name)

    def __set__(self, widget: QtCore.QObject, value: object) -> None:
        if not self.writable:
            raise AttributeError(f"Property '{self.name}' of type '{self.type_name}' cannot be written")
        if not widget.setProperty(self.name, value):
            raise AttributeError(f"Property '{self.name}' of type '{self.type_name}' does not accept {value!r}")


def qt_classes() -> list[type]:
    """Every class of PySide6's main modules that is a QObject."""
    found = {}
    for module in (QtCore, QtGui, QtWidgets):
        for name in dir(module):
            member = getattr(module, name)
            if isinstance(member, type) and issubclass(member, QtCore.QObject):
                found[member] = None
    return list(found)


def properties_become_attributes(cls: type) -> None:
    """Hide a class's own getters behind attributes. A class of the library stays the same class, only for everybody."""
    meta = cls.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(index).name()
        if name in VIRTUAL or (cls.__name__, name) in VIRTUAL_OF:
            continue
        # A static function of the same name, such as QTimer.singleShot, stays one on the class.
        static = cls.__dict__.get(name) if (cls.__name__, name) == ("QTimer", "singleShot") else None
        static = getattr(cls, name) if static is not None else None
        setattr(cls, name, QtProperty(name, meta.property(index), static))


def refusing_new_attributes(native: type) -> Callable[[QtCore.QObject, str, object], None]:
    """__setattr__ of what is a C++ object to module code; a subclass in Python may have attributes of its own."""

    def set_attribute(self: QtCore.QObject, name: str, value: object) -> None:
        cls = type(self)
        if isinstance(value, QtCore.SignalInstance):
            return  # see SignalAttribute.__set__
        if "_pythonqt" not in cls.__dict__:
            native.__setattr__(self, name, value)
        elif hasattr(cls, name):
            member = getattr(cls, name)
            if callable(member) and not isinstance(member, QtCore.Property):
                raise AttributeError(f"'{name}' is a method of {cls.__name__} and cannot be written to")
            native.__setattr__(self, name, value)
        elif name.encode() in [bytes(known) for known in self.dynamicPropertyNames()]:
            self.setProperty(name, value)
        else:
            raise AttributeError(
                f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
            )

    return set_attribute


def child_or_dynamic_property(self: QtCore.QObject, name: str) -> object:
    """__getattr__: what is no member is looked for among the dynamic properties and the children."""
    if not name.startswith("__") and shiboken6.isValid(self):
        if name.encode() in [bytes(known) for known in self.dynamicPropertyNames()]:
            return self.property(name)
        child = self.findChild(QtCore.QObject, name)
        if child is not None:
            return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


@cache
def property_names(cls: type) -> frozenset[str]:
    """All properties of a class. Asked for once, as the meta-object of a class may go with one of its objects."""
    meta = cls.staticMetaObject
    return frozenset(meta.property(index).name() for index in range(meta.propertyCount()))


def state(widget: QtCore.QObject) -> dict:
    """The private values of a stand-in."""
    return widget.__dict__.setdefault(OWN_STATE, {})
