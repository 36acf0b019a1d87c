"""The interface's description of what jobs are asked for with, made from the messages themselves."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from ...writing import PROPAGATION_RESULT_FILES, RESULT_FILES
from ..messages import (
    BRAINS,
    FUSIONS,
    LARGEST_ATLASES,
    LARGEST_ITERATIONS,
    LARGEST_SPACING_MM,
    LARGEST_THREADS,
    ON_OUT_OF_MEMORY,
    SMALLEST_SPACING_MM,
    Atlas,
    Propagate,
)
from ..protocol import PROTOCOL_VERSION
from .orders import KEY, KINDS

_KEY_SCHEMA = {"type": "string", "pattern": f"^{KEY}$", "description": "key of an upload"}
_PLAIN = {int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}, str: {"type": "string"}}
_KNOWN: dict[str, dict[str, Any]] = {
    "brain": {"enum": list(BRAINS)},
    "on_out_of_memory": {"enum": list(ON_OUT_OF_MEMORY)},
    "fusion": {"enum": list(FUSIONS)},
    "atlases": {"minItems": 1, "maxItems": LARGEST_ATLASES},
    "names": {"items": {"type": "string", "pattern": "^[0-9]{1,10}=(.|\\n)+$"}},
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
    names = PROPAGATION_RESULT_FILES if kind is Propagate else RESULT_FILES
    schema = _object_schema(kind)
    if "files" in schema["properties"]:
        schema["properties"]["files"]["items"] = {"enum": list(names)}
    schema["properties"] = {"kind": {"const": word}, "protocol": {"const": PROTOCOL_VERSION}, **schema["properties"]}
    return {"title": word, **schema, "required": ["kind", *schema["required"]]}


def _object_schema(kind: type[Any]) -> dict[str, Any]:
    """Of an object with the fields of a data class, less those that the server sets."""
    hints = get_type_hints(kind)
    shown = [entry for entry in fields(kind) if entry.name not in ("output", "overwrite")]
    return {
        "type": "object",
        "properties": {
            entry.name: {**_type_schema(hints[entry.name]), **_KNOWN.get(entry.name, {})} for entry in shown
        },
        "required": [entry.name for entry in shown if entry.default is MISSING],
        "additionalProperties": False,
    }


def _type_schema(hint: Any) -> dict[str, Any]:
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _type_schema(get_args(hint)[0])}
    kind = next((option for option in get_args(hint) if option is not NoneType), hint)
    if kind is Atlas:
        return _object_schema(Atlas)
    return dict(_KEY_SCHEMA if kind is Path else _PLAIN[kind])
