"""Options, masks, label maps, transforms, tables and outputs that nobody should give: one sentence, nothing written.

Refused means exit code 2, exactly one sentence on the standard error, and a folder that is as it was before.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli_cases import (
    FAST,
    Pair,
    brain,
    field,
    linear,
    moved_grid,
    one_sentence,
    refused,
    regions,
    text,
    tree,
    write,
)
from MMLNRegistrationLib.backend import runner

Make = Callable[[Path, Pair], "list[object]"]
"""The arguments of a command, for a folder where it may put files."""


def register(*options: object, out: str = "out") -> Make:
    """mmln register of the usual pair; functions among the options make a file in the folder."""

    def arguments(folder: Path, pair: Pair) -> list[object]:
        made = [option(folder) if callable(option) else option for option in options]
        return ["register", pair.fixed, pair.moving, "--output", folder / out, *FAST, *made]

    return arguments


def nan_transform(path: Path) -> Path:
    content = linear(path.with_suffix(".txt"), np.eye(3)).read_text()
    return text(path.with_suffix(".txt"), content.replace("Parameters: 1 ", "Parameters: nan "))


MASK = (brain() > 0).astype(np.uint8)
LABELS = regions()

REGISTER = {
    # Options.
    "refine -1": (register("--refine", "-1"), "--refine"),
    "refine abc": (register("--refine", "abc"), "'abc' is not a whole number"),
    "refine 1e9": (register("--refine", "1e9"), "'1e9' is not a whole number"),
    "refine 10001": (register("--refine", "10001"), "from 0 to 10000"),
    "refine superscript": (register("--refine", "\u00b2"), "is not a whole number"),
    "threads 0": (register("--threads", "0"), "from 1 to 1024"),
    "threads -2": (register("--threads", "-2"), "--threads"),
    "device tpu": (register("--device", "tpu"), "Unknown device 'tpu'"),
    "device cuda:x": (register("--device", "cuda:x"), "Unknown device 'cuda:x'"),
    "device cuda:superscript": (register("--device", "cuda:\u00b2"), "Unknown device"),
    "device cuda:99": (register("--device", "cuda:99"), "Device cuda:99 was asked for"),
    "device empty": (register("--device", ""), "Unknown device"),
    "brain perhaps": (register("--brain", "perhaps"), "invalid choice: 'perhaps'"),
    "unknown option": (register("--bogus"), "--bogus"),
    "no output": (lambda folder, pair: ["register", pair.fixed, pair.moving], "--output"),
    "no moving": (lambda folder, pair: ["register", pair.fixed, "--output", folder / "out"], "MOVING"),
    "no command": (lambda folder, pair: [], "COMMAND"),
    "unknown command": (lambda folder, pair: ["regsiter", pair.fixed], "'regsiter'"),
    "model unknown": (register("--model", "brains-9"), "no model 'brains-9'"),
    "model text": (register("--model", lambda folder: text(folder / "m.safetensors")), "safetensors"),
    "model empty": (register("--model", lambda folder: text(folder / "m.safetensors", "")), "safetensors"),
    "model folder": (register("--model", lambda folder: folder), "no model"),
    "model of a volume": (register("--model", lambda folder: write(folder / "m.nii")), "safetensors"),
    # The start.
    "initial misspelt": (register("--initial", "afine"), "affine, rigid, identity"),
    "initial missing": (register("--initial", "none.h5"), "is no file"),
    "initial text": (register("--initial", lambda folder: text(folder / "t.tfm")), "cannot be read as a transform"),
    "initial h5 of text": (
        register("--initial", lambda folder: text(folder / "t.h5")),
        "cannot be read as a transform",
    ),
    "initial folder": (register("--initial", lambda folder: folder), "is a folder"),
    "initial field": (register("--initial", lambda folder: field(folder / "t.h5")), "is not linear"),
    "initial field image": (register("--initial", lambda folder: field(folder / "t.nii.gz")), "is not linear"),
    "initial image": (register("--initial", lambda folder: write(folder / "t.nii.gz")), "not a displacement field"),
    "initial mirrored": (
        register("--initial", lambda folder: linear(folder / "t.h5", np.diag([-1, 1, 1]))),
        "mirrors the anatomy",
    ),
    "initial flat": (register("--initial", lambda folder: linear(folder / "t.h5", np.diag([1, 1, 0]))), "inverted"),
    "initial 2D": (register("--initial", lambda folder: linear(folder / "t.tfm", np.eye(2))), "is a 2D transform"),
    "initial NaN": (register("--initial", lambda folder: nan_transform(folder / "t")), "cannot be read as"),
    "initial far off": (
        register("--initial", lambda folder: linear(folder / "t.h5", np.eye(3), (500, 0, 0))),
        "do not overlap",
    ),
    "no overlap in the world": (
        lambda folder, pair: [
            *["register", pair.fixed, write(folder / "m.nii.gz", None, moved_grid(1000.0))],
            *["--output", folder / "out", *FAST],
        ],
        "do not overlap",
    ),
    # Masks and label maps.
    "mask missing": (register("--fixed-mask", "none.nii"), "none.nii does not exist"),
    "mask empty": (register("--fixed-mask", lambda folder: write(folder / "m.nii", MASK * 0)), "fewer than"),
    "mask of a few voxels": (
        register("--moving-mask", lambda folder: write(folder / "m.nii", MASK * (np.indices(MASK.shape)[0] == 13))),
        "fewer than",
    ),
    "mask on another grid": (
        register("--fixed-mask", lambda folder: write(folder / "m.nii", MASK, moved_grid(1.0))),
        "does not lie on the grid",
    ),
    "mask of another size": (
        register("--moving-mask", lambda folder: write(folder / "m.nii", MASK[:-1])),
        "does not lie on the grid",
    ),
    "mask of probabilities": (
        register("--fixed-mask", lambda folder: write(folder / "m.nii", MASK * np.float32(0.7))),
        "fractional",
    ),
    "labels fractional": (
        register("--moving-labels", lambda folder: write(folder / "l.nii", LABELS + np.float32(0.5))),
        "fractional",
    ),
    "labels with NaN": (
        register(
            "--moving-labels", lambda folder: write(folder / "l.nii", np.where(LABELS, LABELS, np.float32("nan")))
        ),
        "non-finite",
    ),
    "labels negative": (
        register("--moving-labels", lambda folder: write(folder / "l.nii", LABELS.astype(np.int16) - 2)),
        "negative",
    ),
    "labels beyond uint32": (
        register("--moving-labels", lambda folder: write(folder / "l.nrrd", LABELS.astype(np.int64) * 2**40)),
        "very large",
    ),
    "labels elsewhere": (
        register("--moving-labels", lambda folder: write(folder / "l.nii", LABELS, moved_grid(1000.0))),
        "does not lie over",
    ),
    # Where nothing can be written.
    "output is a file": (lambda folder, pair: register(out=text(folder / "out").name)(folder, pair), "is a file"),
    "output below a file": (
        lambda folder, pair: register(out=text(folder / "a").name + "/out")(folder, pair),
        "cannot be written",
    ),
    "output in /proc": (register(out="/proc/out"), "cannot be written"),
    "output is a broken link": (lambda folder, pair: register(out=broken_link(folder / "out"))(folder, pair), "is a"),
    "output not empty": (lambda folder, pair: register(out=occupied(folder / "out"))(folder, pair), "is not empty"),
    "output name too long": (register(out="n" * 300), "File name too long"),
}


def broken_link(path: Path) -> str:
    path.symlink_to("nowhere")
    return path.name


def occupied(path: Path) -> str:
    path.mkdir()
    text(path / "notes.txt")
    return path.name


@pytest.mark.parametrize("case", REGISTER)
def test_register_refuses(case, run, pair, tmp_path, monkeypatch):
    make, words = REGISTER[case]
    monkeypatch.chdir(tmp_path)
    refused(run, make(tmp_path, pair), words, tmp_path)


def test_a_name_that_is_not_unicode(run, pair, tmp_path):
    """Refused by the name alone: ITK would end the process."""
    name = os.fsdecode(b"\xff.nii.gz")
    refused(run, ["register", pair.fixed, name, "--output", tmp_path / "out"], "UTF-8", tmp_path)


def test_a_usage_error_stays_on_one_line(run, pair, tmp_path):
    refused(
        run, ["register", pair.fixed, pair.moving, "two\nlines", "--output", tmp_path / "out"], "two lines", tmp_path
    )


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), RuntimeError("std::bad_alloc")],
    ids=["Python", "torch", "ITK"],
)
def test_out_of_memory(error, run, pair, tmp_path, monkeypatch):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(runner, "register_volumes", fail)
    outcome = run("register", pair.fixed, pair.moving, "--output", tmp_path / "out")
    assert one_sentence(outcome.complaints).startswith("mmln: Out of memory")
    assert outcome.code == 1
    assert tree(tmp_path) == {}
