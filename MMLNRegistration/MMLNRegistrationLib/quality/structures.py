"""Measures of one structure at a time: overlap, volumes, and what the map does inside of it.

Labels come in layers, label maps of their own, so that structures may overlap; a label means the same in all of them.
Dice is that of metrics.dice. TC is the volume of the carried structure over its volume in the moving image (the
paper's), volume_ratio the volume of the carried structure over that of the fixed one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pipeline.field import warp_labels
from ..pipeline.volume import Volume
from ..spatial.geometry import Geometry
from .metrics import label_counts, volumes_mm3

NAN = float("nan")


class StructureScore(NamedTuple):
    """What is known of one structure; not a number where it was not given or does not occur."""

    label: int
    name: str
    dice: float
    tc: float
    volume_ratio: float
    fixed_mm3: float
    moving_mm3: float
    warped_mm3: float
    jacobian_mean: float
    jacobian_min: float
    jacobian_max: float
    sd_log_jacobian: float
    """Of central differences, over the structure's voxels on the fixed grid."""
    folded_voxels: int


COLUMNS = StructureScore._fields


class Labels(NamedTuple):
    """The structures of both images; either may be empty. fixed and warped lie on the fixed grid."""

    fixed: tuple[Volume, ...]
    moving: tuple[Volume, ...]
    warped: tuple[Volume, ...]

    @property
    def on_fixed_grid(self) -> tuple[Volume, ...]:
        """Where the structures are on the fixed grid: as drawn there, or else as carried there."""
        return self.fixed or self.warped


def labels_on_grid(
    fixed: Sequence[Volume], moving: Sequence[Volume], displacement_mm: NDArray[np.float32], geometry: Geometry
) -> Labels:
    """The layers of both images, brought to the fixed grid by the nearest voxel. displacement_mm: u on geometry."""
    nothing = np.zeros_like(displacement_mm) if fixed else displacement_mm
    placed = (layer if layer.geometry.matches(geometry) else warp_labels(layer, nothing, geometry) for layer in fixed)
    carried = (warp_labels(layer, displacement_mm, geometry) for layer in moving)
    return Labels(tuple(placed), tuple(moving), tuple(carried))


def structure_scores(
    labels: Labels, names: Mapping[int, str], jacobian: NDArray[np.float32], folded: NDArray[np.bool_]
) -> tuple[StructureScore, ...]:
    """One score for each label that occurs, in the order of the labels.

    names: of the labels that have one; others are called "Label 7". jacobian, folded: (K, J, I) on the fixed grid.
    """
    fixed_mm3, moving_mm3 = _volumes(labels.fixed), _volumes(labels.moving)
    warped_mm3 = _volumes(labels.warped)
    overlaps = _dice(labels)
    inside = {label: places for layer in labels.on_fixed_grid for label, places in voxels_of_labels(layer.array_kji)}
    scores = []
    for label in sorted({*fixed_mm3, *moving_mm3}):
        places = inside.get(label, np.empty(0, dtype=np.intp))
        values = jacobian.reshape(-1)[places]
        carried = warped_mm3.get(label, 0.0) if labels.moving else NAN
        scores.append(
            StructureScore(
                label=label,
                name=names.get(label, f"Label {label}"),
                dice=overlaps.get(label, NAN),
                tc=_ratio(carried, moving_mm3.get(label)),
                volume_ratio=_ratio(carried, fixed_mm3.get(label)),
                fixed_mm3=fixed_mm3.get(label, NAN),
                moving_mm3=moving_mm3.get(label, NAN),
                warped_mm3=carried if label in moving_mm3 else NAN,
                jacobian_mean=float(values.mean()) if len(values) else NAN,
                jacobian_min=float(values.min()) if len(values) else NAN,
                jacobian_max=float(values.max()) if len(values) else NAN,
                sd_log_jacobian=float(np.log(np.clip(values, 1e-9, 1e9)).std()) if len(values) else NAN,
                folded_voxels=int(np.count_nonzero(folded.reshape(-1)[places])),
            )
        )
    return tuple(scores)


def voxels_of_labels(labels: NDArray[np.integer]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Of each label but 0 the flat indices of its voxels."""
    flat = labels.reshape(-1)
    places = np.flatnonzero(flat)
    if len(places) == 0:
        return
    order = places[np.argsort(flat[places], kind="stable")]
    values, starts = np.unique(flat[order], return_index=True)
    for value, part in zip(values.tolist(), np.split(order, starts[1:]), strict=True):
        yield int(value), part


def _dice(labels: Labels) -> dict[int, float]:
    """Dice of the labels that both images have. A structure lies in one layer of each, whichever that is."""
    if not (labels.fixed and labels.moving):
        return {}
    fixed, warped = _counts(labels.fixed), _counts(labels.warped)
    both: dict[int, int] = {}
    for one in labels.fixed:
        for other in labels.warped:
            for label, count in label_counts(one.array_kji[one.array_kji == other.array_kji]).items():
                both[label] = both.get(label, 0) + count
    shared = set(fixed) & set(_counts(labels.moving))
    return {label: 2.0 * both.get(label, 0) / (fixed[label] + warped.get(label, 0)) for label in shared}


def _counts(layers: Sequence[Volume]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for layer in layers:
        for label, count in label_counts(layer.array_kji).items():
            counts[label] = counts.get(label, 0) + count
    return counts


def _volumes(layers: Sequence[Volume]) -> dict[int, float]:
    volumes: dict[int, float] = {}
    for layer in layers:
        for label, volume_mm3 in volumes_mm3(layer).items():
            volumes[label] = volumes.get(label, 0.0) + volume_mm3
    return volumes


def _ratio(numerator: float, denominator: float | None) -> float:
    return numerator / denominator if denominator else NAN
