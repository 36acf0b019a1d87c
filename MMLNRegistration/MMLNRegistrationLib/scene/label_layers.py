"""Segmentations as label maps that say the same in two of them: the same number for segments of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix
from .segments import LABELMAP, labelmaps
from .volume_files import VolumeFile, has_right_angles


@dataclass(frozen=True, eq=False)
class LabelLayer:
    """Segments that share an image. labels: by the value in that image, what it becomes in the file."""

    array_kji: NDArray
    geometry: Geometry
    labels: dict[int, int]

    def write(self, path: Path) -> None:
        """Write it. Any thread may do it; it does so slice by slice, to leave the others time. Raises OSError."""
        table = np.zeros(max(self.labels) + 2, dtype=np.uint16)
        for value, label in self.labels.items():
            table[value] = label
        renamed = np.empty(self.array_kji.shape, dtype=np.uint16)
        for source, target in zip(self.array_kji, renamed, strict=True):
            values = source.astype(np.int64)
            values[(values < 0) | (values >= len(table))] = len(table) - 1
            target[...] = table[values]
        VolumeFile(renamed, self.geometry, np.eye(4)).write(path)


def segment_labels(nodes: Sequence[slicer.vtkMRMLSegmentationNode]) -> dict[str, int]:
    """A number from 1 up for each name of a segment in any of the segmentations."""
    labels: dict[str, int] = {}
    for node in nodes:
        for name, _ in _named_segments(node):
            labels.setdefault(name, len(labels) + 1)
    return labels


def label_layers(
    node: slicer.vtkMRMLSegmentationNode, labels: dict[str, int], space_from_node: Matrix, space_from_ijk: Matrix
) -> list[LabelLayer]:
    """The layers of a segmentation. labels: of segment_labels. space_from_node: where to, from its own coordinates.

    space_from_ijk: a grid there, the image's, on which surfaces become voxels; the node itself is left as it is.

    Raises InputError when it has no segments, nothing is drawn, or the grid of one has no right angles there.
    """
    segmentation, found = labelmaps(node, space_from_node, space_from_ijk)
    layers = []
    for index, (voxels_kji, geometry) in found.items():
        if not has_right_angles(geometry):
            raise InputError(f"The grid of {node.GetName()} is sheared by its parent transform; harden that first.")
        values = {
            segmentation.GetSegment(segment_id).GetLabelValue(): labels[name]
            for name, segment_id in _named_segments(node)
            if segmentation.GetLayerIndex(segment_id, LABELMAP) == index
        }
        layers.append(LabelLayer(voxels_kji, geometry, values))
    return layers


def _named_segments(node: slicer.vtkMRMLSegmentationNode) -> list[tuple[str, str]]:
    """Name and ID of each segment; names that come again are numbered."""
    segmentation = node.GetSegmentation()
    taken: dict[str, str] = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        name = wanted = segmentation.GetSegment(segment_id).GetName() or segment_id
        number = 1
        while name in taken:
            number += 1
            name = f"{wanted} ({number})"
        taken[name] = segment_id
    return list(taken.items())
