"""The address and the token of a server that is to do the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..errors import InputError
from .session import Session

SERVER_SETTING = "MMLNRegistration/Server"
"""Of the application: an address belongs to the user, not to a scene. The token is kept nowhere."""


def server_is_named() -> bool:
    """Whether the user works with a server, also while its token is still missing."""
    return bool(qt.QSettings().value(SERVER_SETTING, ""))


class ServerChoice:
    """Two lines of text. The server is used as soon as both are filled in, and no more when the address is gone: then
    the worker of this machine starts, before there is work for it."""

    def __init__(self, session: Session, server: Any, token: Any, on_changed: Callable[[str], None]) -> None:
        """server, token: QLineEdits. on_changed: called with what is wrong, empty when it is well."""
        self._session, self._server, self._token = session, server, token
        self._on_changed = on_changed
        self._server.text = qt.QSettings().value(SERVER_SETTING, "") or ""
        server.connect("editingFinished()", self._edited)
        token.connect("editingFinished()", self._edited)

    def hindrance(self) -> str:
        """Why nothing can be asked of the server that is named; empty when all is well, or none is."""
        if self._server.text.strip() and not self._session.is_remote:
            return _("Give the server's token too, or clear its address to work on this machine.")
        return ""

    def _edited(self) -> None:
        address, token = self._server.text.strip(), self._token.text.strip()
        comes_back = not address and (server_is_named() or self._session.is_remote)
        qt.QSettings().setValue(SERVER_SETTING, address)
        try:
            if not (address and not token):
                self._session.use(address, token)
            if comes_back:
                self._session.warm()
        except InputError as error:
            self._on_changed(str(error))
        else:
            self._on_changed("")
