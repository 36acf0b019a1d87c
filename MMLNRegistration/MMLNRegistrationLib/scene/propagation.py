"""What a propagation has written, read without the scene and then put into it: segments, agreement, volumes.

Reading takes time and may be done by any thread. Putting it into the scene is for the main thread, and quick.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry, transform_points
from .atlases import Codes, Structure
from .results import RESULT_ATTRIBUTE
from .segments import LABELMAP
from .volumes import fill_volume_node, show_in_grey
from .vtk_arrays import OwnedArray, fill_image, owned_array, vtk_matrix

RESULT_FILES = ("labels.npy", "agreement.npy")
"""The files that are read, see writing.PROPAGATION_RESULT_FILES."""

COLUMNS = ("Structure", "Voxels", "Volume (ml)", "Agreement (%)")
"""Of the table node, whose last column is there when there were several atlases."""


@dataclass(frozen=True)
class StructureRow:
    """A structure in the subject. agreement: mean share of the votes, from 0 to 1, or None; centre_ras: in the world,
    mm, None when no voxel is left."""

    number: int
    name: str
    colour: tuple[float, float, float]
    voxels: int
    ml: float
    agreement: float | None
    centre_ras: tuple[float, float, float] | None


@dataclass(frozen=True, eq=False)
class PropagatedArrays:
    """Labels (K, J, I) in layers without overlaps, and the agreement, on the subject's grid in the world.

    layer_of: the index of each structure's layer, in which its label is its number.
    """

    geometry: Geometry
    layers: tuple[OwnedArray, ...]
    layer_of: Mapping[int, int]
    structures: Mapping[int, Structure]
    agreement: OwnedArray | None
    rows: tuple[StructureRow, ...]


@dataclass(frozen=True, eq=False)
class PropagationNodes:
    """Where it goes: nodes of a scene, filled or to be filled. What is None is made."""

    segmentation: slicer.vtkMRMLSegmentationNode | None = None
    agreement: slicer.vtkMRMLScalarVolumeNode | None = None
    table: slicer.vtkMRMLTableNode | None = None


def read_propagation(folder: Path, geometry: Geometry, codes: Codes, several: bool) -> PropagatedArrays:
    """Read the RESULT_FILES of a propagation to the grid `geometry` of the subject in the world.

    codes: that the atlases were written with. several: whether there is an agreement to tell of.

    Raises InputError when a file is missing or does not fit.
    """
    numbers_kji = _read(folder / "labels.npy", geometry)
    agreement_kji = _read(folder / "agreement.npy", geometry)
    layer_of = _layers(codes)
    layers = []
    for index in range(max(layer_of.values(), default=0) + 1):
        layer = owned_array(geometry.shape_kji, np.dtype(np.uint16))
        own = _lookup(codes, layer_of, index)
        for k, plane in enumerate(numbers_kji):
            layer.array[k] = own[plane]
        layers.append(layer)
    rows = _rows(numbers_kji, agreement_kji if several else None, geometry, codes)
    agreement = None
    if several:
        agreement = owned_array(geometry.shape_kji, np.dtype(np.float32))
        agreement.array[...] = agreement_kji
    return PropagatedArrays(geometry, tuple(layers), layer_of, dict(codes.structures), agreement, rows)


def adding_propagation(
    scene: slicer.vtkMRMLScene,
    result: PropagatedArrays,
    subject_name: str,
    subject_node: slicer.vtkMRMLVolumeNode | None,
    nodes: PropagationNodes,
) -> Iterator[PropagationNodes]:
    """Put a propagation into the nodes, made where they are None; no agreement of one atlas.

    It is done in steps of some milliseconds, with the nodes that are there after each; the last one has all.
    subject_node: None when it has gone meanwhile. All nodes lie directly in the world afterwards. Names, colours,
    terminology and all other tags of segments are kept.
    """
    scene.SaveStateForUndo()
    segmentation = nodes.segmentation or scene.AddNewNodeByClass(
        "vtkMRMLSegmentationNode", f"{subject_name} segmentation"
    )
    nodes = replace(nodes, segmentation=segmentation)
    for _step in _filling_segmentation(segmentation, result, subject_node):
        yield nodes
    agreement = nodes.agreement
    if result.agreement is not None:
        agreement = agreement or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{subject_name} agreement")
        # Before there are voxels: afterwards Slicer would look at all of them for a window of its own.
        agreement.CreateDefaultDisplayNodes()
        show_in_grey(scene, agreement, (0.0, 1.0))
        fill_volume_node(agreement, result.agreement, result.geometry)
        agreement.SetAttribute(RESULT_ATTRIBUTE, "1")
        yield (nodes := replace(nodes, agreement=agreement))
    table = nodes.table or scene.AddNewNodeByClass("vtkMRMLTableNode", f"{subject_name} volumes")
    _fill_table(table, result.rows)
    yield replace(nodes, table=table)


def _read(path: Path, geometry: Geometry) -> NDArray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"The result {path.name} cannot be read ({error}); propagate again.") from error
    if array.shape != geometry.shape_kji:
        raise InputError(f"The result {path.name} does not fit the subject; propagate again.")
    return array


def _layers(codes: Codes) -> dict[int, int]:
    """A layer for each structure, the first in which none lies that it overlaps with."""
    layer_of: dict[int, int] = {}
    for number in sorted(codes.structures):
        taken = {
            layer_of[other]
            for members in codes.overlaps.values()
            if number in members
            for other in members
            if other in layer_of
        }
        layer_of[number] = next(layer for layer in range(len(taken) + 1) if layer not in taken)
    return layer_of


def _lookup(codes: Codes, layer_of: Mapping[int, int], layer: int) -> NDArray[np.uint16]:
    """The label in a layer by the number of a voxel."""
    table = np.zeros(max([0, *codes.structures, *codes.overlaps]) + 1, np.uint16)
    for number in [*codes.structures, *codes.overlaps]:
        table[number] = next((member for member in codes.members(number) if layer_of[member] == layer), 0)
    return table


def _rows(
    numbers_kji: NDArray, agreement_kji: NDArray[np.float32] | None, geometry: Geometry, codes: Codes
) -> tuple[StructureRow, ...]:
    """Counted plane by plane: small steps let the window's thread through."""
    most = max([0, *codes.structures, *codes.overlaps]) + 1
    size_k, size_j, size_i = numbers_kji.shape
    along_j, along_i = np.repeat(np.arange(size_j), size_i), np.tile(np.arange(size_i), size_j)
    voxels, votes, sums_ijk = np.zeros(most), np.zeros(most), np.zeros((3, most))
    for k in range(size_k):
        plane = numbers_kji[k].reshape(-1)
        counts = np.bincount(plane, minlength=most)
        if counts[0] == plane.size:
            continue
        voxels += counts
        sums_ijk[2] += counts * k
        sums_ijk[1] += np.bincount(plane, along_j, most)
        sums_ijk[0] += np.bincount(plane, along_i, most)
        if agreement_kji is not None:
            votes += np.bincount(plane, agreement_kji[k].reshape(-1), most)
    voxel_ml = abs(float(np.linalg.det(geometry.ras_from_ijk[:3, :3]))) / 1000
    rows = []
    for number, structure in sorted(codes.structures.items()):
        own = [number, *(overlap for overlap, members in codes.overlaps.items() if number in members)]
        count = int(voxels[own].sum())
        centre, mean = None, None
        if count:
            x, y, z = transform_points(geometry.ras_from_ijk, sums_ijk[:, own].sum(axis=1) / count).tolist()
            centre = (x, y, z)
            mean = float(votes[own].sum()) / count if agreement_kji is not None else None
        rows.append(StructureRow(number, structure.name, structure.colour, count, count * voxel_ml, mean, centre))
    return tuple(rows)


def _filling_segmentation(
    node: slicer.vtkMRMLSegmentationNode, result: PropagatedArrays, subject_node: slicer.vtkMRMLVolumeNode | None
) -> Iterator[None]:
    """Fill it segment by segment: each one is news to all that shows segments."""
    segmentation = node.GetSegmentation()
    nothing = slicer.vtkOrientedImageData()
    for segment_id in segmentation.GetSegmentIDs():
        # Removed with its voxels, a segment would be searched and cleared in the layer that it shares with others.
        segmentation.GetSegment(segment_id).AddRepresentation(LABELMAP, nothing)
        segmentation.RemoveSegment(segment_id)
        yield
    segmentation.SetSourceRepresentationName(LABELMAP)
    node.SetAndObserveTransformNodeID(None)
    if subject_node is not None:
        node.SetReferenceImageGeometryParameterFromVolumeNode(subject_node)
    yield
    images = []
    for layer in result.layers:
        image = slicer.vtkOrientedImageData()
        fill_image(image, layer)
        image.SetImageToWorldMatrix(vtk_matrix(result.geometry.ras_from_ijk))
        images.append(image)
    for number, structure in sorted(result.structures.items()):
        segment = slicer.vtkSegment()
        if structure.metadata is not None:
            segment.DeepCopyMetadata(structure.metadata)
        else:
            segment.SetName(structure.name)
            segment.SetColor(*structure.colour)
        segment.SetLabelValue(number)
        segment.AddRepresentation(LABELMAP, images[result.layer_of[number]])
        taken = structure.segment_id and segmentation.GetSegment(structure.segment_id) is None
        segmentation.AddSegment(segment, structure.segment_id if taken else f"Structure_{number}")
        yield
    node.CreateDefaultDisplayNodes()
    yield


def _fill_table(node: slicer.vtkMRMLTableNode, rows: Sequence[StructureRow]) -> None:
    columns = COLUMNS if any(row.agreement is not None for row in rows) else COLUMNS[:-1]
    was_modifying = node.StartModify()
    node.RemoveAllColumns()
    for name in columns:
        node.AddColumn(_new_column(name, name == "Structure"))
    for row in rows:
        place = node.AddEmptyRow()
        agreement = "" if row.agreement is None else f"{100 * row.agreement:.1f}"
        texts = (row.name, str(row.voxels), f"{row.ml:.4g}", agreement)
        for column, text in enumerate(texts[: len(columns)]):
            node.SetCellText(place, column, text)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.EndModify(was_modifying)


def _new_column(name: str, is_text: bool) -> vtk.vtkAbstractArray:
    column = vtk.vtkStringArray() if is_text else vtk.vtkDoubleArray()
    column.SetName(name)
    return column
