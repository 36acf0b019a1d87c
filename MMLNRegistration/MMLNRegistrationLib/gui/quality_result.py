"""Putting what a check found into the scene: into the nodes of the check before, or new ones."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..quality.verdict import number_text
from ..scene.quality_results import InspectionResult, show_folds, show_jacobian, show_warped
from ..scene.quality_tables import fill_table, fold_rows, histogram_rows, landmark_rows, structure_rows
from .quality_choices import View

_LEVEL_COLOURS = {"good": "#1b7f3b", "doubt": "#b26a00", "bad": "#b3261e"}


def result_steps(
    wrapped: Any,
    result: InspectionResult,
    transform: slicer.vtkMRMLTransformNode,
    fixed: slicer.vtkMRMLScalarVolumeNode,
) -> Iterator[float]:
    """Fill the nodes that the parameters refer to, made where there are none, one at a time.

    wrapped: the module's parameter node. transform, fixed: what was checked, and where. Gives the share that is done.
    A node that somebody has chosen as an input meanwhile is left alone and a new one made.
    """
    scene, parameters = slicer.mrmlScene, wrapped.quality
    scene.SaveStateForUndo()
    name = transform.GetName()
    inputs = (parameters.fixed, parameters.moving)

    def volume(role: str, class_name: str, text: str) -> slicer.vtkMRMLVolumeNode:
        node = getattr(parameters, role)
        if node is None or node in inputs:
            node = scene.AddNewNodeByClass(class_name, text)
        else:
            node.SetName(text)
        setattr(parameters, role, node)
        return node

    def table(role: str, text: str, columns: dict[str, list[Any]]) -> None:
        node = getattr(parameters, role) or scene.AddNewNodeByClass("vtkMRMLTableNode", text)
        node.SetName(text)
        fill_table(node, columns)
        setattr(parameters, role, node)

    node = volume("jacobian", "vtkMRMLScalarVolumeNode", f"{name} Jacobian")
    yield 0.1
    show_jacobian(scene, node, result)
    yield 0.2
    node = volume("folded", "vtkMRMLLabelMapVolumeNode", f"{name} folded voxels")
    yield 0.3
    show_folds(scene, node, result)
    yield 0.4
    if result.warped is not None:
        warped_name = f"{result.figures['moving'].rpartition('.')[0]} by {name}"
        node = volume("warped", "vtkMRMLScalarVolumeNode", warped_name)
        yield 0.45
        show_warped(scene, node, result, fixed.GetDisplayNode())
    elif parameters.warped is not None:
        scene.RemoveNode(parameters.warped)
        parameters.warped = None
    yield 0.5
    table("folds_table", f"{name} folds", fold_rows(result.figures))
    yield 0.6
    table("structures_table", f"{name} structures", structure_rows(result.figures))
    yield 0.7
    table("landmarks_table", f"{name} landmarks", landmark_rows(result.figures))
    yield 0.8
    table("histogram_table", f"{name} histogram", histogram_rows(result.figures))
    yield 0.9
    with slicer.util.NodeModify(wrapped.parameterNode):
        parameters.checked_fixed, parameters.checked_transform = fixed, transform
        parameters.verdict = verdict_text(name, result.figures)
        if parameters.warped is None:
            parameters.view = View.JACOBIAN
    yield 1.0


def verdict_text(name: str, figures: dict[str, Any]) -> str:
    """The verdict as rich text: what to think of the transform, and the figures that were asked for."""
    colour = _LEVEL_COLOURS[figures["level"]]
    lines = [
        f'<b style="color:{colour}">{escape(name)}: {escape(figures["headline"])}</b>',
        escape(figures["sentence"]),
    ]
    before, after = figures["similarity_before"], figures["similarity_after"]
    if before and after:
        lines.append(
            _("Local similarity {before} before, {after} after.").format(
                before=_number(before["local_correlation"], 2), after=_number(after["local_correlation"], 2)
            )
        )
    if figures["mean_dice"] is not None:
        lines.append(
            _("Dice {dice} and TC {tc}, means of the structures.").format(
                dice=_number(figures["mean_dice"], 3), tc=_number(figures["mean_tc"], 3)
            )
        )
    first, last = figures["landmarks_before"], figures["landmarks_after"]
    if first and last:
        lines.append(
            _("Landmarks: median error {before} mm before, {after} mm after.").format(
                before=_number(first["median_mm"], 2), after=_number(last["median_mm"], 2)
            )
        )
    return "<br>".join(lines)


def _number(value: float | None, digits: int) -> str:
    return number_text(float("nan") if value is None else value, digits)
