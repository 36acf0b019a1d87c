"""The files of a request: found by a client and put in place by a server, wherever they stand in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from MMLNRegistrationLib.backend.job_requests import JOBS, JobCase, JobEvaluate, JobScan, JobTrain
from MMLNRegistrationLib.backend.messages import Atlas, Info, Propagate, Refine, Register, Settings, Train
from MMLNRegistrationLib.backend.protocol import encode_request, parse_request
from MMLNRegistrationLib.backend.request_files import (
    Place,
    files_of,
    place_stem,
    place_text,
    put,
    with_absolute_paths,
    with_files,
)

CASE = JobCase(fixed=Path("f"), moving=Path("m"), fixed_labels=Path("fl"), moving_labels=Path("ml"))
ATLASES = (Atlas(image=Path("a"), labels=Path("l"), transform=Path("t")), Atlas(image=Path("b"), labels=Path("l")))
REQUESTS = [
    Register(fixed=Path("f"), moving=Path("m"), output=Path("o"), moving_labels=Path("l"), initial="start.tfm"),
    Refine(result=Path("r"), fixed=Path("f"), moving=Path("m"), output=Path("o")),
    Propagate(subject=Path("s"), atlases=ATLASES, output=Path("o"), model="/n.safetensors"),
    JobEvaluate(cases=(CASE, CASE), structures="label,structure\n1,a\n", refine=0),
    JobTrain(
        data=(JobScan(subject=1, image=Path("i")), JobScan(subject=2, labels=Path("l"))),
        config={"seed": 3, "stages": [{"level": 1}]},
        validation_data=(JobScan(subject=0, image=Path("v"), labels=Path("w")),),
    ),
    Info(),
]


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_what_a_client_takes_out_a_server_puts_back(request_):
    """Every file is found, replaced by a key, and found again by the types of the fields alone."""
    message = json.loads(encode_request("x", request_, JOBS))
    message.pop("output", None)
    files = files_of(request_)
    for number, place in enumerate(files):
        put(message, place, f"key {number}")
    asked: dict[Place, str] = {}

    def change(place: Place, key: str) -> str:
        asked[place] = key
        return str(files[place])

    changed = with_files(type(request_), message, change)
    plain = [place for place in files if place not in (("initial",), ("model",))]  # which are texts, not paths
    assert list(asked) == sorted(plain, key=list(asked).index)
    assert all(asked[place] == f"key {list(files).index(place)}" for place in plain)
    if not isinstance(request_, Refine | Settings) or isinstance(request_, JobEvaluate):
        assert parse_request(json.dumps(changed).encode(), JOBS) == ("x", request_)


def test_places():
    assert list(files_of(REQUESTS[4])) == [
        ("data", 0, "image"),
        ("data", 1, "labels"),
        ("validation_data", 0, "image"),
        ("validation_data", 0, "labels"),
    ]
    assert files_of(REQUESTS[0])["initial",] == Path("start.tfm")
    assert files_of(REQUESTS[1])["result",] == Path("r") / "velocity.safetensors"
    assert files_of(REQUESTS[2])["model",].name == "n.safetensors"
    assert place_text(("moving_mask",)) == "moving mask"
    assert place_text(("cases", 1, "fixed_labels")) == "case 2 fixed labels"
    assert place_stem(("validation_data", 0, "image")) == "validation_scan_1_image"


@dataclass(frozen=True)
class Fusion:
    """A request with a list of objects and a list of files."""

    subject: Path
    atlases: tuple[Atlas, ...]
    masks: tuple[Path, ...] = ()


def test_any_data_class_will_do():
    request = Fusion(Path("s"), ATLASES, (Path("m"),))
    places = {"".join(f"/{step}" for step in place): path.name for place, path in files_of(request).items()}
    assert places == {
        "/subject": "s", "/atlases/0/image": "a", "/atlases/0/labels": "l", "/atlases/0/transform": "t",
        "/atlases/1/image": "b", "/atlases/1/labels": "l", "/masks/0": "m",
    }  # fmt: skip
    message = {"subject": "k", "atlases": [{"image": "x", "labels": "y", "transform": None}, 3], "masks": "no list"}
    assert with_files(Fusion, message, lambda place, key: f"{place_stem(place)}={key}") == {
        "subject": "subject=k",
        "atlases": [{"image": "atlas_1_image=x", "labels": "atlas_1_labels=y", "transform": None}, 3],
        "masks": "no list",
    }
    assert with_absolute_paths(request).atlases[0].labels == Path("l").absolute()


def test_absolute_paths_of_lists():
    train = with_absolute_paths(Train(data=(Path("a"), Path("b")), output=Path("o")))
    assert train.data == (Path("a").absolute(), Path("b").absolute())
    evaluate = with_absolute_paths(JobEvaluate(cases=(CASE,), initial="t.tfm"))
    assert (evaluate.cases[0].moving, evaluate.initial) == (Path("m").absolute(), str(Path("t.tfm").absolute()))
