"""What a server does with trainings in particular, and how it keeps what a job tells, piece by piece."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from MMLNRegistrationLib.backend.messages import ErrorEvent, Evaluate, ResultEvent, Train
from MMLNRegistrationLib.backend.server import board as board_module
from MMLNRegistrationLib.backend.server.board import Board
from MMLNRegistrationLib.backend.server.event_log import EventLog
from MMLNRegistrationLib.backend.server.limits import Limits
from MMLNRegistrationLib.backend.server.training_jobs import (
    came_further,
    going_on,
    remove_all_but_results,
    stopped_in_time,
)
from MMLNRegistrationLib.backend.server.uploads import Upload, Uploads
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.writing import TRAINING_FILES
from server_cases import nifti_header

KEY, UPLOAD = "a" * 32, "b" * 32

LEDGER = [
    {"event": "start", "step": 0},
    {"event": "step", "step": 10},
    {"event": "validation", "step": 10, "dice": 0.5, "similarity": 0.9, "best": True},
    {"event": "validation", "step": 20, "dice": 0.4, "similarity": 0.9, "best": False},
    {"event": "stopped", "step": 25},
]


def write_run(output: Path, *, best: bool = True) -> None:
    """What a training leaves that was stopped."""
    for folder in ("checkpoints/step-00000020", "prepared"):
        (output / folder).mkdir(parents=True)
        (output / folder / "x.safetensors").write_bytes(b"x" * 1000)
    for name in (*TRAINING_FILES, "validation.json"):
        (output / name).write_text("{}")
    (output / "ledger.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in LEDGER))
    if not best:
        (output / "best.safetensors").unlink()


def test_an_interrupted_training_goes_on(tmp_path):
    train = Train(data=(tmp_path,), output=tmp_path / "run")
    other = Evaluate(cases=tmp_path, output=tmp_path / "run")
    assert not going_on(train).resume
    began = time.time()
    write_run(train.output)
    assert going_on(train).resume
    assert going_on(other) is other
    assert came_further(train.output, began - 100)
    os.utime(train.output / "checkpoints/step-00000020", (began - 50, began - 50))
    assert not came_further(train.output, began)
    assert not came_further(tmp_path / "nothing", 0)


def test_what_stays_of_a_training(tmp_path):
    write_run(tmp_path / "run")
    remove_all_but_results(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(TRAINING_FILES)
    remove_all_but_results(tmp_path / "nothing")


def test_a_training_that_has_used_up_its_time(tmp_path):
    write_run(tmp_path / "run")
    event = stopped_in_time(KEY, tmp_path / "run", 48)
    assert isinstance(event, ResultEvent)
    assert set(event.files) == set(TRAINING_FILES)
    assert {name: event.report[name] for name in ("step", "best_score", "best_step")} == {
        "step": 25, "best_score": 0.5, "best_step": 10,
    }  # fmt: skip
    assert "stopped after 48 hours" in event.report["notes"][0]
    write_run(tmp_path / "early", best=False)
    event = stopped_in_time(KEY, tmp_path / "early", 48)
    assert isinstance(event, ErrorEvent)
    assert "no result yet" in event.sentence


class StillLane:
    """A lane that does nothing by itself."""

    def __init__(self, device: str, board: Board) -> None:
        self.device, self.board = device, board
        self.key: str | None = None
        self.report: dict[str, object] = {}
        self.given: list[object] = []
        self.cancels = 0

    def start(self) -> None:
        pass

    def fits(self, device: str) -> bool:
        return True

    def give(self, key: str, request: object) -> None:
        self.key = key
        self.given.append(request)

    def cancel(self) -> None:
        self.cancels += 1


def test_the_boards_clock(monkeypatch, tmp_path):
    """A training is stopped when its time is over, its result kept longer than others, and the bytes are counted."""
    monkeypatch.setattr(board_module, "Lane", StillLane)
    for folder in ("uploads", "jobs"):
        (tmp_path / folder).mkdir()

    async def scenario() -> None:
        limits = Limits(training_hours=0.001, keep_seconds=100)
        board = Board(tmp_path, limits, ["cpu"], 1)
        path = tmp_path / "uploads" / "x.nii"
        path.write_bytes(nifti_header((4, 4, 4)))
        board.uploads._uploads[UPLOAD] = Upload(UPLOAD, path, ".nii", 352, 64, time.monotonic())
        board.uploads.stored_bytes = 352
        board.accept(KEY, "c", json.dumps({"kind": "train", "data": [{"subject": 1, "image": UPLOAD}]}).encode())
        (lane,) = board.lanes
        assert isinstance(lane, StillLane)
        assert isinstance(lane.given[0], Train)
        assert not lane.given[0].resume
        write_run(tmp_path / "jobs" / KEY / "output")
        board.look_after()
        assert lane.cancels == 0
        table = (tmp_path / "jobs" / KEY / "input" / "scans.csv").stat().st_size
        in_run = sum(path.stat().st_size for path in (tmp_path / "jobs" / KEY).rglob("*") if path.is_file())
        assert board.uploads.stored_bytes == in_run > 352 + table + 2000
        record = board.get(KEY)
        record.begun_at = time.time() - 10
        for _ in range(2):
            board.look_after()
        assert lane.cancels == 1
        board.ended(lane, KEY, ErrorEvent(id=KEY, cause="cancelled", sentence="Cancelled."))
        await asyncio.sleep(0.01)
        assert (record.state, lane.key) == ("done", None)
        assert board.result_file(KEY, "best.safetensors").exists()
        assert not (tmp_path / "jobs" / KEY / "output" / "prepared").exists()
        for seconds, state in ((2000, "done"), (2500, "failed")):
            record.ended_at = time.time() - seconds
            board.look_after()
            assert record.state == state
        board.remove(KEY)
        assert board.uploads.stored_bytes == 0

    asyncio.run(scenario())


def test_no_training_where_none_is_wanted(monkeypatch, tmp_path):
    monkeypatch.setattr(board_module, "Lane", StillLane)

    async def scenario() -> None:
        board = Board(tmp_path, Limits(training_hours=0), ["cpu"], 1)
        path = tmp_path / "uploads" / "x.nii"
        path.write_bytes(b"x")
        board.uploads._uploads[UPLOAD] = Upload(UPLOAD, path, ".nii", 1, 1, time.monotonic())
        with pytest.raises(InputError, match="takes no trainings"):
            board.accept(KEY, "c", json.dumps({"kind": "train", "data": [{"subject": 1, "image": UPLOAD}]}).encode())
        assert path.exists()

    asyncio.run(scenario())


def test_entries_are_never_lost():
    async def scenario() -> None:
        log = EventLog(0)
        for number in range(2000):
            log.add({"kind": "progress", "step": f"{number}"})
            if number % 10 == 0:
                log.add({"kind": "entry", "entry": {"n": number}})
        assert log.last == {"kind": "progress", "step": "1999"}
        log.add({"kind": "result"}, is_last=True)
        events = [entry async for entry in log.follow(0, 1.0) if entry]
        assert [entry.event["entry"]["n"] for entry in events if entry.event["kind"] == "entry"] == [
            *range(0, 2000, 10)
        ]
        assert [entry.number for entry in events] == sorted({entry.number for entry in events})
        assert 200 < len(events) <= 701
        later = [entry async for entry in log.follow(events[-3].number, 1.0) if entry]
        assert later == events[-2:]

    asyncio.run(scenario())


def test_first_uploads_wait_for_the_last_of_their_client(tmp_path):
    uploads = Uploads(tmp_path / "uploads", Limits(keep_seconds=50))
    long_ago = time.monotonic() - 60
    for key, client in (("1", "ours"), ("2", "other"), ("3", "")):
        path = tmp_path / "uploads" / key
        path.write_bytes(b"x")
        uploads._uploads[key] = Upload(key, path, ".tfm", 1, None, long_ago, client)

    async def pieces():
        yield b"x"

    for key, client in (("4", "ours"), ("5", "")):
        asyncio.run(uploads.receive(key, ".tfm", 1, pieces(), client))
    uploads.remove_old()
    assert [key for key in "12345" if uploads.get(key)] == ["1", "4", "5"]
