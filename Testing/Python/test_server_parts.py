"""The server's parts by themselves: headers of volumes, the queue's turns, orders, tokens, and limits."""

from __future__ import annotations

import asyncio
import gzip
import json
import queue
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("fastapi")

from MMLNRegistrationLib.backend.messages import (
    Atlas,
    Cancel,
    ErrorEvent,
    Info,
    Outcome,
    Propagate,
    Refine,
    Register,
    ResultEvent,
)
from MMLNRegistrationLib.backend.server import lane
from MMLNRegistrationLib.backend.server.event_log import EventLog
from MMLNRegistrationLib.backend.server.fair_queue import FairQueue
from MMLNRegistrationLib.backend.server.limits import Limits
from MMLNRegistrationLib.backend.server.orders import read_order
from MMLNRegistrationLib.backend.server.records import Record
from MMLNRegistrationLib.backend.server.refusals import Refusal
from MMLNRegistrationLib.backend.server.schema import job_schema
from MMLNRegistrationLib.backend.server.serve import is_loopback
from MMLNRegistrationLib.backend.server.token import new_token, read_token
from MMLNRegistrationLib.backend.server.uploads import Upload, Uploads
from MMLNRegistrationLib.backend.server.volume_headers import VOLUME_SUFFIXES, count_voxels
from MMLNRegistrationLib.errors import InputError
from server_cases import nifti_header, packed_header

MANY = 10**9


@pytest.mark.parametrize("suffix", [suffix for suffix in VOLUME_SUFFIXES if suffix != ".mgz"])
def test_voxels_of_volumes_that_itk_writes(suffix, tmp_path):
    path = tmp_path / f"volume{suffix}"
    image = sitk.GetImageFromArray(np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6))
    for compressed in (False, True):
        sitk.WriteImage(image, str(path), useCompression=compressed)
        assert count_voxels(path, suffix, 120) == 120
        with pytest.raises(Refusal, match="120 voxels, more than the 119") as caught:
            count_voxels(path, suffix, 119)
        assert caught.value.status == 413


def test_voxels_of_freesurfer_volumes(tmp_path):
    nibabel = pytest.importorskip("nibabel")
    path = tmp_path / "volume.mgz"
    nibabel.save(nibabel.MGHImage(np.zeros((4, 5, 6), np.float32), np.eye(4)), path)
    assert count_voxels(path, ".mgz", MANY) == 120


MHA = "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_UCHAR\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 5 6\nencoding: raw\n{}\n"


@pytest.mark.parametrize(
    ("suffix", "content", "words"),
    [
        (".nii", b"", "no NIfTI"),
        (".nii", b"not a volume" * 100, "no NIfTI"),
        (".nii", nifti_header((4, 5, 6), magic=b"ni1\0"), "of one piece"),
        (".nii", nifti_header((4, -5, 6)).replace(struct.pack("<h", 3), struct.pack("<h", 9), 1), "tells no size"),
        (".nii.gz", nifti_header((4, 5, 6)), "not packed"),
        (".nii.gz", gzip.compress(b"x" * 1000), "no NIfTI"),
        (".nii.gz", gzip.compress(nifti_header((4, 5, 6)) + b"\0" * 2_000_000), "unpacks to more"),
        (".nii.gz", packed_header((4, 5, 6)) + gzip.compress(b"\0" * 2_000_000), "unpacks to more"),
        (".mgz", gzip.compress(b"\0" * 300), "no MGZ"),
        (".mha", MHA.format("/etc/passwd").encode(), "names another file"),
        (".mha", MHA.format("LIST").encode(), "names another file"),
        (".mha", b"DimSize = 4 5 6\nElementDataFile : other.raw\n", "no MHA"),
        (".mha", MHA.format("LOCAL").replace("4 5 6", "4 5 x").encode(), "tells no size"),
        (".nrrd", NRRD.format("data file: /etc/passwd\n").encode(), "names another file"),
        (".nrrd", NRRD.format("DataFile: LIST\n").encode(), "names another file"),
        (".nrrd", b"NRRD0004\nsizes: 4 5 6\n", "no NRRD"),
        (".nrrd", NRRD.format("").replace("4 5 6", "4 0 6").encode(), "tells no size"),
    ],
)
def test_what_is_no_volume_of_one_file(suffix, content, words, tmp_path):
    path = tmp_path / "upload"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        count_voxels(path, suffix, MANY)


def test_files_beside_volumes_are_not_read(tmp_path):
    assert count_voxels(tmp_path / "missing", ".tfm", 1) is None


def record(key: str, client: str, device: str = "auto") -> Record:
    return Record(key, client, "info", device, "", "", 0)


def test_clients_take_turns():
    queue = FairQueue()
    records = {key: record(key, key[0]) for key in ("a1", "a2", "a3", "b1", "b2", "c1")}
    for each in records.values():
        queue.put(each)
    expected = ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert [queue.count_before(records[key]) for key in expected] == list(range(6))
    queue.remove(records["b1"])
    assert queue.count_before(records["b1"]) == 0
    taken = [queue.take(lambda device: True).key for _ in range(len(queue))]
    assert taken == ["a1", "b2", "c1", "a2", "a3"]
    assert queue.take(lambda device: True) is None


def test_a_job_for_another_device_does_not_hold_up_the_queue():
    queue = FairQueue()
    for each in (record("a1", "a", "cuda"), record("a2", "a"), record("b1", "b", "cuda")):
        queue.put(each)
    assert queue.take(lambda device: device == "auto").key == "a2"
    assert queue.take(lambda device: device == "auto") is None
    assert len(queue) == 2


def test_events_are_read_from_any_number_on():
    async def story() -> list[object]:
        log = EventLog(1)
        log.add({"step": "one"})
        first = [entry async for entry in _until_silent(log, 0)]
        log.add({"step": "two"})
        log.add({"kind": "result"}, is_last=True)
        rest = [entry async for entry in log.follow(first[0].number, 5)]
        assert [entry.event for entry in rest] == [{"step": "two"}, {"kind": "result"}]
        assert [entry async for entry in log.follow(rest[-1].number, 5)] == []
        assert EventLog(2)._next > rest[-1].number
        return first

    async def _until_silent(log: EventLog, after: int):
        async for entry in log.follow(after, 0.01):
            if entry is None:
                return
            yield entry

    (first,) = asyncio.run(story())
    assert first.event == {"step": "one"}


async def _pieces(*pieces: bytes):
    for piece in pieces:
        yield piece


def test_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    uploads = Uploads(tmp_path / "uploads", Limits(storage_bytes=1000))

    async def receive(key: str, size_bytes: int) -> Upload:
        return await uploads.receive(key, ".tfm", None, _pieces(*[b"x" * 100] * (size_bytes // 100)))

    assert asyncio.run(receive("a", 600)).bytes == 600
    with pytest.raises(Refusal, match="storage is full") as caught:
        asyncio.run(receive("b", 600))
    assert (caught.value.status, caught.value.retry_after_seconds) == (503, 10)
    assert (len(list((tmp_path / "uploads").iterdir())), uploads.stored_bytes) == (1, 600)
    uploads.remove("a")
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))  # Python then writes no larger file, as on a full disk
    try:
        with pytest.raises(Refusal, match="cannot store the file") as caught:
            asyncio.run(receive("c", 600))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.status == 503
    assert (list((tmp_path / "uploads").iterdir()), uploads.stored_bytes) == ([], 0)


def test_lane_outlives_a_fault_of_its_client(monkeypatch):
    """The job in hand gets an end, and the next one is done by a new client."""
    told: queue.Queue[tuple[str, object]] = queue.Queue()

    class Faulty:
        made = 0
        busy = False

        def __init__(self) -> None:
            Faulty.made += 1

        def submit(self, request, on_progress, on_result, on_error):
            self.busy = True
            if not isinstance(request, Info):
                self.on_result = on_result
            return object()

        def poll(self, seconds):
            self.busy = False
            if hasattr(self, "on_result"):
                if Faulty.made == 1:
                    raise ZeroDivisionError
                self.on_result(Outcome({}, {}))

        def close(self, seconds):
            pass

    class Listener:
        def ended(self, lane, key, event):
            told.put((key, event))

        def informed(self, lane, report):
            pass

    monkeypatch.setattr(lane, "LocalClient", Faulty)
    one = lane.Lane("cuda:1", Listener())
    assert [one.fits(device) for device in ("auto", "cuda", "cuda:1", "cuda:0", "cpu")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    one.start()
    for key in ("first", "second"):
        one.give(key, Cancel())
        ended, event = told.get(timeout=10)
        assert ended == key
        assert isinstance(event, ErrorEvent if key == "first" else ResultEvent)
    assert "ZeroDivisionError" not in str(event)
    one.stop()
    one.join()


KEYS = {name: f"{number:032x}" for number, name in enumerate(("fixed", "moving", "transform", "network"))}


@pytest.fixture
def uploads(tmp_path):
    made = Uploads(tmp_path / "uploads", Limits())
    suffixes = {"fixed": ".nii.gz", "moving": ".mha", "transform": ".tfm", "network": ".safetensors"}
    for name, key in KEYS.items():
        made._uploads[key] = Upload(key, tmp_path / key, suffixes[name], 1, None, 0.0)
    return made


PAIR = {"kind": "register", "fixed": KEYS["fixed"], "moving": KEYS["moving"]}


def order(message: object, uploads: Uploads, folder: Path, threads: int | None = None):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return read_order(body, "f" * 32, folder, uploads, threads)


def test_orders_name_the_servers_own_files(uploads, tmp_path):
    asked = {**PAIR, "initial": KEYS["transform"], "model": KEYS["network"], "threads": 7, "refine": 3}
    given = order(asked, uploads, tmp_path / "job", threads=2)
    request = given.request
    assert isinstance(request, Register)
    assert (request.fixed, request.moving) == (tmp_path / "job/input/fixed.nii.gz", tmp_path / "job/input/moving.mha")
    assert (request.output, request.threads, request.refine) == (tmp_path / "job/output", 2, 3)
    assert request.initial == str(tmp_path / "job/input/initial.tfm")
    assert request.model == str(tmp_path / "job/input/model.safetensors")
    assert {upload.key for upload in given.files.values()} == set(KEYS.values())


def test_refine_and_propagate(uploads, tmp_path):
    refine = order({**PAIR, "kind": "refine", "result": KEYS["network"]}, uploads, tmp_path / "job")
    assert isinstance(refine.request, Refine)
    assert refine.request.result == tmp_path / "job/input/result"
    assert tmp_path / "job/input/result/velocity.safetensors" in refine.files
    atlas = {"image": KEYS["moving"], "labels": "e" * 32, "transform": KEYS["transform"]}
    message = {"kind": "propagate", "subject": KEYS["fixed"], "atlases": [atlas]}
    with pytest.raises(Refusal, match="for atlas 1 labels is not here"):
        order(message, uploads, tmp_path / "job")
    uploads._uploads["e" * 32] = Upload("e" * 32, tmp_path / "e", ".nrrd", 1, None, 0.0)
    given = order(message, uploads, tmp_path / "job")
    place = tmp_path / "job" / "input"
    assert isinstance(given.request, Propagate)
    assert given.request.atlases == (
        Atlas(
            image=place / "atlas_1_image.mha",
            labels=place / "atlas_1_labels.nrrd",
            transform=place / "atlas_1_transform.tfm",
        ),
    )
    assert len(given.files) == 4


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        ([], "no JSON object"),
        ({}, "A server takes register"),
        ({"kind": "train"}, "A server takes register"),
        ({"kind": "evaluate", "cases": "/etc/passwd"}, "A server takes register"),
        ({"kind": "register"}, "needs the field"),
        ({**PAIR, "fixed": "/etc/passwd"}, "fixed must be the key of an upload"),
        ({**PAIR, "fixed": ["a"]}, "fixed must be the key of an upload"),
        ({**PAIR, "output": "/etc"}, "the server's own"),
        ({**PAIR, "overwrite": True}, "the server's own"),
        ({**PAIR, "model": "../../secret.safetensors"}, "model must be the name"),
        ({**PAIR, "model": 3}, "model must be the name"),
        ({**PAIR, "initial": "/etc/passwd"}, "initial must be the key"),
        ({**PAIR, "initial": KEYS["fixed"]}, "initial must be one of .tfm"),
        ({**PAIR, "fixed": KEYS["network"]}, "fixed must be one of .nii.gz"),
        ({**PAIR, "fixed": KEYS["moving"]}, "used twice"),
        ({**PAIR, "refine": -1}, "refine must be a whole number"),
        ({**PAIR, "nonsense": 1}, "has no field"),
        ({**PAIR, "files": ["job.json"]}, "files must be one of"),
        ({**PAIR, "protocol": 2}, "protocol version 2"),
        ({"kind": "propagate", "subject": KEYS["fixed"], "atlases": "all"}, "atlases must be a list"),
        ({"kind": "propagate", "subject": KEYS["fixed"], "atlases": [3]}, "atlases must hold objects"),
        (
            {"kind": "propagate", "subject": KEYS["fixed"], "atlases": [{"image": "/etc/passwd"}]},
            "atlas 1 image must be the key of an upload",
        ),
    ],
)
def test_orders_that_are_none(message, words, uploads, tmp_path):
    with pytest.raises((InputError, Refusal), match=words):
        order(message, uploads, tmp_path / "job")


def test_schema_names_the_fields_of_the_messages():
    schemas = {schema["title"]: schema for schema in job_schema()["oneOf"]}
    assert set(schemas) == {"register", "refine", "propagate", "info"}
    assert schemas["register"]["required"] == ["kind", "fixed", "moving"]
    assert schemas["register"]["properties"]["refine"] == {"type": "integer", "minimum": 0, "maximum": 10_000}
    assert schemas["register"]["properties"]["files"]["items"]["enum"][0] == "transform.h5"
    assert schemas["info"]["properties"].keys() == {"kind", "protocol"}
    propagate = schemas["propagate"]
    assert propagate["required"] == ["kind", "subject", "atlases"]
    assert propagate["properties"]["files"]["items"]["enum"][0] == "labels.nii.gz"
    assert propagate["properties"]["atlases"]["items"]["required"] == ["image", "labels"]
    assert "pattern" in propagate["properties"]["atlases"]["items"]["properties"]["transform"]
    assert propagate["properties"]["fusion"]["enum"] == ["local_similarity", "majority"]


def test_tokens(tmp_path):
    assert new_token() != new_token()
    path = tmp_path / "token"
    path.write_text(f"{new_token()}\n")
    assert read_token(path) == path.read_text().strip()
    for content in ("", "short", "two words of a token", "ä" * 20, "x" * 2000):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match="token"):
            read_token(path)


def test_limits_and_addresses():
    with pytest.raises(InputError, match="voxels must be more than 0"):
        Limits(voxels=0)
    with pytest.raises(InputError, match="grace_seconds must be 0 or more"):
        Limits(grace_seconds=float("nan"))
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "gpu.example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
