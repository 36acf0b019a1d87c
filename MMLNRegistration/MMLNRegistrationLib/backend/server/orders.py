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
from ..job_requests import JOBS
from ..messages import LINEAR_STARTS, Search, Settings, Train, Work
from ..protocol import PROTOCOL_VERSION, parse_request
from ..request_files import VELOCITY_NAME, Place, place_stem, place_text, with_files
from .refusals import Refusal
from .unpacking import unpacked
from .uploads import Upload, Uploads
from .volume_headers import NETWORK_SUFFIX, TRANSFORM_SUFFIXES, VOLUME_SUFFIXES

KEY = r"[0-9a-f]{32}"
OUTPUT, INPUT = "output", "input"
"""Folders of a job."""

_OWN_FIELDS = ("output", "overwrite", "id")
"""Fields that the server sets."""

_MODEL_NAME = r"[A-Za-z0-9_-]{1,64}"
_RESULT: Place = ("result",)
_SUFFIXES = {
    "result": (NETWORK_SUFFIX,),
    "initial": TRANSFORM_SUFFIXES,
    "model": (NETWORK_SUFFIX,),
    "transform": (*TRANSFORM_SUFFIXES, *VOLUME_SUFFIXES),
}
"""What can be sent for a file, by the field that names it; for all others a volume."""


@dataclass(frozen=True)
class Order:
    """A request as the worker gets it, the uploads to put in their places before, and what to write beside them."""

    kind: str
    request: Work
    files: dict[Path, Upload]
    texts: dict[Path, bytes]


def read_order(body: bytes, id: str, folder: Path, uploads: Uploads, threads: int | None) -> Order:
    """The order in a body. folder: of the job. threads: at most so many of the processor.

    Raises InputError for what cannot be done, and Refusal (404) when an upload is not here.
    """
    message = _object(body)
    kind = message.get("kind")
    if not isinstance(kind, str) or kind not in JOBS:
        raise InputError(f"A server takes {', '.join(JOBS)}; all else is done on your own machine.")
    if own := [name for name in _OWN_FIELDS if name in message]:
        raise InputError(f"The field {own[0]} is the server's own; leave it out.")
    places = _Places(folder / INPUT, uploads)
    kind_type = JOBS[kind]
    message = with_files(kind_type, message, places.put)
    if "output" in get_type_hints(kind_type):
        message["output"] = str(folder / OUTPUT)
    if issubclass(kind_type, Settings):
        _place_initial_and_model(message, places)
    try:
        line = json.dumps({**message, "id": id}).encode()
    except RecursionError as error:
        raise InputError("The body is nested too deeply; send plain settings.") from error
    _, asked = parse_request(line, JOBS)
    request, texts = unpacked(asked, folder / INPUT, folder / OUTPUT)
    if isinstance(request, Search | Train) and threads is not None:
        request = replace(request, threads=min(request.threads or threads, threads))
    return Order(kind, request, places.files, texts)


class _Places:
    """The uploads of a job and where they go. One that is named more than once goes to the first of its places."""

    def __init__(self, folder: Path, uploads: Uploads) -> None:
        self.files: dict[Path, Upload] = {}
        self._folder, self._uploads = folder, uploads
        self._paths: dict[str, Path] = {}

    def put(self, place: Place, key: Any) -> str:
        """The path for an upload's key. Raises InputError and Refusal."""
        what = place_text(place)
        if not isinstance(key, str) or not re.fullmatch(KEY, key):
            raise InputError(f"{what} must be the key of an upload: 32 digits and letters from a to f.")
        upload = self._uploads.get(key)
        if upload is None:
            raise Refusal(404, f"The upload for {what} is not here, or no longer; send it again.")
        suffixes = _SUFFIXES.get(str(place[-1]), VOLUME_SUFFIXES)
        if upload.suffix not in suffixes:
            raise InputError(f"The upload for {what} must be one of {', '.join(suffixes)}.")
        if key in self._paths and place != _RESULT:
            return str(self._paths[key])
        if key in self._paths:
            raise InputError(f"The upload for {what} is used twice; send it once for each use.")
        if len(self.files) >= self._uploads.limits.job_files:
            raise InputError(f"A job has at most {self._uploads.limits.job_files} files; ask for less at once.")
        path = self._folder / f"{place_stem(place)}{upload.suffix}"
        if place == _RESULT:
            path = self._folder / "result" / VELOCITY_NAME
        self.files[path], self._paths[key] = upload, path
        return str(path.parent if place == _RESULT else path)


def _place_initial_and_model(message: dict[str, Any], places: _Places) -> None:
    initial, model = message.get("initial", LINEAR_STARTS[0]), message.get("model")
    if initial not in LINEAR_STARTS:
        message["initial"] = places.put(("initial",), initial)
    if isinstance(model, str) and re.fullmatch(KEY, model):
        message["model"] = places.put(("model",), model)
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
