"""The token that every request must bear, and the gate that looks at it before anything else is read."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from ...errors import InputError
from .refusals import refused

SHORTEST_TOKEN, LONGEST_TOKEN = 16, 1024
_TOKEN_BYTES = 24


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def read_token(path: Path) -> str:
    """The token in a file, which holds nothing else. Raises InputError when there is none that can be used."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The token file {path} cannot be read; give a text file with the token.") from error
    return checked_token(token, str(path))


def checked_token(token: str, place: str) -> str:
    """The token, if it is one. place: where it comes from. Raises InputError."""
    if not (
        SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN and token.isascii() and token.isprintable() and " " not in token
    ):
        raise InputError(
            f"{place} holds no token: {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits and signs without a space."
        )
    return token


class TokenGate:
    """An application that is reached by those alone who bear the token. Nothing of a body is read before that.

    open_paths: what anybody may read; it holds nothing of anybody's.
    """

    def __init__(self, app: ASGIApp, token: str, open_paths: frozenset[str]) -> None:
        self._app, self._open_paths = app, open_paths
        self._digest = _digest(token.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 401."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and self._admits(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = {"WWW-Authenticate": "Bearer", "Connection": "close"}
            await refused(401, "The token is missing or wrong; send Authorization: Bearer TOKEN.", headers)(
                scope, receive, send
            )
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _admits(self, scope: Scope) -> bool:
        if scope["path"] in self._open_paths and scope["method"] in ("GET", "HEAD"):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        kind, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        # Of the digests, so that not even the token's length can be told from how long it takes.
        return hmac.compare_digest(_digest(token.strip()), self._digest) and kind.lower() == b"bearer"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
