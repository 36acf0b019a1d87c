"""Parent transforms: linear ones are folded in, others are refused."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from ..errors import InputError
from ..spatial.geometry import Matrix
from .vtk_arrays import matrix_from_vtk


def world_from_node(node: slicer.vtkMRMLTransformableNode) -> Matrix:
    """The matrix from a node's own coordinates to the world, both RAS in mm: all parent transforms together.

    Raises InputError when a parent is not linear: a grid of voxels has no exact place under a warp.
    """
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()} lies under the non-linear transform {parent.GetName()}; "
            "harden that transform on it, or take it out, first."
        )
    return world_from_transform(parent)


def world_from_transform(node: slicer.vtkMRMLTransformNode) -> Matrix:
    """Where a linear transform node, parents included, puts what lies under it: world from its own space, RAS in mm.

    Raises InputError when it is not linear.
    """
    if not node.IsTransformToWorldLinear():
        raise InputError(f"{node.GetName()} is not linear; choose a rigid or affine transform.")
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToWorld(matrix)
    return matrix_from_vtk(matrix)
