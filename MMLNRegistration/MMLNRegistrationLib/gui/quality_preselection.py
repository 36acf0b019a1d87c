"""What Quality chooses by itself: what was registered last, and the images that a transform remembers."""

from __future__ import annotations

from typing import Any

import slicer

from .session import LastRegistration


class QualityPreselection:
    """Fills selectors that are empty, once for each occasion: what the user empties stays empty."""

    def __init__(self) -> None:
        self._offered: LastRegistration | None = None
        self._known_id = ""

    def fill(self, parameters: Any, last: LastRegistration | None) -> None:
        """parameters: the module's wrapped parameter node. last: what was registered last."""
        chosen = parameters.quality
        if last is not None and last is not self._offered:
            self._offered = last
            nodes = [
                slicer.mrmlScene.GetNodeByID(node_id) for node_id in (last.transform_id, last.fixed_id, last.moving_id)
            ]
            if chosen.transform is None and None not in nodes:
                self._known_id = last.transform_id
                with slicer.util.NodeModify(parameters.parameterNode):
                    chosen.transform, chosen.fixed, chosen.moving = nodes
                return
        transform = chosen.transform
        transform_id = transform.GetID() if transform is not None else ""
        if transform_id != self._known_id:
            self._known_id = transform_id
            if transform is not None:
                self._fill_images(parameters, transform)

    def forget(self) -> None:
        """The scene is closed."""
        self._offered, self._known_id = None, ""

    def _fill_images(self, parameters: Any, transform: slicer.vtkMRMLTransformNode) -> None:
        """The images that a registration has noted at its transform, where none are chosen."""
        chosen = parameters.quality
        with slicer.util.NodeModify(parameters.parameterNode):
            for name, role in (
                ("fixed", transform.GetFixedNodeReferenceRole()),
                ("moving", transform.GetMovingNodeReferenceRole()),
            ):
                node = transform.GetNodeReference(role)
                if getattr(chosen, name) is None and node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
                    setattr(chosen, name, node)
