"""Who is trained on and who validates: whole subjects, drawn by a seed, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InputError
from .datasets import Dataset

_MINIMUM_SUBJECTS = 2
"""A pair of different subjects is the least that either side can work with."""


@dataclass(frozen=True)
class Split:
    """Subjects by name, sorted; no subject is on both sides."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def split_by_subject(dataset: Dataset, validation_share: float, seed: int) -> Split:
    """Draw about validation_share (0 to below 1) of the subjects with images for validation, at least two.

    Subjects with and without label maps are drawn in the same share, but two with label maps validate if at least
    four have them, as only they give a Dice. Subjects of label maps alone always train, and two subjects are always
    left to train. With a share of 0 all train. The draw depends on the names of the subjects, the share and the seed.
    Raises InputError when the share is impossible or there are too few subjects for it.
    """
    if not 0 <= validation_share < 1:
        raise InputError(f"The validation share is {validation_share:g}; give a number from 0 to below 1.")
    subjects = {scan.subject for scan in dataset.scans}
    with_image = {scan.subject for scan in dataset.scans if scan.image}
    labelled = {scan.subject for scan in dataset.scans if scan.image and scan.labels}
    if validation_share == 0:
        return Split(tuple(sorted(subjects)), ())
    most = min(len(with_image), len(subjects) - _MINIMUM_SUBJECTS)
    if most < _MINIMUM_SUBJECTS:
        raise InputError(
            f"Of {len(subjects)} subjects, {len(with_image)} with images, none can be spared for validation: it takes "
            "two with images, and two more to train; add scans, or set the validation share to 0."
        )
    count = min(max(round(validation_share * len(with_image)), _MINIMUM_SUBJECTS), most)
    fewest_labelled = _MINIMUM_SUBJECTS if len(labelled) >= 2 * _MINIMUM_SUBJECTS else 0
    count_labelled = min(max(round(validation_share * len(labelled)), fewest_labelled), count)
    count_labelled = max(count_labelled, count - len(with_image - labelled))
    validation = {
        *in_drawn_order(labelled, seed)[:count_labelled],
        *in_drawn_order(with_image - labelled, seed)[: count - count_labelled],
    }
    return Split(tuple(sorted(subjects - validation)), tuple(sorted(validation)))


def in_drawn_order(subjects: Iterable[str], seed: int) -> list[str]:
    """All of them, in the order of a hash: unlike a shuffle, who comes first barely changes when one is added."""
    return sorted(subjects, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
