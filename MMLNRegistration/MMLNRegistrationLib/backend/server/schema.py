"""The interface's description of what jobs are asked for with, made from the messages themselves."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from ...writing import RESULT_FILES
from ..messages import (
    BRAINS,
    LARGEST_ITERATIONS,
    LARGEST_SPACING_MM,
    LARGEST_THREADS,
    ON_OUT_OF_MEMORY,
    SMALLEST_SPACING_MM,
)
from ..protocol import PROTOCOL_VERSION
from .orders import KEY, KINDS

_KEY_SCHEMA = {"type": "string", "pattern": f"^{KEY}$", "description": "key of an upload"}
_PLAIN = {int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}, str: {"type": "string"}}
_KNOWN: dict[str, dict[str, Any]] = {
    "brain": {"enum": list(BRAINS)},
    "on_out_of_memory": {"enum": list(ON_OUT_OF_MEMORY)},
    "refine": {"minimum": 0, "maximum": LARGEST_ITERATIONS},
    "threads": {"minimum": 1, "maximum": LARGEST_THREADS},
    "spacing_mm": {"minimum": SMALLEST_SPACING_MM, "maximum": LARGEST_SPACING_MM},
    "device": {"pattern": "^(auto|cpu|cuda(:[0-9]{1,3})?)$"},
    "initial": {"description": "affine, rigid, identity, or the key of an upload"},
    "model": {"description": "name of a bundled network, none, or the key of an upload"},
}


def job_schema() -> dict[str, Any]:
    """JSON schema of a job's body."""
    return {"oneOf": [_kind_schema(word, kind) for word, kind in KINDS.items()]}


def _kind_schema(word: str, kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties: dict[str, Any] = {"kind": {"const": word}, "protocol": {"const": PROTOCOL_VERSION}}
    required = ["kind"]
    for entry in fields(kind):
        if entry.name not in ("output", "overwrite"):
            properties[entry.name] = {**_type_schema(hints[entry.name]), **_KNOWN.get(entry.name, {})}
            if entry.default is MISSING:
                required.append(entry.name)
    return {
        "title": word,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type_schema(hint: Any) -> dict[str, Any]:
    if hint == tuple[str, ...]:
        return {"type": "array", "items": {"enum": list(RESULT_FILES)}}
    kind = next((option for option in get_args(hint) if option is not NoneType), hint)
    return dict(_KEY_SCHEMA if kind is Path else _PLAIN[kind])
