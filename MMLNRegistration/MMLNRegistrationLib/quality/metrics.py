"""Measures of a registration against labels and against itself. Pure functions; units in the names.

Dice of label l: 2 |A_l and B_l| / (|A_l| + |B_l|), on the fixed grid, labels carried by the nearest voxel.
TC of label l (the paper's): volume of the carried structure / volume in the moving image, both in mm3.
Volume ratio: volume of the carried structure / volume of the fixed one.
Inverse error: |inverse(x + u(x)) - x| in mm at the voxels of the foreground.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pipeline.volume import Volume
from ..spatial.geometry import Geometry


class Structures(NamedTuple):
    """Which labels belong together and which count on their own."""

    coarse: Mapping[int, str]
    """label -> name of the structure it is a part of; labels that share one are summed."""
    fine: tuple[int, ...]
    """Labels scored one by one."""


class Errors(NamedTuple):
    """A distribution of distances."""

    median_mm: float
    p95_mm: float


def label_counts(labels: NDArray[np.integer]) -> dict[int, int]:
    """Voxels of every label but 0."""
    values, counts = np.unique(labels, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True) if value != 0}


def dice(first: NDArray[np.integer], second: NDArray[np.integer], labels: Iterable[int]) -> dict[int, float]:
    """Dice of each given label that occurs in at least one of two maps of the same shape."""
    first_counts, second_counts = label_counts(first), label_counts(second)
    both_counts = label_counts(first[first == second])
    return {
        label: 2.0 * both_counts.get(label, 0) / (first_counts.get(label, 0) + second_counts.get(label, 0))
        for label in labels
        if first_counts.get(label, 0) + second_counts.get(label, 0)
    }


def merged(labels: NDArray[np.integer], coarse: Mapping[int, str]) -> NDArray[np.int32]:
    """A label map of structures: those sharing a name become one label, numbered from 1 in order of the names."""
    numbers = {name: number for number, name in enumerate(sorted(set(coarse.values())), start=1)}
    known = np.array(sorted(coarse))
    merged_numbers = np.array([numbers[coarse[label]] for label in known.tolist()], dtype=np.int32)
    position = np.searchsorted(known, labels).clip(max=len(known) - 1)
    return np.where(known[position] == labels, merged_numbers[position], 0).astype(np.int32)


def mean_dice(first: NDArray[np.integer], second: NDArray[np.integer], labels: Iterable[int]) -> float:
    """Mean of dice over the labels that occur; not a number when none does."""
    values = list(dice(first, second, labels).values())
    return float(np.mean(values)) if values else float("nan")


def volumes_mm3(labels: Volume) -> dict[int, float]:
    """Volume of every label but 0."""
    voxel_mm3 = abs(np.linalg.det(labels.geometry.ras_from_ijk[:3, :3]))
    return {label: count * voxel_mm3 for label, count in label_counts(labels.array_kji).items()}


def mean_ratio(numerator: Mapping[int, float], denominator: Mapping[int, float]) -> float:
    """Mean over the labels of the denominator of numerator / denominator, volumes or voxels; not a number without."""
    ratios = [numerator.get(label, 0.0) / volume for label, volume in denominator.items()]
    return float(np.mean(ratios)) if ratios else float("nan")


def mean_volume_ratio(numerator: Volume, denominator: Volume) -> float:
    """Mean over the labels of the denominator of their volume ratio: TC, or warped against fixed."""
    return mean_ratio(volumes_mm3(numerator), volumes_mm3(denominator))


def errors(distances_mm: NDArray[np.floating]) -> Errors:
    """Median and 95th percentile."""
    return Errors(float(np.median(distances_mm)), float(np.percentile(distances_mm, 95)))


def voxel_points_ras(geometry: Geometry, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 3) world positions of the voxels in mask, mm."""
    index_ijk = np.argwhere(mask)[:, ::-1]
    return index_ijk @ geometry.ras_from_ijk[:3, :3].T + geometry.ras_from_ijk[:3, 3]
