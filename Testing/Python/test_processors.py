"""How long idle threads keep their processors busy, as the library that torch computes with tells it itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from repository import SOURCE_ROOT

INFO = json.dumps({"protocol": 1, "kind": "info", "id": "x"}) + "\n"
PROCESSES = {
    "command": (["-m", "MMLNRegistrationLib", "doctor"], ""),
    "worker": (["-m", "MMLNRegistrationLib.backend.worker"], INFO),
}


def spins(arguments: list[str], requests: str, wishes: dict[str, str]) -> str | None:
    """GNU's OpenMP prints its settings when it is loaded; None where torch computes with another library."""
    unset = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, *arguments],
        input=requests,
        env={**unset, "PYTHONPATH": str(SOURCE_ROOT), "OMP_DISPLAY_ENV": "VERBOSE", **wishes},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [line.split("'")[1] for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    return found[0] if found else None


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize(("wishes", "wanted"), [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77")], ids=["ours", "wish"])
def test_threads_wait_busily_for_a_moment_only(process, wishes, wanted):
    if spins(["-c", "import torch"], "", {}) is None:
        pytest.skip("torch does not compute with GNU's OpenMP here")
    assert spins(*PROCESSES[process], wishes) == wanted
