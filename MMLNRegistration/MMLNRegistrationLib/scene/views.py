"""What the three slice views of a scene show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import slicer

from .volumes import geometry_of_node


class StandardView(NamedTuple):
    """One of the three slice views of Slicer's layouts."""

    name: str
    orientation: str
    colour: tuple[float, float, float]


STANDARD_VIEWS = (
    StandardView("Red", "Axial", slicer.vtkMRMLSliceNode.GetRedColor()),
    StandardView("Yellow", "Sagittal", slicer.vtkMRMLSliceNode.GetYellowColor()),
    StandardView("Green", "Coronal", slicer.vtkMRMLSliceNode.GetGreenColor()),
)


@dataclass(frozen=True, eq=False)
class SliceLayers:
    """The volumes of a slice view: a background and, blended over it, a foreground."""

    background: slicer.vtkMRMLVolumeNode
    foreground: slicer.vtkMRMLVolumeNode | None = None
    foreground_opacity: float = 0.5


def set_layers(composite: slicer.vtkMRMLSliceCompositeNode, layers: SliceLayers) -> None:
    """Make a slice view show these volumes."""
    composite.SetBackgroundVolumeID(layers.background.GetID())
    composite.SetForegroundVolumeID(layers.foreground.GetID() if layers.foreground is not None else None)
    composite.SetForegroundOpacity(layers.foreground_opacity)


def set_up_slice_views(scene: slicer.vtkMRMLScene, layers: SliceLayers) -> None:
    """Make the red, yellow and green views of a scene show these volumes, whole and centred on the background.

    Views that the scene has are changed, missing ones are added.
    """
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    geometry = geometry_of_node(layers.background)
    centre_ras = geometry.centre_ras
    reach_mm = 2 * np.abs(geometry.corners_ras - centre_ras).max()
    for standard in STANDARD_VIEWS:
        set_layers(_node_of_view(scene, "vtkMRMLSliceCompositeNode", standard.name), layers)
        view = _node_of_view(scene, "vtkMRMLSliceNode", standard.name)
        view.SetLayoutLabel(standard.name[0])
        view.SetLayoutColor(*standard.colour)
        view.SetOrientation(standard.orientation)
        width, height, _ = view.GetDimensions()
        mm_per_pixel = reach_mm / min(width, height)
        view.SetFieldOfView(width * mm_per_pixel, height * mm_per_pixel, view.GetFieldOfView()[2])
        view.JumpSliceByCentering(*centre_ras)


def _node_of_view(scene: slicer.vtkMRMLScene, class_name: str, view_name: str) -> slicer.vtkMRMLNode:
    """The node of a class that belongs to a view, by Slicer's rule that the view's name is its tag."""
    node = scene.GetSingletonNode(view_name, class_name)
    if node is None:
        # Made by the scene, for it knows the orientations.
        node = scene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        node.SetSingletonTag(view_name)
        node.SetLayoutName(view_name)
        node.SetName(view_name)
        node = scene.AddNode(node)
    return node
