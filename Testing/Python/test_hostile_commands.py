"""What nobody should give to apply, jacobian, propagate and evaluate: one sentence, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cli_cases import FAST, Pair, cut, field, linear, moved_grid, refused, regions, text, write

Make = Callable[[Path, Pair, Path], "list[object]"]
"""The arguments of a command, from a folder for files, the pair, and a finished registration of it."""

LABELS = regions()


def apply(*options: object, transform=None, image=None, reference=None, output="out.nii.gz") -> Make:
    def arguments(folder: Path, pair: Pair, registered: Path) -> list[object]:
        return [
            "apply",
            transform(folder) if transform else registered / "transform.h5",
            image(folder) if image else pair.moving,
            "--reference",
            reference(folder) if reference else pair.fixed,
            "--output",
            output(folder) if callable(output) else folder / output,
            *options,
        ]

    return arguments


def jacobian(transform=None, output="out.nii.gz") -> Make:
    return lambda folder, pair, registered: [
        "jacobian",
        transform(folder) if transform else registered / "transform.h5",
        *("--output", folder / output),
    ]


def propagate(atlas: Callable[[Path, Pair], str]) -> Make:
    return lambda folder, pair, registered: [
        *("propagate", pair.fixed, "--atlas", atlas(folder, pair), "--output", folder / "out", *FAST)
    ]


def evaluate(table: Callable[[Path, Pair], Path], structures: Callable[[Path], Path] | None = None) -> Make:
    return lambda folder, pair, registered: [
        *("evaluate", table(folder, pair), "--output", folder / "out", *FAST),
        *(("--structures", structures(folder)) if structures else ()),
    ]


HEADER = "fixed,moving,fixed_labels,moving_labels\n"


def row(pair: Pair) -> str:
    return f"{pair.fixed},{pair.moving},{pair.fixed_labels},{pair.labels}\n"


def cases(content: Callable[[Pair], str]) -> Callable[[Path, Pair], Path]:
    return lambda folder, pair: text(folder / "cases.csv", content(pair))


def good_cases(folder: Path, pair: Pair) -> Path:
    return text(folder / "cases.csv", HEADER + row(pair))


def with_labels(folder: Path, pair: Pair, labels: np.ndarray) -> Path:
    other = write(folder / "l.nii.gz", labels)
    return text(folder / "cases.csv", f"{HEADER}{pair.fixed},{pair.moving},{other},{pair.labels}\n")


def binary(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 20)
    return path


def flat_transform(path: Path) -> Path:
    return linear(path, np.eye(2))


def two_transforms(path: Path) -> Path:
    """A composite of an affine and a field: neither linear nor a field on a grid."""
    vectors = sitk.ReadImage(str(field(path.with_name("f.mha"))), sitk.sitkVectorFloat64)
    composite = sitk.CompositeTransform(
        [sitk.TranslationTransform(3, (5, 0, 0)), sitk.DisplacementFieldTransform(vectors)]
    )
    sitk.WriteTransform(composite, str(path))
    return path


def flat_reference(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((9, 9), np.uint8)), str(path))
    return path


def occupied_name(path: Path) -> Path:
    path.mkdir()
    return path


CASES = {
    "apply: no transform": (apply(transform=lambda folder: folder / "none.h5"), "does not exist"),
    "apply: text for a transform": (
        apply(transform=lambda folder: text(folder / "t.h5")),
        "cannot be read as a transform",
    ),
    "apply: cut transform": (apply(transform=lambda folder: cut(field(folder / "t.h5"), 0.5)), "cannot be read as"),
    "apply: transform of unknown kind": (apply(transform=lambda folder: text(folder / "t.xyz")), "cannot be read as"),
    "apply: 2D transform": (apply(transform=lambda folder: flat_transform(folder / "t.h5")), "is a 2D transform"),
    "apply: image for a transform": (
        apply(transform=lambda folder: write(folder / "t.nii.gz")),
        "not a displacement field",
    ),
    "apply: field with NaN": (apply(transform=lambda folder: field(folder / "t.h5", np.nan)), "not finite"),
    "apply: field image with NaN in nii": (
        apply(transform=lambda folder: field(folder / "t.nii", np.nan)),
        "not finite",
    ),
    "apply: field image with infinity in mha": (
        apply(transform=lambda folder: field(folder / "t.mha", np.inf)),
        "not finite",
    ),
    "apply: cut field image": (apply(transform=lambda folder: cut(field(folder / "t.nii"), 0.6)), "cut off"),
    "apply: no input": (apply(image=lambda folder: folder / "none.nii"), "does not exist"),
    "apply: transform for an input": (apply(image=lambda folder: field(folder / "i.h5")), "cannot be read as a volume"),
    "apply: fractional labels": (
        apply("--labels", image=lambda folder: write(folder / "i.nii", LABELS / 2)),
        "fractional",
    ),
    "apply: no reference": (apply(reference=lambda folder: folder / "none.nii"), "does not exist"),
    "apply: 2D reference": (apply(reference=lambda folder: flat_reference(folder / "r.nii")), "2D"),
    "apply: flat matrix inverted": (
        apply("--inverse", transform=lambda folder: linear(folder / "t.h5", np.diag([1, 1, 0]))),
        "cannot be inverted",
    ),
    "apply: two transforms inverted": (
        apply("--inverse", transform=lambda folder: two_transforms(folder / "t.h5")),
        "no displacement field on a grid",
    ),
    "apply: output of unknown kind": (apply(output="out.xyz"), "does not end in a format"),
    "apply: output without ending": (apply(output="out"), "does not end in a format"),
    "apply: output as detached header": (apply(output="out.nhdr"), "does not end in a format"),
    "apply: output below a file": (
        apply(output=lambda folder: text(folder / "a") / "out.nii.gz"),
        "cannot be written (Not a directory)",
    ),
    "apply: output in /proc": (apply(output=lambda folder: Path("/proc/out.nii.gz")), "cannot be written"),
    "apply: output is a folder": (apply(output=lambda folder: occupied_name(folder / "o.nii")), "cannot be written"),
    "apply: output name too long": (apply(output="n" * 300 + ".nii"), "File name too long"),
    "jacobian: linear transform": (
        jacobian(lambda folder: linear(folder / "t.h5", np.eye(3))),
        "no displacement field",
    ),
    "jacobian: image": (jacobian(lambda folder: write(folder / "t.nii.gz")), "not a displacement field"),
    "jacobian: missing": (jacobian(lambda folder: folder / "none.h5"), "does not exist"),
    "jacobian: field with NaN": (jacobian(lambda folder: field(folder / "t.h5", np.nan)), "not finite"),
    "jacobian: one voxel thick": (jacobian(lambda folder: field(folder / "t.h5", size=(9, 9, 1))), "a single slice"),
    "jacobian: output of unknown kind": (jacobian(output="out.txt"), "does not end in a format"),
    "jacobian: output in /proc": (jacobian(output="/proc/out.nii.gz"), "cannot be written"),
    "propagate: no labels": (propagate(lambda folder, pair: f"{pair.moving}"), "is not IMAGE=LABELS"),
    "propagate: empty labels": (propagate(lambda folder, pair: f"{pair.moving}="), "is not IMAGE=LABELS"),
    "propagate: empty image": (propagate(lambda folder, pair: f"={pair.labels}"), "is not IMAGE=LABELS"),
    "propagate: missing labels": (propagate(lambda folder, pair: f"{pair.moving}=none.nii"), "does not exist"),
    "propagate: swapped": (propagate(lambda folder, pair: f"{pair.labels}={pair.moving}"), "fractional"),
    "propagate: labels moved_grid": (
        propagate(lambda folder, pair: f"{pair.moving}={write(folder / 'l.nii', LABELS, moved_grid(1000.0))}"),
        "does not lie over",
    ),
    "evaluate: no table": (evaluate(lambda folder, pair: folder / "none.csv"), "does not exist"),
    "evaluate: folder": (evaluate(lambda folder, pair: folder), "is a folder"),
    "evaluate: empty table": (evaluate(cases(lambda pair: "")), "lacks the column"),
    "evaluate: header alone": (evaluate(cases(lambda pair: HEADER)), "has no rows"),
    "evaluate: missing column": (evaluate(cases(lambda pair: "fixed,moving\na,b\n")), "fixed_labels"),
    "evaluate: short row": (evaluate(cases(lambda pair: HEADER + "a,b,c\n")), "more or fewer fields"),
    "evaluate: long row": (evaluate(cases(lambda pair: HEADER + "a,b,c,d,e\n")), "more or fewer fields"),
    "evaluate: missing file": (evaluate(cases(lambda pair: HEADER + row(pair) + "a,b,c,d\n")), "line 3"),
    "evaluate: empty field": (evaluate(cases(lambda pair: HEADER + ",,,\n")), "line 2"),
    "evaluate: binary table": (evaluate(lambda folder, pair: binary(folder / "c.csv")), "not a CSV table"),
    "evaluate: volume for a table": (evaluate(lambda folder, pair: pair.fixed), "not a CSV table"),
    "evaluate: labels on another grid": (
        evaluate(lambda folder, pair: with_labels(folder, pair, LABELS[:-1])),
        "does not lie on the grid",
    ),
    "evaluate: labels all zero": (evaluate(lambda folder, pair: with_labels(folder, pair, LABELS * 0)), "no label"),
    "evaluate: structures of text": (evaluate(good_cases, lambda folder: text(folder / "s.csv")), "lacks the column"),
    "evaluate: structures of letters": (
        evaluate(good_cases, lambda folder: text(folder / "s.csv", "label,structure,counts_for_fine_dice\nx,y,yes\n")),
        "whole numbers",
    ),
    "evaluate: structures that name none": (
        evaluate(good_cases, lambda folder: text(folder / "s.csv", "label,structure,counts_for_fine_dice\n1,,no\n")),
        "names no structure",
    ),
    "evaluate: structures of a huge label": (
        evaluate(
            good_cases, lambda folder: text(folder / "s.csv", f"label,structure,counts_for_fine_dice\n{10**12},a,yes\n")
        ),
        "none of the labels",
    ),
    "evaluate: structures missing": (evaluate(good_cases, lambda folder: folder / "none.csv"), "does not exist"),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(case, run, pair, registered, tmp_path):
    make, words = CASES[case]
    refused(run, make(tmp_path, pair, registered), words, tmp_path)
