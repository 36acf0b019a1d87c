"""One atlas of the list in the Propagate panel: its image, what is drawn on it, and a registration to reuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .propagate_plan import AtlasChoice


class AtlasCard:
    """Three choices and a button that removes them. widget: the loaded qMRMLWidget."""

    def __init__(
        self, resources: Path, on_changed: Callable[[AtlasCard], None], on_removed: Callable[[AtlasCard], None]
    ) -> None:
        """resources: the module's folder of resources. The callbacks are for what the user does."""
        self.widget = slicer.util.loadUI(str(resources / "UI" / "PropagateAtlas.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self._on_changed, self._on_removed = on_changed, on_removed
        self._is_filling = False
        for combo in (self.ui.image, self.ui.labels, self.ui.transform):
            combo.connect("currentNodeChanged(vtkMRMLNode*)", self._changed)
        self.ui.remove.connect("clicked(bool)", self._removed)

    @property
    def choice(self) -> AtlasChoice:
        """What is chosen."""
        return AtlasChoice(self.ui.image.currentNode(), self.ui.labels.currentNode(), self.ui.transform.currentNode())

    def show(self, choice: AtlasChoice, number: int, is_only_one: bool) -> None:
        """Show these nodes as chosen. number: of the atlas, from 1."""
        self.ui.title.text = _("Atlas") if is_only_one else _("Atlas {number}").format(number=number)
        self.ui.remove.visible = not is_only_one
        self._is_filling = True
        for combo, node in zip((self.ui.image, self.ui.labels, self.ui.transform), choice, strict=True):
            if combo.currentNode() is not node:
                combo.setCurrentNode(node)
        self._is_filling = False

    def _changed(self, node: Any = None) -> None:
        if not self._is_filling:
            self._on_changed(self)

    def _removed(self, checked: bool = False) -> None:
        self._on_removed(self)
