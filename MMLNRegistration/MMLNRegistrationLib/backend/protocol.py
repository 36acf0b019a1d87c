"""Messages as lines: one JSON object a line, in ASCII, with the protocol's version, its kind, and the request's id.

    {"protocol": 1, "kind": "register", "id": "7", "fixed": "...", ...}

Nothing is passed over: unknown kinds and fields, missing ones, wrong types, another version, NaN, doubled keys and
lines beyond the limit are errors, told in one sentence. The page docs/protocol.md shows every message.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, BinaryIO, NoReturn, Union, get_args, get_origin, get_type_hints

from ..errors import InputError
from .messages import EVENTS, REQUESTS, Atlas, Event, Request

PROTOCOL_VERSION = 1

LARGEST_LINE_BYTES = 1 << 20
"""Longer lines are refused unread: volumes travel as files."""

_ENVELOPE = ("protocol", "kind", "id")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHOWN_CHARACTERS = 60


class ProtocolError(InputError):
    """A line that is no message. id: of the request that it was meant to be, where that can be read."""

    def __init__(self, sentence: str, id: str | None = None) -> None:
        super().__init__(sentence)
        self.id = id


def encode_request(id: str, request: Request) -> bytes:
    """The line that asks for this. Raises InputError when a path is not in UTF-8 or the line is too long."""
    return _encode(_word_of(REQUESTS, request), {"id": id, **_plain_fields(request)})


def encode_event(event: Event) -> bytes:
    """The line that tells this. Raises InputError as encode_request does."""
    return _encode(_word_of(EVENTS, event), _plain_fields(event))


def parse_request(line: bytes) -> tuple[str, Request]:
    """The id and the request of a line. Raises ProtocolError."""
    kind, id, values = _opened(line, REQUESTS)
    if id is None:
        raise ProtocolError("A request needs an id: up to 64 letters, digits, dots, dashes or underscores.")
    return id, _made(REQUESTS[kind], kind, id, values)


def parse_event(line: bytes) -> Event:
    """The event of a line. Raises ProtocolError."""
    kind, id, values = _opened(line, EVENTS)
    if any(entry.name == "id" for entry in fields(EVENTS[kind])):
        values["id"] = id
    return _made(EVENTS[kind], kind, id, values)


def read_lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """The lines of a stream, less their ends; None for one beyond the limit. What ends without a newline is no line."""
    while line := stream.readline(LARGEST_LINE_BYTES + 1):
        if line.endswith(b"\n"):
            yield line.rstrip(b"\r\n")
        elif len(line) > LARGEST_LINE_BYTES:
            while (rest := stream.readline(LARGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None


def oversized_line() -> ProtocolError:
    """What to answer to a line beyond the limit."""
    return ProtocolError(f"A line is longer than {LARGEST_LINE_BYTES} bytes; send volumes as files.")


def _word_of(kinds: dict[str, type[Any]], message: Any) -> str:
    return next(word for word, kind in kinds.items() if type(message) is kind)


def _encode(kind: str, values: dict[str, Any]) -> bytes:
    try:
        line = json.dumps({"protocol": PROTOCOL_VERSION, "kind": kind, **values}, allow_nan=False).encode("ascii")
    except (ValueError, TypeError) as error:
        raise InputError(f"A {kind} message holds what JSON has no word for: {error}.") from error
    if len(line) >= LARGEST_LINE_BYTES:
        raise InputError(f"A {kind} message has {len(line)} bytes; at most {LARGEST_LINE_BYTES} can be sent.")
    return line + b"\n"


def _plain_fields(message: Any) -> dict[str, Any]:
    """The fields in JSON's types, those that have their default left out. What is not finite becomes null."""
    assert is_dataclass(message)
    values = {entry.name: getattr(message, entry.name) for entry in fields(message)}
    defaults = {entry.name: entry.default for entry in fields(message) if entry.default is not MISSING}
    return {name: _plain(value) for name, value in values.items() if name not in defaults or value != defaults[name]}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"{value!r} is not a name in UTF-8; rename the file.") from error
        return value
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Atlas):
        return _plain_fields(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _opened(line: bytes, kinds: dict[str, type[Any]]) -> tuple[str, str | None, dict[str, Any]]:
    """Kind, id and the other values of a line."""
    if len(line) > LARGEST_LINE_BYTES:
        raise oversized_line()
    try:
        message = json.loads(
            line.decode("utf-8"),
            parse_constant=_refuse_number,
            parse_float=_finite,
            object_pairs_hook=_without_doubles,
        )
    except UnicodeDecodeError as error:
        raise ProtocolError("A line is not UTF-8; send JSON in UTF-8 or ASCII.") from error
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"A line is no JSON: {_shortened(str(error))}.") from error
    if not isinstance(message, dict):
        raise ProtocolError("A line holds no JSON object; send one object a line.")
    id = message.get("id")
    known_id = id if isinstance(id, str) and _ID.fullmatch(id) else None
    version = message.get("protocol")
    if type(version) is not int or version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"A message is of protocol version {_shown(version)}, this program speaks version {PROTOCOL_VERSION}; "
            "update the older one of the two.",
            known_id,
        )
    if id is not None and known_id is None:
        raise ProtocolError("An id must be a text of 1 to 64 letters, digits, dots, dashes or underscores.")
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ProtocolError(f"Unknown kind {_shown(kind)}; known are {', '.join(kinds)}.", known_id)
    return kind, known_id, {name: value for name, value in message.items() if name not in _ENVELOPE}


def _made(kind: type[Any], word: str, id: str | None, values: dict[str, Any]) -> Any:
    try:
        return _filled(kind, f"A {word} message", values)
    except InputError as error:
        raise ProtocolError(str(error), id) from error


def _filled(kind: type[Any], what: str, values: dict[str, Any]) -> Any:
    """One of a kind with these values for its fields; raises InputError."""
    types = _TYPES[kind]
    if unknown := sorted(set(values) - set(types)):
        raise InputError(f"{what} has no field {_shown(unknown[0])}; known are {_listed(types)}.")
    missing = [entry.name for entry in fields(kind) if entry.default is MISSING and entry.name not in values]
    if missing:
        raise InputError(f"{what} needs the field {missing[0]!r}.")
    return kind(**{name: _converted(value, types[name], name) for name, value in values.items()})


_TYPES = {kind: get_type_hints(kind) for kind in (*REQUESTS.values(), *EVENTS.values(), Atlas)}
"""Of each kind of message the types of its fields, by name."""


def _converted(value: Any, kind: Any, name: str) -> Any:
    """value as the type of a field; raises InputError."""
    if get_origin(kind) in (Union, UnionType):
        (inner,) = (option for option in get_args(kind) if option is not NoneType)
        return None if value is None else _converted(value, inner, name)
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{name} must be a list, not {_shown(value)}.")
        return tuple(_converted(item, get_args(kind)[0], name) for item in value)
    if get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise InputError(f"{name} must be an object, not {_shown(value)}.")
        inner = get_args(kind)[1]
        return value if inner is Any else {key: _converted(item, inner, name) for key, item in value.items()}
    if kind is Atlas:
        if not isinstance(value, dict):
            raise InputError(f"{name} must hold objects with image and labels, not {_shown(value)}.")
        return _filled(Atlas, f"One of {name}", value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if kind is Path or kind is str:
        return _text(value, kind, name)
    if type(value) is not kind:
        raise InputError(f"{name} must be {_WORDS[kind]}, not {_shown(value)}.")
    return value


_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}


def _text(value: Any, kind: type[Any], name: str) -> Any:
    if not isinstance(value, str) or (kind is Path and not value):
        raise InputError(f"{name} must be {_WORDS[kind]}, not {_shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate, on which ITK would end the process
        raise InputError(f"{name} holds characters that are none; send it in UTF-8.") from error
    if "\0" in value:
        raise InputError(f"{name} holds a zero character, which no path or name can.")
    return kind(value)


def _refuse_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is not a number in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        _refuse_number(digits)
    return number


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("an object has the same key twice")
    return values


def _shown(value: Any) -> str:
    """A value in a message, however long it came."""
    return _shortened(json.dumps(value))


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _listed(names: dict[str, Any]) -> str:
    return ", ".join(names) or "none"
