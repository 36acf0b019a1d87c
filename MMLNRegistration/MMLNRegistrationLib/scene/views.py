"""What the three slice views of a scene show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer

from .volumes import geometry_of_node

ORIENTATIONS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
"""Slicer's standard slice views."""


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


def set_up_slice_views(scene: slicer.vtkMRMLScene, layers: SliceLayers, size_pixels: int = 512) -> None:
    """Make the red, yellow and green views of a scene show these volumes, whole and centred on the background.

    Views that the scene has are changed, missing ones are added.
    """
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    geometry = geometry_of_node(layers.background)
    centre_ras = geometry.centre_ras
    reach_mm = 2 * np.abs(geometry.corners_ras - centre_ras).max()
    for view_name, orientation in ORIENTATIONS.items():
        composite = _singleton(scene, "vtkMRMLSliceCompositeNode", view_name)
        set_layers(composite, layers)
        view = _singleton(scene, "vtkMRMLSliceNode", view_name)
        view.SetOrientation(orientation)
        view.SetDimensions(size_pixels, size_pixels, 1)
        view.SetFieldOfView(reach_mm, reach_mm, 1)
        view.JumpSliceByCentering(*centre_ras)


def _singleton(scene: slicer.vtkMRMLScene, class_name: str, view_name: str) -> slicer.vtkMRMLNode:
    """The node of a class that belongs to a view, by Slicer's rule that the view's name is its tag."""
    node = scene.GetSingletonNode(view_name, class_name)
    if node is None:
        node = scene.CreateNodeByClass(class_name)
        node.UnRegister(None)
        node.SetSingletonTag(view_name)
        node.SetLayoutName(view_name)
        node.SetName(view_name)
        node = scene.AddNode(node)
    return node
