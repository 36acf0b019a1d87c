"""Messages to lines and back, and every kind of line that is none."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MMLNRegistrationLib.backend import messages
from MMLNRegistrationLib.backend.messages import (
    Atlas,
    Cancel,
    CheckData,
    EntryEvent,
    ErrorEvent,
    Evaluate,
    HelloEvent,
    Info,
    Inspect,
    Preview,
    ProgressEvent,
    Propagate,
    Refine,
    Register,
    ResultEvent,
    Shutdown,
    Train,
)
from MMLNRegistrationLib.backend.protocol import (
    LARGEST_LINE_BYTES,
    ProtocolError,
    encode_event,
    encode_request,
    parse_event,
    parse_request,
    read_lines,
)
from MMLNRegistrationLib.backend.request_files import files_of, with_absolute_paths
from MMLNRegistrationLib.errors import InputError

PLACE = Path("out")
REQUESTS = [
    Register(fixed=Path("a b.nii"), moving=Path("hjärna.nii"), output=PLACE, refine=0, spacing_mm=2, threads=3),
    Register(fixed=Path("a"), moving=Path("b"), output=PLACE, fixed_mask=Path("m"), files=("report.json",)),
    Refine(result=Path("r"), fixed=Path("a"), moving=Path("b"), output=PLACE, refine=5, moving_labels=Path("l")),
    Propagate(
        subject=Path("s"),
        atlases=(
            Atlas(image=Path("a"), labels=Path("l")),
            Atlas(image=Path("b"), labels=Path("l"), transform=Path("t")),
        ),
        output=PLACE,
        device="cuda:1",
        fusion="majority",
        names=("17=Left hippocampus", "2=a=b"),
        files=("volumes.csv",),
        overwrite=True,
    ),
    Evaluate(cases=Path("c.csv"), output=PLACE, structures=Path("s.csv"), initial="t.h5"),
    Inspect(transform=Path("t.h5"), fixed=Path("f"), output=PLACE, moving_labels=(Path("a"), Path("b")), title="T"),
    Train(data=(Path("one"), Path("two")), output=PLACE, resume=True, skip_bad=True),
    CheckData(data=(Path("one"),), validation_data=(Path("two"),), config=Path("c.json"), read_voxels=True),
    Preview(run=Path("run"), output=PLACE, pair=3, device="cuda", overwrite=True),
    Info(),
    Cancel(),
    Shutdown(),
]
EVENTS = [
    HelloEvent(version="1.0", pid=7, device="cpu, 2 threads", folder=PLACE),
    ProgressEvent(id="a", step="refine: 1/4 resolution", fraction=0.25),
    EntryEvent(id="a", entry={"event": "step", "total": 0.5, "nested": {"list": [1, None]}}),
    ResultEvent(id="a", files={"transform.h5": PLACE / "transform.h5"}, report={"seconds": {"total": 1.5}}),
    ErrorEvent(id="a", cause="out_of_memory", sentence="Memory ran out.", offers=("cpu", "coarser")),
    ErrorEvent(id=None, cause="input", sentence="No."),
]
GOOD: dict[str, Any] = {
    "protocol": 1, "kind": "register", "id": "7", "fixed": "f", "moving": "m", "output": "o",
}  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: type(request).__name__)
def test_request_survives_the_pipe(request_):
    line = encode_request("job-1", request_)
    assert line.endswith(b"\n")
    assert line.isascii()
    assert parse_request(line[:-1]) == ("job-1", request_)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_event_survives_the_pipe(event):
    assert parse_event(encode_event(event)) == event


def test_every_kind_is_tried():
    assert {type(request) for request in REQUESTS} == set(messages.REQUESTS.values())
    assert {type(event) for event in EVENTS} == set(messages.EVENTS.values())


def test_what_is_not_finite_becomes_null():
    assert json.loads(encode_event(EntryEvent(id="a", entry={"dice": float("nan")})))["entry"] == {"dice": None}


def line(**changes: Any) -> bytes:
    """The good request with some values changed; those that are None are left out."""
    return json.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("bad", "words", "id"),
    [
        (b"", "no JSON", None),
        (b"{", "no JSON", None),
        (b"\xff\xfe", "not UTF-8", None),
        (b"[]", "no JSON object", None),
        (b"[" * 100_000, "no JSON", None),
        (b'{"protocol": ' + b"9" * 5000 + b"}", "no JSON", None),
        (line().replace(b'"o"', b'"o", "spacing_mm": NaN'), "NaN is not a number", None),
        (line().replace(b'"o"', b'"o", "spacing_mm": 1e999'), "1e999 is not a number", None),
        (line().replace(b'"o"', b'"o", "fixed": "x"'), "same key twice", None),
        (line(protocol=2), "of protocol version 2, this program speaks version 1", "7"),
        (line(protocol=True), "of protocol version true", "7"),
        (line(protocol=None), "of protocol version null", "7"),
        (line(kind="regster"), "Unknown kind \"regster\"; known are register, refine", "7"),
        (line(kind=None), "Unknown kind null", "7"),
        (line(kind=["register"]), "Unknown kind", "7"),
        (line(kind="x" * 500), "Unknown kind \"xxx", "7"),
        (line(id=None), "needs an id", None),
        (line(id=7), "An id must be a text", None),
        (line(id="a b"), "An id must be a text", None),
        (line(id="x" * 65), "An id must be a text", None),
        (line(fixd="f"), "no field \"fixd\"; known are", "7"),
        (line(fixed=None), "needs the field 'fixed'", "7"),
        (line(fixed=""), "fixed must be a path", "7"),
        (line(fixed=1), "fixed must be a path, not 1", "7"),
        (line(fixed="a\0b"), "zero character", "7"),
        (line(fixed="\ud800"), "characters that are none", "7"),
        (line(refine="3"), "refine must be a whole number", "7"),
        (line(refine=True), "refine must be a whole number, not true", "7"),
        (line(refine=1.0), "refine must be a whole number", "7"),
        (line(refine=-1), "refine must be a whole number from 0 to 10000", "7"),
        (line(threads=0), "threads must be a whole number from 1", "7"),
        (line(spacing_mm="1"), "spacing_mm must be a number", "7"),
        (line(spacing_mm=0), "spacing_mm must lie between", "7"),
        (line(spacing_mm=10**400), "spacing_mm must be a number", "7"),
        (line(overwrite=1), "overwrite must be true or false, not 1", "7"),
        (line(device="tpu"), "Unknown device 'tpu'", "7"),
        (line(files=["report.json", "secrets"]), "files must be one of transform.h5, ", "7"),
        (line(brain="maybe"), "brain must be one of auto, none", "7"),
        (line(on_out_of_memory="pray"), "on_out_of_memory must be one of", "7"),
        (b'{"protocol": 1, "kind": "train", "id": "7", "output": "o", "data": "d"}', "data must be a list", "7"),
        (b'{"protocol": 1, "kind": "train", "id": "7", "output": "o", "data": [1]}', "data must be a path", "7"),
        (b'{"protocol": 1, "kind": "train", "id": "7", "output": "o", "data": []}', "data names nothing", "7"),
        (line(kind="refine", result="r", on_out_of_memory="coarser"), "on its own grid alone", "7"),
        (line(kind="refine", result="r", model="none"), "no field \"model\"", "7"),
        (b'{"protocol": 1, "kind": "info", "id": "7", "x": 1}', "no field \"x\"; known are none", "7"),
        (b'{"protocol": 1, "kind": "hello", "id": "7"}', "Unknown kind \"hello\"", "7"),
        (line(fixed="x" * LARGEST_LINE_BYTES), "longer than", None),
    ],
    ids=lambda value: None if isinstance(value, bytes) else str(value)[:40],
)  # fmt: skip
def test_line_that_is_no_request(bad, words, id):
    with pytest.raises(ProtocolError) as caught:
        parse_request(bad)
    sentence = str(caught.value)
    assert words in sentence
    assert caught.value.id == id
    assert len(sentence) < 600
    assert sentence.endswith(".")


def test_good_line_is_good():
    assert parse_request(line()) == ("7", Register(fixed=Path("f"), moving=Path("m"), output=Path("o")))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"kind": "progress", "id": "1", "step": "x", "fraction": "half"}, "fraction must be a number"),
        ({"kind": "progress", "step": "x", "fraction": 0.5}, "id must be a text, not null"),
        ({"kind": "error", "id": "1", "cause": "magic", "sentence": ""}, "cause must be one of"),
        ({"kind": "result", "id": "1", "files": {"a": 1}, "report": {}}, "files must be a path"),
        ({"kind": "entry", "id": "1", "entry": []}, "entry must be an object"),
    ],
)
def test_line_that_is_no_event(bad, words):
    with pytest.raises(ProtocolError, match=words):
        parse_event(json.dumps({"protocol": 1, **bad}).encode())


def test_path_that_is_not_utf8_cannot_be_sent():
    with pytest.raises(InputError, match="not a name in UTF-8"):
        encode_request("1", Register(fixed=Path("\udcff"), moving=Path("m"), output=Path("o")))


def test_message_that_is_too_long_cannot_be_sent():
    with pytest.raises(InputError, match="at most 1048576 can be sent"):
        encode_event(EntryEvent(id="1", entry={"text": "x" * LARGEST_LINE_BYTES}))


def test_oversized_line_is_passed_over_without_being_kept():
    huge = b"x" * (3 * LARGEST_LINE_BYTES)
    stream = io.BytesIO(b"one\n" + huge + b"\ntwo\r\n" + b"x" * LARGEST_LINE_BYTES + b"\nthree\ncut off")
    assert list(read_lines(stream)) == [b"one", None, b"two", b"x" * LARGEST_LINE_BYTES, b"three"]


def test_paths_become_absolute():
    request = with_absolute_paths(
        Register(fixed=Path("f"), moving=Path("m"), output=Path("o"), initial="start.h5", model="t.safetensors")
    )
    assert [request.fixed, request.moving, request.output] == [Path.cwd() / name for name in "fmo"]
    assert request.fixed_mask is None
    assert (request.initial, request.model) == (str(Path.cwd() / "start.h5"), str(Path.cwd() / "t.safetensors"))
    named = with_absolute_paths(Register(fixed=Path("f"), moving=Path("m"), output=Path("o"), model="t1-brain"))
    assert (named.initial, named.model) == ("affine", "t1-brain")
    train = with_absolute_paths(Train(data=(Path("d"),), output=Path("o")))
    assert isinstance(train, Train)
    assert (train.data, train.validation_data) == ((Path.cwd() / "d",), ())
    atlases = (Atlas(image=Path("i"), labels=Path("l")), Atlas(image=Path("j"), labels=Path("k"), transform=Path("t")))
    propagate = with_absolute_paths(Propagate(subject=Path("s"), atlases=atlases, output=Path("o")))
    assert files_of(propagate) == {
        ("subject",): Path.cwd() / "s",
        ("atlases", 0, "image"): Path.cwd() / "i",
        ("atlases", 0, "labels"): Path.cwd() / "l",
        ("atlases", 1, "image"): Path.cwd() / "j",
        ("atlases", 1, "labels"): Path.cwd() / "k",
        ("atlases", 1, "transform"): Path.cwd() / "t",
    }


ATLAS = {"image": "i", "labels": "l"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"atlases": []}, "1 to 100 atlases, not 0"),
        ({"atlases": [ATLAS] * 101}, "1 to 100 atlases, not 101"),
        ({"atlases": ATLAS}, "atlases must be a list"),
        ({"atlases": ["i=l"]}, "atlases must hold objects with image, labels"),
        ({"atlases": [{"image": "i"}]}, "One of atlases needs the field 'labels'"),
        ({"atlases": [{**ATLAS, "label": "l"}]}, 'One of atlases has no field "label"'),
        ({"atlases": [{**ATLAS, "transform": ""}]}, "transform must be a path"),
        ({"fusion": "staple"}, "fusion must be one of local_similarity, majority"),
        ({"names": ["hippocampus"]}, "names must hold texts such as"),
        ({"files": ["warped.nii.gz"]}, "files must be one of labels.nii.gz"),
    ],
)
def test_propagation_that_is_none(change, words):
    good = {"protocol": 1, "kind": "propagate", "id": "1", "subject": "s", "atlases": [ATLAS], "output": "o"}
    assert isinstance(parse_request(json.dumps(good).encode())[1], Propagate)
    with pytest.raises(ProtocolError, match=words):
        parse_request(json.dumps({**good, **change}).encode())


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(noise):
    with pytest.raises(ProtocolError):
        parse_request(noise)


NASTY = [None, True, 0, -1, 2**70, 0.5, 1.0, "", "a", "affine", "\ud800", "\0", [], ["a"], [[1]], {}, {"a": 1}]
NAMES = sorted({entry.name for kind in messages.REQUESTS.values() for entry in fields(kind)} | {"id", "protocol"})


@given(st.sampled_from(REQUESTS), st.dictionaries(st.sampled_from(NAMES), st.sampled_from(NASTY), max_size=3))
def test_no_values_break_the_parser(request_, values):
    """Whatever is let through is a request, and the same one after another trip."""
    message = json.loads(encode_request("7", request_))
    with suppress(ProtocolError):
        id, request = parse_request(json.dumps({**message, **values}).encode())
        assert parse_request(encode_request(id, request)) == (id, request)
