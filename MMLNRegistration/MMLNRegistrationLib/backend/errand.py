"""One job on a server, from its volumes' upload to its results' arrival, in a thread of its own."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..progress import Cancelled
from ..result_folder import output_folder, require_free_folder
from ..writing import PARTIAL_PREFIX
from .jobs import JobError
from .messages import ErrorEvent, Outcome, ProgressEvent, ResultEvent, Search, Work
from .protocol import ProtocolError, encode_request, parse_event
from .request_files import Place, files_of, place_text, put
from .server_connection import ConnectionTrouble, OnShare, Refused, ServerConnection

Tell = Callable[[str, float], None]
"""Called with each progress."""

_Answer = TypeVar("_Answer")

_SECONDS_BETWEEN_TRIES = 0.5
_LONGEST_PAUSE_SECONDS = 5.0
_TRIES_OF_UPLOADS = 3
_SECONDS_TO_CONNECT = 15.0
_OUR_FAULT = (400, 413, 415)
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,63}")


class Errand:
    """A request on its way to a server and back. What is safe to do again is tried again when the connection breaks."""

    def __init__(
        self, key: str, request: Work, connection: ServerConnection, tell: Tell, patience_seconds: float
    ) -> None:
        """key: of the job on the server. patience_seconds: without any answer of the server."""
        self._key, self._request, self._connection, self._tell = key, request, connection, tell
        self._patience_seconds = patience_seconds
        self._unwanted = threading.Event()
        self._is_asked = False
        self._uploads: list[str] = []
        self._has_answered = False
        self._heard_at = time.monotonic()

    def cancel(self) -> threading.Thread:
        """Stop it, from any thread; `run` soon ends as cancelled. Returns the thread that tells the server."""
        self._unwanted.set()
        thread = threading.Thread(target=self._abandon, daemon=True)
        thread.start()
        return thread

    def _abandon(self) -> None:
        """Tell the server, if it can be reached, that nobody wants the job."""
        with suppress(ConnectionTrouble, InputError):
            for address in [f"/v1/uploads/{key}" for key in self._uploads]:
                self._connection.ask("DELETE", address)
            if self._is_asked:
                with suppress(Refused):
                    self._connection.ask("DELETE", f"/v1/jobs/{self._key}")

    def run(self) -> Outcome:
        """Do it. Raises JobError when there is no result."""
        try:
            return self._run()
        except Cancelled:
            self._abandon()  # once more: the request may have been under way when that was told first
            raise JobError("cancelled", "Cancelled.") from None
        except InputError as error:
            self._abandon()
            raise JobError("input", str(error)) from error
        except Refused as error:
            if error.status == 401:
                raise JobError("input", f"The server {self._connection.host} does not accept the token.") from error
            self._abandon()
            raise JobError("input" if error.status in _OUR_FAULT else "failed", str(error)) from error
        except ConnectionTrouble as error:
            raise JobError("failed", f"The server {self._connection.host} cannot be reached: {error}.") from error
        except OSError as error:
            what = error.filename or "A file"
            raise JobError(
                "input", f"{what} cannot be used ({error.strerror}); check it, and the space left."
            ) from error

    def _run(self) -> Outcome:
        output = self._request.output if isinstance(self._request, Search) else None
        overwrite = bool(getattr(self._request, "overwrite", False))
        if output is not None:
            require_free_folder(output, overwrite)
        files = files_of(self._request)
        for file in files.values():
            _require_file(file)
        self._tell("connect", 0.0)
        limits = self._patiently(partial(self._connection.ask, "GET", "/v1/status")).get("limits", {})
        for file in files.values():
            _require_sendable(file, limits)
        self._ask_for_it(files, limits.get("suffixes", []))
        event = self._follow()
        if isinstance(event, ErrorEvent):
            with suppress(ConnectionTrouble, Refused):
                self._connection.ask("DELETE", f"/v1/jobs/{self._key}")
            raise JobError(event.cause, event.sentence, event.offers)
        outcome = Outcome({}, event.report)
        if output is not None:
            with output_folder(output, overwrite, f"{PARTIAL_PREFIX}{self._key}") as folder:
                self._fetch(sorted(event.files), folder)
            outcome = Outcome({name: output / name for name in event.files}, event.report)
        with suppress(ConnectionTrouble, Refused):  # the server removes it by itself some time
            self._connection.ask("DELETE", f"/v1/jobs/{self._key}")
        return outcome

    def _ask_for_it(self, files: dict[Place, Path], suffixes: list[str]) -> None:
        """Send the volumes and the request; again when the server was started anew in between."""
        for number in range(_TRIES_OF_UPLOADS):
            message = _message(self._request)
            for place, file in files.items():
                put(message, place, self._send(place, file, suffixes))
            self._is_asked = True
            try:
                self._patiently(partial(self._connection.ask, "PUT", f"/v1/jobs/{self._key}", message))
                self._uploads.clear()  # they are the job's
                return
            except Refused as error:
                if error.status != 404 or number == _TRIES_OF_UPLOADS - 1:
                    raise

    def _send(self, place: Place, file: Path, suffixes: list[str]) -> str:
        key, suffix = uuid.uuid4().hex, _suffix(file, suffixes)
        self._uploads.append(key)
        share = self._share(f"upload: {place_text(place)}")
        try:
            self._patiently(partial(self._connection.send_file, f"/v1/uploads/{key}?suffix={suffix}", file, share))
        except Refused as error:
            raise Refused(error.status, f"{file.name}: {error}", None) from error
        return key

    def _follow(self) -> ResultEvent | ErrorEvent:
        """Tell of the job's progress until it ends, over as many connections as it takes."""
        after = 0
        while True:
            try:
                for line in self._connection.lines(f"/v1/jobs/{self._key}/events?after={after}", self._unwanted):
                    self._heard_at = time.monotonic()
                    if not line:
                        continue
                    try:
                        numbered = json.loads(line)
                        event = parse_event(json.dumps(numbered["event"]).encode())
                        after = int(numbered["number"])
                    except (ValueError, KeyError, TypeError, ProtocolError) as error:
                        raise self._nonsense(f"sends what this program does not understand ({error})") from error
                    if isinstance(event, ProgressEvent):
                        self._tell(event.step, event.fraction)
                    elif isinstance(event, ResultEvent | ErrorEvent):
                        return event
                raise ConnectionTrouble("it ended the stream of events")
            except ConnectionTrouble as error:
                self._pause(error, _SECONDS_BETWEEN_TRIES)

    def _fetch(self, names: list[str], folder: Path) -> None:
        for number, name in enumerate(names):
            if not _FILE_NAME.fullmatch(name):
                raise self._nonsense("names a file as no server should")
            share = self._share("download", number / len(names), 1 / len(names))
            address = f"/v1/jobs/{self._key}/files/{name}"
            self._patiently(partial(self._connection.fetch_file, address, folder / name, share))

    def _nonsense(self, what: str) -> JobError:
        return JobError("failed", f"The server {self._connection.host} {what}.")

    def _share(self, step: str, start: float = 0.0, part: float = 1.0) -> OnShare:
        def share(fraction: float) -> None:
            self._heard_at = time.monotonic()
            if self._unwanted.is_set():
                raise Cancelled
            self._tell(step, start + part * fraction)

        return share

    def _patiently(self, action: Callable[[], _Answer]) -> _Answer:
        """Do what may be done twice, as often as it takes."""
        while True:
            if self._unwanted.is_set():
                raise Cancelled
            try:
                answer = action()
                self._heard_at, self._has_answered = time.monotonic(), True
                return answer
            except ConnectionTrouble as error:
                self._pause(error, _SECONDS_BETWEEN_TRIES)
            except Refused as error:
                if error.retry_after_seconds is None:
                    raise
                if error.status == 429:  # the server is well, and there will be a place some time
                    self._heard_at = time.monotonic()
                    self._tell("wait for a place in the queue", 0.0)
                self._pause(error, error.retry_after_seconds)

    def _pause(self, error: Exception, seconds: float) -> None:
        """Wait before another try. Raises Cancelled, and the error when the server has been silent for too long."""
        if self._unwanted.is_set():
            raise Cancelled
        patience_seconds = self._patience_seconds
        if not self._has_answered:  # perhaps there is none at this address
            patience_seconds = min(patience_seconds, _SECONDS_TO_CONNECT)
        if time.monotonic() - self._heard_at > patience_seconds:
            raise error
        if self._unwanted.wait(min(seconds, _LONGEST_PAUSE_SECONDS)):
            raise Cancelled


def _message(request: Work) -> dict[str, Any]:
    """The request without what is the server's, its files still to be filled in."""
    message = json.loads(encode_request("job", request))
    return {name: value for name, value in message.items() if name not in ("id", "output", "overwrite")}


def _suffix(file: Path, suffixes: list[str]) -> str:
    name = file.name.lower()
    return next((suffix for suffix in sorted(suffixes, key=len, reverse=True) if name.endswith(suffix)), "")


def _require_file(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{file} is a folder; a server takes volumes as single files, such as .nii.gz.")
    if not file.is_file():
        raise InputError(f"{file} does not exist; check the path.")


def _require_sendable(file: Path, limits: dict[str, Any]) -> None:
    """Raise InputError for a file that the server would not take."""
    if not _suffix(file, limits.get("suffixes", [])):
        raise InputError(f"{file.name} cannot be sent to a server; save it as one of {', '.join(limits['suffixes'])}.")
    size_bytes = file.stat().st_size
    if size_bytes > limits.get("upload_bytes", size_bytes):
        raise InputError(f"{file.name} has {size_bytes} bytes; the server takes at most {limits['upload_bytes']}.")
