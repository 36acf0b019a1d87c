"""Where results go: new and existing folders, earlier results, full disks. Whole, or as it was before."""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from cli_cases import FAST, array_of, leftovers, one_sentence, refused, text, tree
from MMLNRegistrationLib import outputs

FILES = {"transform.h5", "velocity.safetensors", "warped.nii.gz", "jacobian.nii.gz", "report.json", "report.html"} | (
    {"scene.mrb"} if importlib.util.find_spec("slicer") else set()
)
"""What a registration without labels delivers here."""


def register(pair, folder: Path, *options: object) -> list[object]:
    return ["register", pair.fixed, pair.moving, "--output", folder, *FAST, *options]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """As on a full disk, no file can grow beyond this."""
    resource = pytest.importorskip("resource", reason="needs POSIX limits")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_new_folder_with_new_parents(run, pair, tmp_path):
    folder = tmp_path / "some" / "new" / "place \u03b1"
    assert run(*register(pair, folder)).code == 0
    assert names(folder) == FILES
    assert leftovers(tmp_path) == []


def test_empty_folder_is_used(run, pair, tmp_path):
    (tmp_path / "out").mkdir()
    assert run(*register(pair, tmp_path / "out")).code == 0
    assert names(tmp_path / "out") == FILES


def test_folder_here(run, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(*register(pair, Path("."))).code == 0
    assert names(tmp_path) == FILES


def test_what_a_killed_run_left_does_not_count(run, pair, tmp_path):
    (tmp_path / "out" / ".partial-0123").mkdir(parents=True)
    assert run(*register(pair, tmp_path / "out")).code == 0
    assert names(tmp_path / "out") == FILES | {".partial-0123"}


def test_overwrite_keeps_other_files_and_replaces_all_of_an_earlier_run(run, pair, tmp_path):
    folder = tmp_path / "out"
    assert run(*register(pair, folder, "--moving-labels", pair.labels)).code == 0
    assert names(folder) == FILES | {"labels.nii.gz"}
    text(folder / "notes.txt", "mine")
    earlier = (folder / "report.json").read_text()
    assert run(*register(pair, folder, "--overwrite", "--refine", "0")).code == 0
    assert names(folder) == FILES | {"notes.txt"}, "labels that belong to the earlier field must go"
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "report.json").read_text() != earlier


def test_overwrite_keeps_a_label_map_that_no_run_wrote(run, pair, tmp_path):
    folder = tmp_path / "subject"
    folder.mkdir()
    shutil.copy(pair.labels, folder / "labels.nii.gz")
    assert run(*register(pair, folder, "--overwrite")).code == 0
    assert names(folder) == FILES | {"labels.nii.gz"}
    assert (folder / "labels.nii.gz").read_bytes() == pair.labels.read_bytes()


def test_failed_overwrite_leaves_the_earlier_results(run, pair, registered, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    shutil.copytree(registered, folder)

    def fail(registration):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(outputs, "report_html", fail)
    refused(run, register(pair, folder, "--overwrite"), "No space left on device", tmp_path)


def test_folder_in_the_place_of_a_file(run, pair, registered, tmp_path):
    shutil.copytree(registered, tmp_path / "out", ignore=lambda *_: ["report.html"])
    (tmp_path / "out" / "report.html").mkdir()
    before = tree(tmp_path)
    outcome = run(*register(pair, tmp_path / "out", "--overwrite"))
    assert "report.html is a folder" in one_sentence(outcome.complaints)
    assert outcome.code == 2
    assert tree(tmp_path) == before


def test_folder_on_another_file_system(run, pair, tmp_path):
    """A link or a mount point: what is finished elsewhere could not be moved there."""
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with tempfile.TemporaryDirectory(dir=other) as folder:
        (tmp_path / "out").symlink_to(folder)
        assert run(*register(pair, tmp_path / "out")).code == 0
        assert names(Path(folder)) == FILES


@pytest.mark.parametrize("size_bytes", [2_000, 100_000, 500_000])
def test_register_on_a_full_disk(size_bytes, run, pair, tmp_path):
    with largest_file(size_bytes):
        refused(run, register(pair, tmp_path / "new" / "out"), "cannot be written", tmp_path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_apply_on_a_full_disk(ending, run, pair, registered, tmp_path, monkeypatch):
    """Also where the system promises room that it then does not have, so that ITK begins to write."""
    arguments = ["apply", registered / "transform.h5", pair.moving, "--reference", pair.fixed]
    arguments += ["--output", tmp_path / "new" / f"out{ending}"]
    with largest_file(5_000):
        refused(run, arguments, "cannot be written", tmp_path)
        monkeypatch.setattr("MMLNRegistrationLib.writing._reserve", lambda path, size_bytes: None)
        refused(run, arguments, "cannot be written", tmp_path)


def test_disk_that_fills_up(run, pair, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("only an administrator can mount a small disk")
    try:
        refused(run, register(pair, disk / "out"), "No space left on device", tmp_path)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_apply_replaces_its_output(run, pair, registered, tmp_path):
    output = text(tmp_path / "out.nii.gz", "an older file")
    arguments = ["apply", registered / "transform.h5", pair.moving, "--reference", pair.fixed, "--output", output]
    assert run(*arguments).code == 0
    assert array_of(output).max() > 100
    assert leftovers(tmp_path) == []


def test_terminal_without_the_letters(run, pair, tmp_path, monkeypatch):
    written = BytesIO()
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written, encoding="ascii"))
    outcome = run(*register(pair, tmp_path / "\u03b1"))
    assert outcome.complaints == []
    assert outcome.code == 0
    assert rb"\u03b1" in written.getvalue()
