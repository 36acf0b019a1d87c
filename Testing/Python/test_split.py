"""Splitting by subject: nobody on both sides, the same draw everywhere, and enough on either side."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.training.datasets import Dataset, Scan
from MMLNRegistrationLib.training.split import Split, split_by_subject

IMAGE, LABELS = Path("image.nii"), Path("labels.nii")


def dataset(labelled: int = 0, unlabelled: int = 0, maps: int = 0, scans_each: int = 1) -> Dataset:
    kinds = (("l", labelled, IMAGE, LABELS), ("u", unlabelled, IMAGE, None), ("m", maps, None, LABELS))
    return Dataset(
        ("folder",),
        tuple(
            Scan(f"{kind}{number:03d}", f"{kind}{number:03d}_{scan}", image, labels)
            for kind, count, image, labels in kinds
            for number in range(count)
            for scan in range(scans_each)
        ),
    )


def test_the_draw_is_the_same_on_every_machine() -> None:
    assert split_by_subject(dataset(unlabelled=12), 0.25, seed=7) == Split(
        training=("u001", "u002", "u004", "u005", "u006", "u007", "u008", "u010", "u011"),
        validation=("u000", "u003", "u009"),
    )


@given(
    labelled=st.integers(0, 12),
    unlabelled=st.integers(0, 12),
    maps=st.integers(0, 5),
    scans_each=st.integers(1, 3),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_every_split_keeps_its_promises(
    labelled: int, unlabelled: int, maps: int, scans_each: int, share: float, seed: int
) -> None:
    data = dataset(labelled, unlabelled, maps, scans_each)
    subjects = {scan.subject for scan in data.scans}
    if labelled + unlabelled < 2 or len(subjects) < 4:
        with pytest.raises(InputError, match="can be spared for validation"):
            split_by_subject(data, share, seed)
        return
    split = split_by_subject(data, share, seed)
    assert {*split.training} | {*split.validation} == subjects
    assert not {*split.training} & {*split.validation}
    assert min(len(split.training), len(split.validation)) >= 2
    assert not any(subject.startswith("m") for subject in split.validation)
    wanted = round(share * (labelled + unlabelled))
    assert len(split.validation) == min(max(wanted, 2), labelled + unlabelled, len(subjects) - 2)
    if labelled >= 4:
        assert sum(subject.startswith("l") for subject in split.validation) >= 2
    assert split == split_by_subject(Dataset(data.layouts, data.scans[::-1]), share, seed)


def test_seeds_draw_differently_and_evenly() -> None:
    drawn = [
        subject for seed in range(200) for subject in split_by_subject(dataset(unlabelled=10), 0.2, seed).validation
    ]
    assert len(drawn) == 400
    assert all(15 < drawn.count(f"u{number:03d}") < 65 for number in range(10))


def test_a_subject_more_moves_at_most_one_to_the_other_side() -> None:
    small, large = (split_by_subject(dataset(unlabelled=count), 0.2, 3).validation for count in (20, 21))
    assert len(small) == len(large) == 4
    assert len({*small} & {*large}) >= 3


def test_labelled_and_unlabelled_subjects_are_drawn_in_the_same_share() -> None:
    validation = split_by_subject(dataset(labelled=20, unlabelled=40, maps=10), 0.2, 0).validation
    assert [sum(subject.startswith(kind) for subject in validation) for kind in "lum"] == [4, 8, 0]


def test_a_share_of_nothing_trains_all() -> None:
    assert split_by_subject(dataset(maps=3), 0.0, 0) == Split(("m000", "m001", "m002"), ())


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_impossible_shares(share: float) -> None:
    with pytest.raises(InputError, match="validation share"):
        split_by_subject(dataset(unlabelled=10), share, 0)


def test_names_in_any_script_can_be_drawn() -> None:
    scans = tuple(Scan(name, name, IMAGE, None) for name in ("脑", "Ägypten", "a b", "#", "sub-01"))
    assert len(split_by_subject(Dataset(("table",), scans), 0.4, 1).validation) == 2
