"""Displacement fields as transform nodes.

A displacement u on the fixed grid is what Slicer calls the transform *from parent*: it takes a point of the fixed
image, where the result is shown, to the place in the moving image where its value is found. Slicer inverts it by
itself where it needs the other direction, as for markups and models.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from ..errors import InputError
from ..spatial.geometry import Geometry, translation_matrix
from .vtk_arrays import OwnedArray, array_from_image, fill_image, index_from_array_index, matrix_from_vtk, vtk_matrix


def transform_node(
    scene: slicer.vtkMRMLScene,
    displacement_mm: NDArray[np.float32],
    geometry: Geometry,
    name: str,
    fixed_node: slicer.vtkMRMLVolumeNode | None = None,
    moving_node: slicer.vtkMRMLVolumeNode | None = None,
) -> slicer.vtkMRMLTransformNode:
    """A new transform node whose from-parent transform is x -> x + u(x).

    displacement_mm: (K, J, I, 3), u on the grid of geometry, components R, A, S.
    fixed_node, moving_node: what was registered; the node remembers them in Slicer's registration roles.

    Outside the grid Slicer continues with the vectors of the border.
    """
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", name)
    fill_transform_node(node, displacement_mm, geometry, fixed_node, moving_node)
    return node


def fill_transform_node(
    node: slicer.vtkMRMLTransformNode,
    displacement_mm: NDArray[np.float32] | OwnedArray,
    geometry: Geometry,
    fixed_node: slicer.vtkMRMLVolumeNode | None = None,
    moving_node: slicer.vtkMRMLVolumeNode | None = None,
) -> None:
    """Make a transform node, with whatever it held before, the one that transform_node describes, in the world."""
    grid = vtk.vtkImageData()
    fill_image(grid, displacement_mm)
    grid.SetSpacing(*geometry.spacing_mm)
    grid.SetOrigin(*geometry.ras_from_ijk[:3, 3])
    direction = np.eye(4)
    direction[:3, :3] = geometry.direction_ras
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(vtk_matrix(direction))
    transform.SetDisplacementGridData(grid)
    # Slicer sets cubic on every field that it reads from a file: so a saved scene opens as it was.
    transform.SetInterpolationModeToCubic()
    node.SetAndObserveTransformNodeID(None)
    node.SetAndObserveTransformFromParent(transform)
    for role, volume in (
        (node.GetFixedNodeReferenceRole(), fixed_node),
        (node.GetMovingNodeReferenceRole(), moving_node),
    ):
        node.SetNodeReferenceID(role, volume.GetID() if volume is not None else None)


class StoredField(NamedTuple):
    """What a node holds of a field: u = vectors * scale + shift, in mm, at the voxels of geometry.

    vectors: (K, J, I, 3), components R, A, S, a view of what the node has.
    """

    vectors: NDArray
    scale: float
    shift: float
    geometry: Geometry


def stored_field(node: slicer.vtkMRMLTransformNode) -> StoredField | None:
    """The single from-parent grid that a transform node holds; None when it holds anything else, or has a parent."""
    transform = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
    if transform is None or node.GetParentTransformNode() is not None:
        return None
    transform.Update()
    grid = transform.GetDisplacementGrid()
    vectors = array_from_image(grid)
    direction = transform.GetGridDirectionMatrix()
    ras_from_index = translation_matrix(np.array(grid.GetOrigin()))
    if direction is not None:
        ras_from_index = ras_from_index @ matrix_from_vtk(direction)
    ras_from_index = ras_from_index @ np.diag([*grid.GetSpacing(), 1.0])
    geometry = Geometry(vectors.shape[:3], ras_from_index @ index_from_array_index(grid))
    return StoredField(vectors, transform.GetDisplacementScale(), transform.GetDisplacementShift(), geometry)


def displacement_from_node(node: slicer.vtkMRMLTransformNode) -> tuple[NDArray[np.float32], Geometry]:
    """The displacement field that a transform node holds, without resampling, and its grid.

    Returns u (K, J, I, 3) in mm, components R, A, S, and the geometry of its grid.

    Raises InputError when the node holds anything else than one from-parent grid, or has a parent transform;
    sampling.DisplacementSampler takes those too.
    """
    stored = stored_field(node)
    if stored is None:
        raise InputError(
            f"{node.GetName()} is not a single displacement field from parent; convert it to a grid transform first."
        )
    return (stored.vectors * stored.scale + stored.shift).astype(np.float32), stored.geometry


def transformed_points(transform: vtk.vtkAbstractTransform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 3) by a transform of VTK, as (N, 3) float64."""
    source = vtk.vtkPoints()
    source.SetData(numpy_support.numpy_to_vtk(points, deep=True))
    target = vtk.vtkPoints()
    target.SetDataTypeToDouble()
    transform.TransformPoints(source, target)
    return numpy_support.vtk_to_numpy(target.GetData())
