"""The folder of results: all that was promised, whole or not there, and readable by others."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.outputs import write_registration
from MMLNRegistrationLib.pipeline.prepare import PrepareConfig
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.pipeline.result import Registration
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.result_folder import output_folder
from MMLNRegistrationLib.writing import ARRAY_FILES, REGISTRATION_FILES
from phantoms import brain, grid, image, voxels_ras, wave

FIXED_GRID = grid("oblique", (26, 30, 28), (4.0, 4.0, 4.0))
BEND = wave(2.0, 80.0)


@pytest.fixture(scope="module")
def registration() -> Registration:
    fixed = image(lambda points: brain(BEND(points)), FIXED_GRID, "fixed.nii.gz")
    moving = image(brain, grid("left_handed", (28, 32, 30), (4.0, 4.0, 4.0)), "moving.nii.gz")
    options = Options(
        initial="identity", device="cpu", prepare=PrepareConfig(spacing_mm=4.0), refine=RefineConfig(iterations=3)
    )
    return register(fixed, moving, options)


@pytest.fixture(scope="module")
def folder(registration: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("results")
    labels = Volume((registration.fixed.array_kji > 0.4).astype(np.uint8), FIXED_GRID, "labels.nii.gz")
    write_registration(registration, place, labels)
    return place


def test_every_promised_file_is_there(folder: Path) -> None:
    promised = set(REGISTRATION_FILES)
    if importlib.util.find_spec("slicer") is None:
        promised.remove("scene.mrb")
    assert {entry.name for entry in folder.iterdir()} == promised
    assert all((folder / name).stat().st_size > 0 for name in promised)


def test_arrays_that_are_asked_for_are_those_of_the_result(registration: Registration, tmp_path: Path) -> None:
    labels = Volume((registration.fixed.array_kji > 0.4).astype(np.uint8), FIXED_GRID, "labels.nii.gz")
    write_registration(registration, tmp_path, labels, names=ARRAY_FILES)
    assert {entry.name for entry in tmp_path.iterdir()} == set(ARRAY_FILES)
    np.testing.assert_array_equal(np.load(tmp_path / "displacement.npy"), registration.displacement_mm)
    np.testing.assert_array_equal(np.load(tmp_path / "warped.npy"), registration.warped.array_kji)
    np.testing.assert_array_equal(np.load(tmp_path / "jacobian.npy"), registration.jacobian.array_kji)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), labels.array_kji)


def test_without_labels_there_is_no_label_file(registration: Registration, tmp_path: Path) -> None:
    write_registration(registration, tmp_path, None)
    assert not (tmp_path / "labels.nii.gz").exists()
    assert (tmp_path / "transform.h5").exists()


def test_only_the_files_that_are_named_are_written(registration: Registration, tmp_path: Path) -> None:
    write_registration(registration, tmp_path, None, names=("report.json", "labels.nii.gz", "warped.nii.gz"))
    assert {entry.name for entry in tmp_path.iterdir()} == {"report.json", "warped.nii.gz"}


def test_the_transform_file_warps_as_the_warped_file_shows(registration: Registration, folder: Path) -> None:
    transform = sitk.ReadTransform(str(folder / "transform.h5"))
    expected = io.resample(registration.moving, transform, FIXED_GRID, nearest=False).array_kji
    shown = io.read_image(folder / "warped.nii.gz")
    assert shown.geometry.matches(FIXED_GRID)
    inner = (slice(2, -2),) * 3
    span = np.ptp(expected)
    assert np.abs(shown.array_kji - expected)[inner].max() < 0.005 * span


def test_the_jacobian_file_is_the_determinant_of_the_transform_file(registration: Registration, folder: Path) -> None:
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "jacobian.nii.gz")))
    np.testing.assert_array_equal(written, registration.jacobian.array_kji)
    # By differences of the transform's own points, a third of a voxel to each side of a few voxels.
    transform = sitk.ReadTransform(str(folder / "transform.h5"))
    flip = np.array([-1.0, -1.0, 1.0])
    for place in ((8, 9, 10), (12, 15, 14), (17, 20, 9)):
        centre = voxels_ras(FIXED_GRID)[place]
        columns = []
        for step in FIXED_GRID.ras_from_ijk[:3, :3].T:
            ends = [np.array(transform.TransformPoint(((centre + s * step) * flip).tolist())) * flip for s in (-1, 1)]
            columns.append((ends[1] - ends[0]) / 2)
        determinant = np.linalg.det(np.array(columns)) / np.linalg.det(FIXED_GRID.ras_from_ijk[:3, :3])
        assert written[place] == pytest.approx(determinant, abs=1e-3)


def test_the_report_has_what_was_promised(registration: Registration, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    promised = (
        "seconds device model folded_voxels folded_percent jacobian_min jacobian_max sd_log_jacobian "
        "similarity_before similarity_after peak_memory_bytes version"
    )
    assert set(promised.split()) <= set(report)
    assert report["folded_voxels"] == 0
    assert report["jacobian_min"] == pytest.approx(float(registration.jacobian.array_kji.min()))
    assert report["seconds"]["total"] >= report["seconds"]["refine"] > 0


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "down"
    with output_folder(place, overwrite=False) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not place.exists()
    assert [entry.name for entry in place.iterdir()] == ["a.txt"]
    assert [entry.name for entry in place.parent.iterdir()] == ["down"]


def write_and_fail(place: Path, error: BaseException) -> None:
    with output_folder(place, overwrite=True) as temporary:
        (temporary / "transform.h5").write_text("new")
        raise error


@pytest.mark.parametrize("error", [ValueError("in the middle"), KeyboardInterrupt()])
def test_nothing_remains_of_a_run_that_ends_early(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)):
        write_and_fail(tmp_path / "new" / "place", error)
    assert not list(tmp_path.iterdir())


def test_what_was_in_the_folder_survives_a_run_that_ends_early(tmp_path: Path) -> None:
    (tmp_path / "transform.h5").write_text("old")
    with pytest.raises(ValueError, match="middle"):
        write_and_fail(tmp_path, ValueError("in the middle"))
    assert (tmp_path / "transform.h5").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_with_something_in_it_is_refused_unless_told_otherwise(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty"), output_folder(tmp_path, overwrite=False):
        pytest.fail("the work must not begin")
    with output_folder(tmp_path, overwrite=True) as temporary:
        (temporary / "a.txt").write_text("a")
    assert {entry.name for entry in tmp_path.iterdir()} == {"notes.txt", "a.txt"}


def test_results_of_an_earlier_run_do_not_mix_with_new_ones(tmp_path: Path) -> None:
    """A label map of the last run beside the transform of this one would be a lie."""
    for name in ("transform.h5", "report.json", "labels.nii.gz", "notes.txt"):
        (tmp_path / name).write_text("old")
    with output_folder(tmp_path, overwrite=True) as temporary:
        for name in ("transform.h5", "report.json"):
            (temporary / name).write_text("new")
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {
        "transform.h5": "new",
        "report.json": "new",
        "notes.txt": "old",
    }


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("a file")
    with pytest.raises(InputError, match="is a file; give a folder"), output_folder(tmp_path / "place", overwrite=True):
        pytest.fail("the work must not begin")
