"""What sliders, spin boxes and range widgets of CTK and MRML have in common: bounded numbers."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from .properties import state
from .pythonqt import thin

SLIDER_STEPS = 1000


def _number(name: str, kind: type) -> Property:
    def read(self: QtWidgets.QWidget) -> float:
        return state(self)[name]

    def write(self: QtWidgets.QWidget, value: float) -> None:
        self._set(name, kind(value))

    return Property(kind, read, write)


class SpinBoxWidget(QtWidgets.QWidget):
    """One bounded number in a spin box."""

    valueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        state(self).update(minimum=0.0, maximum=99.0, value=0.0, singleStep=1.0, pageStep=10.0, decimals=2)
        state(self).update(tracking=True, prefix="", suffix="", quantity="")
        state(self)["box"] = box = thin(QtWidgets.QDoubleSpinBox)(self)
        self._lay_out(box)
        self._show()
        box.connect("valueChanged(double)", self.setValue)
        self.setFocusProxy(box)

    def _lay_out(self, box: QtWidgets.QDoubleSpinBox) -> None:
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)

    def _set(self, name: str, value: float) -> None:
        own = state(self)
        before = own["value"]
        own[name] = value
        own["value"] = round(min(max(own["value"], own["minimum"]), own["maximum"]), int(own["decimals"]))
        self._show()
        if own["value"] != before:
            self.valueChanged.emit(own["value"])

    def _show(self) -> None:
        own, box = state(self), state(self)["box"]
        blocked = box.blockSignals(True)
        box.setDecimals(int(own["decimals"]))
        box.setRange(own["minimum"], own["maximum"])
        box.setSingleStep(own["singleStep"])
        box.setPrefix(own["prefix"])
        box.setSuffix(own["suffix"])
        box.setValue(own["value"])
        box.blockSignals(blocked)

    def setValue(self, value: float) -> None:
        """Set the number, within the bounds."""
        self._set("value", float(value))

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both bounds."""
        self._set("minimum", float(minimum))
        self._set("maximum", float(maximum))

    minimum, maximum = _number("minimum", float), _number("maximum", float)
    value, singleStep, pageStep = (
        _number("value", float),
        _number("singleStep", float),
        _number("pageStep", float),
    )
    decimals = _number("decimals", int)
    prefix = Property(str, lambda self: state(self)["prefix"], lambda self, v: self._set("prefix", v))
    suffix = Property(str, lambda self: state(self)["suffix"], lambda self, v: self._set("suffix", v))
    quantity = Property(str, lambda self: state(self)["quantity"], lambda self, v: self._set("quantity", v))


class ValueWidget(SpinBoxWidget):
    """One bounded number, by a slider and a spin box."""

    def _lay_out(self, box: QtWidgets.QDoubleSpinBox) -> None:
        state(self)["slider"] = slider = thin(QtWidgets.QSlider)(QtCore.Qt.Orientation.Horizontal, self)
        slider.setRange(0, SLIDER_STEPS)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(slider, 1)
        layout.addWidget(box)
        slider.connect("valueChanged(int)", self._on_slider)

    def _on_slider(self, position: int) -> None:
        own = state(self)
        value = own["minimum"] + (own["maximum"] - own["minimum"]) * position / SLIDER_STEPS
        self.setValue(round(value / own["singleStep"]) * own["singleStep"] if own["singleStep"] else value)

    def _show(self) -> None:
        super()._show()
        own, slider = state(self), state(self)["slider"]
        reach = own["maximum"] - own["minimum"]
        blocked = slider.blockSignals(True)
        slider.setValue(round(SLIDER_STEPS * (own["value"] - own["minimum"]) / reach) if reach else 0)
        slider.blockSignals(blocked)

    tracking = Property(bool, lambda self: state(self)["tracking"], lambda self, v: state(self).update(tracking=v))


class RangeWidget(QtWidgets.QWidget):
    """A lower and an upper value within bounds."""

    valuesChanged = Signal(float, float)
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        state(self).update(minimum=0.0, maximum=99.0, minimumValue=0.0, maximumValue=99.0, singleStep=1.0, decimals=2)
        low, high = thin(QtWidgets.QDoubleSpinBox)(self), thin(QtWidgets.QDoubleSpinBox)(self)
        state(self).update(low=low, high=high)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(low)
        layout.addStretch(1)
        layout.addWidget(high)
        self._show()
        low.connect("valueChanged(double)", lambda value: self._set("minimumValue", value))
        high.connect("valueChanged(double)", lambda value: self._set("maximumValue", value))
        self.setFocusProxy(low)

    def _set(self, name: str, value: float) -> None:
        own = state(self)
        before = own["minimumValue"], own["maximumValue"]
        own[name] = value
        if name == "minimumValue":
            own["maximumValue"] = max(own["maximumValue"], value)
        if name == "maximumValue":
            own["minimumValue"] = min(own["minimumValue"], value)
        for end in ("minimumValue", "maximumValue"):
            own[end] = min(max(own[end], own["minimum"]), own["maximum"])
        self._show()
        if own["minimumValue"] != before[0]:
            self.minimumValueChanged.emit(own["minimumValue"])
        if own["maximumValue"] != before[1]:
            self.maximumValueChanged.emit(own["maximumValue"])
        if (own["minimumValue"], own["maximumValue"]) != before:
            self.valuesChanged.emit(own["minimumValue"], own["maximumValue"])

    def _show(self) -> None:
        own = state(self)
        for box, value in ((own["low"], own["minimumValue"]), (own["high"], own["maximumValue"])):
            blocked = box.blockSignals(True)
            box.setDecimals(int(own["decimals"]))
            box.setRange(own["minimum"], own["maximum"])
            box.setSingleStep(own["singleStep"])
            box.setValue(value)
            box.blockSignals(blocked)

    def setValues(self, low: float, high: float) -> None:
        """Set both values."""
        self._set("minimumValue", float(low))
        self._set("maximumValue", float(high))

    def setRange(self, minimum: float, maximum: float) -> None:
        """Set both bounds."""
        self._set("minimum", float(minimum))
        self._set("maximum", float(maximum))

    minimum, maximum = _number("minimum", float), _number("maximum", float)
    minimumValue, maximumValue = _number("minimumValue", float), _number("maximumValue", float)
    singleStep, decimals = _number("singleStep", float), _number("decimals", int)
