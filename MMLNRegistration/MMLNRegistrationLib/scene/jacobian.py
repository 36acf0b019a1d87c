"""The Jacobian determinant as a volume node whose colours can be read at a glance.

White is 1, no change of volume; blue is smaller, red is larger, on a logarithmic scale that is symmetrical between
half and twice the volume. Folded voxels (0 and below) are magenta, which the rest of the map does not contain.
"""

from __future__ import annotations

import numpy as np
import slicer
from numpy.typing import NDArray

from ..pipeline.volume import Volume
from .volumes import volume_node

COLOUR_NODE_NAME = "Jacobian determinant"
COLOUR_NODE_ATTRIBUTE = "MMLNRegistration.JacobianColours"

FOLD_COLOUR = (1.0, 0.0, 214 / 255)

# Slicer cuts the display range into 256 steps and truncates. With 85 steps for each unit a step ends at
# LOWEST + 1; the small offset puts exact zeros below that border, so that they count as folded.
COLOURS = 256
STEPS_PER_UNIT = 85
LOWEST = -1.0 + 1e-4
HIGHEST = LOWEST + (COLOURS - 1) / STEPS_PER_UNIT

# Blue below, red above, told apart in the common forms of colour blindness; the report uses the same colours.
_DIVERGING = np.array([(24, 82, 157), (122, 179, 218), (255, 255, 255), (240, 152, 107), (163, 22, 38)]) / 255


def jacobian_node(scene: slicer.vtkMRMLScene, jacobian: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A new volume node for a Jacobian determinant, with its colours.

    Voxels are shown as they are, not interpolated: a single folded voxel stays visible.
    """
    node = volume_node(scene, jacobian, name)
    show_as_jacobian(scene, node)
    return node


def show_as_jacobian(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show the voxels of a volume node as Jacobian determinants."""
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetAndObserveColorNodeID(jacobian_colours(scene).GetID())
    display.SetWindowLevelMinMax(LOWEST, HIGHEST)
    display.SetInterpolate(False)


def jacobian_colours(scene: slicer.vtkMRMLScene) -> slicer.vtkMRMLColorTableNode:
    """The colour table for Jacobian determinants: the one that the scene has, or a new one."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetAttribute(COLOUR_NODE_ATTRIBUTE):
            return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLOUR_NODE_NAME)
    node.SetAttribute(COLOUR_NODE_ATTRIBUTE, "1")
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetNumberOfColors(COLOURS)
    for index, (value, colour) in enumerate(zip(_entry_values(), _entry_colours(), strict=True)):
        node.SetColor(index, "folded" if value <= 0 else f"{value:.2f}", *colour, 1.0)
    scene.AddNode(node)
    node.AddDefaultStorageNode()
    # The default of the newest Slicer, .csv, cannot be read by the versions before it.
    node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    return node


def add_legend(
    scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLColorLegendDisplayNode:
    """A colour legend that appears at the right edge of every view that shows the volume of jacobian_node.

    Not made by default: outside of the application, scenes that hold a legend cannot be read.
    """
    # Only the application knows this class by name.
    legend = slicer.vtkMRMLColorLegendDisplayNode()
    legend.SetName(f"{node.GetName()} legend")
    scene.AddNode(legend)
    node.AddAndObserveDisplayNodeID(legend.GetID())
    legend.SetAndObservePrimaryDisplayNode(node.GetDisplayNode())
    legend.SetAndObserveColorNodeID(node.GetDisplayNode().GetColorNodeID())
    legend.SetTitleText("Jacobian")
    legend.SetSize(0.08, 0.5)
    legend.SetLabelFormat("%.0f")
    legend.SetNumberOfLabels(round(HIGHEST - LOWEST) + 1)
    legend.SetMaxNumberOfColors(COLOURS)
    legend.SetVisibility(True)
    return legend


def _entry_values() -> NDArray[np.float64]:
    """(256,) the determinant in the middle of each step."""
    return LOWEST + (np.arange(COLOURS) + 0.5) / STEPS_PER_UNIT


def _entry_colours() -> NDArray[np.float64]:
    """(256, 3) red, green, blue of each step."""
    values = _entry_values()
    position = np.clip(np.log2(np.maximum(values, 1e-6)), -1, 1)
    # The two steps that meet at 1 are neutral, both.
    position[np.abs(values - 1) < 1 / STEPS_PER_UNIT] = 0
    anchors = np.linspace(-1, 1, len(_DIVERGING))
    colours = np.stack([np.interp(position, anchors, _DIVERGING[:, channel]) for channel in range(3)], axis=-1)
    colours[values <= 0] = FOLD_COLOUR
    return colours
