"""Finding scans to train on: every layout by small trees of files, and what is wrong with them in one sentence."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training.datasets import Dataset, Problem, Scan, check_scans, find_scans

SHAPE = (9, 10, 11)


def files(root: Path, *names: str) -> Path:
    """Empty files: finding looks at names only."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def volume(path: Path, shape: tuple[int, ...] = SHAPE, spacing_mm: float = 1.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ones(shape, np.uint8), np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])).to_filename(path)
    return path


def rows(root: Path, dataset: Dataset) -> list[tuple[str, str, str | None, str | None]]:
    """(name, subject, image, labels) of the scans, paths relative to root and all of them absolute."""

    def short(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    return [(scan.name, scan.subject, short(scan.image), short(scan.labels)) for scan in dataset.scans]


def test_bids_takes_t1_images_and_the_label_map_of_the_same_run(tmp_path: Path) -> None:
    anat = "sub-01/ses-1/anat/sub-01_ses-1"
    derived = "derivatives/fmriprep/sub-01/ses-1/anat/sub-01_ses-1"
    files(
        tmp_path,
        "dataset_description.json",
        f"{anat}_run-1_T1w.nii.gz",
        f"{anat}_run-2_T1w.nii.gz",
        f"{anat}_T2w.nii.gz",
        "sub-01/ses-1/func/sub-01_ses-1_bold.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sourcedata/sub-09/anat/sub-09_T1w.nii.gz",
        f"{derived}_run-2_desc-aseg_dseg.nii.gz",
        f"{derived}_run-2_desc-aparcaseg_dseg.nii.gz",
        f"{derived}_run-1_space-MNI152NLin2009cAsym_dseg.nii.gz",
        "derivatives/manual/sub-02/anat/sub-02_dseg.nii.gz",
        "derivatives/manual/sub-03/anat/sub-03_dseg.nii.gz",
        "derivatives/fmriprep/sub-02/anat/sub-02_desc-preproc_T1w.nii.gz",
    )
    dataset = find_scans([tmp_path])
    assert dataset.layouts == ("BIDS",)
    assert rows(tmp_path, dataset) == [
        ("sub-01_ses-1_run-1_T1w", "sub-01", f"{anat}_run-1_T1w.nii.gz", None),
        (
            "sub-01_ses-1_run-2_T1w",
            "sub-01",
            f"{anat}_run-2_T1w.nii.gz",
            f"{derived}_run-2_desc-aparcaseg_dseg.nii.gz",
        ),
        ("sub-01_ses-2_FLAIR", "sub-01", "sub-01/ses-2/anat/sub-01_ses-2_FLAIR.nii", None),
        (
            "sub-02_T1w",
            "sub-02",
            "sub-02/anat/sub-02_T1w.nii.gz",
            "derivatives/manual/sub-02/anat/sub-02_dseg.nii.gz",
        ),
        ("sub-03_dseg", "sub-03", None, "derivatives/manual/sub-03/anat/sub-03_dseg.nii.gz"),
    ]


def test_bids_is_known_by_its_folders_alone_and_a_single_image_needs_no_run(tmp_path: Path) -> None:
    files(
        tmp_path,
        "sub-a/anat/sub-a_acq-mprage_T1w.nii.gz",
        "derivatives/fs/sub-a/anat/sub-a_desc-aseg_dseg.nii.gz",
    )
    dataset = find_scans([tmp_path])
    assert dataset.layouts == ("BIDS",)
    assert rows(tmp_path, dataset) == [
        (
            "sub-a_acq-mprage_T1w",
            "sub-a",
            "sub-a/anat/sub-a_acq-mprage_T1w.nii.gz",
            "derivatives/fs/sub-a/anat/sub-a_desc-aseg_dseg.nii.gz",
        )
    ]


def test_a_derivative_of_bids_gives_its_images_on_their_own_grid(tmp_path: Path) -> None:
    anat = "sub-01/anat/sub-01"
    files(
        tmp_path,
        "dataset_description.json",
        f"{anat}_desc-preproc_T1w.nii.gz",
        f"{anat}_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz",
        f"{anat}_desc-aseg_dseg.nii.gz",
        "sub-02/anat/sub-02_space-MNI152NLin2009cAsym_T1w.nii.gz",
        "sub-02/anat/sub-02_space-MNI152NLin2009cAsym_dseg.nii.gz",
    )
    assert [row[2:] for row in rows(tmp_path, find_scans([tmp_path]))] == [
        (f"{anat}_desc-preproc_T1w.nii.gz", f"{anat}_desc-aseg_dseg.nii.gz"),
        ("sub-02/anat/sub-02_space-MNI152NLin2009cAsym_T1w.nii.gz", None),
    ]


def test_bids_without_anatomical_images_is_refused(tmp_path: Path) -> None:
    files(tmp_path, "dataset_description.json", "sub-01/func/sub-01_bold.nii.gz")
    with pytest.raises(InputError, match="layout of BIDS"):
        find_scans([tmp_path])


def test_oasis_prefers_native_pairs_and_keeps_visits_of_one_subject_together(tmp_path: Path) -> None:
    one, two, three, four = (f"OASIS_OAS1_{name}" for name in ("0001_MR1", "0002_MR1", "0002_MR2", "0003_MR1"))
    names = ("aligned_norm", "aligned_orig", "aligned_seg35", "norm", "orig", "seg35", "seg4", "slice_norm")
    files(
        tmp_path,
        "seg35_labels.txt",
        *(f"{one}/{name}.nii.gz" for name in names),
        *(f"{two}/{name}.nii.gz" for name in names[:3]),
        f"{three}/orig.nii.gz",
        f"{three}/seg35.nii.gz",
        f"{four}/norm.nii.gz",
        f"{four}/aligned_orig.nii.gz",
    )
    dataset = find_scans([tmp_path])
    assert dataset.layouts == ("OASIS",)
    assert rows(tmp_path, dataset) == [
        (one, "OASIS_OAS1_0001", f"{one}/norm.nii.gz", f"{one}/seg35.nii.gz"),
        (two, "OASIS_OAS1_0002", f"{two}/aligned_norm.nii.gz", f"{two}/aligned_seg35.nii.gz"),
        (three, "OASIS_OAS1_0002", f"{three}/orig.nii.gz", f"{three}/seg35.nii.gz"),
        (four, "OASIS_OAS1_0003", f"{four}/norm.nii.gz", None),
    ]
    assert rows(tmp_path, find_scans([tmp_path / one])) == rows(tmp_path, dataset)[:1]


def test_lpba40_pairs_within_one_space(tmp_path: Path) -> None:
    files(
        tmp_path,
        *(f"S01/S01.delineation.{part}" for part in ("skullstripped.hdr", "skullstripped.img.gz")),
        *(f"S01/S01.delineation.structure.label.{part}" for part in ("hdr", "img")),
        "S01/S01.native.mri.nii.gz",
        "train/S02.delineation.skullstripped.nii.gz",
        "label/S02.delineation.structure.label.nii.gz",
        "S03/S03.native.mri.hdr",
        "S03/S03.native.brain.bfc.hdr",
        "S03/tissue/S03.native.tissue.hdr",
        "S04/S04.delineation.structure.label.nii",
    )
    dataset = find_scans([tmp_path])
    assert dataset.layouts == ("LPBA40",)
    assert rows(tmp_path, dataset) == [
        ("S01", "S01", "S01/S01.delineation.skullstripped.hdr", "S01/S01.delineation.structure.label.hdr"),
        (
            "S02",
            "S02",
            "train/S02.delineation.skullstripped.nii.gz",
            "label/S02.delineation.structure.label.nii.gz",
        ),
        ("S03", "S03", "S03/S03.native.brain.bfc.hdr", None),
        ("S04", "S04", None, "S04/S04.delineation.structure.label.nii"),
    ]


@pytest.mark.parametrize("known", ["OASIS_OAS1_0001_MR1/norm.nii.gz", "S01/S01.delineation.mri.hdr"])
def test_a_data_set_mixed_with_others_is_refused_rather_than_half_used(known: str, tmp_path: Path) -> None:
    files(tmp_path, known, "mine/brain7.nii.gz")
    with pytest.raises(InputError, match=r"other volumes, such as mine.brain7\.nii\.gz"):
        find_scans([tmp_path])


def test_table(tmp_path: Path) -> None:
    files(tmp_path, "a/norm.nii.gz", "b/norm.nii.gz", "b/labels.nii.gz", "map.mha", "sub-7_t1.nii")
    table = tmp_path / "scans.csv"
    lines = [
        "image,labels,subject",
        "a/norm.nii.gz,,anna",
        "b/norm.nii.gz,b/labels.nii.gz,",
        ",map.mha,anna",
        f"{tmp_path / 'sub-7_t1.nii'},,",
    ]
    table.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    dataset = find_scans([table])
    assert dataset.layouts == ("table",)
    assert rows(tmp_path, dataset) == [
        ("anna_map", "anna", None, "map.mha"),
        ("anna_norm", "anna", "a/norm.nii.gz", None),
        ("b_norm", "b", "b/norm.nii.gz", "b/labels.nii.gz"),
        ("sub-7_t1", "sub-7", "sub-7_t1.nii", None),
    ]


def test_table_with_one_column(tmp_path: Path) -> None:
    files(tmp_path, "1_t1.nii", "2_t1.nii")
    (tmp_path / "scans.csv").write_text("image\n1_t1.nii\n2_t1.nii\n")
    assert [scan.subject for scan in find_scans([tmp_path / "scans.csv"]).scans] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("subject\nanna\n", "it needs image, labels or both"),
        ("image,label\na.nii,a.nii\n", "it needs image, labels or both"),
        ("image;labels\na.nii;a.nii\n", "it needs image, labels or both"),
        ("image,labels\na.nii,gone.nii\n", "line 2: .*gone.nii does not exist"),
        ("image,labels\na.nii,\n,\n", "line 3: names neither"),
        ("image,labels\na.nii\n", "more or fewer fields"),
        ("image,labels\n", "no rows"),
        ("", "no rows"),
        ("image\na.nii\n./a.nii\n", "found twice"),
        ("image\n\xff\n", "not a CSV table"),
    ],
)
def test_bad_tables(text: str, complaint: str, tmp_path: Path) -> None:
    files(tmp_path, "a.nii")
    (tmp_path / "scans.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=complaint):
        find_scans([tmp_path / "scans.csv"])


def test_the_same_subjects_in_two_paths_get_names_of_their_own(tmp_path: Path) -> None:
    files(
        tmp_path, "one/sub-01/anat/sub-01_T1w.nii", "two/sub-01/anat/sub-01_T1w.nii", "two/sub-02/anat/sub-02_T1w.nii"
    )
    files(tmp_path, "x/data/7.nii", "y/data/7.nii")
    bids = find_scans([tmp_path / "one", tmp_path / "two"])
    assert bids.layouts == ("BIDS", "BIDS")
    assert [(scan.name, scan.subject) for scan in bids.scans] == [
        ("one_sub-01_T1w", "sub-01"),
        ("sub-02_T1w", "sub-02"),
        ("two_sub-01_T1w", "sub-01"),
    ]
    assert [scan.name for scan in find_scans([tmp_path / "x/data", tmp_path / "y/data"]).scans] == [
        "x_data_7",
        "y_data_7",
    ]


def test_nothing_is_used_twice(tmp_path: Path) -> None:
    files(tmp_path, "inner/1.nii", "2.nii")
    for paths in ([tmp_path, tmp_path], [tmp_path, tmp_path / "inner"]):
        with pytest.raises(InputError, match="found twice"):
            find_scans(paths)


def test_names_that_no_folder_tells_apart_are_refused(tmp_path: Path) -> None:
    files(tmp_path, "1.nii", "1.nii.gz")
    with pytest.raises(InputError, match=r"1\.nii and .*1\.nii\.gz would both be called"):
        find_scans([tmp_path])


def test_paths_without_data(tmp_path: Path) -> None:
    files(tmp_path, "notes/readme.txt", "notes/.hidden.nii", "notes/.partial-abc.nii.gz", "notes/.git/7.nii", "one.nii")
    for paths, complaint in (
        ([], "No data was given"),
        ([tmp_path / "gone"], "does not exist"),
        ([tmp_path / "notes"], "holds no volume"),
        ([tmp_path / "one.nii"], "neither a folder nor a CSV table"),
    ):
        with pytest.raises(InputError, match=complaint):
            find_scans(paths)


def test_the_check_names_each_bad_file_once(tmp_path: Path) -> None:
    volume(tmp_path / "1_t1.nii.gz")
    volume(tmp_path / "1_t2.nii.gz", spacing_mm=2.0)
    volume(tmp_path / "1_seg.nii.gz")
    volume(tmp_path / "2_t1.nii.gz", shape=(*SHAPE, 3))
    volume(tmp_path / "3_t1.nii.gz", shape=(9, 9, 1))
    (tmp_path / "4_t1.nii.gz").write_bytes(b"no volume")
    (tmp_path / "5_t1.nii.gz").touch()
    (tmp_path / "6_t1.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    contradiction = volume(tmp_path / "7_t1.nii")
    with contradiction.open("r+b") as file:
        file.seek(80)
        file.write(np.float32(-3.0).tobytes())
    problems = check_scans(find_scans([tmp_path]))
    assert [problem.path.name for problem in problems] == [
        "1_seg.nii.gz",
        *(f"{number}_t1.nii.gz" for number in range(2, 7)),
        "7_t1.nii",
    ]
    wanted = ["grid of 1_t2", "4D", "9 x 9 x 1 voxels", "cannot be read", "is empty", "does not exist", "voxel size"]
    for problem, words in zip(problems, wanted, strict=True):
        assert words in problem.sentence
        assert problem.path.parent == tmp_path


def test_the_check_lets_every_format_pass(tmp_path: Path) -> None:
    shape, affine = SHAPE, np.diag([1.0, 1.0, 1.0, 1.0])
    one = io.read_image(_ramp(tmp_path / "1.nii.gz"))
    for name in ("2.nrrd", "3.mha", "4.nii"):
        io.write_volume(one, tmp_path / name)
    nibabel.MGHImage(np.ones(shape, np.uint8), affine).to_filename(tmp_path / "5.mgz")
    nibabel.AnalyzeImage(np.ones((*shape, 1), np.int16), affine).to_filename(tmp_path / "6.img")
    nibabel.Nifti1Image(np.ones((*shape, 1), np.int16), affine).to_filename(tmp_path / "7.nii")
    dataset = find_scans([tmp_path])
    assert len(dataset.scans) == 7
    assert check_scans(dataset) == ()


def test_lpba40_as_it_is_published_can_be_read(tmp_path: Path) -> None:
    """Analyze, 4D with one volume, of which only the voxels are packed."""
    import gzip

    voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(*SHAPE, 1)
    for part in ("skullstripped", "structure.label"):
        img = tmp_path / f"S01/S01.delineation.{part}.img"
        img.parent.mkdir(exist_ok=True)
        nibabel.AnalyzeImage(voxels, np.eye(4)).to_filename(img)
        img.with_name(f"{img.name}.gz").write_bytes(gzip.compress(img.read_bytes()))
        img.unlink()
    dataset = find_scans([tmp_path])
    assert check_scans(dataset) == ()
    (scan,) = dataset.scans
    assert scan.image is not None
    assert io.read_image(scan.image).array_kji.shape == SHAPE[::-1]


def test_a_file_without_rights_is_a_problem_and_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("MMLNRegistrationLib.training.datasets.read_header", refuse)
    path = tmp_path / "1.nii"
    dataset = Dataset(("folder",), (Scan("1", "1", path, None),))
    assert check_scans(dataset) == (Problem(path, "1.nii cannot be read (Permission denied); check its rights."),)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes for a file name")
def test_names_that_are_not_unicode_are_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.nii")).touch()
    with pytest.raises(InputError, match="is not Unicode"):
        find_scans([tmp_path])


def _ramp(path: Path) -> Path:
    array = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(path)
    return path
