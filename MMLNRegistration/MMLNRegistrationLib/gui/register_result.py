"""What Register shows when it is done: the overlay, the verdict, the moving volume under its transform."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..quality.verdict import count_text, number_text, seconds_text
from ..scene.parents import world_from_node
from ..scene.results import ResultNodes
from ..scene.vtk_arrays import vtk_matrix


def verdict(report: Mapping[str, Any]) -> str:
    """A registration's report in one line. Rich text: green is good, red must not be used as it is."""
    before, after = (report[name]["local_correlation"] for name in ("similarity_before", "similarity_after"))
    folded = report["folded_voxels"]
    folding = _("{count} folded voxels").format(count=count_text(folded)) if folded else _("no folded voxel")
    line = _("Similarity {before} → {after}, {folding}, {seconds} on {device}.").format(
        before=_number(before),
        after=_number(after),
        folding=folding,
        seconds=seconds_text(report["seconds"]["total"]),
        device=report["device"],
    )
    is_worse = before is not None and after is not None and after < before
    mark, colour = ("✗", "#b02020") if folded or is_worse else ("✓", "#1d7a3a")
    notes = "".join(f"<br>{note}" for note in report.get("notes", ()))
    return f'<span style="color:{colour}"><b>{mark}</b></span> {line}{notes}'


def show_overlay(
    fixed: slicer.vtkMRMLVolumeNode | None, warped: slicer.vtkMRMLVolumeNode, opacity: float, fit: bool
) -> None:
    """Show the fixed volume and, over it, the warped one alone in all slice views."""
    background = fixed if fixed is not None else warped
    slicer.util.setSliceViewerLayers(background, foreground=warped, label=None, foregroundOpacity=opacity, fit=fit)


def fade(opacity: float) -> None:
    """How much of the foreground is seen in all slice views, 0 to 1."""
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetForegroundOpacity(opacity)


class MovedVolume:
    """A moving volume that has been put under a transform, and how it gets back to where it was.

    The transform leads to the moving image as it lay, so a linear parent stays between them: as a copy, because others
    may lie under the parent too.
    """

    def __init__(self, moving: slicer.vtkMRMLVolumeNode, transform: slicer.vtkMRMLTransformNode) -> None:
        """Put it there. Raises InputError when it lies under a non-linear transform already."""
        self._moving = moving
        self._parent_id = moving.GetTransformNodeID()
        self._placement: slicer.vtkMRMLTransformNode | None = None
        carrier = transform
        if moving.GetParentTransformNode() is not None:
            matrix = world_from_node(moving)
            carrier = slicer.mrmlScene.AddNewNodeByClass(
                "vtkMRMLLinearTransformNode", _("{name} placement").format(name=moving.GetName())
            )
            carrier.SetMatrixTransformToParent(vtk_matrix(matrix))
            carrier.SetAndObserveTransformNodeID(transform.GetID())
            self._placement = carrier
        self._carrier_id = carrier.GetID()
        moving.SetAndObserveTransformNodeID(self._carrier_id)

    @property
    def is_there(self) -> bool:
        """Whether it still lies where it was put: not when it was hardened, moved or removed since."""
        return self._moving.GetScene() is not None and self._moving.GetTransformNodeID() == self._carrier_id

    def take_back(self) -> None:
        """Put it where it was, unless somebody else has moved it since."""
        if self.is_there:
            is_left = self._parent_id is not None and slicer.mrmlScene.GetNodeByID(self._parent_id) is not None
            self._moving.SetAndObserveTransformNodeID(self._parent_id if is_left else None)
        if self._placement is not None and self._placement.GetScene() is not None:
            slicer.mrmlScene.RemoveNode(self._placement)


def can_be_moved(nodes: ResultNodes, moving: slicer.vtkMRMLVolumeNode | None) -> bool:
    """Whether both a moving volume and its transform are still in the scene."""
    return all(node is not None and node.GetScene() is not None for node in (nodes.transform, moving))


def _number(value: float | None) -> str:
    return number_text(value, 2) if value is not None else _("not measured")
