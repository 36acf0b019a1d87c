"""Two hundred clients at once on a short queue: nothing lost, nothing mixed up, nothing left."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from backend_cases import posix
from cli_cases import array_of, lps_from_ijk, write
from MMLNRegistrationLib.backend.messages import Info, Register
from server_cases import Server, until

pytestmark = posix

CLIENTS, EACH = 200, 10
"""Every tenth registers a volume of its own; the others ask for little things."""

SIZE = 16
GRID = lps_from_ijk((SIZE,) * 3, (4.0,) * 3)


def own_volume(number: int) -> np.ndarray:
    """(K, J, I) a ball whose brightness is nobody else's."""
    axis = np.arange(SIZE) - SIZE / 2
    distance = np.sqrt(sum(np.square(part) for part in np.meshgrid(axis, axis, axis)))
    return np.where(distance < 6, 1000 + number, 0).astype(np.float32)


@pytest.mark.slow
def test_two_hundred_clients(tmp_path):
    server = Server(tmp_path, "--queue", 40)
    fixed = write(tmp_path / "fixed.nii.gz", own_volume(0), GRID)
    clients, jobs = [], {}
    try:
        for number in range(CLIENTS):
            clients.append(server.client())
            request = Info()
            if number % EACH == 0:
                moving = write(tmp_path / f"moving-{number}.nii.gz", own_volume(number), GRID)
                request = Register(
                    fixed=fixed, moving=moving, output=tmp_path / f"out-{number}", initial="identity", refine=0,
                    spacing_mm=4, model="none",
                )  # fmt: skip
            jobs[number] = clients[-1].submit(request)

        def all_done() -> bool:
            for client in clients:
                client.poll()
            return all(job.done for job in jobs.values())

        until(all_done, 300)
        for number, job in jobs.items():
            outcome = job.result()
            if number % EACH == 0:
                assert array_of(outcome.files["warped.nii.gz"]).max() == pytest.approx(1000 + number)
                assert outcome.files["warped.nii.gz"].parent == tmp_path / f"out-{number}"
            else:
                assert outcome.report["automatic_device"] == "cpu"
        accepted = sum("accepted" in line for line in server.lines)
        assert accepted == CLIENTS
        assert server.files() == []
    finally:
        for client in clients:
            client.close()
        server.stop()
    assert server.leftovers() == []
