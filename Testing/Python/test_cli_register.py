"""mmln register from files to files: what it delivers, and that it is right."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from cli_cases import (
    BEND_MM,
    FAST,
    GOOD,
    SIZE,
    USUAL_GRID,
    array_of,
    brain,
    linear,
    moved_grid,
    one_sentence,
    regions,
    resampled,
    write,
)
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.checkpoint import save_checkpoint
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig

DESIGNED_KEYS = (
    "seconds device model folded_voxels folded_percent jacobian_min jacobian_max sd_log_jacobian similarity_before "
    "similarity_after peak_memory_bytes version"
)


def strict_json(path: Path) -> dict:
    """Neither NaN nor infinity, which are not JSON."""
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def displacement_of(folder: Path) -> np.ndarray:
    """u (K, J, I, 3) as the file has it."""
    field = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(folder / "transform.h5"))).GetDisplacementField()
    return sitk.GetArrayFromImage(field)


def turned(degrees: float, offset_mm: tuple[float, float, float]) -> np.ndarray:
    """The usual grid, turned about the world's z axis and shifted: the same brain elsewhere."""
    turn = np.eye(4)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn[:2, :2] = [[cosine, -sine], [sine, cosine]]
    turn[:3, 3] = offset_mm
    return turn @ USUAL_GRID


def test_everything_is_delivered(registered, pair):
    fixed = sitk.ReadImage(str(pair.fixed))
    for name in ("warped.nii.gz", "jacobian.nii.gz"):
        image = sitk.ReadImage(str(registered / name))
        assert image.GetSize() == fixed.GetSize()
        np.testing.assert_allclose(image.GetOrigin(), fixed.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(image.GetDirection(), fixed.GetDirection(), atol=1e-6)
    page = (registered / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    if (registered / "scene.mrb").exists():
        assert (registered / "scene.mrb").read_bytes()[:2] == b"PK"


def test_report_says_what_was_designed_and_no_folder(registered, pair):
    report = strict_json(registered / "report.json")
    assert set(DESIGNED_KEYS.split()) <= set(report)
    assert report["folded_voxels"] == 0
    assert report["jacobian_min"] > 0
    assert report["seconds"]["total"] == pytest.approx(sum(v for k, v in report["seconds"].items() if k != "total"))
    assert report["similarity_after"]["correlation"] > report["similarity_before"]["correlation"] + 0.05
    for name in ("report.json", "report.html"):
        assert str(pair.fixed.parent) not in (registered / name).read_text(encoding="utf-8"), (
            "folders may name a patient"
        )


def test_same_input_same_output(run, pair, registered, tmp_path):
    assert run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *GOOD).code == 0
    np.testing.assert_array_equal(displacement_of(tmp_path / "out"), displacement_of(registered))
    np.testing.assert_array_equal(array_of(tmp_path / "out" / "warped.nii.gz"), array_of(registered / "warped.nii.gz"))


def test_a_volume_with_itself(run, pair, tmp_path):
    outcome = run("register", pair.fixed, pair.fixed, "--output", tmp_path / "out", "--refine", "2")
    assert outcome.code == 0
    assert outcome.complaints == []
    inside = brain() > 0
    length_mm = np.linalg.norm(displacement_of(tmp_path / "out"), axis=-1)[inside]
    assert length_mm.max() < 0.02  # a hundredth of a voxel
    assert strict_json(tmp_path / "out" / "report.json")["similarity_after"]["correlation"] > 0.9999


def test_nothing_asked_for_is_nothing_done(run, pair, tmp_path):
    out = tmp_path / "out"
    nothing = ("--initial", "identity", "--model", "none", "--refine", 0)
    assert run("register", pair.fixed, pair.moving, "--output", out, *nothing).code == 0
    assert np.abs(displacement_of(out)).max() == 0
    np.testing.assert_allclose(array_of(tmp_path / "out" / "warped.nii.gz"), array_of(pair.moving), atol=1e-3)
    np.testing.assert_allclose(array_of(tmp_path / "out" / "jacobian.nii.gz"), 1, atol=1e-5)


def test_more_refinement_brings_more(run, pair, registered, tmp_path):
    assert run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST).code == 0
    little, much = (
        strict_json(folder / "report.json")["similarity_after"] for folder in (tmp_path / "out", registered)
    )
    assert much["correlation"] > little["correlation"]


@pytest.mark.parametrize("start", ["affine", "rigid"])
def test_a_misplaced_brain_is_found(start, run, pair, tmp_path):
    """Turned by 20 degrees and 60 mm away: before, nothing overlaps; after, points come back to a millimetre."""
    place = turned(20.0, (60.0, -30.0, 20.0))
    moving = write(tmp_path / "moving.nii.gz", brain(), place)
    assert (
        run("register", pair.fixed, moving, "--output", tmp_path / "out", "--initial", start, "--refine", 0).code == 0
    )
    u = displacement_of(tmp_path / "out")
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij")[::-1], axis=-1)
    points, expected = (index @ to[:3, :3].T + to[:3, 3] for to in (USUAL_GRID, place))
    error_mm = np.linalg.norm(points + u - expected, axis=-1)[brain() > 0]
    assert np.median(error_mm) < 0.7
    assert error_mm.max() < 2.0


def test_a_given_start_is_taken(run, pair, tmp_path):
    moving = write(tmp_path / "moving.nii.gz", brain(bend_mm=BEND_MM), moved_grid(300.0))
    start = linear(tmp_path / "start.tfm", np.eye(3), (300.0, 300.0, 300.0))
    outcome = run("register", pair.fixed, moving, "--output", tmp_path / "out", "--initial", start, "--refine", 1)
    assert outcome.code == 0
    report = strict_json(tmp_path / "out" / "report.json")
    assert report["settings"]["initial"] == "given"
    assert report["similarity_after"]["correlation"] > 0.9
    np.testing.assert_allclose(np.median(displacement_of(tmp_path / "out"), axis=(0, 1, 2)), 300, atol=1.0)


def test_labels_are_carried_by_the_field(run, pair, tmp_path):
    out = tmp_path / "out"
    outcome = run("register", pair.fixed, pair.moving, "--output", out, *GOOD, "--moving-labels", pair.labels)
    assert outcome.code == 0
    labels = array_of(out / "labels.nii.gz")
    assert labels.dtype.kind == "u"
    assert set(np.unique(labels)) == {0, 1, 3, 7}
    by_itk = resampled(pair.labels, sitk.ReadTransform(str(out / "transform.h5")), pair.fixed, nearest=True)
    assert (labels == by_itk).mean() > 0.999
    truth = regions()
    before = (array_of(pair.labels) == truth)[truth > 0].mean()
    assert (labels == truth)[truth > 0].mean() > before + 0.02


def test_labels_may_lie_on_another_grid(run, pair, tmp_path):
    """A label map of half the resolution, drawn on the same brain."""
    fine = sitk.ReadImage(str(pair.labels))
    coarse = sitk.Shrink(fine, [2, 2, 2])
    sitk.WriteImage(coarse, str(tmp_path / "coarse.nrrd"))
    out = tmp_path / "out"
    labels = tmp_path / "coarse.nrrd"
    assert run("register", pair.fixed, pair.moving, "--output", out, *FAST, "--moving-labels", labels).code == 0
    carried, truth = array_of(out / "labels.nii.gz"), regions()
    assert ((carried > 0) == (truth > 0)).mean() > 0.9


def test_large_labels_survive(run, pair, tmp_path):
    large = (array_of(pair.labels) > 0).astype(np.uint32) * np.uint32(2_147_483_647)
    labels = write(tmp_path / "large.nrrd", large)
    outcome = run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST, "--moving-labels", labels)
    assert outcome.complaints == []
    assert outcome.code == 0
    assert set(np.unique(array_of(tmp_path / "out" / "labels.nii.gz"))) == {0, 2_147_483_647}


def test_an_empty_label_map_is_carried_as_one(run, pair, tmp_path):
    labels = write(tmp_path / "none.nii.gz", np.zeros((SIZE,) * 3, np.uint8))
    outcome = run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST, "--moving-labels", labels)
    assert outcome.complaints == []
    assert outcome.code == 0
    assert array_of(tmp_path / "out" / "labels.nii.gz").max() == 0


def test_masks_keep_the_rest_out(run, pair, tmp_path):
    """A bright block beside the moving brain would draw it; the masks hide it."""
    moving = brain(bend_mm=BEND_MM)
    moving[:4, 2:20, 2:20] = 500
    mask = (brain(bend_mm=BEND_MM) > 0).astype(np.float32)
    arguments = (
        *("register", pair.fixed, write(tmp_path / "moving.nii.gz", moving), "--output", tmp_path / "out"),
        *("--fixed-mask", pair.mask, "--moving-mask", write(tmp_path / "mask.nrrd", mask), "--refine", 1),
    )
    outcome = run(*arguments)
    assert outcome.complaints == []
    assert outcome.code == 0
    report = strict_json(tmp_path / "out" / "report.json")
    assert report["settings"]["fixed_mask"] == "mask.nii.gz"
    assert report["similarity_after"]["correlation"] > 0.85


def test_a_model_from_a_file(run, pair, tmp_path):
    """An untrained network: what it does is of no worth, but the whole road must run, and the report name it."""
    torch.manual_seed(1)
    card = ModelCard("tiny", "For a test.", "none", "none", "none", "2024-01-01")
    save_checkpoint(tmp_path / "tiny.safetensors", MMLN(MMLNConfig(width=2)), card)
    arguments = ("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST)
    outcome = run(*arguments, "--model", tmp_path / "tiny.safetensors")
    assert outcome.complaints == []
    assert outcome.code == 0
    report = strict_json(tmp_path / "out" / "report.json")
    assert report["model"] == "tiny"
    assert report["folded_voxels"] == 0


def test_threads_are_used(run, pair, tmp_path):
    assert run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST, "--threads", "1").code == 0
    assert strict_json(tmp_path / "out" / "report.json")["device"] == "cpu, 1 threads"


def test_brain_extraction_that_is_not_installed(run, pair, tmp_path, monkeypatch):
    from MMLNRegistrationLib.pipeline import brain as extraction

    monkeypatch.setattr(extraction.importlib.util, "find_spec", lambda name: None)
    outcome = run("register", pair.fixed, pair.moving, "--output", tmp_path / "out", *FAST, "--brain", "auto")
    assert "pip install" in one_sentence(outcome.complaints)
    assert outcome.code == 2
    assert not (tmp_path / "out").exists()


def test_names_with_a_dash_in_front(run, pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("-fixed.nii"))
    write(Path("-moving.nii"), brain(bend_mm=BEND_MM))
    outcome = run("register", "--output=-out", *FAST, "--", "-fixed.nii", "-moving.nii")
    assert outcome.complaints == []
    assert outcome.code == 0
    assert (tmp_path / "-out" / "transform.h5").exists()


def test_a_name_cannot_inject_into_the_report(run, pair, tmp_path):
    moving = write(tmp_path / "<img src=x onerror=alert(1)>.nii.gz", brain(bend_mm=BEND_MM))
    assert run("register", pair.fixed, moving, "--output", tmp_path / "out", *FAST).code == 0
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "onerror=alert(1)" in page
    assert "<img src=x onerror" not in page
