"""Which determinants an overlay shows: all, or those beyond two thresholds only, folded voxels always."""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

from .jacobian import COLOURS, FOLD_COLOUR, LOWEST, STEPS_PER_UNIT, jacobian_colours

ROLE = "MMLNRegistration.thresholdColours"
"""The reference from a display node to the colour table of its own, which lets the middle through."""


def show_beyond(
    scene: slicer.vtkMRMLScene, display: slicer.vtkMRMLScalarVolumeDisplayNode, lower: float, upper: float
) -> None:
    """Show determinants below lower and above upper, and nothing between. display: of a Jacobian volume."""
    table = display.GetNodeReference(ROLE)
    if table is None:
        table = slicer.vtkMRMLColorTableNode()
        table.SetName("Jacobian determinant beyond thresholds")
        table.SetTypeToUser()
        table.SetNumberOfColors(COLOURS)
        table.SetHideFromEditors(True)
        table.SetSaveWithScene(False)
        scene.AddNode(table)
        display.SetNodeReferenceID(ROLE, table.GetID())
    colours = jacobian_colours(scene)
    values = LOWEST + (np.arange(COLOURS) + 0.5) / STEPS_PER_UNIT
    was_modifying = table.StartModify()
    rgba = [0.0] * 4
    for index, value in enumerate(values.tolist()):
        colours.GetColor(index, rgba)
        is_shown = value <= 0 or value < lower or value > upper
        table.SetColor(index, colours.GetColorName(index), *rgba[:3], float(is_shown))
    table.EndModify(was_modifying)
    display.SetAndObserveColorNodeID(table.GetID())


def show_all(scene: slicer.vtkMRMLScene, display: slicer.vtkMRMLScalarVolumeDisplayNode) -> None:
    """Show every determinant."""
    display.SetAndObserveColorNodeID(jacobian_colours(scene).GetID())


def percent_beyond(jacobian: NDArray[np.float32], lower: float, upper: float) -> tuple[float, float]:
    """Per cent of all voxels below lower, and above upper."""
    return (
        100.0 * np.count_nonzero(jacobian < lower) / jacobian.size,
        100.0 * np.count_nonzero(jacobian > upper) / jacobian.size,
    )


def fold_colours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The colour table of the map of folded voxels: 0 is clear, 1 the colour of folds. The scene's, or a new one."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetAttribute(ROLE):
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName("Folded voxels")
    node.SetAttribute(ROLE, "folds")
    node.SetTypeToUser()
    node.SetNumberOfColors(2)
    node.SetColor(0, "not folded", 0.0, 0.0, 0.0, 0.0)
    node.SetColor(1, "folded", *FOLD_COLOUR, 1.0)
    scene.AddNode(node)
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    return node
