"""mmln batch on a real Dask cluster of two worker processes: results, a worker that dies, an interrupt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from backend_cases import ENVIRONMENT, posix, soon
from cli_cases import leftovers, tree
from MMLNRegistrationLib.tables import read_rows
from test_batch import ENDLESS, FAST, assert_same_field, cases, start, statuses

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with (
        pytest.MonkeyPatch.context() as patch,
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            env={"PYTHONPATH": ENVIRONMENT["PYTHONPATH"]},
        ) as cluster,
    ):
        patch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
        yield cluster


@pytest.fixture(autouse=True)
def _package(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])


def pids(cluster: Any) -> list[int]:
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


def test_pairs_a_failure_and_the_same_field(run, pair, tmp_path, cluster):
    out = tmp_path / "out"
    table = cases(tmp_path, pair, "first", "bad", "second")
    outcome = run("batch", table, "--output", out, "--dask", cluster.scheduler_address, *FAST)
    assert outcome.code == 1
    assert "must be shared" in outcome.stdout
    assert statuses(out) == {"first": "done", "bad": "failed", "second": "done"}
    first, bad, _ = read_rows(out / "results.csv", ("name",))
    assert "missing.nii.gz" in bad["sentence"]
    assert 0.5 < float(first["dice"]) < 1
    assert leftovers(tmp_path) == []
    assert run("register", pair.fixed, pair.moving, "--output", tmp_path / "alone", *FAST).code == 0
    assert_same_field(tmp_path / "alone", out / "second")


@posix
@pytest.mark.slow
def test_a_dead_workers_pair_is_tried_again_and_an_interrupt_stops_the_tasks(pair, tmp_path, cluster):
    out = tmp_path / "out"
    address = cluster.scheduler_address
    process = start(cases(tmp_path, pair, "first", "second"), out, "--dask", address, *ENDLESS)
    assert soon(lambda: len(list(out.glob(".partial-*"))) == 2, 60)

    before = pids(cluster)
    os.kill(before[0], signal.SIGKILL)  # its pair is tried again, by whichever worker there is then
    assert soon(lambda: len(list(out.glob(".partial-*"))) == 3, 60)  # the killed one has left its folder
    assert process.poll() is None

    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=40)
    assert process.returncode == 130
    assert "mmln: Stopped; go on with --resume." in stderr.splitlines()[-1]
    assert soon(lambda: tree(out).keys() == {"batch.json"})
    with distributed.Client(address, set_as_default=False) as client:
        assert soon(lambda: not any(client.processing().values()))


DEADLY = """
import os, sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@posix
@pytest.mark.slow
def test_a_pair_that_kills_its_workers_again_and_again_is_reported(run, pair, tmp_path):
    """The workers find a runner of ours that ends its process, as a lack of memory would."""
    (tmp_path / "cluster.py").write_text(DEADLY)
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('MMLN_DEADLY'):\n"
        "    from MMLNRegistrationLib.backend import batch_dask\n"
        "    batch_dask.OneAtATime.register = lambda *arguments: os._exit(9)\n"
    )
    path = os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])
    environment = {**ENVIRONMENT, "PYTHONPATH": path, "MMLN_DEADLY": "1"}
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**environment, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"},
    ) as scheduler:
        assert scheduler.stdin is not None
        assert scheduler.stdout is not None
        try:
            address = scheduler.stdout.readline().strip()
            outcome = run("batch", cases(tmp_path, pair, "one"), "--output", tmp_path / "out", "--dask", address, *FAST)
        finally:
            scheduler.stdin.close()
    assert outcome.code == 1
    (row,) = read_rows(tmp_path / "out" / "results.csv", ("sentence",))
    assert row["sentence"].startswith("Dask's workers died again and again at this pair")


def test_no_scheduler_is_one_sentence(run, pair, tmp_path, monkeypatch):
    from MMLNRegistrationLib.backend import batch_dask

    monkeypatch.setattr(batch_dask, "_SECONDS_TO_CONNECT", 1.0)
    table = cases(tmp_path, pair, "one")
    for address in ("tcp://127.0.0.1:9", "nonsense://there"):
        outcome = run("batch", table, "--output", tmp_path / "out", "--resume", "--dask", address, *FAST)
        assert outcome.code == 2
        assert f"The Dask scheduler at {address} cannot be reached" in outcome.complaints[-1]


def test_missing_package_is_one_sentence(run, pair, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "MMLNRegistrationLib.backend.batch_dask", raising=False)
    table = cases(tmp_path, pair, "one")
    outcome = run("batch", table, "--output", tmp_path / "out", "--dask", "tcp://127.0.0.1:9", *FAST)
    assert outcome.code == 2
    assert "pip install 'mmln-registration[dask]'" in outcome.complaints[0]
    assert not (tmp_path / "out").exists()
