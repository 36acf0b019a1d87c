"""Folders of volumes in nobody's layout: pairs, subjects and names from the names of files."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training.datasets import find_scans
from test_datasets import files, rows


def found(root: Path, *names: str) -> list[tuple[str, str, str | None, str | None]]:
    dataset = find_scans([files(root, *names)])
    assert dataset.layouts == ("folder",)
    return rows(root, dataset)


@pytest.mark.parametrize(
    ("image", "labels", "subject"),
    [
        ("1000_t1.nii.gz", "1000_labels.nii.gz", "1000"),
        ("1000_t1.nii.gz", "1000_t1_seg.nii.gz", "1000"),
        ("1000.nii", "1000-label.nrrd", "1000"),
        ("1000_norm.mgz", "1000_aparc+aseg.mgz", "1000"),
        ("img_07.mha", "seg_07.mha", "07"),
        ("brain_07.nhdr", "labelmap_07.mhd", "07"),
        ("sub-A1_ses-2_T1w.nii.gz", "sub-A1_ses-2_desc-aseg_dseg.nii.gz", "sub-A1"),
        ("1000_MR1_t1.nii", "1000_MR1_labels.nii", "1000"),
        ("OLD_T1.NII.GZ", "OLD_LABELS.NII.GZ", "OLD"),
        ("images/1000.nii", "labels/1000.nii", "1000"),
        ("images/1000_t1.nii", "labels/1000_t1.nii", "1000"),
        ("a/b/1000_t1.nii", "a/b/manual/segmentations/1000.nii", None),
        ("1000.nii", "labels/1000.nii", "1000"),
        ("imagesTr/case_0000.nii.gz", "labelsTr/case.nii.gz", "case"),
        ("imagesTr/OASIS_0005_0000.nii.gz", "labelsTr/OASIS_0005_0000.nii.gz", "OASIS_0005"),
        ("train/images/7.nii", "train/labels/7.nii", "7"),
        ("bert/mri/norm.mgz", "bert/mri/aseg.mgz", "bert"),
    ],
)
def test_pairs(image: str, labels: str, subject: str | None, tmp_path: Path) -> None:
    scans = found(tmp_path / "data", image, labels)
    if subject is None:  # another folder, not a parallel one
        assert [row[2:] for row in scans] == [(None, labels), (image, None)]
    else:
        assert [row[1:] for row in scans] == [(subject, image, labels)]


def test_contrasts_of_one_subject_share_its_label_map(tmp_path: Path) -> None:
    assert found(tmp_path, "1_t1.nii", "1_t2.nii", "1_seg.nii", "2_t1.nii", "1_brain_mask.nii") == [
        ("1_t1", "1", "1_t1.nii", "1_seg.nii"),
        ("1_t2", "1", "1_t2.nii", "1_seg.nii"),
        ("2_t1", "2", "2_t1.nii", None),
    ]
    channels = found(tmp_path / "nn", "imagesTr/a_0000.nii", "imagesTr/a_0001.nii", "imagesTr/b_0000.nii")
    assert [row[:2] for row in channels] == [("a_0000", "a"), ("a_0001", "a"), ("b_0000", "b")]


def test_numbers_of_subjects_are_no_channels(tmp_path: Path) -> None:
    names = [f"imagesTr/brain_000{number}.nii" for number in range(1, 4)]
    assert [row[1] for row in found(tmp_path, *names)] == ["0001", "0002", "0003"]


def test_label_maps_alone(tmp_path: Path) -> None:
    assert found(tmp_path / "maps", "labelmap_01.nii.gz", "9_seg.nii", "images/8.nii", "labels/7.nii") == [
        ("7", "7", None, "labels/7.nii"),
        ("8", "8", "images/8.nii", None),
        ("9_seg", "9", None, "9_seg.nii"),
        ("labelmap_01", "01", None, "labelmap_01.nii.gz"),
    ]
    assert found(tmp_path / "labels", "1000.nii", "1001.nii") == [
        ("1000", "1000", None, "1000.nii"),
        ("1001", "1001", None, "1001.nii"),
    ]


def test_folders_tell_subjects_and_names_where_the_files_do_not(tmp_path: Path) -> None:
    assert found(tmp_path / "generic", "anna/t1.nii", "anna/seg.nii", "ben/t1.nii", "sub-3/x/t1.nii") == [
        ("anna_t1", "anna", "anna/t1.nii", "anna/seg.nii"),
        ("ben_t1", "ben", "ben/t1.nii", None),
        ("sub-3_x_t1", "sub-3", "sub-3/x/t1.nii", None),
    ]
    assert [row[:2] for row in found(tmp_path / "stem", "anna/export.nii", "ben/export.nii")] == [
        ("anna_export", "anna"),
        ("ben_export", "ben"),
    ]
    sessions = found(tmp_path / "visits", "anna/ses-1/t1.nii", "anna/ses-2/t1.nii", "ben/MR1/t1.nii", "ben/T2/t1.nii")
    assert [row[:2] for row in sessions] == [
        ("anna_ses-1_t1", "anna"),
        ("anna_ses-2_t1", "anna"),
        ("ben_MR1_t1", "ben"),
        ("ben_T2_t1", "ben"),
    ]


def test_the_same_stem_in_two_folders_is_one_subject(tmp_path: Path) -> None:
    """It may be two, but to hold one person's scans on both sides of the split would be worse."""
    assert [row[:2] for row in found(tmp_path, "before/1_t1.nii", "after/1_t1.nii", "after/2_t1.nii")] == [
        ("2_t1", "2"),
        ("after_1_t1", "1"),
        ("before_1_t1", "1"),
    ]


def test_two_label_maps_of_one_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1_aseg\.nii and .*1_labels\.nii are both label maps"):
        found(tmp_path, "1_t1.nii", "1_labels.nii", "1_aseg.nii")


def test_names_are_safe_and_unicode_is_kept(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "Schädel")
    scans = found(
        tmp_path, "脑 01_t1.nii", f"{apart}_t1.nii", f"{unicodedata.normalize('NFC', apart)}_seg.nii", "a#b;c.nii"
    )
    assert [row[0] for row in scans] == ["Schädel_t1", "a-b-c", "脑-01_t1"]
    assert [row[1] for row in scans] == ["Schädel", "a#b;c", "脑 01"]
    assert scans[0][3] == "Schädel_seg.nii"


def test_names_differ_by_more_than_case(tmp_path: Path) -> None:
    assert [row[0] for row in found(tmp_path, "x/Anna.nii", "y/anna.nii")] == ["x_Anna", "y_anna"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    store = files(tmp_path / "store", "1_t1.nii", "2_t1.nii")
    data = files(tmp_path / "data", "3_t1.nii")
    (data / "linked").symlink_to(store, target_is_directory=True)
    (data / "again").symlink_to(data, target_is_directory=True)
    (store / "up").symlink_to(data, target_is_directory=True)
    (data / "self").symlink_to(data / "self")
    scans = rows(tmp_path, find_scans([data]))
    assert [row[0] for row in scans] == ["1_t1", "2_t1", "3_t1"]
    assert [row[2] for row in scans] == ["data/linked/1_t1.nii", "data/linked/2_t1.nii", "data/3_t1.nii"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match=r"cannot be listed \(Permission denied\)"):
        find_scans([tmp_path])
