"""Judging maps: folds that are known, structures and landmarks that are counted by hand, and the files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend.messages import Inspect
from MMLNRegistrationLib.backend.runner import Runner
from MMLNRegistrationLib.displacement_file import DisplacementFile
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.quality.folds import fold_clusters
from MMLNRegistrationLib.quality.inspection import inspect_map, judgement
from MMLNRegistrationLib.quality.inspection_files import INSPECTION_FILES, read_label_names, write_inspection
from MMLNRegistrationLib.quality.landmarks import Points, landmark_errors, read_points, write_points
from MMLNRegistrationLib.quality.structures import labels_on_grid, structure_scores
from MMLNRegistrationLib.spatial.geometry import transform_points
from phantoms import blob, grid, voxels_ras

GEOMETRY = grid("oblique_left_handed", (20, 22, 24), (2.0, 1.5, 1.8), (5.0, -3.0, 8.0))
CENTRE = (5.0, -3.0, 8.0)


def image(name: str = "fixed", shift_mm: float = 0.0) -> Volume:
    points = voxels_ras(GEOMETRY) - (shift_mm, 0, 0)
    return Volume((900 * blob(points, CENTRE, 9.0) + 5).astype(np.float32), GEOMETRY, name)


def constant(shift_mm: tuple[float, float, float]) -> np.ndarray:
    return np.broadcast_to(np.array(shift_mm, np.float32), (*GEOMETRY.shape_kji, 3)).copy()


def with_folds(*places_kji: tuple[int, int, int]) -> np.ndarray:
    """A field that is zero but at single voxels, which are thrown far along i."""
    field = constant((0.0, 0.0, 0.0))
    along_i = GEOMETRY.direction_ras[:, 0] * GEOMETRY.spacing_mm[0]
    for place in places_kji:
        field[place] = 1.6 * along_i
    return field


def test_folds_are_found_where_they_are():
    strict = np.ones(GEOMETRY.shape_kji, np.float32)
    strict[4, 5, 6:9] = (-0.1, -0.7, -0.2)
    strict[5, 6, 9] = 0.0  # touches by a corner
    strict[15, 10, 3] = -2.0
    first, second = fold_clusters(strict, GEOMETRY)
    assert (first.voxels, first.jacobian_min) == (4, pytest.approx(-0.7))
    assert first.volume_mm3 == pytest.approx(4 * 2.0 * 1.5 * 1.8)
    np.testing.assert_allclose(first[3:], transform_points(GEOMETRY.ras_from_ijk, np.array((7, 5, 4))), atol=1e-9)
    assert (second.voxels, second.jacobian_min) == (1, -2.0)
    assert fold_clusters(np.ones((3, 3, 3)), GEOMETRY) == ()


def test_known_folds_of_a_field():
    inspection = inspect_map("field", image(), with_folds((6, 7, 8), (14, 12, 15)))
    places = {tuple(np.rint(transform_points(GEOMETRY.ijk_from_ras, np.array(fold[3:])))) for fold in inspection.folds}
    assert len(inspection.folds) == 2
    for k, j, i in ((6, 7, 8), (14, 12, 15)):
        assert min(np.abs(np.array(place) - (i, j, k)).max() for place in places) <= 1
    in_clusters = sum(fold.voxels for fold in inspection.folds)
    assert inspection.folding.folded_voxels == in_clusters == inspection.folded.array_kji.sum() > 0
    judged = judgement(inspection)
    assert (judged.level, judged.headline) == ("bad", "Folded")


def test_linear_map_has_one_determinant():
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag((1.2, 0.9, 1.0)) + 0.05 * np.arange(9).reshape(3, 3) / 9
    matrix[:3, 3] = (3, -2, 1)
    points = voxels_ras(GEOMETRY)
    inspection = inspect_map("linear", image(), (transform_points(matrix, points) - points).astype(np.float32))
    determinant = np.linalg.det(matrix[:3, :3])
    np.testing.assert_allclose(inspection.jacobian.array_kji, determinant, rtol=1e-4)
    np.testing.assert_allclose(inspection.moving_ras_from_fixed_ras, matrix, atol=1e-3)
    assert inspection.affine_determinant == pytest.approx(determinant, rel=1e-4)
    assert inspection.folding.sd_log_jacobian < 1e-4
    assert judgement(inspection).level == "good"


def test_mirror_folds_everywhere():
    points = voxels_ras(GEOMETRY)
    mirrored = points * (-1, 1, 1)
    inspection = inspect_map("mirror", image(), (mirrored - points).astype(np.float32))
    assert inspection.folding.folded_percent == 100
    assert len(inspection.folds) == 1


def test_shift_makes_alike_and_the_wrong_one_does_not():
    moving = image("moving", shift_mm=4.0)
    right = inspect_map("right", image(), constant((4.0, 0.0, 0.0)), moving)
    assert right.similarity_after.local_correlation > 0.99 > right.similarity_before.local_correlation
    assert judgement(right).level == "good"
    wrong = inspect_map("wrong", image(), constant((-6.0, 0.0, 0.0)), moving)
    assert judgement(wrong).headline == "Less alike"


def test_strong_local_change_is_doubted():
    points = voxels_ras(GEOMETRY)
    offset = points - CENTRE
    field = (-0.55 * offset * np.exp(-(offset**2).sum(-1, keepdims=True) / 60)).astype(np.float32)
    inspection = inspect_map("squeeze", image(), field)
    assert inspection.folding.folded_voxels == 0
    assert judgement(inspection).headline == "Strong local changes"


def test_field_that_does_not_belong_is_refused():
    with pytest.raises(InputError, match="not on the grid of fixed"):
        inspect_map("field", image(), np.zeros((3, 4, 5, 3), np.float32))
    field = constant((0, 0, 0))
    field[3, 3, 3, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        inspect_map("field", image(), field)


def boxes(start_i: int) -> Volume:
    labels = np.zeros(GEOMETRY.shape_kji, np.uint8)
    labels[4:12, 4:12, start_i : start_i + 8] = 1
    labels[14:18, 4:8, 4:8] = 2
    return Volume(labels, GEOMETRY, "labels")


def test_dice_and_volumes_by_hand():
    fixed, moving = boxes(6), boxes(8)
    labels = labels_on_grid((fixed,), (moving,), constant((0, 0, 0)), GEOMETRY)
    ones = np.ones(GEOMETRY.shape_kji, np.float32)
    first, second = structure_scores(labels, {1: "Thalamus"}, ones, np.zeros(ones.shape, bool))
    assert (first.name, second.name) == ("Thalamus", "Label 2")
    assert (first.dice, second.dice) == (pytest.approx(6 / 8), 1.0)
    assert (first.tc, first.volume_ratio, first.jacobian_mean) == (1.0, 1.0, 1.0)
    assert first.fixed_mm3 == pytest.approx(512 * 5.4)


def test_shift_by_voxels_carries_the_structure():
    along_i = GEOMETRY.ras_from_ijk[:3, 0]
    labels = labels_on_grid((boxes(6),), (boxes(8),), constant(tuple(2 * along_i)), GEOMETRY)
    folded = np.zeros(GEOMETRY.shape_kji, bool)
    folded[5, 5, 7] = True
    first = structure_scores(labels, {}, np.full(folded.shape, 2.0, np.float32), folded)[0]
    assert (first.dice, first.folded_voxels, first.jacobian_max) == (1.0, 1, 2.0)


def test_overlapping_structures_lie_in_layers():
    inner = np.zeros(GEOMETRY.shape_kji, np.uint8)
    inner[6:9, 6:9, 8:11] = 5
    layers = (boxes(6), Volume(inner, GEOMETRY, "inner"))
    labels = labels_on_grid(layers, layers[::-1], constant((0, 0, 0)), GEOMETRY)
    ones = np.ones(GEOMETRY.shape_kji, np.float32)
    scores = {score.label: score for score in structure_scores(labels, {}, ones, ones < 0)}
    assert {label: score.dice for label, score in scores.items()} == {1: 1.0, 2: 1.0, 5: 1.0}
    assert scores[5].tc == 1.0


def test_structure_of_one_image_has_no_dice():
    labels = labels_on_grid((boxes(6),), (), constant((0, 0, 0)), GEOMETRY)
    ones = np.ones(GEOMETRY.shape_kji, np.float32)
    first = structure_scores(labels, {}, ones, ones < 0)[0]
    assert np.isnan([first.dice, first.tc, first.volume_ratio, first.moving_mm3, first.warped_mm3]).all()
    assert first.jacobian_mean == 1.0


def test_landmarks_of_a_known_shift():
    points = [
        Points("a", CENTRE, (9.0, -3.0, 8.0)),
        Points("b", (6.0, -1.0, 7.0), (10.0, -1.0, 10.0)),
        Points("off", (500.0, 0.0, 0.0), (500.0, 0.0, 0.0)),
        Points("known", (500.0, 0.0, 0.0), (503.0, 0.0, 0.0), (503.0, 0.0, 1.0)),
    ]
    found = landmark_errors(points, constant((4.0, 0.0, 0.0)), GEOMETRY)
    assert [landmark.before_mm for landmark in found] == pytest.approx([4, 5, 0, 3])
    assert [landmark.after_mm for landmark in found] == pytest.approx([0, 3, np.nan, 1], nan_ok=True, abs=1e-4)


@pytest.mark.parametrize("mapped", [None, (1.0, 2.0, 3.5)])
def test_landmark_table_and_back(mapped, tmp_path):
    points = (Points("a, b", (0.1, 1 / 3, 5.0), (1.0, 2.0, 3.0), mapped),)
    write_points(points, tmp_path / "points.csv")
    assert read_points(tmp_path / "points.csv") == points


@pytest.mark.parametrize(
    ("change", "words"),
    [(("1.0", "one"), "no three numbers"), (("1.0", "nan"), "not finite"), (("fixed_r_mm", "x"), "lacks the column")],
)
def test_bad_landmark_table(change, words, tmp_path):
    table = tmp_path / "points.csv"
    write_points([Points("a", (1.0, 2.0, 3.0), (1.0, 2.0, 3.0))], table)
    table.write_text(table.read_text(encoding="utf-8").replace(*change, 1))
    with pytest.raises(InputError, match=words):
        read_points(table)


def test_bad_name_table(tmp_path):
    (tmp_path / "names.csv").write_text("label,name\nx,Thalamus\n")
    with pytest.raises(InputError, match="is no label"):
        read_label_names(tmp_path / "names.csv")


def test_field_in_pieces_is_what_itk_reads(tmp_path):
    field = (voxels_ras(GEOMETRY) * 0.1).astype(np.float32)
    file = DisplacementFile(tmp_path / "field.mha", GEOMETRY)
    for piece in np.array_split(field.reshape(-1, 3), 7):
        file.append(piece)
    np.testing.assert_allclose(io.read_displacement_on(file.close(), GEOMETRY), field)
    assert io.read_displacement(tmp_path / "field.mha")[1].matches(GEOMETRY)
    DisplacementFile(tmp_path / "unwanted.mha", GEOMETRY).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["field.mha"]
    with pytest.raises(InputError, match="cannot be written"):
        DisplacementFile(tmp_path / "none" / "x.mha", GEOMETRY)


def test_bspline_of_another_program(tmp_path):
    """A transform that is no field is sampled on the fixed grid, in our axes."""
    volume = image()
    io.write_volume(volume, tmp_path / "fixed.nii")
    bspline = sitk.BSplineTransformInitializer(sitk.ReadImage(str(tmp_path / "fixed.nii")), [3, 3, 3])
    random = np.random.default_rng(0)
    bspline.SetParameters(random.uniform(-2, 2, len(bspline.GetParameters())).tolist())
    sitk.WriteTransform(bspline, str(tmp_path / "bspline.tfm"))
    found = io.read_displacement_on(tmp_path / "bspline.tfm", GEOMETRY)
    point_ras = transform_points(GEOMETRY.ras_from_ijk, np.array((7, 8, 9)))
    signs = np.array(io.VECTOR_SIGNS)
    expected = signs * bspline.TransformPoint((signs * point_ras).tolist()) - point_ras
    np.testing.assert_allclose(found[9, 8, 7], expected, atol=1e-4)
    assert np.abs(found).max() > 0.2


@pytest.fixture
def files(tmp_path) -> Inspect:
    io.write_volume(image(), tmp_path / "fixed.nii")
    io.write_volume(image("moving", 3.0), tmp_path / "moving.nii")
    io.write_volume(boxes(6), tmp_path / "labels.nii")
    io.write_displacement(with_folds((6, 7, 8)) + constant((3, 0, 0)), GEOMETRY, tmp_path / "t.h5")
    (tmp_path / "names.csv").write_text("label,name\n1,<b>Thalamus</b>\n2,Fornix\n")
    write_points([Points("p1", CENTRE, (8.0, -3.0, 8.0))], tmp_path / "points.csv")
    return Inspect(
        transform=tmp_path / "t.h5",
        fixed=tmp_path / "fixed.nii",
        moving=tmp_path / "moving.nii",
        fixed_labels=(tmp_path / "labels.nii",),
        moving_labels=(tmp_path / "labels.nii",),
        names=tmp_path / "names.csv",
        landmarks=tmp_path / "points.csv",
        title="My & map",
        output=tmp_path / "out",
    )


def test_request_delivers_all(files):
    outcome = Runner().run(files)
    assert tuple(outcome.files) == INSPECTION_FILES
    assert all(path.exists() for path in outcome.files.values())
    found = json.loads(outcome.files["quality.json"].read_text(encoding="utf-8"))
    assert found["folded_voxels"] == outcome.report["folded_voxels"] > 0
    assert found["folds"][0]["voxels"] == found["folded_voxels"]
    assert found["landmarks"][0]["before_mm"] == pytest.approx(3)
    assert found["landmarks"][0]["after_mm"] == pytest.approx(0, abs=1e-4)
    assert [structure["name"] for structure in found["structures"]] == ["<b>Thalamus</b>", "Fornix"]
    assert sum(found["histogram"]["percent"]["Fornix"]) == pytest.approx(100, abs=0.1)
    assert "folds" not in outcome.report
    assert io.read_labels(outcome.files["folded.nii"]).array_kji.sum() == found["folded_voxels"]
    with outcome.files["folds.csv"].open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert int(row["voxels"]) == found["folded_voxels"]
    page = outcome.files["report.html"].read_text(encoding="utf-8")
    assert "My &amp; map" in page
    assert "&lt;b&gt;Thalamus&lt;/b&gt;" in page
    assert "<b>Thalamus" not in page
    assert "Where it folds" in page


def test_request_without_a_moving_image(files, tmp_path):
    outcome = Runner().run(Inspect(transform=files.transform, fixed=files.fixed, output=tmp_path / "alone"))
    assert set(INSPECTION_FILES) - set(outcome.files) == {"warped.nii", "structures.csv", "landmarks.csv"}
    assert outcome.report["similarity_after"] is None
    assert "Before and after" not in outcome.files["report.html"].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transform": Path("gone.h5")}, "gone.h5 does not exist"),
        ({"fixed": Path("gone.nii")}, "gone.nii does not exist"),
        ({"names": Path("gone.csv")}, "gone.csv does not exist"),
    ],
)
def test_request_with_bad_files(files, change, words):
    from dataclasses import replace

    with pytest.raises(InputError, match=words):
        Runner().run(replace(files, **change))
    assert not files.output.exists()


def test_nothing_is_left_of_a_failure(files, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("MMLNRegistrationLib.quality.inspection_files.inspection_html", fail)
    with pytest.raises(InputError, match="No space left"):
        Runner().run(files)
    assert not files.output.exists()


def test_files_of_an_identity(tmp_path):
    figures = write_inspection(inspect_map("identity", image(), constant((0, 0, 0))), tmp_path)
    assert (figures["level"], figures["folds"], figures["mean_dice"]) == ("good", [], None)
