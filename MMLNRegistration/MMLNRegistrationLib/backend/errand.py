"""One job on a server, from its volumes' upload to its results' arrival, in a thread of its own."""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError
from ..progress import Cancelled
from ..result_folder import output_folder, require_free_folder
from ..writing import PARTIAL_PREFIX
from .job_requests import EVENTS_OF_AN_ATTEMPT, JOBS, JobRequest, Served
from .jobs import JobError
from .messages import EntryEvent, ErrorEvent, Evaluate, Info, Outcome, ProgressEvent, ResultEvent
from .parcel import Names, Parcel, packed
from .protocol import ProtocolError, encode_request, parse_event
from .request_files import Place, place_text, put
from .server_connection import ConnectionTrouble, OnShare, Refused, ServerConnection

Tell = Callable[[str, float], None]
"""Called with each progress."""

Enter = Callable[[Mapping[str, Any]], None]
"""Called with each entry, see messages.EntryEvent."""

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
        self, key: str, request: Served, connection: ServerConnection, tell: Tell, enter: Enter, patience_seconds: float
    ) -> None:
        """key: of the job on the server. patience_seconds: without any answer of the server."""
        self._key, self._request, self._connection = key, request, connection
        self._tell, self._enter = tell, enter
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
        output = None if isinstance(self._request, Info) else self._request.output
        overwrite = bool(getattr(self._request, "overwrite", False))
        parcel = packed(self._request)
        if output is not None:
            require_free_folder(output, overwrite)
        files = parcel.files
        for file in files.values():
            _require_file(file)
        self._tell("connect", 0.0)
        limits = self._patiently(partial(self._connection.ask, "GET", "/v1/status")).get("limits", {})
        _require_sendable(set(files.values()), limits)
        suffixes = limits.get("suffixes", [])
        names = parcel.names(lambda file: _suffix(file, suffixes))
        self._ask_for_it(parcel, suffixes)
        event = self._follow(names)
        if isinstance(event, ErrorEvent):
            with suppress(ConnectionTrouble, Refused):
                self._connection.ask("DELETE", f"/v1/jobs/{self._key}")
            raise JobError(event.cause, names.back(event.sentence), event.offers)
        outcome = Outcome({}, names.back(event.report))
        if output is not None:
            with output_folder(output, overwrite, f"{PARTIAL_PREFIX}{self._key}") as folder:
                self._fetch(sorted(event.files), folder)
                parcel.finish(folder, names)
            outcome = replace(outcome, files={name: output / name for name in event.files})
        with suppress(ConnectionTrouble, Refused):  # the server removes it by itself some time
            self._connection.ask("DELETE", f"/v1/jobs/{self._key}")
        return outcome

    def _ask_for_it(self, parcel: Parcel, suffixes: list[str]) -> None:
        """Send the volumes and the request; again when the server was started anew in between."""
        for number in range(_TRIES_OF_UPLOADS):
            message = _message(parcel.request)
            self._send_files(message, parcel.files, suffixes)
            self._is_asked = True
            try:
                self._patiently(partial(self._connection.ask, "PUT", f"/v1/jobs/{self._key}", message))
                self._uploads.clear()  # they are the job's
                return
            except Refused as error:
                if error.status != 404 or number == _TRIES_OF_UPLOADS - 1:
                    raise

    def _send_files(self, message: dict[str, Any], files: Mapping[Place, Path], suffixes: list[str]) -> None:
        """Upload all files, of a list's each one once however often it is named, and put their keys in the message."""
        listed = {file for place, file in files.items() if len(place) > 1}
        keys: dict[Path, str] = {}
        for place, file in files.items():
            if len(place) == 1:
                share = self._share(f"upload: {place_text(place)}")
                put(message, place, self._send(file, suffixes, share))
                continue
            if file not in keys:
                step = f"upload: file {len(keys) + 1} of {len(listed)}"
                share = self._share(step, len(keys) / len(listed), 1 / len(listed))
                keys[file] = self._send(file, suffixes, share)
            put(message, place, keys[file])

    def _send(self, file: Path, suffixes: list[str], share: OnShare) -> str:
        key, suffix = uuid.uuid4().hex, _suffix(file, suffixes)
        self._uploads.append(key)
        try:
            self._patiently(partial(self._connection.send_file, f"/v1/uploads/{key}?suffix={suffix}", file, share))
        except Refused as error:
            raise Refused(error.status, f"{file.name}: {error}", None) from error
        return key

    def _follow(self, names: Names) -> ResultEvent | ErrorEvent:
        """Tell of the job's progress until it ends, over as many connections as it takes."""
        after = 0
        entries = _Entries(self._enter, again=not isinstance(self._request, Evaluate))
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
                        self._tell(names.back(event.step), event.fraction)
                    elif isinstance(event, EntryEvent):
                        entries.take(after, names.back(event.entry))
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


class _Entries:
    """Passes entries on. A job that is begun anew, since its server was, tells all that it has told again."""

    def __init__(self, enter: Enter, again: bool) -> None:
        """again: pass on also what has been told, as a training does that goes back to its last checkpoint."""
        self._enter, self._again = enter, again
        self._attempt, self._told, self._index = 0, 0, 0

    def take(self, number: int, entry: Mapping[str, Any]) -> None:
        """An entry and the number of its event."""
        if number // EVENTS_OF_AN_ATTEMPT != self._attempt:
            self._attempt, self._index = number // EVENTS_OF_AN_ATTEMPT, 0
        self._index += 1
        if self._again or self._index > self._told:
            self._told = max(self._told, self._index)
            self._enter(entry)


def _message(request: JobRequest) -> dict[str, Any]:
    """The request without what is the server's, its files still to be filled in."""
    message = json.loads(encode_request("job", request, JOBS))
    return {name: value for name, value in message.items() if name not in ("id", "output", "overwrite")}


def _suffix(file: Path, suffixes: list[str]) -> str:
    name = file.name.lower()
    return next((suffix for suffix in sorted(suffixes, key=len, reverse=True) if name.endswith(suffix)), "")


def _require_file(file: Path) -> None:
    if file.is_dir():
        raise InputError(f"{file} is a folder; a server takes volumes as single files, such as .nii.gz.")
    if not file.is_file():
        raise InputError(f"{file} does not exist; check the path.")


def _require_sendable(files: set[Path], limits: dict[str, Any]) -> None:
    """Raise InputError for files that the server would not take."""
    if len(files) > limits.get("job_files", len(files)):
        raise InputError(f"The server takes at most {limits['job_files']} files for a job, not {len(files)}.")
    total_bytes = 0
    for file in sorted(files):
        if not _suffix(file, limits.get("suffixes", [])):
            raise InputError(
                f"{file.name} cannot be sent to a server; save it as one of {', '.join(limits['suffixes'])}."
            )
        size_bytes = file.stat().st_size
        if size_bytes > limits.get("upload_bytes", size_bytes):
            raise InputError(f"{file.name} has {size_bytes} bytes; the server takes at most {limits['upload_bytes']}.")
        total_bytes += size_bytes
    if total_bytes > limits.get("storage_bytes", total_bytes):
        raise InputError(f"The files have {total_bytes} bytes; the server stores at most {limits['storage_bytes']}.")
