"""A small scripted module on which the host is tested: it multiplies a volume."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import numpy as np
import qt
import slicer
from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper, parameterPack
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Way(Enum):
    """How."""

    FAST = "fast"
    ACCURATE = "accurate"

    def label(self) -> str:
        """What the user reads."""
        return self.value.capitalize()


@parameterPack
class Inner:
    """A pack in a pack."""

    steps: Annotated[int, WithinRange(1, 20)] = 3
    folder: Path = Path("results")


@parameterPack
class Multiply:
    """Parameters of the one panel."""

    volume: vtkMRMLScalarVolumeNode
    result: vtkMRMLScalarVolumeNode
    factor: Annotated[float, WithinRange(0, 10)] = 2.0
    way: Way = Way.FAST
    device: Annotated[str, Choice(["CPU", "GPU"])] = "CPU"
    invert: bool = False
    note: str = ""
    names: list[str]
    inner: Inner


@parameterNodeWrapper
class DemoParameters:
    """All parameters."""

    multiply: Multiply


class Demo(ScriptedLoadableModule):
    """Entry."""

    def __init__(self, parent: object) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Demo")
        parent.categories = ["Testing"]


class DemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Panel."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameters, self.tag = None, None

    def setup(self) -> None:
        """Load the .ui file and bind it."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Demo.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = DemoLogic()
        self.ui.applyButton.connect("clicked(bool)", self.on_apply)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.on_close)
        self.bind()

    def bind(self, *_arguments: object) -> None:
        """Bind the widgets to the parameter node."""
        if self.parameters is None:
            self.parameters = DemoParameters(self.logic.getParameterNode())
            self.tag = self.parameters.connectGui(self.ui)

    def unbind(self) -> None:
        """Undo bind."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self.tag)
        self.parameters = None

    def on_close(self, *_arguments: object) -> None:
        """The scene closes."""
        self.unbind()

    def enter(self) -> None:
        """The panel is opened."""
        self.bind()

    def exit(self) -> None:
        """The panel is left."""
        self.unbind()

    def cleanup(self) -> None:
        """The module goes."""
        self.unbind()
        self.removeObservers()

    def on_apply(self) -> None:
        """The button."""
        if not slicer.util.confirmOkCancelDisplay(_("Multiply now?")):
            return
        multiply = self.parameters.multiply
        with slicer.util.tryWithErrorDisplay(_("The volume could not be multiplied."), waitCursor=True):
            result = self.logic.multiply(multiply.volume, multiply.factor)
        multiply.result = result
        slicer.util.setSliceViewerLayers(background=result, fit=True)


class DemoLogic(ScriptedLoadableModuleLogic):
    """Logic."""

    def multiply(self, volume: vtkMRMLScalarVolumeNode, factor: float) -> vtkMRMLScalarVolumeNode:
        """A new volume with all values multiplied."""
        if volume is None:
            raise ValueError("There is no volume; choose one.")
        result = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "result")
        slicer.util.updateVolumeFromArray(result, slicer.util.arrayFromVolume(volume) * factor)
        result.CopyOrientation(volume)
        return result


class DemoTest(ScriptedLoadableModuleTest):
    """Self test."""

    def test_multiply(self) -> None:
        """Every value is doubled."""
        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
        slicer.util.updateVolumeFromArray(volume, np.ones((2, 3, 4)))
        assert (slicer.util.arrayFromVolume(DemoLogic().multiply(volume, 2)) == 2).all()
