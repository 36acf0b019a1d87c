"""slicer.app and what hangs on it: settings, module manager, extensions, layout, the scene and its logics."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from .extensions import ExtensionsManagerModel
from .input_output import CoreIOManager
from .layout import LayoutManager
from .properties import state
from .pythonqt import stand_in, thin

LOGICS = {
    "annotations": "vtkSlicerAnnotationModuleLogic",
    "colors": "vtkSlicerColorLogic",
    "cropvolume": "vtkSlicerCropVolumeLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "models": "vtkSlicerModelsLogic",
    "plots": "vtkSlicerPlotsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "tables": "vtkSlicerTablesLogic",
    "texts": "vtkSlicerTextsLogic",
    "transforms": "vtkSlicerTransformLogic",
    "units": "vtkSlicerUnitsLogic",
    "volumes": "vtkSlicerVolumesLogic",
}
"""Slicer's own module logics, all of them real."""


class _Module:
    """A C++ module of Slicer, of which there is the logic."""

    def __init__(self, name: str, logic: vtk.vtkObject) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> vtk.vtkObject:
        """The real logic."""
        return self._logic


@stand_in
class ModuleManager(QtCore.QObject):
    """slicer.app.moduleManager()"""

    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def module(self, name: str) -> object | None:
        """A loaded module by its name, None when there is none."""
        return getattr(slicer.modules, name.lower(), None)

    def modulesNames(self) -> list[str]:
        """Names of the loaded modules."""
        return [module.name for module in vars(slicer.modules).values() if hasattr(module, "name")]

    def factoryManager(self) -> ModuleManager:
        """Answers isLoaded as Slicer's factory manager does."""
        return self

    def isLoaded(self, name: str) -> bool:
        """Whether a module is loaded."""
        return self.module(name) is not None


@stand_in
class Application(QtCore.QObject):
    """slicer.app"""

    startupCompleted = QtCore.Signal()
    aboutToQuit = QtCore.Signal()
    applicationName = QtCore.Property(str, lambda self: "Slicer")
    applicationVersion = QtCore.Property(str, lambda self: "5.13.0")
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 13)
    revision = QtCore.Property(str, lambda self: "0")
    os = QtCore.Property(str, lambda self: {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux"))
    slicerHome = QtCore.Property(str, lambda self: sys.prefix)
    documentationBaseUrl = QtCore.Property(str, lambda self: "https://slicer.readthedocs.io/")
    temporaryPath = QtCore.Property(str, lambda self: str(state(self)["temporary"]))
    cachePath = QtCore.Property(str, lambda self: str(state(self)["temporary"]))
    slicerUserSettingsFilePath = QtCore.Property(str, lambda self: self.userSettings().fileName())

    def __init__(self, native: QtWidgets.QApplication, folder: Path) -> None:
        super().__init__()
        (folder / "temporary").mkdir(exist_ok=True)
        logic = slicer.vtkSlicerApplicationLogic()
        scene = slicer.vtkMRMLScene()
        state(self).update(
            native=native,
            temporary=folder / "temporary",
            testing=False,
            restarts=0,
            logic=logic,
            scene=scene,
            modules=ModuleManager(),
            extensions=ExtensionsManagerModel(),
            files=CoreIOManager(scene, logic),
        )
        logic.SetMRMLScene(scene)
        logic.SetTemporaryPath(str(folder / "temporary"))
        scene.SetDataIOManager(_data_manager(folder))
        logic.GetColorLogic().SetMRMLScene(scene)
        state(self)["layout"] = LayoutManager(logic, scene)

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        """The scene."""
        return state(self)["scene"]

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        """Slicer's own application logic."""
        return state(self)["logic"]

    def layoutManager(self) -> LayoutManager:
        """The views."""
        return state(self)["layout"]

    def coreIOManager(self) -> CoreIOManager:
        """Reads and writes files."""
        return state(self)["files"]

    ioManager = coreIOManager

    def moduleManager(self) -> ModuleManager:
        """The modules."""
        return state(self)["modules"]

    def extensionsManagerModel(self) -> ExtensionsManagerModel:
        """The extensions."""
        return state(self)["extensions"]

    def testingEnabled(self) -> bool:
        """Whether Slicer was started with --testing, which skips dialogs; a test can switch it by Host.testing."""
        return state(self)["testing"]

    def settings(self) -> QtCore.QSettings:
        """User settings, in a folder of the host."""
        return thin(QtCore.QSettings)()

    userSettings = revisionUserSettings = settings

    def processEvents(self, *_flags: object) -> None:
        """Let the window live once."""
        state(self)["native"].processEvents()

    def setOverrideCursor(self, cursor: object) -> None:
        """The wait cursor and others."""
        QtWidgets.QApplication.setOverrideCursor(QtGui.QCursor(cursor))

    def restoreOverrideCursor(self) -> None:
        """Undo setOverrideCursor."""
        QtWidgets.QApplication.restoreOverrideCursor()

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        """All windows."""
        return QtWidgets.QApplication.topLevelWidgets()

    def clipboard(self) -> QtGui.QClipboard:
        """The clipboard."""
        return QtWidgets.QApplication.clipboard()

    def translate(self, _context: str, text: str) -> str:
        """Slicer in English."""
        return text

    def moduleDocumentationUrl(self, name: str) -> str:
        """Where the manual of a module is."""
        return f"{self.documentationBaseUrl}{name}"

    def startupEnvironment(self) -> dict[str, str]:
        """Environment variables as they were before Slicer."""
        return dict(os.environ)

    def commandOptions(self) -> types.SimpleNamespace:
        """How Slicer was started."""
        return types.SimpleNamespace(noMainWindow=False, testingEnabled=self.testingEnabled())

    def pauseRender(self) -> None:
        """There is no window that could flicker."""

    resumeRender = pauseRender

    def restart(self, *_arguments: object) -> None:
        """Slicer starts anew; here it is only counted, see Host.restarts."""
        state(self)["restarts"] += 1


def _data_manager(folder: Path) -> slicer.vtkDataIOManager:
    """Where the scene unpacks .mrb files."""
    (folder / "cache").mkdir(exist_ok=True)
    cache = slicer.vtkCacheManager()
    cache.SetRemoteCacheDirectory(str(folder / "cache"))
    manager = slicer.vtkDataIOManager()
    manager.SetCacheManager(cache)
    return manager


def make_modules(application: Application) -> types.SimpleNamespace:
    """slicer.modules with the logics of Slicer's own modules, connected to the scene as in Slicer."""
    modules = types.SimpleNamespace()
    for name, class_name in LOGICS.items():
        if class_name == "vtkSlicerColorLogic":
            logic = application.applicationLogic().GetColorLogic()
        else:
            logic = getattr(slicer, class_name)()
        if hasattr(logic, "SetMRMLApplicationLogic"):
            logic.SetMRMLApplicationLogic(application.applicationLogic())
        logic.SetMRMLScene(application.mrmlScene())
        application.applicationLogic().SetModuleLogic(name.capitalize(), logic)
        setattr(modules, name, _Module(name.capitalize(), logic))
    return modules
