"""How large the structures of a label map are, as a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..pipeline.volume import Volume
from .metrics import label_counts


class StructureVolume(NamedTuple):
    """One structure: its label, its name (empty when none is known), its voxels, and its volume in millilitres."""

    label: int
    name: str
    voxels: int
    ml: float


def structure_volumes(labels: Volume, names: Mapping[int, str], expected: Iterable[int]) -> list[StructureVolume]:
    """The structures that occur and those that are expected, in the order of their labels; 0 is none."""
    counts = label_counts(labels.array_kji)
    voxel_ml = abs(float(np.linalg.det(labels.geometry.ras_from_ijk[:3, :3]))) / 1000
    return [
        StructureVolume(label, names.get(label, ""), counts.get(label, 0), counts.get(label, 0) * voxel_ml)
        for label in sorted({*counts, *expected} - {0})
    ]


def write_structure_volumes(volumes: Sequence[StructureVolume], path: Path) -> None:
    """Write them as CSV with a header, in UTF-8. Raises OSError."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(StructureVolume._fields)
        writer.writerows((*row[:3], f"{row.ml:.6g}") for row in volumes)
