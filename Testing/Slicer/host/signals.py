"""Signals as PythonQt has them: exact signatures, arguments cut to what the slot takes, errors that do not travel."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache

import shiboken6
from PySide6 import QtCore

_CALLERS: tuple[Callable, ...] = (
    lambda slot: lambda: slot(),
    lambda slot: lambda a: slot(a),
    lambda slot: lambda a, b: slot(a, b),
    lambda slot: lambda a, b, c: slot(a, b, c),
    lambda slot: lambda a, b, c, d: slot(a, b, c, d),
)
"""PySide6 counts a slot's parameters, and gives none to *arguments; so each number has its own function."""

_connected: dict[tuple[int, str], list[tuple[Callable, Callable]]] = {}


def signatures(meta: QtCore.QMetaObject, first: int = 0) -> list[str]:
    """The signals of a class from a method index on, such as clicked(bool)."""
    methods = (meta.method(index) for index in range(first, meta.methodCount()))
    return [
        bytes(method.methodSignature()).decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal
    ]


def signature_of(sender: QtCore.QObject, asked: str) -> str:
    """The signature under which Qt knows a signal that module code names, such as currentNodeChanged(vtkMRMLNode*).

    Raises AttributeError when the sender has no signal of exactly these types.
    """
    wanted = bytes(QtCore.QMetaObject.normalizedSignature(asked)).decode()
    known = _known(type(sender))
    if wanted not in known:
        name = wanted.partition("(")[0]
        same = [signature for signature in known if signature.partition("(")[0] == name]
        hint = f"it has {', '.join(same)}" if same else "there is no signal of this name"
        raise AttributeError(f"{type(sender).__name__} has no signal {asked}; {hint}")
    return known[wanted]


@cache
def _known(cls: type) -> dict[str, str]:
    """Signature under which Qt knows a signal, by the one that module code uses."""
    types = _types(cls)
    return {types.get(signature, signature): signature for signature in signatures(cls.staticMetaObject)}


def _types(cls: type) -> dict[str, str]:
    types: dict[str, str] = {}
    for base in cls.__mro__:
        types.update(base.__dict__.get("SIGNAL_TYPES", {}))
    return types


def number_of_arguments(slot: Callable) -> int | None:
    """How many arguments a Python function gets: as many as it declares; None, all of them."""
    function = getattr(slot, "__func__", slot)
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & inspect.CO_VARARGS:
        return None
    return code.co_argcount - (1 if inspect.ismethod(slot) else 0)


def connect(sender: QtCore.QObject, signature: str, slot: Callable) -> bool:
    """Call slot when the signal of this exact signature is sent."""
    if not callable(slot):
        raise TypeError(f"connect needs a function, not {slot!r}")
    signature = signature_of(sender, signature)
    sent = 0 if signature.endswith("()") else len(re.findall(",", signature)) + 1
    wanted = number_of_arguments(slot)

    def run(*arguments: object) -> None:
        slot(*(arguments if wanted is None else arguments[:wanted]))

    caller = _CALLERS[sent](run)
    key = _key(sender, signature)
    if key not in _connected and hasattr(sender, "destroyed"):
        forget = _connected.pop  # the module's own names are gone when the last widgets go
        QtCore.QObject.connect(sender, QtCore.SIGNAL("destroyed()"), lambda: forget(key, None))
    _connected.setdefault(key, []).append((slot, caller))
    return bool(QtCore.QObject.connect(sender, QtCore.SIGNAL(signature), caller))


def disconnect(sender: QtCore.QObject, signature: str, slot: Callable | None = None) -> bool:
    """Undo connect, for one function or for all; says whether there was one."""
    signature = signature_of(sender, signature)
    key = _key(sender, signature)
    kept, found = [], []
    for connection in _connected.get(key, []):
        (found if slot is None or connection[0] == slot else kept).append(connection)
    for _, caller in found:
        QtCore.QObject.disconnect(sender, QtCore.SIGNAL(signature), caller)
    if key in _connected:
        _connected[key] = kept
    return bool(found)


def _key(sender: QtCore.QObject, signature: str) -> tuple[int, str]:
    return shiboken6.getCppPointer(sender)[0], signature


class BoundSignal:
    """What `button.clicked` is in PythonQt."""

    def __init__(self, sender: QtCore.QObject, signature: str, native: QtCore.SignalInstance) -> None:
        self._sender, self._signature, self._native = sender, signature, native

    def connect(self, slot: Callable) -> bool:
        """Call slot when the signal is sent."""
        return connect(self._sender, self._signature, slot)

    def disconnect(self, slot: Callable | None = None) -> bool:
        """Undo connect."""
        return disconnect(self._sender, self._signature, slot)

    def emit(self, *arguments: object) -> None:
        """Send the signal."""
        self._native.emit(*arguments)

    __call__ = emit


class SignalAttribute:
    """The signal of a class; on an object it is a BoundSignal with the first of its signatures."""

    def __init__(self, native: QtCore.Signal, signature: str) -> None:
        self.native, self.signature = native, signature

    def __get__(self, sender: QtCore.QObject | None, owner: type) -> object:
        if sender is None:
            return self.native
        signature = _types(type(sender)).get(self.signature, self.signature)
        return BoundSignal(sender, signature, self.native.__get__(sender, owner))

    def __set__(self, sender: QtCore.QObject, value: object) -> None:
        # PySide6 would keep its own signal in the object's dictionary, before this attribute; that is not done.
        if not isinstance(value, QtCore.SignalInstance):
            raise AttributeError(f"'{self.signature}' is a signal of {type(sender).__name__} and cannot be written to")


def signals_become_bound(cls: type) -> None:
    """Give a class's own signals the connect and disconnect of this file."""
    for signature in reversed(signatures(cls.staticMetaObject, cls.staticMetaObject.methodOffset())):
        native = cls.__dict__.get(signature.partition("(")[0])
        if isinstance(native, SignalAttribute):
            native.signature = signature
        elif isinstance(native, QtCore.Signal):
            setattr(cls, signature.partition("(")[0], SignalAttribute(native, signature))


def connect_method(self: QtCore.QObject, signal: str, *target: object) -> bool:
    """connect("clicked(bool)", function) or connect("clicked(bool)", receiver, "slot()")."""
    slot = target[0] if len(target) == 1 else getattr(target[0], str(target[1]).partition("(")[0])
    return connect(self, signal, slot)


def disconnect_method(self: QtCore.QObject, signal: str, *target: object) -> bool:
    """disconnect("clicked(bool)") or disconnect("clicked(bool)", function)."""
    return disconnect(self, signal, target[0] if target else None)
