"""The Quality panel in the host, with transforms whose faults are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mrml import slicer, vtk
from scene_cases import grid, rotation

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.segments import segmentation_from_labels
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import transform_points

MODULE = Path(__file__).resolve().parents[2] / "MMLNRegistration" / "MMLNRegistration.py"
SECONDS = 60.0

GEOMETRY = grid((22, 24, 26), (2.0, 1.8, 1.6), rotation((5, -8, 12)))
SHIFT_MM = np.array((3.0, -2.0, 1.0))
FOLDS_KJI = ((6, 7, 8), (6, 7, 9), (14, 12, 15))
"""Voxels that the folded field throws far off: two beside each other, and one alone."""


def world_points() -> np.ndarray:
    """(K, J, I, 3) places of the fixed voxels."""
    return GEOMETRY.points_ras().reshape(*GEOMETRY.shape_kji, 3)


def image(points: np.ndarray) -> np.ndarray:
    """Something to see at world points (..., 3), nothing outside."""
    distance = np.linalg.norm(points / (13.0, 14.0, 13.0), axis=-1)
    result = 300.0 / (1.0 + np.exp((distance - 1.0) * 12.0))
    for centre, height, width in (((5, 3, 2), 260, 20), ((-5, 6, -3), 200, 14), ((1, -8, 3), -180, 16)):
        result = result + height * np.exp(-((points - centre) ** 2).sum(-1) / width)
    return np.maximum(result, 0).astype(np.float32)


def add_pair():
    """A fixed volume image(x) and a moving one, image(y - shift): the shift brings one onto the other."""
    points = world_points()
    return tuple(
        volume_node(slicer.mrmlScene, Volume(image(points - offset), GEOMETRY, name), name)
        for name, offset in (("subject", 0.0), ("atlas", SHIFT_MM))
    )


def add_shift(offset_mm=SHIFT_MM):
    """A linear transform that leads from x to x + offset."""
    matrix = np.eye(4)
    matrix[:3, 3] = offset_mm
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    node.SetMatrixTransformFromParent(vtk_matrix(matrix))
    return node


def add_folded():
    """The shift as a field, with FOLDS_KJI."""
    field = np.broadcast_to(SHIFT_MM, (*GEOMETRY.shape_kji, 3)).astype(np.float32)
    along_i = GEOMETRY.direction_ras[:, 0] * GEOMETRY.spacing_mm[0]
    for place in FOLDS_KJI:
        field[place] += 1.7 * along_i
    node = transform_node(slicer.mrmlScene, field, GEOMETRY, "folded field")
    # Between the voxels does not matter here, and at them cubic interpolation only costs time.
    node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True).SetInterpolationModeToLinear()
    return node


def add_bspline():
    """A B-spline stored to parent, as another program may leave it: Slicer has to invert it."""
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(8, 8, 8)
    coefficients.SetSpacing(14, 14, 14)
    coefficients.SetOrigin(-49, -49, -49)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    values = array_from_image(coefficients)
    values[...] = np.random.default_rng(3).uniform(-2, 2, values.shape)
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(coefficients)
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bspline")
    node.SetAndObserveTransformToParent(transform)
    return node


def fold_places() -> np.ndarray:
    """(N, 3) where FOLDS_KJI are in the world."""
    return transform_points(GEOMETRY.ras_from_ijk, np.array(FOLDS_KJI)[:, ::-1])


def add_segments(name: str, offset_voxels: int):
    """Two structures, the first one moved along i."""
    labels = np.zeros(GEOMETRY.shape_kji, np.uint8)
    labels[6:12, 6:12, 8 + offset_voxels : 16 + offset_voxels] = 1
    labels[14:18, 6:10, 6:10] = 2
    return segmentation_from_labels(
        slicer.mrmlScene, Volume(labels, GEOMETRY, name), name, {1: "Thalamus", 2: "Fornix"}
    )


def add_points(name: str, offset_mm):
    """Three landmarks."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, place in enumerate(((0, 0, 0), (5, 2, 1), (-4, 6, 2))):
        node.AddControlPoint(vtk.vtkVector3d(*map(float, np.add(place, offset_mm))), f"{name}-{number}")
    return node


def open_panel(host):
    """The Quality panel of the module, just loaded and seen."""
    module = host.load_module(MODULE).self()
    (panel,) = [panel for panel in module.panels if type(panel).__name__ == "QualityPanel"]
    module.ui.tabs.setCurrentWidget(panel.widget)
    return panel


def choose(panel, transform, fixed, moving=None):
    """Fill the selectors."""
    chosen = panel.parameters.quality
    chosen.transform, chosen.fixed, chosen.moving = transform, fixed, moving


def check(host, panel):
    """Click, and wait for the end."""
    host.click(panel.ui.checkButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.message.text == ""
    return panel.parameters.quality


def composites():
    """The slice views' nodes."""
    return [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceCompositeNode") for name in ("Red", "Yellow", "Green")]


def view_centre() -> np.ndarray:
    """(3,) the point that the red view is at."""
    to_ras = slicer.mrmlScene.GetSingletonNode("Red", "vtkMRMLSliceNode").GetSliceToRAS()
    return np.array([to_ras.GetElement(row, 3) for row in range(3)])
