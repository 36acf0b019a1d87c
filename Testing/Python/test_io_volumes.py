"""Volumes through files: values, types and places come back, and nothing is ever left half-written."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.spatial.geometry import Geometry
from phantoms import DIRECTIONS, grid

SHAPE = (8, 9, 10)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def oblique_grid(direction: str) -> Geometry:
    return grid(direction, SHAPE, (0.9, 1.25, 3.0), (12.0, -34.0, 56.0))


def values(dtype: type = np.float32) -> np.ndarray:
    random = np.random.default_rng(0)
    if np.issubdtype(dtype, np.integer):
        return random.integers(0, min(np.iinfo(dtype).max, 60000), SHAPE).astype(dtype)
    return random.normal(100, 30, SHAPE).astype(dtype)


def itk_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """An image in ITK's own frame, made without the code under test."""
    image = sitk.GetImageFromArray(array)
    lps_from_ijk = LPS @ geometry.ras_from_ijk
    image.SetSpacing(geometry.spacing_mm.tolist())
    image.SetOrigin(lps_from_ijk[:3, 3].tolist())
    image.SetDirection((lps_from_ijk[:3, :3] / geometry.spacing_mm).ravel().tolist())
    return image


@pytest.mark.parametrize("suffix", io.VOLUME_SUFFIXES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_what_is_written_is_read_again(suffix: str, direction: str, tmp_path: Path) -> None:
    volume = Volume(values(), oblique_grid(direction), "scan")
    io.write_volume(volume, tmp_path / f"scan{suffix}")
    found = io.read_image(tmp_path / f"scan{suffix}")
    np.testing.assert_array_equal(found.array_kji, volume.array_kji)
    assert found.geometry.matches(volume.geometry)
    assert io.read_header(tmp_path / f"scan{suffix}").matches(found.geometry)
    assert found.name == f"scan{suffix}"
    assert [entry.name for entry in tmp_path.iterdir()] == [f"scan{suffix}"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".nhdr", ".mhd"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_every_type_and_format_of_itk_is_read(suffix: str, dtype: type, tmp_path: Path) -> None:
    geometry = oblique_grid("oblique_left_handed")
    sitk.WriteImage(itk_image(values(dtype), geometry), str(tmp_path / f"scan{suffix}"))
    found = io.read_image(tmp_path / f"scan{suffix}")
    assert found.array_kji.dtype == np.float32
    np.testing.assert_array_equal(found.array_kji, values(dtype).astype(np.float32))
    assert found.geometry.matches(geometry)


@pytest.mark.parametrize("direction", ["lps_axes", "oblique", "oblique_left_handed"])
def test_places_are_those_of_another_library(direction: str, tmp_path: Path) -> None:
    """NIfTI's world is RAS, as nibabel reads it: the matrix in the file is ours, with no sign changed."""
    geometry = oblique_grid(direction)
    io.write_volume(Volume(values(), geometry, "scan"), tmp_path / "scan.nii.gz")
    written = nibabel.load(tmp_path / "scan.nii.gz")
    np.testing.assert_allclose(written.affine, geometry.ras_from_ijk, atol=1e-4)
    np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), values().transpose(2, 1, 0))
    nibabel.save(nibabel.Nifti1Image(values().transpose(2, 1, 0), geometry.ras_from_ijk), tmp_path / "other.nii.gz")
    assert io.read_geometry(tmp_path / "other.nii.gz").matches(geometry)


@pytest.mark.parametrize("ending", [".mgz", ".mgh"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_freesurfer_volumes_are_read(ending: str, dtype: type, tmp_path: Path) -> None:
    geometry = oblique_grid("oblique_left_handed")
    path = tmp_path / f"scan{ending}"
    array = np.clip(values(dtype), 0, 30000).astype(dtype)
    nibabel.save(nibabel.MGHImage(array.transpose(2, 1, 0), geometry.ras_from_ijk), path)
    found = io.read_image(path)
    np.testing.assert_array_equal(found.array_kji, array.astype(np.float32))
    assert found.geometry.matches(geometry)
    assert found.array_kji.flags.c_contiguous


@pytest.mark.parametrize("direction", ["lps_axes", "oblique"])
def test_a_folder_of_dicom_slices_is_a_volume(direction: str, tmp_path: Path) -> None:
    geometry = oblique_grid(direction)
    array = values(np.int16)
    image = itk_image(array, geometry)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = np.array(image.GetDirection()).reshape(3, 3)
    for number in reversed(range(SHAPE[0])):  # in the wrong order, and by names that say nothing
        piece = image[:, :, number]
        origin = image.TransformIndexToPhysicalPoint((0, 0, number))
        tags = {
            "0008|0060": "MR",
            "0020|000e": "1.2.826.0.1.3680043.2.1125.1",
            "0020|0032": "\\".join(f"{mm:.9f}" for mm in origin),
            "0020|0037": "\\".join(f"{c:.9f}" for c in cosines.T[:2].ravel()),
            "0020|0013": str(number),
            "0018|0050": "3.0",
        }
        for tag, text in tags.items():
            piece.SetMetaData(tag, text)
        writer.SetFileName(str(tmp_path / f"{(number * 5) % 8:03d}.dcm"))
        writer.Execute(piece)
    found = io.read_image(tmp_path)
    np.testing.assert_array_equal(found.array_kji, array.astype(np.float32))
    assert found.geometry.matches(geometry, tolerance_mm=1e-2)
    assert found.name == tmp_path.name


def test_one_volume_in_four_dimensions_is_a_volume(tmp_path: Path) -> None:
    array = values().transpose(2, 1, 0)
    for trailing in ((1,), (1, 1)):
        whole = nibabel.Nifti1Image(array.reshape(*array.shape, *trailing), oblique_grid("oblique").ras_from_ijk)
        nibabel.save(whole, tmp_path / "scan.nii.gz")
        found = io.read_image(tmp_path / "scan.nii.gz")
        np.testing.assert_array_equal(found.array_kji, values())
        assert found.geometry.matches(oblique_grid("oblique"))


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".nrrd"])
def test_voxels_that_are_not_finite_become_the_lowest_value(suffix: str, tmp_path: Path) -> None:
    array = values() - 200
    array[0, 0, 0], array[1, 2, 3], array[4, 5, 6] = np.nan, np.inf, -np.inf
    sitk.WriteImage(itk_image(array, oblique_grid("oblique")), str(tmp_path / f"scan{suffix}"))
    found = io.read_image(tmp_path / f"scan{suffix}").array_kji
    lowest = array[np.isfinite(array)].min()
    assert found[0, 0, 0] == found[1, 2, 3] == found[4, 5, 6] == lowest
    np.testing.assert_array_equal(found[np.isfinite(array)], array[np.isfinite(array)])


@pytest.mark.parametrize(("dtype", "highest"), [(np.uint8, 255), (np.uint16, 65535), (np.uint32, 2**31 - 1)])
def test_label_maps_keep_their_type_and_labels(dtype: type, highest: int, tmp_path: Path) -> None:
    array = np.zeros(SHAPE, dtype)
    array[2:5, 3:6, 4:8] = highest
    io.write_volume(Volume(array, oblique_grid("oblique"), "labels"), tmp_path / "labels.nii.gz")
    found = io.read_labels(tmp_path / "labels.nii.gz").array_kji
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


def test_an_unknown_format_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"scan\.jpg does not end in a format that can be written: \.nii"):
        io.write_volume(Volume(values(), oblique_grid("oblique"), "scan"), tmp_path / "new" / "scan.jpg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RuntimeError("disk"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failing_write_leaves_the_old_file_and_no_scraps(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = Volume(values(), oblique_grid("oblique"), "scan")
    path = tmp_path / "scan.nii.gz"
    io.write_volume(volume, path)
    before = path.read_bytes()

    def half_way(image: sitk.Image, name: str, **how: object) -> None:
        Path(name).write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(sitk, "WriteImage", half_way)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError):
        io.write_volume(volume, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan.nii.gz"]
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else InputError):
        io.write_volume(volume, tmp_path / "new" / "scan.nii.gz")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="rights do not bind the superuser")
def test_a_folder_without_rights_is_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot be written"):
            io.write_volume(Volume(values(), oblique_grid("oblique"), "scan"), tmp_path / "scan.nii.gz")
    finally:
        tmp_path.chmod(0o700)


def test_reading_and_writing_leave_the_standard_error_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.nii.gz").write_bytes(b"no image at all, but long enough to be looked at " * 20)
    with pytest.raises(InputError, match="cannot be read as a volume"):
        io.read_image(tmp_path / "broken.nii.gz")
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
