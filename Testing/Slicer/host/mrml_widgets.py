"""Stand-ins for the MRML widgets that modules use. The nodes that they show are real."""

from __future__ import annotations

import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Property, Signal

from .ctk_widgets import ctkCollapsibleButton
from .properties import state
from .pythonqt import stand_in
from .values import RangeWidget, SpinBoxWidget, ValueWidget

SCENE_SIGNAL = {"mrmlSceneChanged(PyObject)": "mrmlSceneChanged(vtkMRMLScene*)"}


class _SceneWidget(QtWidgets.QWidget):
    """A widget that is given a scene."""

    mrmlSceneChanged = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Give the scene to the widget, which passes it on."""
        if scene is not state(self).get("scene"):
            state(self)["scene"] = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene | None:
        """The scene."""
        return state(self).get("scene")


@stand_in
class qMRMLWidget(_SceneWidget):
    """What a module's .ui file begins with."""


@stand_in
class qSlicerWidget(_SceneWidget):
    """The base of Slicer's own panels."""


@stand_in
class qMRMLCollapsibleButton(ctkCollapsibleButton):
    """A collapsible button with a scene."""

    mrmlSceneChanged = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL
    setMRMLScene, mrmlScene = _SceneWidget.setMRMLScene, _SceneWidget.mrmlScene


@stand_in
class qMRMLSliderWidget(ValueWidget):
    """A slider that knows units."""

    setMRMLScene, mrmlScene = _SceneWidget.setMRMLScene, _SceneWidget.mrmlScene
    mrmlSceneChanged = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL


@stand_in
class qMRMLSpinBox(SpinBoxWidget):
    """A spin box that knows units."""

    setMRMLScene, mrmlScene = _SceneWidget.setMRMLScene, _SceneWidget.mrmlScene
    mrmlSceneChanged = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL


@stand_in
class qMRMLRangeWidget(RangeWidget):
    """A slider with two handles that knows units."""

    setMRMLScene, mrmlScene = _SceneWidget.setMRMLScene, _SceneWidget.mrmlScene
    mrmlSceneChanged = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL


def _option(name: str, kind: object) -> Property:
    def write(self: QtWidgets.QWidget, value: object) -> None:
        state(self)[name] = value
        self._refresh()

    return Property(kind, lambda self: state(self)[name], write)


class _NodeSelector(_SceneWidget):
    """What node selectors share: which nodes of the scene are offered."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        state(self).update(
            scene=None,
            nodeTypes=[],
            noneEnabled=False,
            addEnabled=True,
            removeEnabled=True,
            editEnabled=False,
            renameEnabled=False,
            showChildNodeTypes=True,
            showHidden=False,
            selectNodeUponCreation=True,
            noneDisplay="None",
            baseName="",
            interactionNodeSingletonTag="",
            attributes=[],
            observers=[],
        )
        self.destroyed.connect(self._forget)

    def _forget(self) -> None:
        scene = state(self).get("scene")
        for tag in state(self)["observers"]:
            if scene is not None:
                scene.RemoveObserver(tag)
        state(self)["observers"] = []

    def setMRMLScene(self, scene: slicer.vtkMRMLScene | None) -> None:
        """Offer the nodes of a scene."""
        if scene is state(self)["scene"]:
            return
        self._forget()
        state(self)["scene"] = scene
        if scene is not None:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent, scene.EndCloseEvent)
            state(self)["observers"] = [scene.AddObserver(event, self._on_scene) for event in events]
        self._refresh()
        self.mrmlSceneChanged.emit(scene)

    def _on_scene(self, scene: slicer.vtkMRMLScene, _event: str) -> None:
        if not scene.IsBatchProcessing():
            self._refresh()

    def _offered(self) -> list[slicer.vtkMRMLNode]:
        own, names = state(self), state(self)["nodeTypes"]
        if own["scene"] is None:
            return []
        # By VTK's own search: a scene has many nodes that no selector offers, and is asked at each of its changes.
        found = own["scene"].GetNodesByClass(names[0] if len(names) == 1 else "vtkMRMLNode")
        return [
            node
            for node in (found.GetItemAsObject(index) for index in range(found.GetNumberOfItems()))
            if (own["showHidden"] or not node.GetHideFromEditors())
            and any(self._has_type(node, name) and self._has_attributes(node, name) for name in names)
        ]

    def _has_type(self, node: slicer.vtkMRMLNode, name: str) -> bool:
        return node.IsA(name) if state(self)["showChildNodeTypes"] else node.GetClassName() == name

    def _has_attributes(self, node: slicer.vtkMRMLNode, name: str) -> bool:
        wanted = [(key, value) for type_name, key, value in state(self)["attributes"] if type_name == name]
        return all(
            node.GetAttribute(key) is not None and (value is None or node.GetAttribute(key) == str(value))
            for key, value in wanted
        )

    def addAttribute(self, node_type: str, name: str, value: object = None) -> None:
        """Offer only nodes of this type with this attribute."""
        state(self)["attributes"].append((node_type, name, value))
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        """Undo addAttribute."""
        state(self)["attributes"] = [kept for kept in state(self)["attributes"] if kept[:2] != (node_type, name)]
        self._refresh()

    def nodeCount(self) -> int:
        """How many nodes are offered."""
        return len(self._offered())

    def nodeFromIndex(self, index: int) -> slicer.vtkMRMLNode:
        """One of them."""
        return self._offered()[index]

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """All of them."""
        return self._offered()

    nodeTypes = _option("nodeTypes", "QStringList")
    noneEnabled, addEnabled = _option("noneEnabled", bool), _option("addEnabled", bool)
    removeEnabled, editEnabled = _option("removeEnabled", bool), _option("editEnabled", bool)
    renameEnabled, showHidden = _option("renameEnabled", bool), _option("showHidden", bool)
    showChildNodeTypes = _option("showChildNodeTypes", bool)
    selectNodeUponCreation = _option("selectNodeUponCreation", bool)
    noneDisplay, baseName = _option("noneDisplay", str), _option("baseName", str)
    interactionNodeSingletonTag = _option("interactionNodeSingletonTag", str)


@stand_in
class qMRMLNodeComboBox(_NodeSelector):
    """One node of the scene, or none."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    SIGNAL_TYPES = SCENE_SIGNAL | {
        f"{name}(PyObject)": f"{name}(vtkMRMLNode*)"
        for name in ("currentNodeChanged", "nodeAddedByUser", "nodeActivated")
    }

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        import qt

        box = qt.QComboBox(self)
        box.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        state(self).update(current=None, box=box, shown=[])
        box.connect("activated(int)", self._on_chosen)
        self.setFocusProxy(box)

    def _on_chosen(self, index: int) -> None:
        chosen = state(self)["shown"][index]
        if chosen == "add":
            self.addNode()
        elif chosen == "remove":
            state(self)["scene"].RemoveNode(self.currentNode())
        else:
            self.setCurrentNodeID(chosen)
            self.nodeActivated.emit(self.currentNode())
        self._show()

    def _refresh(self) -> None:
        own = state(self)
        if "box" not in own:
            return
        offered = self._offered()
        current = own["current"] if own["current"] in [node.GetID() for node in offered] else None
        if current is None and not own["noneEnabled"] and offered:
            current = offered[0].GetID()
        self._choose(current, offered)

    def _choose(self, node_id: str | None, offered: list[slicer.vtkMRMLNode] | None = None) -> None:
        own = state(self)
        changed = node_id != own["current"]
        own["current"] = node_id
        self._show(offered)
        if changed:
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id or "")

    def _show(self, offered: list[slicer.vtkMRMLNode] | None = None) -> None:
        own, box = state(self), state(self)["box"]
        offered = self._offered() if offered is None else offered
        entries = [(None, own["noneDisplay"])] if own["noneEnabled"] or not offered else []
        entries += [(node.GetID(), node.GetName()) for node in offered]
        types = own["nodeTypes"]
        if own["addEnabled"] and types and own["scene"] is not None:
            kind = own["scene"].GetTagByClassName(types[0]) or types[0]
            entries.append(("add", f"Create new {own['baseName'] or kind}"))
        if own["removeEnabled"] and own["current"]:
            entries.append(("remove", f"Delete current {own['baseName'] or 'node'}"))
        blocked = box.blockSignals(True)
        box.clear()
        box.addItems([text or "" for _, text in entries])
        own["shown"] = [node_id for node_id, _ in entries]
        box.setCurrentIndex(own["shown"].index(own["current"]) if own["current"] in own["shown"] else -1)
        box.blockSignals(blocked)

    def currentNode(self) -> slicer.vtkMRMLNode | None:
        """The node that is chosen."""
        own = state(self)
        return own["scene"].GetNodeByID(own["current"]) if own["scene"] is not None and own["current"] else None

    def setCurrentNode(self, node: slicer.vtkMRMLNode | None) -> None:
        """Choose a node; one that is not offered counts as none."""
        self.setCurrentNodeID(node.GetID() if node is not None else None)

    def setCurrentNodeID(self, node_id: str | None) -> None:
        """Choose a node by its ID."""
        self._choose(node_id if node_id in [node.GetID() for node in self._offered()] else None)

    def setCurrentNodeIndex(self, index: int) -> None:
        """Choose one of the offered nodes."""
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, class_name: str = "") -> slicer.vtkMRMLNode:
        """What the entry "Create new" does."""
        own = state(self)
        class_name = class_name or own["nodeTypes"][0]
        node = own["scene"].CreateNodeByClass(class_name)
        node.UnRegister(None)
        name = own["baseName"] or own["scene"].GetTagByClassName(class_name)
        node.SetName(own["scene"].GenerateUniqueName(name))
        for type_name, key, value in own["attributes"]:
            if type_name == class_name:
                node.SetAttribute(key, str(value))
        node = own["scene"].AddNode(node)
        if own["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    currentNodeID = Property(
        str, lambda self: state(self)["current"] or "", lambda self, value: self.setCurrentNodeID(value or None)
    )


@stand_in
class qMRMLCheckableNodeComboBox(_NodeSelector):
    """Several nodes of the scene."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        import qt

        box = qt.QListWidget(self)
        box.maximumHeight = 90
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        state(self).update(box=box, checked=set())
        box.connect("itemChanged(QListWidgetItem*)", self._on_item)

    def _on_item(self, item: QtWidgets.QListWidgetItem) -> None:
        node = self._offered()[state(self)["box"].row(item)]
        self.setCheckState(node, item.checkState())

    def _refresh(self) -> None:
        own = state(self)
        if "box" not in own:
            return
        offered = self._offered()
        kept = own["checked"] & {node.GetID() for node in offered}
        changed, own["checked"] = kept != own["checked"], kept
        blocked = own["box"].blockSignals(True)
        own["box"].clear()
        for node in offered:
            item = QtWidgets.QListWidgetItem(node.GetName() or "")
            item.setCheckState(self.checkState(node))
            own["box"].addItem(item)
        own["box"].blockSignals(blocked)
        if changed:
            self.checkedNodesChanged.emit()

    def checkState(self, node: slicer.vtkMRMLNode) -> object:
        """Whether a node is ticked, as Qt.CheckState."""
        import qt

        return qt.Qt.Checked if node.GetID() in state(self)["checked"] else qt.Qt.Unchecked

    def setCheckState(self, node: slicer.vtkMRMLNode, value: object) -> None:
        """Tick or untick a node."""
        import qt

        checked = state(self)["checked"]
        before = set(checked)
        (checked.add if qt.Qt.CheckState(value) == qt.Qt.Checked else checked.discard)(node.GetID())
        self._refresh()
        if checked != before:
            self.checkedNodesChanged.emit()

    def checkedNodes(self) -> list[slicer.vtkMRMLNode]:
        """The nodes that are ticked."""
        return [node for node in self._offered() if node.GetID() in state(self)["checked"]]

    def noneChecked(self) -> bool:
        """Whether no node is ticked."""
        return not self.checkedNodes()


@stand_in
class qMRMLSegmentationShow3DButton(QtWidgets.QPushButton):
    """Makes the surface of a segmentation and shows it."""

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setText("Show 3D")
        self.setCheckable(True)
        state(self).update(node=None)
        self.connect("toggled(bool)", self._on_toggled)

    def _on_toggled(self, on: bool) -> None:
        node = state(self)["node"]
        if node is None:
            return
        if on:
            node.CreateClosedSurfaceRepresentation()
        else:
            node.RemoveClosedSurfaceRepresentation()

    def setSegmentationNode(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Of this segmentation."""
        state(self)["node"] = node
        self.setEnabled(node is not None)

    def segmentationNode(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation."""
        return state(self)["node"]


WIDGETS = {name: member for name, member in list(globals().items()) if name.startswith(("qMRML", "qSlicer"))}
