"""Segmentations: their voxels, read without changing them, and new ones made from a label map."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from ..pipeline.volume import Volume
from ..quality.colours import label_colour
from ..spatial.geometry import Geometry, Matrix
from .vtk_arrays import array_from_image, fill_image, index_from_array_index, matrix_from_vtk, vtk_matrix

LABELMAP = "Binary labelmap"
"""Slicer's name of the representation of a segment as voxels."""


def segmentation_from_labels(
    scene: slicer.vtkMRMLScene,
    labels: Volume,
    name: str,
    names: Mapping[int, str] | None = None,
    reference_node: slicer.vtkMRMLVolumeNode | None = None,
) -> slicer.vtkMRMLSegmentationNode:
    """A new segmentation with one segment for each label above 0 that occurs, in the order of the labels.

    names: of the labels that have them; others are called "Label 7". Each label has a colour of its own.
    reference_node: the volume that the labels belong to, for editing on its grid.
    """
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    if reference_node is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference_node)
    image = _labelmap_image(labels.array_kji, labels.geometry)
    for value in np.unique(labels.array_kji).tolist():
        if value == 0:
            continue
        segment = slicer.vtkSegment()
        segment.SetName((names or {}).get(value, f"Label {value}"))
        segment.SetColor(*label_colour(value))
        segment.SetLabelValue(value)
        segment.AddRepresentation(LABELMAP, image)
        node.GetSegmentation().AddSegment(segment, f"Label_{value}")
    node.CreateDefaultDisplayNodes()
    return node


def labelmaps(
    node: slicer.vtkMRMLSegmentationNode, space_from_node: Matrix, space_from_ijk: Matrix
) -> tuple[slicer.vtkSegmentation, dict[int, tuple[NDArray, Geometry]]]:
    """The segmentation of a node as voxels, and its layers that hold some, by their index.

    A layer is a view (K, J, I) and its grid in the space asked for.
    space_from_node: to that space from the node's own coordinates, both RAS in mm.
    space_from_ijk: a grid of that space, the image's. A node that has only surfaces is left as it is; a copy gets
    voxels on this grid, which is extended to hold them all.

    Raises InputError when the node has no segments, or nothing is drawn in them that could be made of voxels.
    """
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        raise InputError(f"{node.GetName()} has no segments; choose a segmentation with at least one.")
    if not segmentation.ContainsRepresentation(LABELMAP):
        segmentation = _converted(node, np.linalg.inv(space_from_node) @ space_from_ijk)
    layers = {}
    for index in range(segmentation.GetNumberOfLayers(LABELMAP)):
        image = segmentation.GetLayerDataObject(index, LABELMAP)
        if image is not None and image.GetNumberOfPoints() > 0:
            own_from_index = vtk.vtkMatrix4x4()
            image.GetImageToWorldMatrix(own_from_index)
            voxels_kji = array_from_image(image)
            matrix = space_from_node @ matrix_from_vtk(own_from_index) @ index_from_array_index(image)
            layers[index] = voxels_kji, Geometry(voxels_kji.shape, matrix)
    if not layers:
        raise InputError(f"The segments of {node.GetName()} are empty; choose a segmentation with something drawn.")
    return segmentation, layers


def _converted(node: slicer.vtkMRMLSegmentationNode, own_from_ijk: Matrix) -> slicer.vtkSegmentation:
    """A copy of a node's segmentation, with voxels on a grid of the node's own coordinates."""
    converted = slicer.vtkSegmentation()
    converted.DeepCopy(node.GetSegmentation())
    converter = slicer.vtkSegmentationConverter
    one_voxel = (0, 0, 0, 0, 0, 0)  # the extent does not count: what is made covers the surfaces
    grid = converter.SerializeImageGeometry(vtk_matrix(own_from_ijk), one_voxel)
    converted.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), grid)
    if not converted.CreateRepresentation(LABELMAP):
        raise InputError(
            f"{node.GetName()} has nothing that can be made of voxels; choose a segmentation with something drawn."
        )
    return converted


def _labelmap_image(labels_kji: NDArray[np.integer], geometry: Geometry) -> slicer.vtkOrientedImageData:
    image = slicer.vtkOrientedImageData()
    fill_image(image, labels_kji)
    image.SetImageToWorldMatrix(vtk_matrix(geometry.ras_from_ijk))
    return image
