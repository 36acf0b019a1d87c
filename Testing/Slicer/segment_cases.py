"""A segmented atlas of which every voxel is known, and the road that its segments take to a subject."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mrml import slicer
from scene_cases import GEOMETRIES, displacement, phantom_volume, points_ras

from MMLNRegistrationLib.backend.messages import Atlas, Propagate
from MMLNRegistrationLib.backend.runner import Runner
from MMLNRegistrationLib.scene.atlases import Codes, atlas_labels
from MMLNRegistrationLib.scene.field_file import FieldFile
from MMLNRegistrationLib.scene.propagation import (
    RESULT_FILES,
    PropagatedArrays,
    PropagationNodes,
    adding_propagation,
    read_propagation,
)
from MMLNRegistrationLib.scene.segments import LABELMAP
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volume_files import volume_file
from MMLNRegistrationLib.scene.volumes import geometry_of_node, volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, fill_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^12738006^Brain~SCT^^~Anatomic codes - DICOM master list~SCT^^~SCT^^"
)


def ball(points: np.ndarray, centre: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """Which points, (..., 3) in RAS mm, lie in a ball."""
    return np.linalg.norm(points - centre, axis=-1) < radius_mm


SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "whole": lambda points: ball(points, (0, 0, 0), 17),
    "left part": lambda points: ball(points, (-6, 2, 1), 6) & (points[..., 0] < -5),
    "right part": lambda points: ball(points, (-6, 2, 1), 6) & (points[..., 0] >= -5),
    "nothing": lambda points: np.zeros(points.shape[:-1], bool),
}
"""Segments by world position: the first overlaps the next two, the last is empty."""

IDS = ("id-7", "id-14", "id-21", "id-28")
"""Of these segments, in their order."""


def colour(number: int) -> tuple[float, float, float]:
    """Of the segment of that number, from 1."""
    return 0.2 * number, 0.1, 0.9 - 0.2 * number


def atlas_segmentation(
    scene: slicer.vtkMRMLScene, geometry: Geometry, name: str = "atlas segments"
) -> slicer.vtkMRMLSegmentationNode:
    """Four segments with colours, tags and own IDs; the two parts share a layer."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for number, ((segment_name, shape), segment_id) in enumerate(zip(SHAPES.items(), IDS, strict=True), start=1):
        image = slicer.vtkOrientedImageData()
        fill_image(image, shape(points_ras(geometry)).astype(np.uint8))
        image.SetImageToWorldMatrix(vtk_matrix(geometry.ras_from_ijk))
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        segment.SetColor(*colour(number))
        segment.SetTag("TerminologyEntry", TERMINOLOGY)
        segment.SetTag("Note", f"tag {number}")
        segment.SetLabelValue(1)
        segment.AddRepresentation(LABELMAP, image)
        node.GetSegmentation().AddSegment(segment, segment_id)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return node


def voxels(node: slicer.vtkMRMLSegmentationNode, segment_id: str, reference: Geometry) -> np.ndarray:
    """The segment as a bool array on a grid, by Slicer's own export."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    target = slicer.vtkOrientedImageData()
    fill_image(target, np.zeros(reference.shape_kji, np.uint8))
    target.SetImageToWorldMatrix(vtk_matrix(reference.ras_from_ijk))
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, target, resampled, False, False
    )
    return array_from_image(resampled) > 0


def nearest(shape: Callable[[np.ndarray], np.ndarray], moved_ras: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The shape as voxels of a grid, looked up at world points, nearest neighbour, in plain numpy."""
    mask = shape(points_ras(geometry))
    index = np.rint(transform_points(geometry.ijk_from_ras, moved_ras)).astype(int)
    inside = ((index >= 0) & (index < geometry.size_ijk)).all(-1)
    index[~inside] = 0
    return mask[index[..., 2], index[..., 1], index[..., 0]] & inside


def add_images(
    scene: slicer.vtkMRMLScene, subject_grid: str, atlas_grid: str
) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLScalarVolumeNode]:
    """The images of a subject and of an atlas on two of GEOMETRIES."""
    subject = volume_node(scene, phantom_volume(GEOMETRIES[subject_grid]), "subject")
    return subject, volume_node(scene, phantom_volume(GEOMETRIES[atlas_grid]), "atlas")


def carried(
    folder: Path,
    subject: slicer.vtkMRMLVolumeNode,
    image: slicer.vtkMRMLVolumeNode,
    drawn: slicer.vtkMRMLDisplayableNode,
) -> PropagatedArrays:
    """What is drawn on an atlas in the subject, by displacement() in the world, as the panel and its worker do it."""
    scene, codes = subject.GetScene(), Codes()
    subject_file, image_file = volume_file(subject), volume_file(image)
    world = geometry_of_node(subject)
    transform = transform_node(scene, displacement(points_ras(world)), world, "field")
    field = FieldFile(transform, subject_file, image_file)
    while field.fraction < 1:
        field.sample(0.1)
    labels = atlas_labels(drawn, image_file, codes)
    atlas = Atlas(image=folder / "atlas.nrrd", labels=folder / "labels.nrrd", transform=folder / "field.npy")
    paths = folder / "subject.nrrd", atlas.image, atlas.labels, atlas.transform
    for path, content in zip(paths, (subject_file, image_file, labels, field), strict=True):
        content.write(path)
    scene.RemoveNode(transform)
    request = Propagate(
        subject=paths[0],
        atlases=(atlas,),
        output=folder / "result",
        names=tuple(f"{number}={name}" for number, name in codes.names().items()),
        files=RESULT_FILES,
        model="none",
        device="cpu",
        threads=1,
        overwrite=True,
    )
    Runner().run(request)
    return read_propagation(request.output, world, codes, several=False)


def added(
    result: PropagatedArrays,
    name: str,
    subject: slicer.vtkMRMLVolumeNode,
    nodes: PropagationNodes | None = None,
    has_gone: bool = False,
) -> PropagationNodes:
    """The nodes of a propagation in the subject's scene. has_gone: as if the subject had been removed meanwhile."""
    subject_node = None if has_gone else subject
    *_, filled = adding_propagation(subject.GetScene(), result, name, subject_node, nodes or PropagationNodes())
    return filled


def propagated(
    scene: slicer.vtkMRMLScene,
    folder: Path,
    subject_grid: str,
    atlas_grid: str,
    atlas: slicer.vtkMRMLSegmentationNode | None = None,
) -> tuple[slicer.vtkMRMLSegmentationNode, slicer.vtkMRMLScalarVolumeNode]:
    """A segmentation, by default atlas_segmentation, carried to a subject; the new one, and the subject."""
    subject, image = add_images(scene, subject_grid, atlas_grid)
    result = carried(folder, subject, image, atlas or atlas_segmentation(scene, GEOMETRIES[atlas_grid]))
    return added(result, "subject", subject).segmentation, subject
