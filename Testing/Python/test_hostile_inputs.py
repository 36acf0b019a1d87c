"""Volumes that nobody should give, and volumes that only look bad: each is refused in one sentence, or handled right.

Refused means exit code 2, exactly one sentence on the standard error, and a folder that is as it was before.
"""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from cli_cases import (
    FAST,
    RIGHT_HANDED,
    SIZE,
    SPACING_MM,
    USUAL_GRID,
    Outcome,
    array_of,
    brain,
    cut,
    dicom_series,
    itk_image,
    leftovers,
    lps_from_ijk,
    moved_grid,
    nifti,
    one_sentence,
    patched,
    resampled,
    tree,
    write,
)

ARRAY = brain()
ARRAY_IJK = ARRAY.transpose(2, 1, 0)
AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0]) @ USUAL_GRID
"""Of the usual grid, as NIfTI has it."""


def text(path: Path, content: str = "not a volume\n") -> Path:
    path.write_text(content)
    return path


def gzipped(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


def transform(path: Path) -> Path:
    sitk.WriteTransform(sitk.AffineTransform(3), str(path))
    return path


def without_data(path: Path) -> Path:
    """A header whose voxels, in a file beside it, are gone."""
    for other in {*write(path).parent.iterdir()} - {path}:
        other.unlink()
    return path


def with_cut_data(path: Path) -> Path:
    cut(write(path).with_suffix(".img"), 0.5)
    return path


def wrongly_named(path: Path, suffix: str) -> Path:
    """A good volume in another format than its name says."""
    return write(path.with_suffix(suffix)).rename(path)


def sheared(path: Path) -> Path:
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[0, 1] = 0.8
    return nifti(path, ARRAY_IJK, affine, qform=0)


def with_affine_row(path: Path, row: tuple[float, ...]) -> Path:
    """Only an sform, its first row overwritten in the file (offset 280 of the NIfTI header)."""
    return patched(nifti(path, ARRAY_IJK, qform=0), 280, struct.pack("<4f", *row))


def with_spacing(path: Path, mm: float) -> Path:
    """Only a qform, its first spacing overwritten in the file (offset 80 of the NIfTI header)."""
    return patched(nifti(path, ARRAY_IJK, sform=0), 80, struct.pack("<f", mm))


def colour(path: Path) -> Path:
    sitk.WriteImage(sitk.Compose([itk_image(ARRAY.astype(np.uint8))] * 3), str(path))
    return path


def flat(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(ARRAY[10].astype(np.uint8)), str(path))
    return path


def repeated(path: Path, times: int) -> Path:
    return nifti(path, np.repeat(ARRAY_IJK[..., None], times, axis=3), AFFINE)


def promising(path: Path, sizes: str) -> Path:
    """A NRRD header that promises far more than the file holds."""
    header = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n\n"
    path.write_bytes(header.encode() + bytes(100))
    return path


def huge_nifti(path: Path) -> Path:
    """A NIfTI header that promises 32000 voxels along each axis (offset 40)."""
    return patched(nifti(path, ARRAY_IJK), 40, struct.pack("<4h", 3, 32000, 32000, 32000))


def broken_gzip(path: Path) -> Path:
    """Right length and right start, but the compressed stream is damaged near its end."""
    return patched(write(path), path.stat().st_size * 9 // 10, bytes(64))


def slice_missing(path: Path) -> Path:
    return dicom_series(path, [number for number in range(SIZE) if number != 9])


def two_series(path: Path) -> Path:
    return dicom_series(dicom_series(path, list(range(12))), list(range(12, SIZE)), series="2")


def damaged_slice(path: Path) -> Path:
    cut(sorted(dicom_series(path, list(range(SIZE))).iterdir())[7], 0.6)
    return path


def folder_of(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        text(path / name)
    return path


def mgz(path: Path, array_ijk: np.ndarray) -> Path:
    nibabel.save(nibabel.MGHImage(array_ijk, AFFINE), path)
    return path


def scaled(path: Path, slope: float, intercept: float) -> Path:
    image = nibabel.Nifti1Image(((ARRAY_IJK - intercept) / slope).astype(np.int16), AFFINE)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)
    return path


def spoilt() -> np.ndarray:
    """NaN and both infinities, in the air and in the brain."""
    array = ARRAY.copy()
    array[:2], array[12, 12, 10:13], array[13, 13, 13] = np.nan, np.inf, -np.inf
    return array


def z_scored() -> np.ndarray:
    """Negative and positive values in the brain, nothing around it: taken for zero, the air would be bright."""
    inside = ARRAY > 0
    return np.where(inside, (ARRAY - ARRAY[inside].mean()) / ARRAY[inside].std(), np.nan).astype(np.float32)


def on_grid(
    path: Path, size: tuple[int, ...], spacing_mm: tuple[float, ...], direction: np.ndarray = RIGHT_HANDED
) -> Path:
    to_world = lps_from_ijk(size, spacing_mm, direction)
    return write(path, brain(size, to_world), to_world)


def padded(path: Path) -> Path:
    path.write_bytes(path.read_bytes() + bytes(512))
    return path


def linked(path: Path) -> Path:
    link = path.with_name("link.nii.gz")
    link.symlink_to(path.name)
    return link


def sheared_nrrd(path: Path) -> Path:
    header = "NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: 26 26 26\n"
    header += "space directions: (2,0,0) (0.6,2,0) (0,0,2)\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header.encode() + ARRAY.tobytes())
    return path


def sheared_mgz(path: Path) -> Path:
    affine = AFFINE.copy()
    affine[0, 1] = 0.6
    nibabel.save(nibabel.MGHImage(ARRAY_IJK, affine), path)
    return path


def in_metres(to_world: np.ndarray) -> np.ndarray:
    return np.diag([1e-3, 1e-3, 1e-3, 1.0]) @ to_world


def hot(value: float, background: float = 0.0) -> np.ndarray:
    """One voxel that differs from all others."""
    array = np.full_like(ARRAY, background)
    array[13, 12, 11] = value
    return array


REFUSED = {
    # Not there, or not a volume.
    "missing file": (lambda folder: folder / "none.nii.gz", "does not exist"),
    "name too long": (lambda folder: folder / ("n" * 300 + ".nii"), "cannot be used"),
    "below a file": (lambda folder: text(folder / "a.nii") / "b.nii", "does not exist"),
    "empty file": (lambda folder: text(folder / "a.nii.gz", ""), "is empty"),
    "empty folder": (lambda folder: folder_of(folder / "dicom"), "no DICOM"),
    "folder of text": (lambda folder: folder_of(folder / "dicom", "a.txt", "b.dcm"), "no DICOM"),
    "text named nii": (lambda folder: text(folder / "a.nii"), "cannot be read"),
    "text named nii.gz": (lambda folder: text(folder / "a.nii.gz"), "cannot be read"),
    "text named nrrd": (lambda folder: text(folder / "a.nrrd"), "cannot be read"),
    "text named mha": (lambda folder: text(folder / "a.mha"), "cannot be read"),
    "text named mgz": (lambda folder: text(folder / "a.mgz"), "cannot be read"),
    "text named txt": (lambda folder: text(folder / "a.txt"), "cannot be read"),
    "text named dcm": (lambda folder: text(folder / "a.dcm"), "cannot be read"),
    "no ending": (lambda folder: write(folder / "a.nii").rename(folder / "a"), "cannot be read"),
    "gzipped text": (lambda folder: gzipped(text(folder / "a.nii", "not a volume" * 99)), "cannot be read"),
    "mha named nii": (lambda folder: wrongly_named(folder / "a.nii", ".mha"), "cannot be read"),
    "nrrd named mgz": (lambda folder: wrongly_named(folder / "a.mgz", ".nrrd"), "cannot be read"),
    "transform": (lambda folder: transform(folder / "a.h5"), "cannot be read"),
    # Cut off or damaged.
    "cut nii": (lambda folder: cut(write(folder / "a.nii"), 0.7), "cut off"),
    "cut nii in its header": (lambda folder: cut(write(folder / "a.nii"), 0.002), "cannot be read"),
    "cut nii.gz": (lambda folder: cut(write(folder / "a.nii.gz"), 0.7), "cut off"),
    "nii.gz cut by a byte": (lambda folder: cut(write(folder / "a.nii.gz"), 0.99999), "cut off"),
    "cut nrrd": (lambda folder: cut(write(folder / "a.nrrd"), 0.7), "cut off"),
    "cut mha": (lambda folder: cut(write(folder / "a.mha"), 0.7), "cut off"),
    "cut mgz": (lambda folder: cut(mgz(folder / "a.mgz", ARRAY_IJK), 0.7), "cut off"),
    "damaged nii.gz": (lambda folder: broken_gzip(folder / "a.nii.gz"), "damaged"),
    "nhdr without its data": (lambda folder: without_data(folder / "a.nhdr"), "cannot be read"),
    "hdr without its img": (lambda folder: without_data(folder / "a.hdr"), "cut off"),
    "cut img": (lambda folder: with_cut_data(folder / "a.hdr"), "cut off"),
    "nii of 32 TB": (lambda folder: huge_nifti(folder / "a.nii"), "cut off"),
    "nrrd of 32 TB": (lambda folder: promising(folder / "a.nrrd", "20000 20000 20000"), "cut off"),
    "nrrd of no voxels": (lambda folder: promising(folder / "a.nrrd", "0 10 10"), "cannot be read"),
    "DICOM slice missing": (lambda folder: slice_missing(folder / "dicom"), "missing"),
    "DICOM slice cut": (lambda folder: damaged_slice(folder / "dicom"), "damaged"),
    "DICOM of two series": (lambda folder: two_series(folder / "dicom"), "2 DICOM series"),
    # The wrong kind of image.
    "2D": (lambda folder: flat(folder / "a.nrrd"), "2D"),
    "PNG": (lambda folder: flat(folder / "a.png"), "2D"),
    "4D of three volumes": (lambda folder: repeated(folder / "a.nii", 3), "choose one 3D volume"),
    "4D MGZ": (lambda folder: mgz(folder / "a.mgz", np.repeat(ARRAY_IJK[..., None], 3, 3)), "choose one 3D volume"),
    "colour": (lambda folder: colour(folder / "a.nii"), "colour"),
    "complex numbers": (lambda folder: nifti(folder / "a.nii", ARRAY_IJK.astype(np.complex64)), "complex"),
    "one voxel thick": (lambda folder: nifti(folder / "a.nii", ARRAY_IJK[:, :, 12:13]), "26 x 26 x 1"),
    "seven voxels thick": (lambda folder: nifti(folder / "a.nii", ARRAY_IJK[:, :, 9:16]), "26 x 26 x 7"),
    "4 x 4 x 4": (lambda folder: nifti(folder / "a.nii", ARRAY_IJK[:4, :4, :4]), "4 x 4 x 4"),
    # Nothing to see.
    "all zero": (lambda folder: write(folder / "a.nii", np.zeros_like(ARRAY)), "constant"),
    "constant": (lambda folder: write(folder / "a.nii", np.full_like(ARRAY, -7)), "constant"),
    "all NaN": (lambda folder: write(folder / "a.nii", np.full_like(ARRAY, np.nan)), "no finite voxel"),
    "all infinite": (lambda folder: write(folder / "a.nii", np.full_like(ARRAY, np.inf)), "no finite voxel"),
    "beyond float32": (lambda folder: write(folder / "a.nii", np.full(ARRAY.shape, 1e300)), "no finite voxel"),
    "one bright voxel alone": (lambda folder: write(folder / "a.nii", hot(1000)), "tissue"),
    "one dark voxel alone": (lambda folder: write(folder / "a.nii", hot(-1000)), "contrast"),
    # No place in the world.
    "sheared": (lambda folder: sheared(folder / "a.nii"), "shear"),
    "sheared nrrd": (lambda folder: sheared_nrrd(folder / "a.nrrd"), "shear"),
    "sheared mgz": (lambda folder: sheared_mgz(folder / "a.mgz"), "shear"),
    "metres for millimetres": (lambda folder: write(folder / "a.mha", ARRAY, in_metres(USUAL_GRID)), "voxel size"),
    "sform of zeros": (lambda folder: with_affine_row(folder / "a.nii", (0, 0, 0, 0)), "geometry"),
    "sform with NaN": (lambda folder: with_affine_row(folder / "a.nii", (np.nan, 0, 0, 0)), "geometry"),
    "sform with infinity": (lambda folder: with_affine_row(folder / "a.nii", (np.inf, 0, 0, 0)), "geometry"),
    "spacing NaN": (lambda folder: with_spacing(folder / "a.nii", np.nan), "geometry"),
    "spacing 0": (lambda folder: with_spacing(folder / "a.nii", 0), "geometry"),
    "origin NaN": (lambda folder: with_affine_row(folder / "a.nii", (SPACING_MM, 0, 0, np.nan)), "geometry"),
}


# Volumes that can be registered, however they look. All show the usual brain.
ACCEPTED = {
    **{
        dtype: (lambda folder, dtype=dtype: write(folder / "a.nii.gz", (ARRAY / 2).astype(dtype)))
        for dtype in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float64")
    },
    "int64 near its end": lambda folder: write(folder / "a.nrrd", ARRAY.astype(np.int64) * 2**55),
    "float64 far beyond int64": lambda folder: write(folder / "a.mha", ARRAY.astype(np.float64) * 1e30),
    "tiny values": lambda folder: write(folder / "a.mha", ARRAY * np.float32(1e-12)),
    "big-endian": lambda folder: nifti(folder / "a.nii", ARRAY_IJK.astype(">f4"), AFFINE),
    "scaled int16": lambda folder: scaled(folder / "a.nii", 0.01, -20.0),
    "negative like CT": lambda folder: write(folder / "a.nii.gz", ARRAY * 10 - 1000),
    "NaN and infinity in nii": lambda folder: write(folder / "a.nii", spoilt()),
    "NaN and infinity in mha": lambda folder: write(folder / "a.mha", spoilt()),
    "NaN around a z-scored brain": lambda folder: write(folder / "a.nii.gz", z_scored()),
    "lowest float for nothing": lambda folder: write(
        folder / "a.nrrd", np.where(ARRAY > 0, ARRAY, np.finfo(np.float32).min)
    ),
    "one hot voxel": lambda folder: write(folder / "a.nii.gz", np.maximum(ARRAY, hot(1e30))),
    "4D of one volume": lambda folder: repeated(folder / "a.nii", 1),
    "1 x 1 x 6 mm": lambda folder: on_grid(folder / "a.nii.gz", (52, 52, 9), (1.0, 1.0, 6.0)),
    "8 voxels thick": lambda folder: on_grid(folder / "a.nii.gz", (26, 26, 8), (2.0, 2.0, 6.0)),
    "left-handed": lambda folder: on_grid(folder / "a.nii.gz", (SIZE,) * 3, (SPACING_MM,) * 3, np.diag([-1.0, 1, 1])),
    "only a qform": lambda folder: nifti(folder / "a.nii", ARRAY_IJK, AFFINE, sform=0),
    "only an sform": lambda folder: nifti(folder / "a.nii", ARRAY_IJK, AFFINE, qform=0),
    "DICOM folder": lambda folder: dicom_series(folder / "dicom", list(range(SIZE))),
    "DICOM folder with other files": lambda folder: (
        text(dicom_series(folder / "dicom", list(range(SIZE))) / "notes.txt").parent
    ),
    "MGZ": lambda folder: mgz(folder / "a.mgz", ARRAY_IJK),
    "Analyze-like pair": lambda folder: write(folder / "a.hdr"),
    "NRRD of two files": lambda folder: write(folder / "a.nhdr"),
    "capital ending": lambda folder: write(folder / "a.nii.gz").rename(folder / "A.NII.GZ"),
    "nii.gz with zeros behind": lambda folder: padded(write(folder / "a.nii.gz")),
    "link": lambda folder: linked(write(folder / "a.nii.gz")),
    "name with spaces and Greek": lambda folder: write(folder / "a b\u03b1.nii.gz"),
    "name with a dash in front": lambda folder: write(folder / "-a.nii.gz"),
    "name like a tag": lambda folder: write(folder / "<b>&'\".nii.gz"),
    "name of 200 letters": lambda folder: write(folder / ("n" * 200 + ".nii.gz")),
}

# The same, where the world of the file means nothing: the affine start must find the other brain.
ACCEPTED_ELSEWHERE = {
    "no qform and no sform": lambda folder: nifti(folder / "a.nii", ARRAY_IJK[::-1, ::-1], None, sform=0, qform=0),
    "origin of a million": lambda folder: write(folder / "a.mha", None, moved_grid(1e6)),
    "origin of minus a million": lambda folder: write(folder / "a.nii", None, moved_grid(-1e6)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, run, pair, tmp_path):
    make, words = REFUSED[case]
    volume = make(tmp_path)
    before = tree(tmp_path)
    outcome = run("register", volume, pair.moving, "--output", tmp_path / "out", *FAST)
    sentence = one_sentence(outcome.complaints)
    assert words in sentence
    assert outcome.code == 2
    assert outcome.stdout == ""
    assert tree(tmp_path) == before


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_as_fixed(case, run, pair, tmp_path):
    fixed = ACCEPTED[case](tmp_path)
    outcome = run("register", fixed, pair.moving, "--output", tmp_path / "out", *FAST)
    check_registered(outcome, tmp_path / "out", pair.moving)


@pytest.mark.parametrize(
    "case", ["NaN and infinity in nii", "negative like CT", "one hot voxel", "1 x 1 x 6 mm", "MGZ"]
)
def test_accepted_as_moving(case, run, pair, tmp_path):
    moving = ACCEPTED[case](tmp_path)
    outcome = run("register", pair.fixed, moving, "--output", tmp_path / "out", *FAST)
    check_registered(outcome, tmp_path / "out", None)


@pytest.mark.parametrize("case", ACCEPTED_ELSEWHERE)
def test_accepted_from_elsewhere(case, run, pair, tmp_path):
    fixed = ACCEPTED_ELSEWHERE[case](tmp_path)
    outcome = run("register", fixed, pair.moving, "--output", tmp_path / "out", "--refine", "1")
    check_registered(outcome, tmp_path / "out", pair.moving)


def check_registered(outcome: Outcome, folder: Path, moving: Path | None) -> None:
    """The command ended well, the files are whole, and the brains lie upon each other."""
    assert outcome.complaints == []
    assert outcome.code == 0
    assert leftovers(folder.parent) == []
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["folded_voxels"] == 0
    assert report["similarity_after"]["correlation"] > 0.85, report["similarity_after"]
    warped = array_of(folder / "warped.nii.gz")
    assert np.isfinite(warped).all()
    if moving:
        field = sitk.ReadTransform(str(folder / "transform.h5"))
        difference = np.abs(resampled(moving, field, folder / "warped.nii.gz") - warped)
        assert np.quantile(difference, 0.98) < 1.0  # of 200; the two differ where one ends at half a voxel
