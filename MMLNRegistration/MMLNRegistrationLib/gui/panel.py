"""What the panels have in common: their widget, and how they are bound to the module's parameter node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.util import VTKObservationMixin

from .session import Session


class Panel(VTKObservationMixin):
    """A part of the module's window with a .ui file of its own.

    widget: the loaded qMRMLWidget. ui: its named children as attributes. parameters: the module's wrapped parameter
    node, None while the panel is bound to none. What it gives for a pack, such as parameters.register, is a snapshot
    that writes all of its values back when one is set: set each through parameters anew, and keep none.
    """

    ui_name = ""
    """The name of its file in Resources/UI, without .ui."""

    def __init__(self, session: Session, resources: Path) -> None:
        """resources: the module's folder of resources."""
        VTKObservationMixin.__init__(self)
        self.session = session
        self.widget = slicer.util.loadUI(str(resources / "UI" / f"{self.ui_name}.ui"))
        self.ui = slicer.util.childWidgetVariables(self.widget)
        self.widget.setMRMLScene(slicer.mrmlScene)
        self.parameters: Any = None
        self._binding: int | None = None

    def connect(self, parameters: Any) -> None:
        """Bind the widgets to a parameter node, and follow what happens to it. A second time it changes over."""
        self.disconnect()
        self.parameters = parameters
        self._binding = parameters.connectGui(self.ui)

    def disconnect(self) -> None:
        """Unbind, and observe nothing more. Unbound already, it does nothing."""
        self.removeObservers()
        if self.parameters is not None and self._binding is not None:
            self.parameters.disconnectGui(self._binding)
        self.parameters, self._binding = None, None

    def scene_closes(self) -> None:
        """All nodes are about to go: stop what was for them and forget them. disconnect follows."""

    def cleanup(self) -> None:
        """The module is unloaded: stop timers and one's own jobs. To be called once, last."""
        self.disconnect()
