"""Where nodes lie for a transform that is judged: what is under it, in its own space; all else, in the world.

A transform node takes points of the world to its own space, where the moving image is. A moving image that somebody
has put under the transform, to see it warped, is there already; one that lies outside is where it is before the warp.
"""

from __future__ import annotations

import slicer
import vtk

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix
from .parents import world_from_node
from .volumes import geometry_of_node
from .vtk_arrays import index_from_array_index, matrix_from_vtk


def is_under(node: slicer.vtkMRMLTransformableNode, transform: slicer.vtkMRMLTransformNode) -> bool:
    """Whether the transform moves the node, directly or through others."""
    parent = node.GetParentTransformNode()
    while parent is not None:
        if parent.GetID() == transform.GetID():
            return True
        parent = parent.GetParentTransformNode()
    return False


def require_not_under(node: slicer.vtkMRMLTransformableNode, transform: slicer.vtkMRMLTransformNode) -> None:
    """Raise InputError when a node of the fixed side lies under the transform that leads away from it."""
    if is_under(node, transform):
        raise InputError(
            f"{node.GetName()} lies under {transform.GetName()}; choose what that transform leads to, the fixed side, "
            "or take it out."
        )


def moving_space_from_node(node: slicer.vtkMRMLTransformableNode, transform: slicer.vtkMRMLTransformNode) -> Matrix:
    """From the coordinates of a node of the moving side to the transform's own space, both RAS in mm.

    Raises InputError when a transform that is not linear lies between.
    """
    if not is_under(node, transform):
        return world_from_node(node)
    parent = node.GetParentTransformNode()
    matrix = vtk.vtkMatrix4x4()
    if parent.GetID() != transform.GetID() and not slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        parent, transform, matrix
    ):
        raise InputError(
            f"A transform that is not linear lies between {node.GetName()} and {transform.GetName()}; harden it first."
        )
    return matrix_from_vtk(matrix)


def moving_geometry(node: slicer.vtkMRMLVolumeNode, transform: slicer.vtkMRMLTransformNode) -> Geometry:
    """The grid of a moving volume in the transform's own space. Raises InputError as moving_space_from_node does."""
    if not is_under(node, transform):
        return geometry_of_node(node)
    own_from_ijk = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(own_from_ijk)
    image = node.GetImageData()
    matrix = moving_space_from_node(node, transform) @ matrix_from_vtk(own_from_ijk) @ index_from_array_index(image)
    return Geometry(image.GetDimensions()[::-1], matrix)
