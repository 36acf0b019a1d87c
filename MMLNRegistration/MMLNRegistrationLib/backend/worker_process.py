"""A worker's process as its client sees it: started, listened to, and ended with all the processes it has made."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from .messages import Event
from .protocol import ProtocolError, oversized_line, parse_event, read_lines

MODULE = "MMLNRegistrationLib.backend.worker"
_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_LOG_LINES = 400
_SECONDS_TO_END = 5.0
_SECONDS_TO_LOG = 1.0


class Said(NamedTuple):
    """One thing that a worker said: an event, a line of its log, or nothing more, when it has ended."""

    process: WorkerProcess
    what: Event | str | None


class WorkerProcess:
    """A running worker. Threads listen to it, put what it says into an inbox, and wait for its end."""

    def __init__(
        self,
        python: str,
        folder: Path,
        idle_seconds: float | None,
        orphan_seconds: float | None,
        environment: Mapping[str, str],
        inbox: queue.SimpleQueue[Said],
    ) -> None:
        """python: an interpreter, or a launcher of one. folder: the client's private folder.

        Raises OSError when it cannot be started.
        """
        self.log: deque[str] = deque(maxlen=_LOG_LINES)
        self.code: int | None = None
        """The exit code, once the process has said that it says no more."""
        self._inbox = inbox
        command = [python, "-m", MODULE, "--folder", str(folder)]
        if idle_seconds is not None:
            command += ["--idle", str(idle_seconds)]
        if orphan_seconds is not None:
            command += ["--orphan", str(orphan_seconds)]
        search_path = os.pathsep.join(filter(None, [str(_SOURCE_ROOT), environment.get("PYTHONPATH")]))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # With -m Python imports from the working folder too, so that must be one where nobody else puts files.
            cwd=folder,
            env={**environment, "PYTHONPATH": search_path},
            # A group of its own: Ctrl-C in a terminal does not reach it, and a launcher can be killed with its child.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._listener = threading.Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._logger = threading.Thread(target=self._keep_log, args=(self._process.stderr,), daemon=True)
        self._logger.start()
        self._listener.start()

    def send(self, line: bytes) -> None:
        """Send a request's line. Raises OSError when the worker reads no more."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except ValueError as error:  # the thread that listens has closed it: the worker has ended
            raise BrokenPipeError from error

    def close_input(self) -> None:
        """Tell the worker that no more requests come."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self, seconds: float) -> None:
        """Wait for the process to end, and kill it and what it has started when it does not or has failed."""
        self.close_input()
        try:
            self.code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.code = None
        if self.code != 0:
            self.kill()
            self.code = self._process.wait()

    def kill(self) -> None:
        """End the worker at once, with all processes that it has started."""
        if sys.platform == "win32":
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(self._process.pid)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self, stream: BinaryIO) -> None:
        with suppress(OSError, ValueError):
            for line in read_lines(stream):
                try:
                    if line is None:
                        raise oversized_line()
                    self._inbox.put(Said(self, parse_event(line)))
                except ProtocolError as error:
                    self._note(f"The client does not understand the worker: {error}")
        self.end(_SECONDS_TO_END)
        self._logger.join(_SECONDS_TO_LOG)
        self._inbox.put(Said(self, None))

    def _keep_log(self, stream: BinaryIO) -> None:
        with suppress(OSError, ValueError):
            for line in iter(stream.readline, b""):
                self._note(line.decode(errors="replace").rstrip())

    def _note(self, line: str) -> None:
        self.log.append(line)
        self._inbox.put(Said(self, line))
