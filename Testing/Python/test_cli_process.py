"""The command as a process of its own: exit codes, signals, closed streams, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from cli_cases import FAST, is_progress, one_sentence, tree
from repository import SOURCE_ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), "OMP_NUM_THREADS": "1"}
COMMAND = (sys.executable, "-m", "MMLNRegistrationLib")

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and file descriptors")


def start(*arguments: object, command: tuple[str, ...] = COMMAND, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        env=ENVIRONMENT,
        text=True,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )


def start_until(step: str, *arguments: object) -> subprocess.Popen[str]:
    """A process that has just said that it begins a step."""
    process = start(*arguments)
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip() == step:
            return process
    raise AssertionError(f"The process ended before {step}.")


def test_usage_error_needs_no_torch():
    process = start("register")
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 2
    one_sentence(complaint.splitlines())


@posix
@pytest.mark.parametrize(
    ("number", "step"),
    [(signal.SIGINT, "initial"), (signal.SIGTERM, "refine")],
    ids=["SIGINT in the linear search", "SIGTERM in the refinement"],
)
def test_interrupted_process_leaves_nothing(number, step, pair, tmp_path):
    arguments = ("register", pair.fixed, pair.moving, "--output", tmp_path / "new" / "out", "--refine", "10000")
    process = start_until(step, *arguments)
    process.send_signal(number)
    output, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert [line for line in complaint.splitlines() if line != step] == ["mmln: Interrupted; nothing was written."]
    assert output == ""
    assert tree(tmp_path) == {}


@posix
def test_killed_process_leaves_the_target_alone(pair, tmp_path):
    """Nobody can tidy up after SIGKILL: the unfinished folder stays, under a name that says so, and harms nothing."""
    out = tmp_path / "out"
    process = start_until(
        "refine", "register", pair.fixed, pair.moving, "--output", out, *FAST[:2], "--refine", "10000"
    )
    process.kill()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    (unfinished,) = tmp_path.iterdir()
    assert unfinished.name.startswith(".partial-")


@posix
def test_full_disk_ends_the_process_in_one_sentence(pair, tmp_path):
    """HDF5, stopped in the middle of a file, would crash as the process ends."""
    code = (
        "import resource; from MMLNRegistrationLib import cli, writing; writing._reserve = lambda path, size: None; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY)); cli.run()"
    )
    arguments = ("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST)
    process = start(*arguments, command=(sys.executable, "-c", code))
    _, complaints = process.communicate(timeout=60)
    complaint = one_sentence([line for line in complaints.splitlines() if not is_progress(line)])
    assert "cannot be written" in complaint
    assert process.returncode == 2
    assert tree(tmp_path) == {}


@posix
def test_reader_that_goes_away(tmp_path):
    """As in `mmln models | head -0`: no complaint, and no second one from Python when it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    process = start("models", stdout=writing)
    os.close(writing)
    _, complaint = process.communicate(timeout=60)
    assert complaint == ""
    assert process.returncode == 1


@posix
@pytest.mark.parametrize("closed", [1, 2], ids=["stdout", "stderr"])
def test_closed_stream(closed, pair, registered, tmp_path):
    """As in `mmln ... >&-`. The number of a closed stream must not go to a file, which noise would end up in."""
    shell = f'exec "$0" "$@" {closed}>&-'
    arguments = (
        "apply",
        registered / "transform.h5",
        pair.moving,
        "--reference",
        pair.fixed,
        "--output",
        tmp_path / "a.nii",
    )
    process = start(*arguments, command=("sh", "-c", shell, *COMMAND))
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert (tmp_path / "a.nii").stat().st_size > 26**3
