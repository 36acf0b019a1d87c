"""Which volumes to take when the user has not chosen yet."""

from __future__ import annotations

from typing import Any

import slicer

from ..scene.results import RESULT_ATTRIBUTE


def preselect(parameters: Any) -> None:
    """Fill in the fixed and the moving volume where there is none. parameters: the module's wrapped parameter node.

    Fixed is what the slice views show in the background, moving what they show over it; failing that the first volumes
    of the scene in their order.
    """
    chosen = parameters.register
    fixed, moving = chosen.fixed, chosen.moving
    if fixed is not None and moving is not None:
        return
    volumes = [volume for volume in _shown_volumes() + _volumes() if volume not in (fixed, moving)]
    if fixed is None and volumes:
        fixed = volumes[0]
        parameters.register.fixed = fixed
        volumes = [volume for volume in volumes if volume is not fixed]
    if moving is None and fixed is not None and volumes:
        parameters.register.moving = volumes[0]


def _volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Scalar volumes with voxels that the user sees in lists, results of registrations left out."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if _is_candidate(node)]


def _shown_volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        ids = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
        nodes = [slicer.mrmlScene.GetNodeByID(id) for id in ids if id]
        return [node for node in nodes if node is not None and _is_candidate(node)]
    return []


def _is_candidate(node: slicer.vtkMRMLVolumeNode) -> bool:
    return (
        node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and node.GetImageData() is not None
        and not node.GetAttribute(RESULT_ATTRIBUTE)
    )
