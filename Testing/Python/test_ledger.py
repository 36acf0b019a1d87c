"""The ledger of a training run: whole lines only, whatever happens to the process, the disk or the file."""

import json
import signal
import subprocess
import sys
from io import FileIO
from pathlib import Path

import numpy as np
import pytest

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training import ledger as ledger_file
from MMLNRegistrationLib.training.ledger import Ledger, read_ledger
from repository import SOURCE_ROOT

STEP = {"event": "step", "step": 17, "level": 1, "total": -0.25, "dice": None, "best": True}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def steps(path):
    return [entry["step"] for entry in read_ledger(path)]


def test_entries_come_back_as_they_were_written(path):
    entries = [{"event": "start", "step": 0, "name": "Müller\n\u2028"}, STEP, {"event": "end", "step": 17}]
    for entry in entries:
        Ledger(path).append(entry)
    assert read_ledger(path) == entries
    assert path.read_bytes().count(b"\n") == len(entries)


def test_each_entry_is_in_the_file_at_once(path):
    ledger = Ledger(path)
    for count in (1, 2, 3):
        ledger.append(STEP)
        assert len(read_ledger(path)) == count


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on this system")
def test_entries_survive_kill_9(path):
    code = (
        f"import sys, os; sys.path.insert(0, {str(SOURCE_ROOT)!r})\n"
        "from pathlib import Path\nfrom MMLNRegistrationLib.training.ledger import Ledger\n"
        f"ledger = Ledger(Path({str(path)!r}))\n"
        "for step in range(5): ledger.append({'step': step})\n"
        f"os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert steps(path) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("length", range(1, len(json.dumps(STEP)) + 1, 7))
def test_cut_off_last_line_is_passed_over_and_removed_by_the_next_entry(path, length):
    Ledger(path).append({"step": 1})
    with path.open("ab") as file:
        file.write(json.dumps(STEP).encode()[:length])
    assert steps(path) == [1]
    Ledger(path).append({"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2}\n'


def test_cut_off_only_line(path):
    path.write_bytes(b'{"step"')
    assert read_ledger(path) == []
    Ledger(path).append({"step": 2})
    assert steps(path) == [2]


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"step": 1, "total": float("nan")}, "total"),
        ({"step": 1, "dice": float("-inf"), "core": 0.5}, "dice"),
        ({"step": 1, "total": np.float64("nan")}, "total"),
        ({"step": 1, "per_case": [{"dice": float("nan")}]}, "per_case"),
    ],
)
def test_not_a_number_is_refused_by_name(path, entry, name):
    Ledger(path).append(STEP)
    with pytest.raises(ValueError, match=rf"cannot hold {name}: NaN"):
        Ledger(path).append(entry)
    assert read_ledger(path) == [STEP]


def test_full_disk_is_one_sentence_and_leaves_whole_lines(path, monkeypatch):
    class NearlyFull(FileIO):
        room = 5

        def write(self, data):
            if not self.room:
                raise OSError(28, "No space left on device")
            written = super().write(data[: self.room])
            self.room -= written
            return written

    Ledger(path).append(STEP)
    before = path.read_bytes()
    monkeypatch.setattr(ledger_file, "FileIO", NearlyFull)
    with pytest.raises(InputError, match=r"ledger\.jsonl cannot be written \(No space left on device\); check .*\.$"):
        Ledger(path).append(STEP)
    assert path.read_bytes() == before
    NearlyFull.room = 1000
    Ledger(path).append(STEP)
    assert read_ledger(path) == [STEP, STEP]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device on this system")
def test_device_that_is_always_full():
    with pytest.raises(InputError, match="cannot be written"):
        Ledger(Path("/dev/full")).append(STEP)


def test_folder_that_vanished(tmp_path):
    with pytest.raises(InputError, match=r"cannot be written \(No such file or directory\)"):
        Ledger(tmp_path / "gone" / "ledger.jsonl").append(STEP)


def test_truncation_keeps_earlier_lines_byte_for_byte(path):
    kept = b'{"step": 0,   "event": "start"}\n{"event":"note"}\n{"step":10}\r\n'
    path.write_bytes(kept + b'{"step": 11}\n{"event": "stopped", "step": 12}\n{"step": 13, "tot')
    Ledger(path).truncate_after(10)
    assert path.read_bytes() == kept
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    Ledger(path).append({"event": "resume", "step": 10})
    assert read_ledger(path)[-1] == {"event": "resume", "step": 10}


@pytest.mark.parametrize(("step", "kept"), [(-1, []), (0, [0]), (2, [0, 1, 2]), (99, [0, 1, 2, 3])])
def test_truncation_at_each_end(path, step, kept):
    for number in range(4):
        Ledger(path).append({"step": number})
    Ledger(path).truncate_after(step)
    assert steps(path) == kept


def test_failed_truncation_leaves_the_ledger(path, monkeypatch):
    Ledger(path).append({"step": 1})
    Ledger(path).append({"step": 2})
    before = path.read_bytes()

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("MMLNRegistrationLib.writing.os.replace", fail)
    with pytest.raises(InputError, match="cannot be written"):
        Ledger(path).truncate_after(1)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b"17",
        b'{"step": "2"}',
        b'{"step": null}',
        b"\xff\xfe",
        b'{"step": 1}{"step": 2}',
        b"[" * 99999,
    ],
    ids=lambda line: line[:20],
)
def test_other_broken_lines_are_named_by_number(path, line):
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(InputError, match=r"ledger\.jsonl is damaged in line 2; "):
        read_ledger(path)
    with pytest.raises(InputError, match="line 2"):
        Ledger(path).truncate_after(1)
    assert path.read_bytes().endswith(b'{"step": 3}\n')


def test_missing_file_and_folder_in_its_place(path, tmp_path):
    with pytest.raises(InputError, match=r"ledger\.jsonl is missing; "):
        read_ledger(path)
    with pytest.raises(InputError, match="is missing"):
        Ledger(path).truncate_after(0)
    with pytest.raises(InputError, match="cannot be read"):
        read_ledger(tmp_path)


def test_empty_file_has_no_entries(path):
    path.touch()
    assert read_ledger(path) == []
