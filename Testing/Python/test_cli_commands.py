"""apply, jacobian, propagate, evaluate, models and doctor, from files to files."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from cli_cases import (
    FAST,
    GOOD,
    SIZE,
    USUAL_GRID,
    array_of,
    brain,
    itk_image,
    leftovers,
    linear,
    moved_grid,
    one_sentence,
    resampled,
    text,
    write,
)

INSIDE = brain() > 0


def stretched(path: Path, factors: tuple[float, float, float]) -> Path:
    """A displacement field transform that stretches the world about its origin, along x, y, z."""
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij")[::-1], axis=-1)
    points = index @ USUAL_GRID[:3, :3].T + USUAL_GRID[:3, 3]
    field = sitk.GetImageFromArray(points * (np.array(factors) - 1), isVector=True)
    field.CopyInformation(itk_image(brain()))
    sitk.WriteTransform(sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64)), str(path))
    return path


def test_apply_gives_the_warped_image_again(run, pair, registered, tmp_path):
    arguments = ("apply", registered / "transform.h5", pair.moving, "--reference", pair.fixed)
    outcome = run(*arguments, "--output", tmp_path / "new" / "warped.nrrd")
    assert outcome.complaints == []
    assert outcome.code == 0
    difference = np.abs(array_of(tmp_path / "new" / "warped.nrrd") - array_of(registered / "warped.nii.gz"))
    assert difference[INSIDE].max() < 0.5
    assert leftovers(tmp_path) == []


def test_apply_samples_on_any_grid(run, pair, registered, tmp_path):
    reference = write(tmp_path / "reference.mha", np.zeros((9, 20, 31), np.uint8), moved_grid(4.0))
    arguments = ("apply", registered / "transform.h5", pair.moving, "--reference", reference)
    assert run(*arguments, "--output", tmp_path / "out.mha").code == 0
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    np.testing.assert_allclose(array_of(tmp_path / "out.mha"), resampled(pair.moving, transform, reference), atol=1e-3)


def test_apply_keeps_the_set_of_labels(run, pair, registered, tmp_path):
    arguments = ("apply", registered / "transform.h5", pair.labels, "--reference", pair.fixed, "--labels")
    assert run(*arguments, "--output", tmp_path / "labels.nii.gz").code == 0
    labels = array_of(tmp_path / "labels.nii.gz")
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 3, 7}


def test_apply_inverse_is_the_inverse(run, pair, registered, tmp_path):
    """Carried by the inverse, images of the coordinates say where each point goes: the field must bring it back."""
    index = np.stack(np.meshgrid(*[np.arange(SIZE)] * 3, indexing="ij")[::-1], axis=-1)
    points = index @ USUAL_GRID[:3, :3].T + USUAL_GRID[:3, 3]
    coordinates = []
    for axis, name in enumerate("xyz"):
        ramp = write(tmp_path / f"{name}.mha", points[..., axis].astype(np.float32))
        arguments = ("apply", registered / "transform.h5", ramp, "--reference", pair.moving, "--inverse")
        assert run(*arguments, "--output", tmp_path / f"{name}-back.mha").code == 0
        coordinates.append(array_of(tmp_path / f"{name}-back.mha"))
    transform = sitk.ReadTransform(str(registered / "transform.h5"))
    inside = array_of(pair.moving) > 0
    sources = np.stack(coordinates, axis=-1)[inside].astype(float)
    returned = np.array([transform.TransformPoint(point) for point in sources.tolist()])
    error_mm = np.linalg.norm(returned - points[inside], axis=-1)
    assert np.median(error_mm) < 1e-3
    assert error_mm.max() < 0.02
    assert np.linalg.norm(sources - points[inside], axis=-1).max() > 0.5, "or the test could not fail"


def test_apply_there_and_back(run, pair, registered, tmp_path):
    """A smooth image comes back as it was, but for what two interpolations take from it."""
    smooth = sitk.SmoothingRecursiveGaussian(sitk.ReadImage(str(pair.moving)), 6.0)
    sitk.WriteImage(smooth, str(tmp_path / "smooth.nii.gz"))
    transform = registered / "transform.h5"
    arguments = ("apply", transform, tmp_path / "smooth.nii.gz", "--reference", pair.fixed)
    assert run(*arguments, "--output", tmp_path / "there.nii.gz").code == 0
    arguments = ("apply", transform, tmp_path / "there.nii.gz", "--reference", pair.moving, "--inverse")
    assert run(*arguments, "--output", tmp_path / "back.nii.gz").code == 0
    start, there, back = (array_of(tmp_path / f"{name}.nii.gz") for name in ("smooth", "there", "back"))
    inside = array_of(pair.moving) > 0
    assert np.abs(back - start)[inside].max() < 0.03 * np.ptp(start)
    assert np.abs(there - start)[inside].max() > 0.06 * np.ptp(start), "or the test could not fail"


def test_apply_inverse_carries_fixed_labels_to_the_moving_brain(run, pair, registered, tmp_path):
    arguments = ("apply", registered / "transform.h5", pair.fixed_labels, "--reference", pair.moving)
    assert run(*arguments, "--labels", "--inverse", "--output", tmp_path / "labels.nii.gz").code == 0
    labels, truth, before = (array_of(path) for path in (tmp_path / "labels.nii.gz", pair.labels, pair.fixed_labels))
    assert (labels == truth)[truth > 0].mean() > (before == truth)[truth > 0].mean() + 0.02


def test_apply_inverse_of_a_known_field(run, pair, tmp_path):
    transform = stretched(tmp_path / "t.h5", (1.25, 0.8, 1.1))
    arguments = ("apply", transform, pair.moving, "--reference", pair.fixed, "--inverse")
    assert run(*arguments, "--output", tmp_path / "out.nii.gz").code == 0
    inverse = sitk.AffineTransform(3)
    inverse.SetMatrix(np.diag([1 / 1.25, 1 / 0.8, 1 / 1.1]).ravel().tolist())
    expected = resampled(pair.moving, inverse, pair.fixed)
    assert np.abs(array_of(tmp_path / "out.nii.gz") - expected)[4:-4, 6:-6, 4:-4].max() < 0.5


@pytest.mark.parametrize("way", ["forward", "inverse"])
def test_apply_of_a_linear_transform(way, run, pair, tmp_path):
    """Shifted by two voxels: out(x) = in(x + shift), or in(x - shift) the other way."""
    transform = linear(tmp_path / "t.tfm", np.eye(3), (4.0, 0, 0))
    arguments = ["apply", transform, pair.moving, "--reference", pair.fixed, "--output", tmp_path / "out.nii.gz"]
    assert run(*arguments, *(["--inverse"] if way == "inverse" else [])).code == 0
    moving, out = array_of(pair.moving), array_of(tmp_path / "out.nii.gz")
    if way == "forward":
        np.testing.assert_allclose(out[..., :-2], moving[..., 2:], atol=1e-3)
    else:
        np.testing.assert_allclose(out[..., 2:], moving[..., :-2], atol=1e-3)


def test_apply_of_a_displacement_image(run, pair, registered, tmp_path):
    """The same field as a NIfTI image, as other programs store it."""
    transform = sitk.DisplacementFieldTransform(sitk.ReadTransform(str(registered / "transform.h5")))
    sitk.WriteImage(transform.GetDisplacementField(), str(tmp_path / "field.nii.gz"))
    arguments = ("apply", tmp_path / "field.nii.gz", pair.moving, "--reference", pair.fixed)
    assert run(*arguments, "--output", tmp_path / "out.nii.gz").code == 0
    difference = np.abs(array_of(tmp_path / "out.nii.gz") - array_of(registered / "warped.nii.gz"))
    assert difference[INSIDE].max() < 0.5


def test_jacobian_gives_the_registration_s_again(run, registered, tmp_path):
    outcome = run("jacobian", registered / "transform.h5", "--output", tmp_path / "j.nii.gz")
    assert outcome.code == 0
    assert "0 folded voxels" in outcome.stdout
    np.testing.assert_allclose(array_of(tmp_path / "j.nii.gz"), array_of(registered / "jacobian.nii.gz"), atol=1e-4)


def test_jacobian_of_a_known_field(run, tmp_path):
    outcome = run("jacobian", stretched(tmp_path / "t.h5", (1.2, 0.9, 1.1)), "--output", tmp_path / "j.nrrd")
    assert outcome.code == 0
    np.testing.assert_allclose(array_of(tmp_path / "j.nrrd"), 1.2 * 0.9 * 1.1, rtol=1e-4)


def test_jacobian_sees_folding(run, tmp_path):
    outcome = run("jacobian", stretched(tmp_path / "t.h5", (-1.0, 1.0, 1.0)), "--output", tmp_path / "j.nrrd")
    assert outcome.code == 0
    assert f"{SIZE**3} folded voxels (100.0000 %" in outcome.stdout


def test_propagate(run, pair, tmp_path):
    out = tmp_path / "out"
    outcome = run("propagate", pair.fixed, "--atlas", f"{pair.moving}={pair.labels}", "--output", out, *GOOD)
    assert outcome.complaints == []
    assert outcome.code == 0
    labels, truth, before = (array_of(path) for path in (out / "labels.nii.gz", pair.fixed_labels, pair.labels))
    assert set(np.unique(labels)) == {0, 1, 3, 7}
    assert (labels == truth)[truth > 0].mean() > (before == truth)[truth > 0].mean()
    assert outcome.stdout.startswith("3 structures from 1 atlas, 0 folded voxels")
    assert sorted(path.name for path in out.iterdir() if path.name != "scene.mrb") == [
        "agreement.nii.gz", "labels.nii.gz", "report.html", "report.json", "transform_1.h5", "volumes.csv",
    ]  # fmt: skip


@pytest.mark.parametrize("fusion", ["majority", "local_similarity"])
def test_propagate_several(run, pair, tmp_path, fusion):
    """The subject itself among the atlases, and one whose labels are wrong where its image is far from the subject."""
    names = text(tmp_path / "names.csv", "label,name\n1,<dark>\n7,light\n")
    wrong = array_of(pair.labels)[:, :, ::-1].copy()
    noise = np.random.default_rng(0).uniform(0, 200, wrong.shape).astype(np.float32)
    mirrored = (write(tmp_path / "noise.nii", noise), write(tmp_path / "wrong.nii", wrong))
    start = linear(tmp_path / "start.tfm", np.eye(3))
    out = tmp_path / "out"
    outcome = run(
        *("propagate", pair.fixed, "--atlas", f"{pair.moving}={pair.labels}"),
        *("--atlas", f"{pair.fixed}={pair.fixed_labels}={start}"),
        *("--atlas", f"{mirrored[0]}={mirrored[1]}={start}", "--fusion", fusion),
        *("--names", names, "--output", out, *FAST),
    )
    assert outcome.complaints == []
    assert outcome.code == 0
    assert "3 structures from 3 atlases, mean agreement 0." in outcome.stdout
    labels, truth, agreement = (
        array_of(path) for path in (out / "labels.nii.gz", pair.fixed_labels, out / "agreement.nii.gz")
    )
    correct = (labels == truth)[truth > 0].mean()
    assert correct > (0.999 if fusion == "local_similarity" else 0.85)
    assert 1 / 3 - 1e-6 <= agreement.min() <= agreement.max() <= 1
    with (out / "volumes.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["label"], row["name"]) for row in rows] == [("1", "<dark>"), ("3", ""), ("7", "light")]
    for row in rows:
        assert int(row["voxels"]) == (labels == int(row["label"])).sum()
        assert float(row["ml"]) == pytest.approx(int(row["voxels"]) * 0.008, rel=1e-5)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["mean_agreement"] == pytest.approx(float(agreement[labels > 0].mean()), abs=1e-5)
    assert [atlas["registration"] is None for atlas in report["atlases"]] == [False, True, True]
    assert not (out / "transform_2.h5").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "3 structures from 3 atlases" in page
    assert "light</th>" in page
    assert "&lt;dark&gt;</th>" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_propagate_with_its_own_transform_again(run, pair, tmp_path):
    """The field that was written gives the same labels, and an overwritten result leaves nothing of the old one."""
    first, second = tmp_path / "first", tmp_path / "second"
    atlas = f"{pair.moving}={pair.labels}"
    assert run("propagate", pair.fixed, "--atlas", atlas, "--output", first, *FAST).code == 0
    words = ("propagate", pair.fixed, "--atlas", f"{atlas}={first / 'transform_1.h5'}", "--overwrite", "--output")
    assert run(*words, second, *FAST).code == 0
    np.testing.assert_array_equal(array_of(first / "labels.nii.gz"), array_of(second / "labels.nii.gz"))
    (second / "transform_1.h5").write_text("old")
    (second / "mine.txt").write_text("mine")
    assert run(*words, second, *FAST).code == 0
    assert not (second / "transform_1.h5").exists()
    assert (second / "mine.txt").exists()


def test_evaluate(run, pair, tmp_path):
    """Paths in the table are relative to it; structures sum labels, and may name some that do not occur."""
    rows = f"{pair.fixed},{pair.moving},{pair.fixed_labels},{pair.labels}\n"
    table = text(tmp_path / "cases.csv", f"fixed,moving,fixed_labels,moving_labels\n{rows}{rows}")
    structures = text(
        tmp_path / "structures.csv",
        "label,structure,counts_for_fine_dice\n1,dark,yes\n3,light,no\n7,light,yes\n999999999999,absent,no\n",
    )
    out = tmp_path / "out"
    outcome = run("evaluate", table, "--output", out, *GOOD, "--structures", structures)
    assert outcome.complaints == []
    assert outcome.code == 0
    assert "Mean of 2" in outcome.stdout
    with (out / "scores.csv").open(encoding="utf-8") as stream:
        scores = list(csv.DictReader(stream))
    assert len(scores) == 2
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    for row in scores:
        assert float(row["coarse_dice"]) > float(row["coarse_dice_initial"]) > 0.5
        assert int(row["folded_voxels"]) == 0
        assert float(row["inverse_p95_mm"]) < 0.1
        assert float(row["fine_dice"]) == pytest.approx(summary["fine_dice"])


def test_evaluate_every_label_by_default(run, pair, tmp_path):
    rows = f"{pair.fixed},{pair.moving},{pair.fixed_labels},{pair.labels}\n"
    table = text(tmp_path / "cases.csv", f"fixed,moving,fixed_labels,moving_labels\n{rows}")
    assert run("evaluate", table, "--output", tmp_path / "out", *FAST).code == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["coarse_dice"] == pytest.approx(summary["fine_dice"])


def test_models_and_doctor(run):
    models = run("models")
    assert models.code == 0
    assert models.complaints == []
    assert models.stdout
    doctor = run("doctor")
    assert doctor.code == 0
    assert doctor.complaints == []
    assert "Ready to register." in doctor.stdout


def test_doctor_finds_what_is_broken(run, monkeypatch):
    from MMLNRegistrationLib import doctor

    monkeypatch.setattr(doctor, "integrate", lambda velocity: velocity * 2)
    outcome = run("doctor")
    assert "torch" in one_sentence(outcome.complaints)
    assert outcome.code == 1


@pytest.mark.parametrize(
    "command",
    ["", "register", "apply", "jacobian", "propagate", "evaluate", "reproduce", "demo", "models", "doctor"],
)
def test_help(command, run):
    outcome = run(*command.split(), "--help")
    assert outcome.code == 0
    assert outcome.complaints == []
    assert outcome.stdout.startswith("usage: mmln")


def test_version(run):
    outcome = run("--version")
    assert outcome.code == 0
    assert re.fullmatch(r"mmln \d+\.\d+\.\d+\n", outcome.stdout)
