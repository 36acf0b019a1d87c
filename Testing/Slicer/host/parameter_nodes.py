"""Stand-in for slicer.parameterNodeWrapper: typed access to the parameter node of a module, bound to its widgets."""

from __future__ import annotations

import types
import typing
import weakref

import qt
import slicer
import vtk

from . import parameter_gui, parameter_types
from .parameter_types import Parameter

PROPERTY = "SlicerParameterName"


def _members(cls: type) -> dict[str, Parameter]:
    hints = typing.get_type_hints(cls, include_extras=True)
    return {name: Parameter(name, annotation, cls) for name, annotation in hints.items()}


class _Pack:
    """What every @parameterPack class can do. A pack that was read from a node is a copy: what is set is written to
    the node, but what others write there afterwards is seen only by reading the pack again, as in Slicer."""

    def __init__(self, *positional: object, **named: object) -> None:
        values = dict(zip(self.allParameters, positional, strict=False)) | named
        unknown = set(values) - set(self.allParameters)
        if unknown:
            raise TypeError(f"__init__() got an unexpected keyword argument '{unknown.pop()}'")
        object.__setattr__(self, "_values", {})
        object.__setattr__(self, "_where", None)
        for name, parameter in self.allParameters.items():
            value = values[name] if name in values else parameter.default()
            parameter.validate(value)
            self._values[name] = value

    def __getattr__(self, name: str) -> object:
        if name.startswith("_") or name not in self.allParameters:
            raise AttributeError(f"'{type(self).__name__}' has no attribute '{name}'")
        return self._values[name]

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.allParameters:
            raise AttributeError(
                f"'{type(self).__name__}' has no attribute '{name}' and attributes cannot be added dynamically"
            )
        self.allParameters[name].validate(value)
        self._values[name] = value
        if self._where is not None:
            node, prefix = self._where
            serializer = type(self).serializer
            serializer.write(node, prefix, self)
            self._values.update(serializer.values(node, prefix))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and all(
            getattr(self, name) == getattr(other, name) for name in self.allParameters
        )

    __hash__ = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._values.items())})"

    def getValue(self, name: str) -> object:
        """A value by its dotted name."""
        first, _, rest = name.partition(".")
        _check(first in self.allParameters, self, first)
        value = getattr(self, first)
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: object) -> None:
        """Set a value by its dotted name."""
        first, _, rest = name.partition(".")
        _check(first in self.allParameters, self, first)
        if rest:
            getattr(self, first).setValue(rest, value)
        else:
            setattr(self, first, value)

    @classmethod
    def dataType(cls, name: str) -> object:
        """The annotated type of a parameter by its dotted name."""
        first, _, rest = name.partition(".")
        _check(first in cls.allParameters, cls, first)
        annotation = cls.allParameters[first].annotation
        return parameter_types.plain_type(annotation).dataType(rest) if rest else annotation


def _check(is_there: bool, owner: object, name: str) -> None:
    if not is_there:
        raise ValueError(f"{owner} has no member '{name}'")


class _PackSerializer:
    """A pack in a node, each value under its dotted name."""

    def __init__(self, cls: type) -> None:
        self.cls = cls

    def default(self) -> _Pack:
        return self.cls()

    def check(self, value: object) -> None:
        if not isinstance(value, self.cls):
            raise ValueError(f"Value must be of type '{self.cls}', is type '{type(value)}'")

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        first = next(iter(self.cls.allParameters.values()))
        return first.is_in(node, f"{name}.{first.name}")

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: _Pack) -> None:
        with slicer.util.NodeModify(node):
            for parameter in self.cls.allParameters.values():
                parameter.write(node, f"{name}.{parameter.name}", getattr(value, parameter.name))

    def values(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> dict[str, object]:
        found = self.cls.allParameters.values()
        return {parameter.name: parameter.read(node, f"{name}.{parameter.name}") for parameter in found}

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> _Pack:
        pack = self.cls.__new__(self.cls)
        object.__setattr__(pack, "_values", self.values(node, name))
        object.__setattr__(pack, "_where", (node, name))
        return pack

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        for parameter in self.cls.allParameters.values():
            parameter_types.serializer_of(parameter.kind).remove(node, f"{name}.{parameter.name}")


def parameterPack(cls: type | None = None) -> type:
    """Class decorator: a group of parameters."""
    if cls is None:
        return parameterPack
    parameters = _members(cls)
    if not parameters:
        raise ValueError("Unable to find any members in parameterPack")
    for name, parameter in parameters.items():
        parameter.validate(parameter.default())
        if name in cls.__dict__:
            delattr(cls, name)
    pack = type(cls.__name__, (_Pack, cls), {"allParameters": parameters, "__doc__": cls.__doc__})
    pack.__module__, pack.__qualname__ = cls.__module__, cls.__qualname__
    pack.serializer = _PackSerializer(pack)
    return pack


class _Cached:
    """A parameter of one node. As in Slicer, the value is read anew only when the node says that it was modified."""

    def __init__(self, parameter: Parameter, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        self.parameter, self.node, self.name = parameter, node, name
        self.value = self.read()
        this = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: this() and this().read_again())
        self._writing = False

    def __del__(self) -> None:
        self.node.RemoveObserver(self._tag)

    def read(self) -> object:
        """A value that is not there, as after the scene was closed, is written first."""
        if not self.parameter.is_in(self.node, self.name):
            self.parameter.write(self.node, self.name, self.parameter.default())
        return self.parameter.read(self.node, self.name)

    def read_again(self) -> None:
        if not self._writing:
            self.value = self.read()

    def write(self, value: object) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self.node):
                self.parameter.write(self.node, self.name, value)
                self.value = self.parameter.read(self.node, self.name)
        finally:
            self._writing = False


class _Wrapper:
    """What every @parameterNodeWrapper class can do."""

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode, prefix: str | None = None) -> None:
        self.parameterNode = parameterNode
        self._gui: dict[int, tuple[dict, int]] = {}
        self._next_tag = 0
        self._is_updating = False
        self._cached = {
            name: _Cached(parameter, parameterNode, f"{prefix or ''}{name}")
            for name, parameter in self.allParameters.items()
        }

    def getValue(self, name: str) -> object:
        """A value by its dotted name."""
        first, _, rest = name.partition(".")
        _check(first in self.allParameters, self, first)
        value = self._cached[first].value
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: object) -> None:
        """Set a value by its dotted name."""
        first, _, rest = name.partition(".")
        _check(first in self.allParameters, self, first)
        if rest:
            self._cached[first].value.setValue(rest, value)
        else:
            self._cached[first].write(value)

    dataType = classmethod(_Pack.dataType.__func__)

    def default(self, name: str) -> object:
        """The first value of a parameter."""
        return parameter_types.Default(self.allParameters[name].default())

    def isCached(self, _name: str) -> bool:
        """Values of all types of this stand-in are."""
        return True

    def connectGui(self, gui: object) -> int:
        """Bind the widgets that have the property SlicerParameterName; returns a tag for disconnectGui."""
        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else vars(gui).values()
        found = {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        return self.connectParametersToGui(found)

    def connectParametersToGui(self, mapping: dict[str, object]) -> int:
        """Bind widgets to parameters by their dotted names."""
        connectors = {
            name: parameter_gui.make_connector(widget, self.dataType(name)) for name, widget in mapping.items()
        }
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.on_change(self._writer(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._gui[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Undo connectGui."""
        if tag in self._gui:
            connectors, observer = self._gui.pop(tag)
            for connector in connectors.values():
                connector.on_change(None)
            self.RemoveObserver(observer)

    def _writer(self, name: str, connector: parameter_gui.Connector) -> typing.Callable[[], None]:
        def write() -> None:
            if not self._is_updating:
                with slicer.util.NodeModify(self):
                    self.setValue(name, connector.read())

        return write

    def _update_gui(self) -> None:
        if self._is_updating:
            return
        self._is_updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors, _ in list(self._gui.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._is_updating = False

    def StartModify(self) -> int:
        """Of the node."""
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified: int) -> int:
        """Of the node."""
        return self.parameterNode.EndModify(was_modified)

    def AddObserver(self, event: object, callback: typing.Callable, priority: float = 0.0) -> int:
        """Of the node."""
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        """Of the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Of the node."""
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type | None = None) -> type:
    """Class decorator: typed access to a parameter node."""
    if cls is None:
        return parameterNodeWrapper
    parameters = _members(cls)
    members = {"allParameters": parameters, "__doc__": cls.__doc__}
    for name in parameters:
        members[name] = property(
            lambda self, name=name: self._cached[name].value,
            lambda self, value, name=name: self._cached[name].write(value),
        )
    wrapper = type(cls.__name__, (_Wrapper, cls), members)
    wrapper.__module__, wrapper.__qualname__ = cls.__module__, cls.__qualname__
    return wrapper


def make_module() -> types.ModuleType:
    """slicer.parameterNodeWrapper"""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    names = ("Choice", "Decimals", "Default", "Maximum", "Minimum", "NotNone", "SingleStep", "Validator", "WithinRange")
    for name in names:
        setattr(module, name, getattr(parameter_types, name))
    module.parameterPack, module.parameterNodeWrapper = parameterPack, parameterNodeWrapper
    module.isParameterPack = lambda value: hasattr(value, "serializer")
    module.SlicerParameterNamePropertyName = PROPERTY
    module.__all__ = [name for name in vars(module) if not name.startswith("_")]
    return module
