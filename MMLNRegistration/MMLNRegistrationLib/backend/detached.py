"""Trainings that outlive whoever started them: processes of their own that are found again by their run folder.

Needs the standard library alone. Beside the files of training.run_files such a run's folder has

request.json     the request, as a line of the protocol: what a resumption needs
settings.json    what its settings change of a preset
launched.json    the process that was started, and where its part of the log begins
train.log        all that it printed; the last line says how it ended
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError
from ..training.run_files import RunFiles, read_object
from ..writing import write_whole
from .messages import Train
from .protocol import ProtocolError, encode_request, parse_request
from .request_files import with_absolute_paths

Kind = Literal["none", "starting", "running", "stopping", "stopped", "finished", "failed", "interrupted"]

AT_WORK: tuple[Kind, ...] = ("starting", "running", "stopping")

_SOURCE_ROOT = Path(__file__).resolve().parents[2]
_SECONDS_TO_START = 120.0
"""Loading torch from a cold disk takes a while; the run's lock is held from then on."""
_TAIL_BYTES = 65536
_SENTENCE = "mmln: "
"""How the command's last line begins when it ends badly, see cli."""
_STOPPED = ("Stopped;", "Interrupted;")
_NO_WINDOW = 0x08000000 | 0x00000200
"""CREATE_NO_WINDOW and CREATE_NEW_PROCESS_GROUP of Windows: no console, nor a Ctrl-C that was meant for another."""


@dataclass(frozen=True)
class RunState:
    """What can be told of a run from its folder.

    kind: none is no run. sentence: of a run that failed or was interrupted, what happened and what to do.
    activity, fraction: what it does at present and how much of that is done. step, total_steps: of the training; None
    where there is none yet. pid: of the process at work. device: its label, device_memory_bytes: all of a GPU's.
    """

    kind: Kind
    sentence: str = ""
    activity: str = ""
    fraction: float = 0.0
    step: int | None = None
    total_steps: int | None = None
    pid: int | None = None
    device: str = ""
    device_memory_bytes: int | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether a process trains."""
        return self.kind in AT_WORK


class RunLog:
    """The files that only a detached run has."""

    def __init__(self, path: Path) -> None:
        self.request = path / "request.json"
        self.settings = path / "settings.json"
        self.launched = path / "launched.json"
        self.log = path / "train.log"


def start(request: Train, settings: Mapping[str, Any] | None, python: str | Path) -> subprocess.Popen[bytes]:
    """Begin or, with request.resume, go on with a training in a process that is nobody's child in earnest.

    settings: what differs from a preset, as config.read_config takes it; None where request.config or a resumed run
    says it. python: an interpreter with torch, or a launcher of one. The handle is there to be asked whether the
    process has ended; nobody has to.
    Raises InputError when the folder is in use or cannot be written, or the process cannot be started.
    """
    request = with_absolute_paths(request)
    files, log = RunFiles(request.output), RunLog(request.output)
    if state_of(request.output).is_at_work:
        raise InputError(f"A training is under way in {request.output}; stop it first, or choose another folder.")
    if files.exists() and not request.resume:
        raise InputError(f"{request.output} holds a training already; resume it, or choose another folder.")
    request = replace(request, resume=files.exists())
    try:
        request.output.mkdir(parents=True, exist_ok=True)
        files.stop.unlink(missing_ok=True)
        if settings is not None and not files.exists():
            write_whole(log.settings, (json.dumps(dict(settings), indent=2) + "\n").encode())
            request = replace(request, config=log.settings)
        write_whole(log.request, encode_request("train", request))
        process = _launched(request, log, str(python))
    except OSError as error:
        raise InputError(
            f"The training cannot be started in {request.output} ({error.strerror}); check the folder and its rights."
        ) from error
    return process


def request_of(path: Path) -> Train | None:
    """What the run in a folder was last started with; None for one that was started by hand."""
    try:
        _, request = parse_request(RunLog(path).request.read_bytes().rstrip(b"\r\n"))
    except (OSError, ProtocolError):
        return None
    return request if isinstance(request, Train) else None


def state_of(path: Path) -> RunState:
    """How the run in a folder stands, whoever started it and wherever it works."""
    files = RunFiles(path)
    step, total = last_step(files), total_steps(files)
    if files.is_held():
        running = files.read_running()
        fraction = _number(running, "fraction")
        activity = str(running.get("step", ""))
        if total is not None and activity.startswith("train"):
            step = max(step or 0, round(fraction * total))
        kind: Kind = "stopping" if files.stop.exists() else "running"
        memory = int(_number(running, "device_memory_bytes")) or None
        device = str(running.get("device", ""))
        return RunState(kind, "", activity, fraction, step, total, _pid(running), device, memory)
    launched = read_object(RunLog(path).launched)
    said = _last_words(path, launched)
    if launched and not said and _is_starting(launched):
        return RunState("starting", step=step, total_steps=total, pid=_pid(launched))
    if not launched and not files.exists():
        return RunState("none")
    kind, sentence = _end(files, said)
    return RunState(kind, sentence, step=step, total_steps=total)


def stop(path: Path) -> None:
    """Ask a training to end after its step, with a checkpoint. One that has not begun yet ends at once.

    Raises InputError when it cannot be asked.
    """
    state = state_of(path)
    if state.kind == "starting":
        end_by_force(path)
    elif state.is_at_work:
        RunFiles(path).ask_to_stop()


def end_by_force(path: Path) -> None:
    """End a training at once; it can be resumed from its last checkpoint. Does nothing when none is under way.

    Raises InputError for one that works on another machine, belongs to another user, or could not say which it is.
    """
    state = state_of(path)
    if not state.is_at_work:
        return
    if state.pid is None:
        raise InputError(f"It cannot be told which process trains in {path}; try again, or end it by hand.")
    files, launched = RunFiles(path), read_object(RunLog(path).launched)
    host = files.read_running().get("host", platform.node())
    if host != platform.node():
        raise InputError(f"The training works on the machine {host}; end it there.")
    try:
        _kill(state.pid, _pid(launched))
    except PermissionError as error:
        raise InputError("The training belongs to another user, who must end it.") from error
    with suppress(OSError):
        files.stop.unlink(missing_ok=True)


def log_text(path: Path) -> str:
    """The end of what a run has printed; empty where there is nothing."""
    return _tail(RunLog(path).log, 0)


def last_step(files: RunFiles) -> int | None:
    """The last step that the ledger tells of; None before the first."""
    for line in reversed(_tail(files.ledger, 0).splitlines()):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                return entry["step"]
    return None


def total_steps(files: RunFiles) -> int | None:
    """Of all stages of the run; None before it was begun."""
    stages = read_object(files.config).get("stages")
    if not isinstance(stages, list):
        return None
    return int(sum(_number(stage, "steps") for stage in stages if isinstance(stage, dict)))


def _launched(request: Train, log: RunLog, python: str) -> subprocess.Popen[bytes]:
    with log.log.open("ab") as output:
        begins_at = output.tell()
        process = subprocess.Popen(
            [python, "-m", "MMLNRegistrationLib", *_arguments(request)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # With -m Python imports from the working folder too, so that must be one where nobody else puts files.
            cwd=_SOURCE_ROOT,
            env={**os.environ, **_environment()},
            # A session of its own: neither the end of the program nor that of its terminal reaches it.
            start_new_session=True,
            creationflags=_NO_WINDOW if sys.platform == "win32" else 0,
        )
    about = {"pid": process.pid, "host": platform.node(), "time": time.time(), "log_begins_at": begins_at}
    write_whole(log.launched, json.dumps(about).encode())
    return process


def _environment() -> dict[str, str]:
    search_path = os.pathsep.join(filter(None, [str(_SOURCE_ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": search_path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8:backslashreplace"}


def _arguments(request: Train) -> list[str]:
    """The request as arguments of the command."""
    arguments: list[object] = ["train", "--output", request.output, "--device", request.device]
    for path in request.data:
        arguments += ["--data", path]
    for path in request.validation_data:
        arguments += ["--validation-data", path]
    for name, value in (
        ("--config", None if request.resume else request.config),
        ("--structures", request.structures),
        ("--cache", request.cache),
        ("--threads", request.threads),
    ):
        if value is not None:
            arguments += [name, value]
    arguments += ["--skip-bad"] if request.skip_bad else []
    arguments += ["--resume"] if request.resume else []
    return [str(argument) for argument in arguments]


def _is_starting(launched: Mapping[str, Any]) -> bool:
    age_seconds, pid = time.time() - _number(launched, "time"), _pid(launched)
    is_recent = launched.get("host") == platform.node() and age_seconds < _SECONDS_TO_START
    return is_recent and pid is not None and _is_alive(pid)


def _number(values: Mapping[str, Any], name: str) -> float:
    """A number from a file that anybody may have written; 0 where it holds none."""
    value = values.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _pid(values: Mapping[str, Any]) -> int | None:
    """A process's number. Not 0, 1 and less, which stand for groups and for the system's own processes."""
    pid = values.get("pid")
    return pid if isinstance(pid, int) and pid > 1 else None


def _last_words(path: Path, launched: Mapping[str, Any]) -> str:
    """The sentence that the last process of the run ended with; empty for one that ended well, or without a word."""
    lines = [line for line in _tail(RunLog(path).log, int(_number(launched, "log_begins_at"))).splitlines() if line]
    if lines and lines[-1].startswith(_SENTENCE):
        return lines[-1].removeprefix(_SENTENCE)
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return f"The training failed by a fault of the program ({lines[-1]}); see the log."
    return ""


def _end(files: RunFiles, said: str) -> tuple[Kind, str]:
    """How a run ended that nobody works on. said: the last words of its process."""
    if said:
        return ("stopped", "") if said.startswith(_STOPPED) else ("failed", said)
    event = _last_event(files)
    if event == "end":
        return "finished", ""
    if event == "stopped":
        return "stopped", ""
    where = "the last checkpoint" if files.checkpoints.is_dir() and any(files.checkpoints.iterdir()) else "the start"
    return "interrupted", f"The training ended without a word, killed or by loss of power; resume it from {where}."


def _last_event(files: RunFiles) -> str:
    lines = _tail(files.ledger, 0).splitlines()
    with suppress(ValueError, IndexError, AttributeError):
        return str(json.loads(lines[-1]).get("event"))
    return ""


def _tail(path: Path, first_byte: int) -> str:
    """The end of a text file, at most _TAIL_BYTES of it and nothing before first_byte; empty when it is missing."""
    try:
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(first_byte, size_bytes - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


if sys.platform == "win32":

    def _is_alive(pid: int) -> bool:
        listed = subprocess.run(
            ["tasklist", "/FI", f"PID eq {pid}", "/NH", "/FO", "CSV"],
            capture_output=True,
            check=False,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return f'"{pid}"'.encode() in listed.stdout

    def _kill(pid: int, launched_pid: int | None) -> None:
        for number in {pid, launched_pid or pid}:
            subprocess.run(
                ["taskkill", "/T", "/F", "/PID", str(number)],
                capture_output=True,
                check=False,
                creationflags=subprocess.CREATE_NO_WINDOW,
            )

else:

    def _is_alive(pid: int) -> bool:
        with suppress(ChildProcessError):  # a child of ours that has ended keeps its number until somebody asks
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def _kill(pid: int, launched_pid: int | None) -> None:
        """The whole session where we have made it: a launcher and its child; else the process alone."""
        with suppress(ProcessLookupError):
            group = os.getpgid(pid)
            if group == launched_pid:
                os.killpg(group, signal.SIGKILL)
            else:
                os.kill(pid, signal.SIGKILL)
