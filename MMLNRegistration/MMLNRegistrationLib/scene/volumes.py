"""Volumes between the scene and the pipeline."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from ..pipeline.volume import Volume, checked_image
from ..spatial.geometry import Geometry
from .parents import world_from_node
from .vtk_arrays import OwnedArray, array_from_image, fill_image, index_from_array_index, matrix_from_vtk, vtk_matrix

DISPLAY_PERCENTILES = (0.5, 99.5)
"""Intensities shown as black and white: the few voxels of fat and vessels beyond must not darken the brain."""


GREY_COLOURS_ID = "vtkMRMLColorTableNodeGrey"


def volume_from_node(node: slicer.vtkMRMLVolumeNode) -> Volume:
    """The image of a scalar volume node, float32, at its place in the world.

    Raises InputError for an empty, colour, vector or 4D node, a node under a non-linear transform, and for
    voxels that nothing can be registered with.
    """
    return checked_image(scalars_of_node(node), geometry_of_node(node), node.GetName())


def geometry_of_node(node: slicer.vtkMRMLVolumeNode) -> Geometry:
    """The grid of a volume node in the world, linear parent transforms folded in exactly.

    Raises InputError when the node has no voxels or lies under a non-linear transform.
    """
    image = _image(node)
    ras_from_index = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ras_from_index)
    world_from_ijk = world_from_node(node) @ matrix_from_vtk(ras_from_index) @ index_from_array_index(image)
    return Geometry(image.GetDimensions()[::-1], world_from_ijk)


def scalars_of_node(node: slicer.vtkMRMLVolumeNode) -> NDArray:
    """A view of a scalar volume's voxels, (K, J, I), as they are.

    Raises InputError for an empty, colour, vector or 4D node.
    """
    image = _image(node)
    components = image.GetNumberOfScalarComponents()
    if components > 1:
        raise InputError(
            f"{node.GetName()} has {components} values in each voxel, as colour, vector and 4D images do; "
            "choose or make a scalar volume first."
        )
    return array_from_image(image)


def volume_node(scene: slicer.vtkMRMLScene, volume: Volume, name: str) -> slicer.vtkMRMLScalarVolumeNode:
    """A new scalar volume node, shown in grey between the DISPLAY_PERCENTILES of its intensities."""
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    fill_volume_node(node, volume.array_kji, volume.geometry)
    show_in_grey(scene, node, display_window(volume.array_kji))
    return node


def fill_volume_node(node: slicer.vtkMRMLVolumeNode, voxels_kji: NDArray | OwnedArray, geometry: Geometry) -> None:
    """Give a volume node these voxels, (K, J, I), on this grid of the world, and a display node if it has none.

    Its window is left to the caller. A node that had others loses them, its parent transform.
    """
    image = vtk.vtkImageData()
    fill_image(image, voxels_kji)
    node.SetAndObserveTransformNodeID(None)
    node.SetIJKToRASMatrix(vtk_matrix(geometry.ras_from_ijk))
    # The display node first: one that finds voxels, or waits for them, goes through all of them for a window.
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    if display.IsA("vtkMRMLScalarVolumeDisplayNode"):
        display.AutoWindowLevelOff()
    node.SetAndObserveImageData(image)


def display_window(array_kji: NDArray) -> tuple[float, float]:
    """The intensities to show as black and white: the DISPLAY_PERCENTILES."""
    lower, upper = np.percentile(array_kji, DISPLAY_PERCENTILES)
    if upper <= lower:
        lower, upper = array_kji.min(), array_kji.max()
    return float(lower), float(upper)


def show_in_grey(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, window: tuple[float, float]) -> None:
    """Show a scalar volume in grey, black and white at the ends of the window."""
    display = node.GetDisplayNode()
    add_grey_colours(scene)
    display.SetAndObserveColorNodeID(GREY_COLOURS_ID)
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(*window)


def add_grey_colours(scene: slicer.vtkMRMLScene) -> None:
    """Give a scene Slicer's grey colour table, which only the application's own scene has from the start."""
    if scene.GetNodeByID(GREY_COLOURS_ID) is None:
        grey = slicer.vtkMRMLColorTableNode()
        grey.SetTypeToGrey()
        grey.SetName(grey.GetTypeAsString())
        grey.SetSingletonTag(grey.GetTypeAsString())
        grey.SaveWithSceneOff()
        scene.AddNode(grey)


def _image(node: slicer.vtkMRMLVolumeNode) -> vtk.vtkImageData:
    image = node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0 or image.GetPointData().GetScalars() is None:
        raise InputError(f"{node.GetName()} has no voxels; choose a volume that is loaded.")
    return image
