"""What the slice views show while a registration is judged, and where."""

from __future__ import annotations

from collections.abc import Iterator

import slicer

ARROWS, GRID = "arrows", "grid"


def show_layers(
    scene: slicer.vtkMRMLScene,
    background: slicer.vtkMRMLVolumeNode,
    foreground: slicer.vtkMRMLVolumeNode | None = None,
    foreground_opacity: float = 0.5,
    label: slicer.vtkMRMLLabelMapVolumeNode | None = None,
) -> None:
    """Make every slice view of the scene show these volumes, where it is; label lies on top."""
    for composite in _composites(scene):
        was_modifying = composite.StartModify()
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(foreground.GetID() if foreground is not None else None)
        composite.SetForegroundOpacity(foreground_opacity)
        composite.SetLabelVolumeID(label.GetID() if label is not None else None)
        composite.SetLabelOpacity(1.0)
        composite.EndModify(was_modifying)


def set_foreground_opacity(scene: slicer.vtkMRMLScene, opacity: float) -> None:
    """How much of the foreground is seen, 0 to 1, in every slice view."""
    for composite in _composites(scene):
        composite.SetForegroundOpacity(opacity)


def flip_foreground(scene: slicer.vtkMRMLScene, foreground_id: str) -> bool:
    """Show the background where this foreground was seen, and the other way round; False where no view has it."""
    views = [composite for composite in _composites(scene) if composite.GetForegroundVolumeID() == foreground_id]
    for composite in views:
        composite.SetForegroundOpacity(0.0 if composite.GetForegroundOpacity() > 0.5 else 1.0)
    return bool(views)


def jump_to(scene: slicer.vtkMRMLScene, point_ras: tuple[float, float, float]) -> None:
    """Put a point of the world, mm, into the middle of every slice view."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *point_ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def show_deformation(
    node: slicer.vtkMRMLTransformNode,
    region: slicer.vtkMRMLVolumeNode,
    kind: str,
    spacing_mm: float,
) -> None:
    """Show a transform in the slice views by its own display node, as a deformed grid or as arrows.

    kind: GRID or ARROWS. region: the volume that is covered. Slicer shows where the transform carries the moving side.
    """
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    was_modifying = display.StartModify()
    display.SetVisualizationMode(display.VIS_MODE_GRID if kind == GRID else display.VIS_MODE_GLYPH)
    display.SetGridSpacingMm(spacing_mm)
    display.SetGlyphSpacingMm(spacing_mm)
    display.SetAndObserveRegionNode(region)
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    display.EndModify(was_modifying)


def hide_deformation(node: slicer.vtkMRMLTransformNode) -> None:
    """Show nothing of a transform any more."""
    if node.GetDisplayNode() is not None:
        node.GetDisplayNode().SetVisibility(False)


def _composites(scene: slicer.vtkMRMLScene) -> Iterator[slicer.vtkMRMLSliceCompositeNode]:
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        yield scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode")
