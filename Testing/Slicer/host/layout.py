"""The layout manager: real slice logics and view nodes, without windows."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .properties import state
from .pythonqt import stand_in

SLICE_VIEWS = ("Red", "Yellow", "Green")
VIEW_PIXELS = (400, 400)


@stand_in
class SliceWidget(QtWidgets.QWidget):
    """One slice view: its nodes and its logic are real, its window is not there."""

    def __init__(self, logic: slicer.vtkMRMLSliceLogic) -> None:
        super().__init__()
        state(self)["logic"] = logic

    def sliceLogic(self) -> slicer.vtkMRMLSliceLogic:
        """What computes its pixels."""
        return state(self)["logic"]

    def mrmlSliceNode(self) -> slicer.vtkMRMLSliceNode:
        """Where it cuts."""
        return state(self)["logic"].GetSliceNode()

    def mrmlSliceCompositeNode(self) -> slicer.vtkMRMLSliceCompositeNode:
        """What it shows."""
        return state(self)["logic"].GetSliceCompositeNode()

    def fitSliceToBackground(self) -> None:
        """Show the whole background."""
        state(self)["logic"].FitSliceToBackground(*VIEW_PIXELS)

    sliceOrientation = QtCore.Property(
        str,
        lambda self: self.mrmlSliceNode().GetOrientation(),
        lambda self, value: self.mrmlSliceNode().SetOrientation(value),
    )


@stand_in
class PlotWidget(QtWidgets.QWidget):
    """One plot view, of which there is only the node."""

    def __init__(self, node: slicer.vtkMRMLPlotViewNode) -> None:
        super().__init__()
        state(self)["node"] = node

    def mrmlPlotViewNode(self) -> slicer.vtkMRMLPlotViewNode:
        """Which chart it shows."""
        return state(self)["node"]


@stand_in
class LayoutManager(QtCore.QObject):
    """slicer.app.layoutManager()"""

    layoutChanged = QtCore.Signal(int)

    def __init__(self, application_logic: slicer.vtkMRMLApplicationLogic, scene: slicer.vtkMRMLScene) -> None:
        super().__init__()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        application_logic.SetSliceLogics(vtk.vtkCollection())
        application_logic.SetViewLogics(vtk.vtkCollection())
        layout_logic = slicer.vtkMRMLLayoutLogic()
        layout_logic.SetMRMLScene(scene)
        state(self).update(application=application_logic, scene=scene, layout_logic=layout_logic, slices={}, plots={})
        self.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView)
        for name, orientation in zip(SLICE_VIEWS, ("Axial", "Sagittal", "Coronal"), strict=True):
            self._add_slice_view(name, orientation)

    def _add_slice_view(self, name: str, orientation: str) -> None:
        own = state(self)
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(own["application"])
        logic.SetMRMLScene(own["scene"])
        own["application"].GetSliceLogics().AddItem(logic)
        # The layout has made the node; AddSliceNode would make the logic watch a copy that is in no scene.
        node = own["scene"].GetSingletonNode(name, "vtkMRMLSliceNode")
        logic.SetSliceNode(node)
        node.SetOrientation(orientation)
        node.SetDimensions(*VIEW_PIXELS, 1)
        own["slices"][name] = SliceWidget(logic)

    def layoutLogic(self) -> slicer.vtkMRMLLayoutLogic:
        """Slicer's own: it makes the nodes of the views that a layout has."""
        return state(self)["layout_logic"]

    def setLayout(self, layout: int) -> None:
        """Change the arrangement of the views."""
        state(self)["layout_logic"].GetLayoutNode().SetViewArrangement(int(layout))
        self.layoutChanged.emit(int(layout))

    layout = QtCore.Property(int, lambda self: self.layoutLogic().GetLayoutNode().GetViewArrangement(), setLayout)

    def sliceViewNames(self) -> tuple[str, ...]:
        """Names of the slice views."""
        return tuple(state(self)["slices"])

    def sliceWidget(self, name: str) -> SliceWidget | None:
        """A slice view by its name."""
        return state(self)["slices"].get(name)

    def mrmlSliceLogics(self) -> vtk.vtkCollection:
        """The logics of all slice views."""
        return state(self)["application"].GetSliceLogics()

    def resetSliceViews(self) -> None:
        """Show the whole of all volumes in each slice view."""
        for widget in state(self)["slices"].values():
            widget.sliceLogic().FitSliceToAll(*VIEW_PIXELS)

    def resetThreeDViews(self) -> None:
        """There is no 3D window to reset."""

    def setRenderPaused(self, paused: bool) -> None:
        """There is no window that could flicker."""

    def threeDWidget(self, _index: int) -> None:
        """There is no 3D window."""

    def _plot_nodes(self) -> list[slicer.vtkMRMLPlotViewNode]:
        scene = state(self)["scene"]
        count = scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")
        return [scene.GetNthNodeByClass(index, "vtkMRMLPlotViewNode") for index in range(count)]

    def plotWidget(self, index: int) -> PlotWidget | None:
        """A plot view by its number."""
        nodes = self._plot_nodes()
        if index >= len(nodes):
            return None
        plots = state(self)["plots"]
        return plots.setdefault(nodes[index].GetID(), PlotWidget(nodes[index]))

    plotViewCount = QtCore.Property(int, lambda self: len(self._plot_nodes()))
    threeDViewCount = QtCore.Property(int, lambda self: 0)
    tableViewCount = QtCore.Property(int, lambda self: 0)
