"""Segmentations as label maps that say the same in two of them: the same number for segments of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix
from .volume_files import VolumeFile, has_right_angles
from .vtk_arrays import array_from_image, index_from_array_index, matrix_from_vtk

LABELMAP = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


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
    node: slicer.vtkMRMLSegmentationNode, labels: dict[str, int], space_from_node: Matrix
) -> list[LabelLayer]:
    """The layers of a segmentation. labels: of segment_labels. space_from_node: where to, from its own coordinates.

    Raises InputError when it has no segments, none as voxels, or the grid of one has no right angles there.
    """
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        raise InputError(f"{node.GetName()} has no segments; choose a segmentation with at least one.")
    if not segmentation.ContainsRepresentation(LABELMAP):
        raise InputError(
            f"{node.GetName()} has surfaces only; create its binary labelmap in the Segmentations module first."
        )
    layers = []
    for layer in range(segmentation.GetNumberOfLayers(LABELMAP)):
        image = segmentation.GetLayerDataObject(layer, LABELMAP)
        if image is None or image.GetNumberOfPoints() == 0:
            continue
        values = {
            segmentation.GetSegment(segment_id).GetLabelValue(): labels[name]
            for name, segment_id in _named_segments(node)
            if segmentation.GetLayerIndex(segment_id, LABELMAP) == layer
        }
        layers.append(LabelLayer(array_from_image(image), _geometry(node, image, space_from_node), values))
    if not layers:
        raise InputError(f"All segments of {node.GetName()} are empty; choose a segmentation that holds something.")
    return layers


def _geometry(
    node: slicer.vtkMRMLSegmentationNode, image: slicer.vtkOrientedImageData, space_from_node: Matrix
) -> Geometry:
    own_from_index = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(own_from_index)
    matrix = space_from_node @ matrix_from_vtk(own_from_index) @ index_from_array_index(image)
    geometry = Geometry(image.GetDimensions()[::-1], matrix)
    if not has_right_angles(geometry):
        raise InputError(f"The grid of {node.GetName()} is sheared by its parent transform; harden that first.")
    return geometry


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
