"""How values of each type are kept in a parameter node, with the bounds that Slicer checks."""

from __future__ import annotations

import enum
import pathlib
import typing
from dataclasses import dataclass

import slicer


class Validator:
    """A rule for values."""

    def validate(self, value: object) -> None:
        """Raise ValueError for a value that breaks the rule."""
        raise NotImplementedError


@dataclass
class WithinRange(Validator):
    """Not below minimum and not above maximum."""

    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        """Raise ValueError for a value outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass
class Minimum(Validator):
    """Not below."""

    minimum: float

    def validate(self, value: float) -> None:
        """Raise ValueError for a smaller value."""
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


@dataclass
class Maximum(Validator):
    """Not above."""

    maximum: float

    def validate(self, value: float) -> None:
        """Raise ValueError for a larger value."""
        if value > self.maximum:
            raise ValueError(f"Value must be less than {self.maximum}, is {value}")


@dataclass
class Choice(Validator):
    """One of these."""

    choices: list

    def validate(self, value: object) -> None:
        """Raise ValueError for any other value."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class NotNone(Validator):
    """Not None."""

    def validate(self, value: object) -> None:
        """Raise ValueError for None."""
        if value is None:
            raise ValueError("Value must not be None")


@dataclass
class Decimals:
    """How many decimals a spin box shows."""

    value: int


@dataclass
class SingleStep:
    """The step of a spin box."""

    value: float


class Default:
    """The value that a parameter begins with."""

    def __init__(self, value: object = None, *, generator: typing.Callable | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> object:
        """That value, a new one each time when there is a generator."""
        return self._generator() if self._generator else self._value


def plain_type(annotation: object) -> object:
    """The type itself, without what Annotated adds."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is typing.Annotated else annotation


def annotations_of(annotation: object) -> tuple:
    """What Annotated adds to a type."""
    return typing.get_args(annotation)[1:] if typing.get_origin(annotation) is typing.Annotated else ()


def is_node_type(kind: object) -> bool:
    """Whether values are MRML nodes."""
    return bool(node_types(kind))


def node_types(kind: object) -> tuple[type, ...]:
    """The node classes of a type that is one, or a Union of them and None; empty for other types."""
    members = typing.get_args(kind) if typing.get_origin(kind) is typing.Union else (kind,)
    classes = tuple(member for member in members if member is not type(None))
    is_right = all(isinstance(member, type) and issubclass(member, slicer.vtkMRMLNode) for member in classes)
    # Slicer, too, can only write None to a Union that names it.
    return classes if is_right and (len(classes) == 1 or len(members) > len(classes)) else ()


class Parameter:
    """One parameter of a class: its name, type, rules and first value."""

    def __init__(self, name: str, annotation: object, owner: type) -> None:
        self.name = name
        self.annotation = annotation
        self.kind = plain_type(annotation)
        self.validators = [rule for rule in annotations_of(annotation) if isinstance(rule, Validator)]
        default = next((rule for rule in annotations_of(annotation) if isinstance(rule, Default)), None)
        self._default = Default(getattr(owner, name)) if hasattr(owner, name) else default
        serializer_of(self.kind)

    def default(self) -> object:
        """The value that the parameter begins with."""
        return self._default.value if self._default is not None else serializer_of(self.kind).default()

    def validate(self, value: object) -> None:
        """Raise TypeError or ValueError for a value that the parameter cannot take."""
        serializer_of(self.kind).check(value)
        for rule in self.validators:
            rule.validate(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        """Check a value and keep it in the node."""
        self.validate(value)
        serializer_of(self.kind).write(node, name, value)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        """The value in the node."""
        return serializer_of(self.kind).read(node, name)

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        """Whether the node has a value."""
        return serializer_of(self.kind).is_in(node, name)


class _Text:
    """Anything that is kept as one text."""

    def __init__(self, kind: type, accepted: tuple[type, ...], default: object) -> None:
        self.kind, self.accepted, self._default = kind, accepted, default

    def default(self) -> object:
        return self._default

    def check(self, value: object) -> None:
        if not isinstance(value, self.accepted):
            raise TypeError(f"Value must be of type '{self.kind}', is type '{type(value)}' value '{value}'")

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if issubclass(self.kind, enum.Enum) else self.kind(text)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        node.UnsetParameter(name)


class _NodeReference(_Text):
    """A node, kept as a node reference, which survives saving and loading with new IDs."""

    def check(self, value: object) -> None:
        if value is not None:
            super().check(value)

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: object) -> None:
        # None is a value too, so that there is one is said by an empty parameter, as Slicer does.
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> object:
        return node.GetNodeReference(name)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ObservedList(list):
    """A list whose changes are written to its node at once."""

    def keep_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, serializer: _List) -> ObservedList:
        """Say where."""
        self._where = (node, name, serializer)
        return self


def _writing(name: str) -> typing.Callable:
    def change(self: ObservedList, *arguments: object) -> object:
        result = getattr(list, name)(self, *arguments)
        node, parameter, serializer = self._where
        serializer.write(node, parameter, list(self))
        return result

    return change


for _name in ("append", "extend", "insert", "pop", "remove", "clear", "reverse", "__setitem__", "__delitem__"):
    setattr(ObservedList, _name, _writing(_name))


class _List:
    """A list, item by item."""

    def __init__(self, item: object) -> None:
        self.item = Parameter("item", item, object)

    def default(self) -> list:
        return []

    def check(self, value: object) -> None:
        for item in value:
            self.item.validate(item)

    def is_in(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def write(self, node: slicer.vtkMRMLScriptedModuleNode, name: str, value: list) -> None:
        with slicer.util.NodeModify(node):
            before = int(node.GetParameter(f"{name}.len")) if self.is_in(node, name) else 0
            for index, item in enumerate(value):
                self.item.write(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(value)))
            for index in range(len(value), before):
                serializer_of(self.item.kind).remove(node, f"{name}.{index}")

    def read(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> ObservedList:
        length = int(node.GetParameter(f"{name}.len"))
        items = ObservedList(self.item.read(node, f"{name}.{index}") for index in range(length))
        return items.keep_in(node, name, self)

    def remove(self, node: slicer.vtkMRMLScriptedModuleNode, name: str) -> None:
        self.write(node, name, [])
        node.UnsetParameter(f"{name}.len")


def serializer_of(kind: object) -> typing.Any:
    """What reads and writes values of a type. Raises TypeError for a type that cannot be kept."""
    if hasattr(kind, "serializer"):
        return kind.serializer
    if typing.get_origin(kind) is list:
        return _List(typing.get_args(kind)[0])
    if is_node_type(kind):
        return _NodeReference(kind, node_types(kind), None)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _Text(kind, (kind,), next(iter(kind)))
    simple = {
        bool: _Text(bool, (bool,), False),
        int: _Text(int, (int,), 0),
        float: _Text(float, (int, float), 0.0),
        str: _Text(str, (str,), ""),
        pathlib.Path: _Text(pathlib.Path, (pathlib.Path,), pathlib.Path()),
    }
    if kind not in simple:
        raise TypeError(f"Unable to create serializer for type: {kind}")
    return simple[kind]
