"""Which widget can show a parameter of which type, and how; the same pairs as in Slicer, by the exact class."""

from __future__ import annotations

import enum
import math
import pathlib
from collections.abc import Callable

import ctk
import qt
import slicer

from .parameter_types import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    annotations_of,
    is_node_type,
    node_types,
    plain_type,
)


class Connector:
    """A widget, how it is read and written, and the signal that says that it was changed."""

    def __init__(self, widget: qt.QWidget, signal: str, read: Callable, write: Callable) -> None:
        self._widget, self._signal, self.read, self.write = widget, signal, read, write
        self._callback: Callable | None = None

    def on_change(self, callback: Callable | None) -> None:
        """Call back when the user changes the widget; None, no more."""
        signal = getattr(self._widget, self._signal)
        if callback is None:
            signal.disconnect(self._changed)
        else:
            signal.connect(self._changed)
        self._callback = callback

    def _changed(self) -> None:
        if self._callback is not None:
            self._callback()


BOOLEAN = (qt.QCheckBox, ctk.ctkCheckBox)
WHOLE = (qt.QSlider, qt.QSpinBox)
BOUNDED = (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
NUMBER = (
    qt.QDoubleSpinBox,
    ctk.ctkSliderWidget,
    ctk.ctkDoubleSlider,
    ctk.ctkDoubleSpinBox,
    slicer.qMRMLSliderWidget,
    slicer.qMRMLSpinBox,
)
COMBO = (qt.QComboBox, ctk.ctkComboBox)


def make_connector(widget: qt.QWidget, annotation: object) -> Connector:
    """Raises RuntimeError when the widget cannot show a parameter of this type."""
    kind, widget_type = plain_type(annotation), type(widget)
    if kind is bool and widget_type in BOOLEAN:
        return _property(widget, "toggled", "checked")
    if kind is bool and widget_type is qt.QPushButton and widget.checkable:
        return _property(widget, "toggled", "checked")
    if kind is bool and widget_type is ctk.ctkCheckablePushButton:
        return _check_state(widget)
    if (kind is int and widget_type in WHOLE) or (kind in (int, float) and widget_type in NUMBER):
        return _number(widget, kind, annotation)
    if widget_type in COMBO and isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _combo(widget, [(kind.label(value) if hasattr(kind, "label") else value.name, value) for value in kind])
    if widget_type in COMBO and kind in (int, float, str, bool):
        choice = next((rule for rule in annotations_of(annotation) if isinstance(rule, Choice)), None)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return _combo(widget, [(str(value), value) for value in choice.choices])
    if kind is str and widget_type is qt.QLineEdit:
        return _property(widget, "textChanged", "text")
    if kind is str and widget_type is qt.QTextEdit:
        return _property(widget, "textChanged", "plainText")
    if kind is pathlib.Path and widget_type is ctk.ctkPathLineEdit:
        return _path(widget, "currentPathChanged", "currentPath")
    if kind is pathlib.Path and widget_type is ctk.ctkDirectoryButton:
        return _path(widget, "directoryChanged", "directory")
    if is_node_type(kind) and widget_type is slicer.qMRMLNodeComboBox:
        widget.nodeTypes = [member.__name__ for member in node_types(kind)]
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{annotation}' to widget type '{widget_type}'.")


def _property(widget: qt.QWidget, signal: str, name: str) -> Connector:
    return Connector(widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _path(widget: qt.QWidget, signal: str, name: str) -> Connector:
    return Connector(
        widget, signal, lambda: pathlib.Path(getattr(widget, name)), lambda value: setattr(widget, name, str(value))
    )


def _check_state(widget: qt.QWidget) -> Connector:
    return Connector(
        widget,
        "checkBoxToggled",
        lambda: widget.checkState == qt.Qt.Checked,
        lambda value: setattr(widget, "checkState", qt.Qt.Checked if value else qt.Qt.Unchecked),
    )


def _number(widget: qt.QWidget, kind: type, annotation: object) -> Connector:
    rules = annotations_of(annotation)
    is_whole, has_decimals = type(widget) in WHOLE, type(widget) not in (*WHOLE, ctk.ctkDoubleSlider)
    lowest, highest = bounds(rules)
    if type(widget) in BOUNDED and None in (lowest, highest):
        raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
    if has_decimals and kind is int:
        widget.decimals = 0
    for rule in rules:
        if isinstance(rule, Decimals) and has_decimals and kind is float:
            widget.decimals = rule.value
        if isinstance(rule, SingleStep):
            widget.singleStep = rule.value
    widget.minimum = (-(2**31) if is_whole else -math.inf) if lowest is None else lowest
    widget.maximum = (2**31 - 1 if is_whole else math.inf) if highest is None else highest
    return Connector(
        widget, "valueChanged", lambda: kind(widget.value), lambda value: setattr(widget, "value", kind(value))
    )


def bounds(rules: tuple) -> tuple[float | None, float | None]:
    """Lowest and highest value that the rules of a parameter allow, None for no bound."""
    lowest = highest = None
    for rule in rules:
        if isinstance(rule, (WithinRange, Minimum)):
            lowest = rule.minimum
        if isinstance(rule, (WithinRange, Maximum)):
            highest = rule.maximum
    return lowest, highest


def _combo(widget: qt.QComboBox, entries: list[tuple[str, object]]) -> Connector:
    widget.clear()
    for label, _ in entries:
        widget.addItem(label)
    values = [value for _, value in entries]
    return Connector(
        widget,
        "currentIndexChanged",
        lambda: values[widget.currentIndex],
        lambda value: setattr(widget, "currentIndex", values.index(value)),
    )
