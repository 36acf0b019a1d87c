"""The files that a request names, wherever they stand in it: alone in a field, in a list, or in a list of objects.

A client finds them with `files_of` and puts what stands for them, such as the keys of uploads, in their places of the
message with `put`. A server goes the other way with `with_files`, by the types of the request's fields. So a new kind
of request needs nothing here: every `Path` among its fields, and among the fields of the data classes that these hold,
is a file that is sent, the field `output` aside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from .messages import LINEAR_STARTS, Refine, Settings

VELOCITY_NAME = "velocity.safetensors"

Place = tuple[str | int, ...]
"""Where in a message a file is named: ("fixed",), or ("cases", 0, "fixed_labels")."""

_ONE_OF = {"atlases": "atlas", "cases": "case", "data": "scan", "validation_data": "validation scan"}
"""What one entry of a list is called."""

_Request = TypeVar("_Request")


def files_of(request: Any) -> dict[Place, Path]:
    """The files that a request reads, by their places. Of a result's folder it is the velocity file."""
    found: dict[Place, Path] = {}
    for entry in fields(request):
        if entry.name != "output":
            found |= _files_in(getattr(request, entry.name), (entry.name,))
    if isinstance(request, Refine):
        found["result",] = request.result / VELOCITY_NAME
    if isinstance(request, Settings):
        if request.initial not in LINEAR_STARTS:
            found["initial",] = Path(request.initial)
        if request.model is not None and Path(request.model).is_absolute():
            found["model",] = Path(request.model)
    return found


def put(message: dict[str, Any], place: Place, value: Any) -> None:
    """Put a value at a place of a message in JSON's types that has one there already."""
    *way, last = place
    holder: Any = message
    for step in way:
        holder = holder[step]
    holder[last] = value


def with_files(kind: Any, value: Any, change: Callable[[Place, Any], Any], place: Place = ()) -> Any:
    """A value in JSON's types as a field of this kind, or a whole request, has it, with all that stands for a file
    changed. What is not as the kind wants it stays, for the protocol to complain about."""
    if value is None:
        return None
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if kind is Path:
        return change(place, value)
    if get_origin(kind) is tuple and isinstance(value, list):
        inner = get_args(kind)[0]
        return [with_files(inner, item, change, (*place, index)) for index, item in enumerate(value)]
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        return {
            name: with_files(hints[name], item, change, (*place, name)) if name in hints else item
            for name, item in value.items()
        }
    return value


def place_text(place: Place) -> str:
    """A place in words for people: "moving mask", "case 2 fixed labels"."""
    words = [str(step + 1) if isinstance(step, int) else step.replace("_", " ") for step in place]
    if len(place) > 1:
        words[0] = _ONE_OF.get(str(place[0]), words[0])
    return " ".join(words)


def place_stem(place: Place) -> str:
    """What a server calls the file that stands there, without its ending: "moving_mask", "case_2_fixed_labels"."""
    return place_text(place).replace(" ", "_")


def with_absolute_paths(request: _Request) -> _Request:
    """The same request for a process that works in another folder."""
    changed: Any = _absolute(request)
    if isinstance(changed, Settings):
        if changed.initial not in LINEAR_STARTS:
            changed = replace(changed, initial=str(Path(changed.initial).absolute()))
        if changed.model is not None and not _is_name(changed.model):
            changed = replace(changed, model=str(Path(changed.model).absolute()))
    return changed


def _absolute(value: Any) -> Any:
    """The value with all paths in it absolute."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, tuple):
        return tuple(_absolute(item) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{entry.name: _absolute(getattr(value, entry.name)) for entry in fields(value)})
    return value


def _is_name(model: str) -> bool:
    """Whether this is the name of a bundled model rather than a file."""
    return Path(model).name == model and Path(model).suffix != ".safetensors"


def _files_in(value: Any, place: Place) -> dict[Place, Path]:
    if isinstance(value, Path):
        return {place: value}
    found: dict[Place, Path] = {}
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            found |= _files_in(item, (*place, index))
    elif is_dataclass(value):
        for entry in fields(value):
            found |= _files_in(getattr(value, entry.name), (*place, entry.name))
    return found
