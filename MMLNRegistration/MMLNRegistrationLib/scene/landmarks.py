"""Two lists of markups as the landmarks of a registration."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from ..quality.landmarks import Points
from .spaces import is_under, require_not_under
from .transforms import transformed_points


def landmark_points(
    fixed: slicer.vtkMRMLMarkupsNode, moving: slicer.vtkMRMLMarkupsNode, transform: slicer.vtkMRMLTransformNode
) -> tuple[Points, ...]:
    """The landmarks that both lists have, and where the transform puts the fixed ones.

    Points of the same label belong together; where the labels do not say it, those of the same place in the lists.
    The moving ones are taken where they are before the warp, see spaces.

    Raises InputError when nothing belongs together, or the fixed list lies under the transform.
    """
    require_not_under(fixed, transform)
    fixed_points = _defined_points(fixed, None)
    moving_points = _defined_points(moving, transform if is_under(moving, transform) else None)
    pairs = _paired(fixed, moving, [name for name, _ in fixed_points], [name for name, _ in moving_points])
    own_from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, transform, own_from_world)
    mapped = transformed_points(own_from_world, np.array([fixed_points[first][1] for first, _ in pairs]))
    return tuple(
        Points(fixed_points[first][0], _triple(fixed_points[first][1]), _triple(moving_points[second][1]), _triple(to))
        for (first, second), to in zip(pairs, mapped, strict=True)
    )


def _paired(
    fixed: slicer.vtkMRMLMarkupsNode, moving: slicer.vtkMRMLMarkupsNode, names: list[str], other_names: list[str]
) -> list[tuple[int, int]]:
    for node, found in ((fixed, names), (moving, other_names)):
        if not found:
            raise InputError(f"{node.GetName()} has no points; place some, or choose another list.")
    tell_apart = len(set(names)) == len(names) and len(set(other_names)) == len(other_names)
    shared = [name for name in names if name in other_names]
    if tell_apart and shared and (len(shared) == min(len(names), len(other_names)) or len(names) != len(other_names)):
        return [(names.index(name), other_names.index(name)) for name in shared]
    if len(names) != len(other_names):
        raise InputError(
            f"{fixed.GetName()} has {len(names)} points and {moving.GetName()} {len(other_names)}, and no labels say "
            "which belong together; give the same labels, or the same number of points in the same order."
        )
    return [(place, place) for place in range(len(names))]


def _defined_points(
    node: slicer.vtkMRMLMarkupsNode, space: slicer.vtkMRMLTransformNode | None
) -> list[tuple[str, NDArray[np.float64]]]:
    """Label and position, in the space of a transform node or of the world, of the points that have been placed."""
    to_space = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(node.GetParentTransformNode(), space, to_space)
    return [
        (
            node.GetNthControlPointLabel(index),
            transformed_points(to_space, np.array(node.GetNthControlPointPosition(index))[None])[0],
        )
        for index in range(node.GetNumberOfControlPoints())
        if node.GetNthControlPointPositionStatus(index) == slicer.vtkMRMLMarkupsNode.PositionDefined
    ]


def _triple(place: NDArray[np.float64]) -> tuple[float, float, float]:
    r, a, s = place.tolist()
    return r, a, s
