"""From a client's words to a request that a worker can carry out: uploads' keys become files of this machine.

{"protocol": 1, "kind": "register", "fixed": "<key of an upload>", "moving": "<key>", "refine": 0}
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from ...errors import InputError
from ..messages import LINEAR_STARTS, Atlas, Info, Propagate, Refine, Register, Search, Settings, Work
from ..protocol import PROTOCOL_VERSION, parse_request
from ..request_files import VELOCITY_NAME, place_text
from .refusals import Refusal
from .uploads import Upload, Uploads
from .volume_headers import NETWORK_SUFFIX, TRANSFORM_SUFFIXES, VOLUME_SUFFIXES

KINDS: dict[str, type[Any]] = {"register": Register, "refine": Refine, "propagate": Propagate, "info": Info}
"""What can be asked of a server: all that needs no folders of the client's machine."""

KEY = r"[0-9a-f]{32}"
OUTPUT, INPUT = "output", "input"
"""Folders of a job."""

_OWN_FIELDS = ("output", "overwrite", "id")
"""Fields that the server sets."""

_MODEL_NAME = r"[A-Za-z0-9_-]{1,64}"


@dataclass(frozen=True)
class Order:
    """A request as the worker gets it, and the uploads to put in their places before."""

    kind: str
    request: Work
    files: dict[Path, Upload]


def read_order(body: bytes, id: str, folder: Path, uploads: Uploads, threads: int | None) -> Order:
    """The order in a body. folder: of the job. threads: at most so many of the processor.

    Raises InputError for what cannot be done, and Refusal (404) when an upload is not here.
    """
    message = _object(body)
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"A server takes {', '.join(KINDS)}; all else is done on your own machine.")
    if own := [name for name in _OWN_FIELDS if name in message]:
        raise InputError(f"The field {own[0]} is the server's own; leave it out.")
    files: dict[Path, Upload] = {}

    def place(name: str, key: Any, suffixes: tuple[str, ...], stem: str) -> str:
        if not isinstance(key, str) or not re.fullmatch(KEY, key):
            raise InputError(f"{name} must be the key of an upload: 32 digits and letters from a to f.")
        upload = uploads.get(key)
        if upload is None:
            raise Refusal(404, f"The upload for {name} is not here, or no longer; send it again.")
        if upload.suffix not in suffixes:
            raise InputError(f"The upload for {name} must be one of {', '.join(suffixes)}.")
        if upload in files.values():
            raise InputError(f"The upload for {name} is used twice; send it once for each use.")
        path = folder / INPUT / f"{stem}{upload.suffix}"
        files[path] = upload
        return str(path)

    kind_type = KINDS[kind]
    if issubclass(kind_type, Search):
        message["output"] = str(folder / OUTPUT)
    for name in _path_fields(kind_type):
        if message.get(name) is not None:
            if name == "result":
                inner = place(name, message[name], (NETWORK_SUFFIX,), f"{name}/{Path(VELOCITY_NAME).stem}")
                message[name] = str(Path(inner).parent)
            else:
                message[name] = place(name, message[name], VOLUME_SUFFIXES, name)
    if issubclass(kind_type, Propagate):
        _place_atlases(message, place)
    if issubclass(kind_type, Settings):
        _place_initial_and_model(message, place)
    _, request = parse_request(json.dumps({**message, "id": id}).encode())
    assert not isinstance(request, tuple)
    if isinstance(request, Search) and threads is not None:
        request = replace(request, threads=min(request.threads or threads, threads))
    return Order(kind, request, files)  # type: ignore[arg-type]


def _path_fields(kind: type[Any]) -> list[str]:
    hints = get_type_hints(kind)
    return [name for name, hint in hints.items() if hint in (Path, Path | None) and name not in _OWN_FIELDS]


def _place_atlases(message: dict[str, Any], place: Any) -> None:
    """Put in place what looks like atlases; for the rest parse_request has a sentence."""
    atlases = message.get("atlases")
    for index, atlas in enumerate(atlases if isinstance(atlases, list) else []):
        for name in _path_fields(Atlas) if isinstance(atlas, dict) else ():
            if atlas.get(name) is not None:
                suffixes = (*TRANSFORM_SUFFIXES, *VOLUME_SUFFIXES) if name == "transform" else VOLUME_SUFFIXES
                words = place_text(("atlases", index, name))
                atlas[name] = place(words, atlas[name], suffixes, words.replace(" ", "_"))


def _place_initial_and_model(message: dict[str, Any], place: Any) -> None:
    initial, model = message.get("initial", LINEAR_STARTS[0]), message.get("model")
    if initial not in LINEAR_STARTS:
        message["initial"] = place("initial", initial, TRANSFORM_SUFFIXES, "initial")
    if isinstance(model, str) and re.fullmatch(KEY, model):
        message["model"] = place("model", model, (NETWORK_SUFFIX,), "model")
    elif model is not None and not (isinstance(model, str) and re.fullmatch(_MODEL_NAME, model)):
        raise InputError("model must be the name of a bundled network, none, or the key of an upload.")


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("The body is no JSON; send one object.") from error
    if not isinstance(message, dict):
        raise InputError("The body holds no JSON object; send one.")
    return {"protocol": PROTOCOL_VERSION, **message}
