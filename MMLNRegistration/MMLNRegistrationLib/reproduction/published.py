"""What the paper says: its figures, its numbers of subjects, and which structures are scored.

The figures are published results of Zheng, Cao, Duan, Cao, Lian, "Multi-strategy mutual learning network for
deformable medical image registration", Neurocomputing 501 (2022), 102-112; none of them was measured with this
program.
"""

from __future__ import annotations

from typing import NamedTuple

from .networks import LAPIRN, MMLN, WITH_CORE

CITATION = (
    "Zheng, Cao, Duan, Cao, Lian: Multi-strategy mutual learning network for deformable medical image registration, "
    "Neurocomputing 501 (2022), 102-112"
)

OASIS, LPBA40 = "OASIS", "LPBA40"
"""The paper's data sets: it trains on the first, and the second tests what was learnt there."""

SUBJECTS = (255, 20, 150)
"""Of OASIS, to train, to validate and to test (section 4.1)."""

ATLASES = 5
"""Test subjects that all others are registered to (section 4.1): 5 x 145 pairs of OASIS, 5 x 35 of LPBA40."""

HIGHEST_LABEL = 35
"""Of the 35-structure maps of neurite-OASIS, which are numbered from 1 on."""

_BOTH_HEMISPHERES = (
    "cerebral white matter",
    "cerebral cortex",
    "lateral ventricle",
    "inferior lateral ventricle",
    "cerebellum white matter",
    "cerebellum cortex",
    "thalamus",
    "caudate",
    "putamen",
    "pallidum",
    "hippocampus",
    "amygdala",
    "accumbens",
    "ventral diencephalon",
)
_LEFT_LABELS = (*range(1, 11), *range(14, 18))
_RIGHT_LABELS = (*range(20, 30), *range(30, 34))

OASIS_STRUCTURES = {
    **{label: f"left {name}" for label, name in zip(_LEFT_LABELS, _BOTH_HEMISPHERES, strict=True)},
    **{label: f"right {name}" for label, name in zip(_RIGHT_LABELS, _BOTH_HEMISPHERES, strict=True)},
}
"""The 28 that are scored, by their labels. The paper scores 28 and does not say which. Of the 35 these are the ones
that both hemispheres have, but for vessels and choroid plexus (18, 19, 34, 35), which are thin; the third and fourth
ventricle and the brain stem (11 to 13) have one label each. All 35 are scored beside them."""


class Published(NamedTuple):
    """A row of one of the paper's tables, as printed there, standard deviations in parentheses; empty: not given.

    network: its name in networks, None for the pairs as they were before. place: which table. folded: voxels with
    |J| <= 0, which section 4.3 calls a percentage. tc: volume ratio of the structures, after / before. seconds: per
    pair. training_gib: of GPU memory.
    """

    data: str
    network: str | None
    place: str
    dice: str
    folded: str = ""
    tc: str = ""
    seconds: str = ""
    training_gib: str = ""


PUBLISHED = (
    Published(OASIS, None, "Table 1", "0.611 (0.019)"),
    Published(OASIS, LAPIRN.name, "Tables 1, 3", "0.783 (0.002)", "0.0043 (0.0006)", "1.008 (0.008)", "0.88", "15.48"),
    Published(
        OASIS, WITH_CORE.name, "Tables 3, 4, four atlases", "0.782 (0.002)", "0.0029 (0.0005)", "1.006 (0.009)", "0.90"
    ),
    Published(OASIS, MMLN.name, "Table 1", "0.791 (0.002)", "0.0016 (0.0006)", "1.015 (0.007)", "0.90", "16.61"),
    Published(OASIS, MMLN.name, "Table 4, four atlases", "0.779 (0.001)", "0.0003 (0.0005)", "1.016 (0.008)", "0.93"),
    Published(LPBA40, None, "Table 2", "0.612 (0.011)"),
    Published(LPBA40, LAPIRN.name, "Table 2", "0.700 (0.007)", "0.0027 (0.0008)", "1.0004 (0.001)", "0.91"),
    Published(LPBA40, MMLN.name, "Table 2", "0.705 (0.006)", "0.0014 (0.0002)", "1.0006 (0.001)", "0.88"),
)
"""Those rows of the paper that belong to the networks trained here."""
