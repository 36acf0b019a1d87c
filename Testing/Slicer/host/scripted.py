"""Scripted modules: stand-ins for Slicer's ScriptedLoadableModule and for what holds a module in the application."""

from __future__ import annotations

import importlib.util
import os
import sys
import types
import unittest
from pathlib import Path

import qt
import slicer

from .mrml_widgets import qMRMLWidget
from .properties import state
from .pythonqt import stand_in


class ScriptedLoadableModule:
    """A module's entry."""

    def __init__(self, parent: object) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.title, parent.helpText, parent.acknowledgementText = "", "", ""
        parent.categories, parent.dependencies, parent.contributors = [], [], []
        for extension in (".svg", ".png"):
            icon = Path(self.resourcePath(f"Icons/{self.moduleName}{extension}"))
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, name: str) -> str:
        """Path of a file in the module's Resources."""
        return os.path.join(os.path.dirname(self.parent.path), "Resources", name)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        """A sentence with a link to the manual."""
        url = f"{slicer.app.documentationBaseUrl}{docPage or self.moduleName}"
        return f'<p>For more information, see the <a href="{url}">online documentation</a>.</p>'

    def runTest(self, msec: int = 100) -> None:
        """Run the module's self test."""
        test = getattr(sys.modules[type(self).__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest()


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, name: str) -> str:
        """Path of a file in the module's Resources."""
        return os.path.join(os.path.dirname(slicer.util.modulePath(self.moduleName)), "Resources", name)

    def setup(self) -> None:
        """The developer's buttons, which only the application has."""

    def cleanup(self) -> None:
        """The module leaves."""

    def onReload(self) -> None:
        """The developer's button "Reload"."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, name: str) -> None:
        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """A module's logic and its parameter node."""

    def __init__(self, parent: object = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """The module's parameter node, made when it is not there."""
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None or not self.isSingletonParameterNode:
            node = next(iter(self.getAllParameterNodes()), None)
        if node is None:
            return scene.AddNode(self.createParameterNode())
        if node.GetAttribute("ModuleName") != self.moduleName:
            # Closing a scene takes the attributes of a singleton away.
            node.SetAttribute("ModuleName", self.moduleName)
        return node

    def getAllParameterNodes(self) -> list[slicer.vtkMRMLScriptedModuleNode]:
        """All parameter nodes of the module."""
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """A new parameter node, not yet in the scene."""
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's self test."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)
        self.messageDelay = 100

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        """Say what the test does."""
        print(message)

    def runTest(self) -> None:
        """Run every method whose name begins with test."""
        slicer.mrmlScene.Clear(0)
        for name in sorted(dir(self)):
            if name.startswith("test") and callable(getattr(self, name)):
                self.setUp()
                getattr(self, name)()
                self.tearDown()


class qSlicerScriptedLoadableModule:
    """What the application knows of a module; a module may only set the attributes that the application has."""

    __slots__ = (
        "_representation",
        "acknowledgementText",
        "associatedNodeTypes",
        "categories",
        "contributors",
        "dependencies",
        "hasLogic",
        "helpText",
        "hidden",
        "icon",
        "index",
        "instance",
        "name",
        "path",
        "title",
        "widgetRepresentationCreationEnabled",
    )

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.hidden, self.widgetRepresentationCreationEnabled = False, True
        self._representation = None

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The panel, made when it is first asked for."""
        if self._representation is None:
            self._representation = qSlicerScriptedLoadableModuleWidget(self)
            self._representation.reload()
        return self._representation

    def logic(self) -> None:
        """A scripted module has none that C++ knows of."""


@stand_in
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a scripted module in the application."""

    def __init__(self, module: qSlicerScriptedLoadableModule) -> None:
        super().__init__()
        state(self).update(module=module, python=None, entered=False)
        self.setLayout(qt.QVBoxLayout())
        self.setMRMLScene(slicer.mrmlScene)
        self.objectName = f"{module.name}ModuleWidget"

    def self(self) -> ScriptedLoadableModuleWidget:
        """The module's own Python object."""
        return state(self)["python"]

    def reload(self) -> None:
        """Make the Python object from the module's source as it is loaded now, and set it up."""
        name = state(self)["module"].name
        python = getattr(sys.modules[name], f"{name}Widget")(self)
        state(self)["python"] = python
        setattr(slicer.modules, f"{name}Widget", python)
        python.setup()

    def enter(self) -> None:
        """The user goes to the module."""
        state(self)["entered"] = True
        if hasattr(self.self(), "enter"):
            self.self().enter()

    def exit(self) -> None:
        """The user leaves the module."""
        state(self)["entered"] = False
        if hasattr(self.self(), "exit"):
            self.self().exit()

    isEntered = qt.Property(bool, lambda self: state(self)["entered"])


def load(path: Path) -> qSlicerScriptedLoadableModule:
    """Load a module from its file as the application does: its folder is put on sys.path and its entry is made."""
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = loaded
    spec.loader.exec_module(loaded)
    module = qSlicerScriptedLoadableModule(path)
    setattr(slicer.modules, path.stem.lower(), module)
    module.instance = getattr(loaded, path.stem)(module)
    setattr(slicer.modules, f"{path.stem}Instance", module.instance)
    return module


def make_module() -> types.ModuleType:
    """slicer.ScriptedLoadableModule"""
    module = types.ModuleType("slicer.ScriptedLoadableModule")
    module.__all__ = [name for name in globals() if name.startswith("ScriptedLoadableModule")]
    for name in module.__all__:
        setattr(module, name, globals()[name])
    return module
