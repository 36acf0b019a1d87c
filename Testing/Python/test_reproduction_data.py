"""Who trains, validates and is tested in a reproduction, and which folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_cases import cut, write
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.reproduction.data import draw_atlases, scans_of, shares, split_oasis, write_scan_table
from MMLNRegistrationLib.reproduction.published import HIGHEST_LABEL, LPBA40, OASIS, OASIS_STRUCTURES, PUBLISHED
from MMLNRegistrationLib.training.datasets import find_scans
from reproduction_cases import write_lpba40, write_oasis
from training_cases import GRID, labels_of, write_brains

NAMES = tuple(f"OASIS_OAS1_{number:04}" for number in range(1, 426))


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [(425, (255, 20, 150)), (414, (249, 19, 146)), (850, (510, 40, 300)), (20, (11, 2, 7)), (10, (4, 2, 4))],
)
def test_shares_are_those_of_the_paper(subjects: int, expected: tuple[int, int, int]) -> None:
    assert shares(subjects) == expected
    assert sum(expected) == subjects


def test_the_split_is_by_subject_seeded_and_the_papers_in_number() -> None:
    split = split_oasis(NAMES, 5, seed=0)
    parts = [split.training, split.validation, split.test]
    assert [len(part) for part in parts] == [255, 20, 150]
    assert sorted(name for part in parts for name in part) == list(NAMES)
    assert len(split.atlases) == 5
    assert set(split.atlases) < set(split.test)
    assert split == split_oasis(NAMES[::-1], 5, seed=0)
    other = split_oasis(NAMES, 5, seed=1)
    assert other.test != split.test
    assert other.atlases != split.atlases
    assert list(split.test) != list(NAMES[:150])


def test_too_few_subjects_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"OASIS has 12 subjects .* of which 4 would be tested on, 5 of them as atlases"
    ):
        split_oasis(NAMES[:12], 5, seed=0)
    with pytest.raises(InputError, match="give the whole data set"):
        split_oasis(NAMES[:3], 0, seed=0)
    with pytest.raises(InputError, match="LPBA40 has 5 subjects"):
        draw_atlases(("S01", "S02", "S03", "S04", "S05"), 5, seed=0)
    assert len(draw_atlases(("S01", "S02", "S03"), 2, seed=0)) == 2


def test_28_structures_in_pairs_are_scored() -> None:
    left, right = (
        {name.partition(" ")[2]: label for label, name in OASIS_STRUCTURES.items() if name.startswith(side)}
        for side in ("left ", "right ")
    )
    assert len(OASIS_STRUCTURES) == 28
    assert list(left) == list(right)
    assert (left["cerebral cortex"], right["cerebral cortex"]) == (2, 21)
    assert (left["hippocampus"], right["hippocampus"]) == (14, 30)
    assert not {11, 12, 13, 18, 19, 34, 35} & set(OASIS_STRUCTURES)
    assert max(OASIS_STRUCTURES) < HIGHEST_LABEL


def test_the_papers_figures_of_the_networks_trained_here() -> None:
    mmln = [row for row in PUBLISHED if row.network == "mmln"]
    assert [row.dice.split()[0] for row in mmln] == ["0.791", "0.779", "0.705"]
    assert [row.dice.split()[0] for row in PUBLISHED if row.network is None] == ["0.611", "0.612"]
    assert {row.training_gib for row in PUBLISHED if row.training_gib} == {"15.48", "16.61"}


def test_a_subject_counts_once_and_only_with_a_label_map(tmp_path: Path) -> None:
    folder = write_oasis(tmp_path / "oasis", 3)
    second = folder / "OASIS_OAS1_0001_MR2"
    second.mkdir()
    for name in ("norm", "seg35"):
        (second / f"{name}.nii.gz").write_bytes((folder / f"OASIS_OAS1_0001_MR1/{name}.nii.gz").read_bytes())
    (folder / "OASIS_OAS1_0003_MR1" / "seg35.nii.gz").unlink()
    scans = scans_of(folder, OASIS)
    assert {name: scan.image and scan.image.parent.name for name, scan in scans.items()} == {
        "OASIS_OAS1_0001": "OASIS_OAS1_0001_MR1",
        "OASIS_OAS1_0002": "OASIS_OAS1_0002_MR1",
    }
    assert list(scans_of(write_lpba40(tmp_path / "lpba40", 2), LPBA40)) == ["S01", "S02"]


def test_a_table_of_scans_is_read_as_it_was_meant(tmp_path: Path) -> None:
    scans = scans_of(write_oasis(tmp_path / 'a, "odd" name', 3), OASIS)
    chosen = ("OASIS_OAS1_0003", "OASIS_OAS1_0001")
    write_scan_table(tmp_path / "training.csv", scans, chosen)
    again = find_scans([tmp_path / "training.csv"]).scans
    assert {scan.subject: (scan.image, scan.labels) for scan in again} == {
        name: (scans[name].image, scans[name].labels) for name in chosen
    }
    with pytest.raises(InputError, match="cannot be written"):
        write_scan_table(tmp_path / "missing" / "training.csv", scans, chosen)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    plain, lpba40 = write_brains(tmp_path / "plain", ("anna", "ben")), write_lpba40(tmp_path / "lpba40", 2)
    for folder, layout in ((plain, OASIS), (lpba40, OASIS), (plain, LPBA40)):
        with pytest.raises(InputError, match="does not have the layout of") as caught:
            scans_of(folder, layout)
        assert str(folder) in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        scans_of(tmp_path / "nowhere", OASIS)


def test_damaged_files_are_named_before_anything_begins(tmp_path: Path) -> None:
    folder = write_oasis(tmp_path / "oasis", 3)
    cut(folder / "OASIS_OAS1_0002_MR1" / "norm.nii.gz", 0.01)
    write(folder / "OASIS_OAS1_0003_MR1" / "seg35.nii.gz", labels_of(1)[:10], GRID)
    with pytest.raises(InputError, match=r"0002_MR1: norm\.nii\.gz.*\(2 files are bad\)") as caught:
        scans_of(folder, OASIS)
    assert str(caught.value).endswith("or take its scan out of the folder.")
