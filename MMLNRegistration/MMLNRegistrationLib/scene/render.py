"""Pictures of a scene: Slicer's own slice view, drawn without a window, a screen or a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..errors import InputError
from .jacobian import add_legend
from .views import SliceLayers, set_layers
from .volumes import add_grey_colours

VIEW_NAME = "MMLNPicture"

DISPLAYABLE_MANAGERS = (
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)
"""What a picture shows over the volumes: transforms and segments that are visible, colour legends."""


def render_slice(
    scene: slicer.vtkMRMLScene,
    path: Path,
    layers: SliceLayers,
    orientation: str = "Axial",
    size_pixels: tuple[int, int] = (600, 600),
    point_ras: NDArray[np.floating] | None = None,
    zoom: float = 1.0,
    legend_of: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> Path:
    """Write one slice of a scene as a PNG and return its path.

    orientation: Axial, Sagittal or Coronal.
    size_pixels: width and height.
    point_ras: (3,) a point in mm that the slice goes through; by default the middle of the background.
    zoom: 1 fits the whole background volume into the picture.
    legend_of: a volume made by jacobian_node, among the layers, whose colour legend is drawn.

    The scene is left with the nodes that it had.

    Raises InputError when the file cannot be written.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path} could not be written: its folder does not exist.")
    add_grey_colours(scene)
    nodes_before = _node_ids(scene)
    try:
        application, logic = _slice_logic(scene)
        view = logic.GetSliceNode()
        view.SetOrientation(orientation)
        view.SetDimensions(*size_pixels, 1)
        set_layers(logic.GetSliceCompositeNode(), layers)
        logic.FitSliceToBackground(*size_pixels)
        view.SetFieldOfView(*(size_mm / zoom for size_mm in view.GetFieldOfView()[:2]), view.GetFieldOfView()[2])
        if point_ras is not None:
            view.JumpSliceByOffsetting(*point_ras)
        render_view(application, logic, path, size_pixels, legend_of)
    finally:
        for node_id in _node_ids(scene) - nodes_before:
            scene.RemoveNode(scene.GetNodeByID(node_id))
    return path


def render_view(
    application: slicer.vtkMRMLApplicationLogic,
    logic: slicer.vtkMRMLSliceLogic,
    path: Path,
    size_pixels: tuple[int, int],
    legend_of: slicer.vtkMRMLScalarVolumeNode | None = None,
) -> None:
    """Write what a slice view shows as a PNG. The view's node must have these dimensions, in pixels.

    legend_of: as in render_slice; the legend stays in the scene.

    Raises InputError when the file cannot be written.
    """
    window, group = _window(application, logic, size_pixels)
    if legend_of is not None:
        # Drawn only when it comes after the managers that draw it.
        add_legend(logic.GetMRMLScene(), legend_of)
    window.Render()
    _write_png(window, path)
    group.SetMRMLDisplayableNode(None)


def _node_ids(scene: slicer.vtkMRMLScene) -> set[str]:
    return {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}


def _slice_logic(
    scene: slicer.vtkMRMLScene,
) -> tuple[slicer.vtkSlicerApplicationLogic, slicer.vtkMRMLSliceLogic]:
    """What computes the pixels of a slice view, with its own application logic beside that of the application."""
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    application.GetSliceLogics().AddItem(logic)
    logic.AddSliceNode(VIEW_NAME)
    return application, logic


def _window(
    application: slicer.vtkSlicerApplicationLogic, logic: slicer.vtkMRMLSliceLogic, size_pixels: tuple[int, int]
) -> tuple[vtk.vtkRenderWindow, slicer.vtkMRMLDisplayableManagerGroup]:
    """An offscreen window with the slice's pixels and, over them, what the displayable managers draw."""
    window = _new_window()
    window.SetOffScreenRendering(True)
    window.SetSize(*size_pixels)
    renderer = vtk.vtkRenderer()
    renderer.GetActiveCamera().ParallelProjectionOn()
    window.AddRenderer(renderer)
    interactor = vtk.vtkRenderWindowInteractor()
    interactor.SetRenderWindow(window)

    mapper = vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    mapper.SetInputConnection(logic.GetImageDataConnection())
    pixels = vtk.vtkActor2D()
    pixels.SetMapper(mapper)
    pixels.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(pixels)

    # A factory of our own: the application's, a singleton, must not learn about this view.
    factory = slicer.vtkMRMLDisplayableManagerFactory()
    factory.SetMRMLApplicationLogic(application)
    for manager in DISPLAYABLE_MANAGERS:
        factory.RegisterDisplayableManager(manager)
    group = slicer.vtkMRMLDisplayableManagerGroup()
    group.SetRenderer(renderer)
    group.Initialize(factory, renderer)
    group.SetMRMLDisplayableNode(logic.GetSliceNode())
    return window, group


def _new_window() -> vtk.vtkRenderWindow:
    """VTK tries a screen first and warns when there is none, which is no news for an offscreen window."""
    warnings = vtk.vtkObject.GetGlobalWarningDisplay()
    vtk.vtkObject.GlobalWarningDisplayOff()
    try:
        return vtk.vtkRenderWindow()
    finally:
        vtk.vtkObject.SetGlobalWarningDisplay(warnings)


def _write_png(window: vtk.vtkRenderWindow, path: Path) -> None:
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.Write()
    if writer.GetErrorCode():
        raise InputError(f"{path} could not be written; check the free space and the folder's permissions.")
