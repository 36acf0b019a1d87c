"""The files that a request names: found, made absolute, and put in the places of its message that name them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from .messages import LINEAR_STARTS, Atlas, Refine, Settings, Work

VELOCITY_NAME = "velocity.safetensors"

Place = tuple[str | int, ...]
"""Where in a message a file is named: ("fixed",), or ("atlases", 0, "labels")."""


def files_of(request: Work) -> dict[Place, Path]:
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


def place_text(place: Place) -> str:
    """A place in words for people: "moving mask", "atlas 2 labels"."""
    if len(place) == 3:
        return f"atlas {int(place[1]) + 1} {place[2]}"
    return str(place[0]).replace("_", " ")


def with_absolute_paths(request: Work) -> Work:
    """The same request for a process that works in another folder."""
    changes: dict[str, Any] = {entry.name: _absolute(getattr(request, entry.name)) for entry in fields(request)}
    if isinstance(request, Settings):
        if request.initial not in LINEAR_STARTS:
            changes["initial"] = str(Path(request.initial).absolute())
        if request.model is not None and not _is_name(request.model):
            changes["model"] = str(Path(request.model).absolute())
    return replace(request, **changes)


def _absolute(value: Any) -> Any:
    """The value of a field with all paths in it absolute."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, tuple):
        return tuple(_absolute(item) for item in value)
    if isinstance(value, Atlas):
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
