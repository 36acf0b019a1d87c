"""A server as a process: its folder, its jobs, its address, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from ...errors import InputError
from ...locks import FileLock
from .app import make_app
from .board import Board
from .limits import Limits

_SECONDS_BETWEEN_CLEANINGS = 5.0
_SECONDS_BETWEEN_LOOKS = 0.2
_SECONDS_TO_FETCH = 3.0
_SECONDS_TO_CLOSE = 5

log = logging.getLogger("mmln.server")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """devices: each gets a worker. threads: of the processor for each job, None for all. folder: for the volumes of
    jobs at work, by default one in the system's folder for temporary files that a server on the same port finds again.
    """

    token: str
    host: str = "127.0.0.1"
    port: int = 8765
    devices: tuple[str, ...] = ("auto",)
    threads: int | None = None
    folder: Path | None = None
    certificate: Path | None = None
    certificate_key: Path | None = None
    limits: Limits = field(default_factory=Limits)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: ServerSettings, announce: Callable[[str], None]) -> None:
    """Serve until a signal comes. announce: called with the address as soon as it is the server's.

    Raises InputError when the address, the folder or the certificate cannot be used.
    """
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", level=logging.INFO)
    folder = _own_folder(settings)
    lock = FileLock(folder / "server.lock")
    if not lock.try_acquire():
        raise InputError(f"Another server uses the folder {folder}; give this one another by --folder.")
    try:
        _Server(settings, folder, announce).run()
    finally:
        lock.remove()
        for name in ("jobs", "uploads", "."):
            with suppress(OSError):  # jobs that wait for the next start
                (folder / name).rmdir()


class _Server(uvicorn.Server):
    """A server that goes on for a while when it is told to stop: what runs may end, and its results be fetched."""

    def __init__(self, settings: ServerSettings, folder: Path, announce: Callable[[str], None]) -> None:
        self._settings, self._folder, self._announce = settings, folder, announce
        self._board: Board | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopper: asyncio.Task[None] | None = None
        try:
            config = uvicorn.Config(
                make_app(self._present_board, settings.token, self._lifespan),
                host=settings.host,
                port=settings.port,
                ssl_certfile=settings.certificate,
                ssl_keyfile=settings.certificate_key,
                lifespan="on",
                log_level="warning",
                access_log=False,  # addresses hold the keys of jobs
                server_header=False,
                timeout_graceful_shutdown=_SECONDS_TO_CLOSE,
            )
            config.load()
        except OSError as error:
            raise InputError(f"The certificate or its key cannot be used ({error}); check both files.") from error
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until the end. Raises InputError when the address cannot be used."""
        try:
            listening = self.config.bind_socket()
        except SystemExit as error:
            raise InputError(
                f"The address {self._settings.host}, port {self._settings.port} cannot be used; choose another port."
            ) from error
        with listening:
            super().run([listening])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, and say where."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            kind = "https" if self._settings.certificate else "http"
            self._announce(f"{kind}://[{host}]:{port}" if ":" in host else f"{kind}://{host}:{port}")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A first signal lets what runs end, a second one stops it."""
        if self._loop is None or self._stopper is not None:
            self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _present_board(self) -> Board:
        assert self._board is not None
        return self._board

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        self._loop = asyncio.get_running_loop()
        settings = self._settings
        self._board = Board(self._folder, settings.limits, settings.devices, settings.threads)
        self._board.start()
        cleaner = asyncio.create_task(self._clean())
        try:
            yield
        finally:
            cleaner.cancel()
            await self._board.stop()

    async def _clean(self) -> None:
        seconds = min(_SECONDS_BETWEEN_CLEANINGS, self._settings.limits.keep_seconds / 4)
        while True:
            await asyncio.sleep(seconds)
            self._present_board().remove_old()

    def _begin_to_stop(self) -> None:
        self._present_board().stopping = True
        self._stopper = asyncio.create_task(self._stop_in_time())

    async def _stop_in_time(self) -> None:
        """Let the running jobs end and their clients fetch the results, then let uvicorn end."""
        board, clock = self._present_board(), asyncio.get_running_loop()
        end = clock.time() + self._settings.limits.grace_seconds
        log.info("stopping%s", ", once the jobs that run have ended" if board.running else "")
        ran = board.running
        while board.running and clock.time() < end and not self.should_exit:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        end = min(end, clock.time() + _SECONDS_TO_FETCH)
        while ran and board.has_results and clock.time() < end and not self.should_exit:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        board.let_readers_go()
        self.should_exit = True


def _own_folder(settings: ServerSettings) -> Path:
    """The folder, which nobody else can enter. Raises InputError."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = settings.folder or Path(tempfile.gettempdir()) / f"mmln-server-{user}-{settings.port}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if hasattr(os, "getuid") and (folder.is_symlink() or status.st_uid != os.getuid()):
            raise InputError(f"The folder {folder} belongs to somebody else; give another by --folder.")
        if status.st_mode & 0o077 and os.name == "posix":
            raise InputError(f"Others can read the folder {folder}; chmod 700 it, or give another by --folder.")
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be used ({error.strerror}); give another by --folder.") from error
    return folder.resolve()
