"""Single requests to a server over HTTP. What goes wrong is either the connection's fault, or the server's answer."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import InputError

_SECONDS_OF_SILENCE = 30.0
"""A stream of events has a sign of life every few seconds, and files come without a pause."""

_PIECE_BYTES = 1 << 18
_LONGEST_LINE_BYTES = 2 << 20

OnShare = Callable[[float], None]
"""Called with the fraction of a file that has gone over; may raise to stop."""


class ConnectionTrouble(Exception):
    """The server could not be reached, or the connection broke."""


class Refused(Exception):
    """The server has answered with an error. retry_after_seconds: when it may answer otherwise, if ever."""

    def __init__(self, status: int, sentence: str, retry_after_seconds: float | None) -> None:
        super().__init__(sentence)
        self.status, self.retry_after_seconds = status, retry_after_seconds


class ServerConnection:
    """The way to a server. Each request has a connection of its own, so that threads may share this."""

    def __init__(self, address: str, token: str, client: str) -> None:
        """address: http://HOST:PORT or https://HOST. client: of those whose jobs are done by turns.

        Raises InputError for what is no address.
        """
        try:
            parts = urlsplit(address)
            port = parts.port
        except ValueError as error:
            raise _no_address(address) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise _no_address(address)
        if not token or not token.isascii() or not token.isprintable():
            raise InputError("The token is empty, or holds signs that no token has; give that of the server.")
        self.host, self.is_encrypted = parts.hostname, parts.scheme == "https"
        self._port, self._prefix = port, parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "X-Client": client, "Connection": "close"}

    def ask(self, method: str, path: str, message: Any = None) -> dict[str, Any]:
        """A request with a JSON object, or nothing, and its answer. Raises ConnectionTrouble and Refused."""
        body = None if message is None else json.dumps(message).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        with closing(self._open()) as connection:
            content = _content(self._answer(connection, method, path, body, headers))
        return _object(content)

    def send_file(self, path: str, file: Path, on_share: OnShare) -> None:
        """Upload a file. Raises ConnectionTrouble, Refused, and OSError when the file cannot be read."""
        size_bytes = file.stat().st_size
        with file.open("rb") as source, closing(self._open()) as connection:

            def pieces() -> Iterator[bytes]:
                sent = 0
                while piece := source.read(_PIECE_BYTES):
                    yield piece
                    sent += len(piece)
                    on_share(sent / max(size_bytes, 1))

            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size_bytes)}
            _content(self._answer(connection, "PUT", path, pieces(), headers))

    def fetch_file(self, path: str, file: Path, on_share: OnShare) -> None:
        """Download into a file. Raises ConnectionTrouble, Refused, and OSError when the file cannot be written."""
        with closing(self._open()) as connection, file.open("wb") as target:
            answer = self._answer(connection, "GET", path)
            expected, received = int(answer.headers.get("Content-Length", "0")), 0
            while piece := _read(answer, _PIECE_BYTES):
                target.write(piece)
                received += len(piece)
                on_share(received / max(expected, 1))
            if received != expected:
                raise ConnectionTrouble("The connection broke in the middle of a file.")

    def lines(self, path: str, stop: threading.Event) -> Iterator[bytes]:
        """The lines of a stream, empty ones too. It ends with the stream, or soon after stop is set.

        Raises ConnectionTrouble and Refused.
        """
        with closing(self._open()) as connection:
            answer = self._answer(connection, "GET", path)
            while not stop.is_set():
                line = _readline(answer)
                if not line:
                    return
                yield line.strip()

    def _open(self) -> http.client.HTTPConnection:
        if self.is_encrypted:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self.host, self._port, timeout=_SECONDS_OF_SILENCE, context=context)
        return http.client.HTTPConnection(self.host, self._port, timeout=_SECONDS_OF_SILENCE)

    def _answer(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        try:
            # A server that refuses a body stops reading it, and its answer may be here already.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, self._prefix + path, body, {**self._headers, **(headers or {})})
            answer = connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise InputError(f"The certificate of {self.host} is not trusted ({error.verify_message}).") from error
        except (OSError, http.client.HTTPException) as error:
            raise _trouble(error) from error
        if answer.status >= 300:
            sentence = "The server answered with an error that this program does not know."
            with suppress(ConnectionTrouble):
                sentence = str(_object(_content(answer)).get("sentence", sentence))
            after = answer.headers.get("Retry-After", "")
            raise Refused(answer.status, sentence, float(after) if after.isdecimal() else None)
        return answer


def _content(answer: http.client.HTTPResponse) -> bytes:
    content = _read(answer, _LONGEST_LINE_BYTES + 1)
    if len(content) > _LONGEST_LINE_BYTES:
        raise ConnectionTrouble("The server's answer is too long; is it an MMLNRegistration server?")
    return content


def _read(answer: http.client.HTTPResponse, size_bytes: int) -> bytes:
    try:
        return answer.read(size_bytes)
    except (OSError, http.client.HTTPException) as error:
        raise _trouble(error) from error


def _readline(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.readline(_LONGEST_LINE_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _trouble(error) from error


def _object(content: bytes) -> dict[str, Any]:
    if not content:
        return {}
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConnectionTrouble("The server's answer is no JSON; is it an MMLNRegistration server?") from error
    if not isinstance(message, dict):
        raise ConnectionTrouble("The server's answer is no JSON object; is it an MMLNRegistration server?")
    return message


def _trouble(error: Exception) -> ConnectionTrouble:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    return ConnectionTrouble(reason)


def _no_address(address: str) -> InputError:
    return InputError(f"{address!r} is no address of a server; give http://HOST:PORT or https://HOST.")
