"""mmln batch on this machine, with real workers: failures, resuming after a kill, interrupts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backend_cases import ENVIRONMENT, alive, posix, soon
from cli_cases import Pair, array_of, leftovers, moved_grid, regions, tree, write
from MMLNRegistrationLib.backend import batch_local
from MMLNRegistrationLib.io import read_displacement
from MMLNRegistrationLib.tables import read_rows

FAST = ("--initial", "identity", "--refine", "0", "--device", "cpu", "--threads", "1")
ENDLESS = ("--initial", "identity", "--refine", "10000", "--device", "cpu", "--threads", "1")


def cases(folder: Path, pair: Pair, *names: str) -> Path:
    """A table of the pair with its labels once under each name; a name that begins with bad lacks its moving volume."""
    rows = "".join(
        f"{pair.fixed},{'missing.nii.gz' if name.startswith('bad') else pair.moving},{pair.labels},"
        f"{pair.fixed_labels},{name}\n"
        for name in names
    )
    table = folder / "cases.csv"
    table.write_text(f"fixed,moving,moving_labels,fixed_labels,name\n{rows}")
    return table


def statuses(out: Path) -> dict[str, str]:
    path = out / "results.csv"
    return {row["name"]: row["status"] for row in read_rows(path, ("status",))} if path.is_file() else {}


def assert_same_field(first: Path, second: Path) -> None:
    """The displacement, of millimetres, agrees in every bit; the files differ in HDF5's time stamps."""
    (one_mm, one), (other_mm, other) = (read_displacement(folder / "transform.h5") for folder in (first, second))
    assert np.array_equal(one_mm, other_mm)
    assert np.array_equal(one.ras_from_ijk, other.ras_from_ijk)
    assert np.array_equal(array_of(first / "warped.nii.gz"), array_of(second / "warped.nii.gz"))


@pytest.fixture(autouse=True)
def _apart(tmp_path_factory, monkeypatch):
    """Workers' temporary files and locks lie in a folder of the test, and they find the package."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))


def test_two_workers_a_failure_among_good_pairs_and_resume(run, pair, tmp_path, monkeypatch):
    out = tmp_path / "out"
    table = cases(tmp_path, pair, "first", "bad", "second")
    outcome = run("batch", table, "--output", out, "--workers", "2", *FAST)
    assert outcome.code == 1
    (complaint,) = outcome.complaints
    assert "1 of 3 pairs failed" in complaint
    assert "2 of 3 pairs done" in outcome.stdout
    assert statuses(out) == {"first": "done", "bad": "failed", "second": "done"}
    first, bad, _ = read_rows(out / "results.csv", ("name",))
    assert "missing.nii.gz" in bad["sentence"]
    assert bad["sentence"] in outcome.stdout
    assert first["folded_voxels"] == "0"
    assert 0.5 < float(first["dice"]) < 1
    assert float(first["seconds"]) > 0
    assert not (out / "bad").exists()
    assert leftovers(tmp_path) == []

    # The same field as one registration by itself gives.
    assert run("register", pair.fixed, pair.moving, "--output", tmp_path / "alone", *FAST).code == 0
    assert_same_field(tmp_path / "alone", out / "second")

    # Only what failed is done again, once its input is there.
    shutil.copy(pair.moving, tmp_path / "missing.nii.gz")
    before = tree(out / "first")
    done: list[str] = []
    run_local = batch_local.run_local
    monkeypatch.setattr(
        "MMLNRegistrationLib.batch_commands.run_local",
        lambda pairs, *callbacks, **options: (
            done.extend(one.name for one in pairs),
            run_local(pairs, *callbacks, **options),
        ),
    )
    outcome = run("batch", table, "--output", out, "--resume", *FAST)
    assert (outcome.code, outcome.complaints, done) == (0, [], ["bad"])
    assert statuses(out) == {"first": "done", "bad": "done", "second": "done"}
    assert tree(out / "first") == before

    done.clear()
    assert run("batch", table, "--output", out, "--resume", *FAST).code == 0
    assert done == []


def test_a_full_folder_is_refused(run, pair, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    outcome = run("batch", cases(tmp_path, pair, "one"), "--output", tmp_path / "out", *FAST)
    assert outcome.code == 2
    assert "add --resume" in outcome.complaints[0]


def test_fixed_labels_on_another_grid_fail_their_pair_alone(run, pair, tmp_path):
    write(tmp_path / "off.nii.gz", regions(), moved_grid(7))
    table = tmp_path / "cases.csv"
    table.write_text(
        f"fixed,moving,moving_labels,fixed_labels,name\n{pair.fixed},{pair.moving},{pair.labels},off.nii.gz,off\n"
    )
    outcome = run("batch", table, "--output", tmp_path / "out", *FAST)
    assert outcome.code == 1
    (row,) = read_rows(tmp_path / "out" / "results.csv", ("sentence",))
    assert row["status"] == "failed"
    assert "grid" in row["sentence"]


def start(table: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "MMLNRegistrationLib", "batch", str(table), "--output", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@posix
def test_resume_after_a_kill_in_mid_run(run, pair, tmp_path):
    """The first pair is done, the second is at work when the batch is killed; its row is then lost as well."""
    out = tmp_path / "out"
    table = cases(tmp_path, pair, "first", "second", "third")
    process = start(table, out, *FAST)
    assert soon(lambda: "first" in statuses(out), 60)
    process.kill()
    process.communicate()
    assert soon(lambda: not list(out.glob(".partial-*")), 20)  # the worker ends when its client has
    (out / "results.csv").unlink()  # as if it had been killed between the result and its row
    before = tree(out / "first")
    outcome = run("batch", table, "--output", out, "--resume", *FAST)
    assert (outcome.code, outcome.complaints) == (0, [])
    assert statuses(out) == {"first": "done", "second": "done", "third": "done"}
    assert tree(out / "first") == before
    assert leftovers(out) == []


@posix
def test_interrupt_cancels_all_workers(pair, tmp_path):
    out = tmp_path / "out"
    process = start(cases(tmp_path, pair, "first", "second"), out, "--workers", "2", *ENDLESS)
    assert soon(lambda: len(list(out.glob(".partial-*"))) == 2, 60)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stdout == ""
    assert stderr.splitlines()[-1] == f"mmln: Stopped; go on with --resume. Results so far: {out}."
    assert not alive(process.pid)
    assert tree(out).keys() == {"batch.json"}
