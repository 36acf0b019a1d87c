"""What the FreeSurfer labels of a head show: tissue, whether it is brain, and its brightness in a T1 scan.

Left and right labels share a tissue, so that both sides of a painted brain look alike. The extra-cerebral labels are
those of the whole-head label maps published with SynthSeg (Billot et al. 2023), numbered as in SAMSEG's head model.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError


class Tissue(NamedTuple):
    """Labels that are painted alike."""

    name: str
    labels: tuple[int, ...]
    t1_mean: float
    """Typical brightness in a T1 scan whose 99.5 percentile is 1: read off the modes of brain scans' histograms, for
    small structures placed between cortex and white matter as MPRAGE shows them."""
    is_brain: bool


TISSUES = (
    Tissue("background", (0,), 0.0, False),
    Tissue("cerebral white matter", (2, 41), 0.90, True),
    Tissue("cerebral cortex", (3, 42, *range(1000, 1036), *range(2000, 2036)), 0.56, True),
    Tissue("ventricles", (4, 5, 14, 15, 43, 44, 72), 0.15, True),
    Tissue("cerebellar white matter", (7, 46), 0.86, True),
    Tissue("cerebellar cortex", (8, 47), 0.57, True),
    Tissue("thalamus", (10, 49), 0.75, True),
    Tissue("caudate", (11, 50), 0.62, True),
    Tissue("putamen", (12, 51), 0.67, True),
    Tissue("pallidum", (13, 52), 0.80, True),
    Tissue("brain stem", (16,), 0.82, True),
    Tissue("hippocampus", (17, 53), 0.58, True),
    Tissue("amygdala", (18, 54), 0.56, True),
    Tissue("accumbens", (26, 58), 0.60, True),
    Tissue("ventral diencephalon", (28, 60), 0.78, True),
    Tissue("white matter lesion", (25, 57, 77), 0.70, True),
    Tissue("vessel in the brain", (30, 62), 0.50, True),
    Tissue("choroid plexus", (31, 63, 136, 137, 163, 164), 0.35, True),
    Tissue("optic chiasm", (85,), 0.62, True),
    Tissue("fluid around the brain", (24,), 0.18, False),
    Tissue("spinal cord", (502,), 0.75, False),
    Tissue("eyeballs", (506,), 0.20, False),
    Tissue("other soft tissue", (507,), 0.50, False),
    Tissue("eye muscles", (508,), 0.50, False),
    Tissue("mucosa", (509,), 0.45, False),
    Tissue("skin", (511,), 0.85, False),
    Tissue("arteries", (512,), 0.70, False),
    Tissue("veins", (514,), 0.40, False),
    Tissue("cortical bone", (515,), 0.08, False),
    Tissue("cancellous bone", (516,), 0.60, False),
    Tissue("optic nerve", (530,), 0.55, False),
)

BACKGROUND = 0
"""Index in TISSUES of what is black in every image."""


def _table() -> Tensor:
    table = torch.full((max(max(tissue.labels) for tissue in TISSUES) + 1,), -1)
    for index, tissue in enumerate(TISSUES):
        table[list(tissue.labels)] = index
    return table


_TISSUE_OF_LABEL = _table()
_IS_BRAIN = torch.tensor([tissue.is_brain for tissue in TISSUES])


def tissues_of(labels: Tensor) -> Tensor:
    """Index in TISSUES of each label, int64, of the same shape. Raises InputError for an unknown label."""
    indices = labels.long()
    if indices.numel() == 0 or int(indices.min()) < 0 or int(indices.max()) >= len(_TISSUE_OF_LABEL):
        known = (indices >= 0) & (indices < len(_TISSUE_OF_LABEL))
    else:
        tissues = _TISSUE_OF_LABEL.to(labels.device)[indices]
        known = tissues >= 0
        if bool(known.all()):
            return tissues
    unknown = sorted(set(indices[~known].tolist()))[:5]
    raise InputError(
        f"The label map holds {', '.join(map(str, unknown)) or 'nothing'}, which the synthesis cannot paint; "
        "give FreeSurfer labels (aseg, aparc, or the whole-head maps published with SynthSeg)."
    )


def brain_labels(labels: Tensor) -> Tensor:
    """bool of the same shape: brain and its ventricles, not the fluid around it nor the rest of the head.

    Raises InputError for an unknown label.
    """
    return _IS_BRAIN.to(labels.device)[tissues_of(labels)]
