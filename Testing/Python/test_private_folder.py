"""Folders and locks that end with those who hold them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from backend_cases import ENVIRONMENT, posix
from MMLNRegistrationLib.backend.private_folder import (
    PREFIX,
    join_private_folder,
    new_private_folder,
    remove_stale,
)
from MMLNRegistrationLib.backend.turns import WAITING, taking_turns, turns_folder
from MMLNRegistrationLib.errors import RegistrationError
from MMLNRegistrationLib.locks import FileLock
from MMLNRegistrationLib.progress import Cancelled, silent


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_lock_is_for_one(tmp_path):
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    with one:
        assert one.try_acquire()
        assert not two.try_acquire()
    assert two.try_acquire()
    two.remove()
    assert list(tmp_path.iterdir()) == []
    two.release()
    assert one.try_acquire()
    one.remove()


def test_lock_ends_with_its_process(tmp_path):
    code = "import sys, os; from pathlib import Path; from MMLNRegistrationLib.locks import FileLock\n"
    code += "lock = FileLock(Path(sys.argv[1])); print(lock.try_acquire(), flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        text=True,
    )
    lock = FileLock(tmp_path / "lock")
    assert process.stdout.readline() == "True\n"
    assert not lock.try_acquire()
    process.kill()
    process.communicate()
    assert lock.try_acquire()
    lock.release()


def test_folders_of_the_living_stay_and_those_of_the_dead_go(root):
    alive = new_private_folder()
    dead = root / f"{PREFIX}dead"
    dead.mkdir()
    (dead / "client.lock").touch()
    (dead / "worker.lock").touch()
    (dead / "volume.nii").touch()
    empty = root / f"{PREFIX}empty"
    empty.mkdir()
    strangers = [root / f"{PREFIX}notes", root / "mmln-demo", root / f"{PREFIX}file"]
    for folder in strangers[:2]:
        folder.mkdir()
        (folder / "precious").touch()
    strangers[2].touch()
    remove_stale(root)
    assert sorted(root.iterdir()) == sorted([alive.path, *strangers])
    alive.remove()
    assert not alive.path.exists()


def test_either_side_keeps_the_folder(root):
    client = new_private_folder()
    worker = join_private_folder(client.path)
    with pytest.raises(BlockingIOError, match="in use by another worker"):
        join_private_folder(client.path)
    worker.empty_scratch()
    (worker.scratch / "file").touch()
    worker.remove_after("client", 0.0)
    assert client.path.exists()  # the client lives
    assert not worker.scratch.exists()
    worker = join_private_folder(client.path)
    client._lock.release()
    remove_stale(root)
    assert worker.path.exists()  # the worker lives
    worker.remove_after("client", 0.0)
    assert list(root.iterdir()) == []
    worker.remove_after("client", 0.0)


@posix
def test_links_are_not_followed(root):
    target = root / "target"
    target.mkdir()
    (target / "client.lock").touch()
    (root / f"{PREFIX}link").symlink_to(target)
    remove_stale(root)
    assert (target / "client.lock").exists()


def test_turns_on_a_device(root):
    device, folder = torch.device("cpu"), turns_folder()
    told: list[str] = []

    def give_up(step: str, fraction: float) -> None:
        told.append(step)
        raise Cancelled

    with taking_turns(folder, device, silent):
        with pytest.raises(Cancelled), taking_turns(folder, device, give_up):
            pass
        with taking_turns(folder, torch.device("meta"), silent):
            pass
    assert told == [WAITING]
    assert list(root.iterdir()) == []


@posix
def test_turns_are_not_taken_in_a_folder_of_somebody_else(root):
    (root / "elsewhere").mkdir()
    turns_folder().symlink_to(root / "elsewhere")
    with (
        pytest.raises(RegistrationError, match="belongs to somebody else"),
        taking_turns(turns_folder(), torch.device("cpu"), silent),
    ):
        pass
