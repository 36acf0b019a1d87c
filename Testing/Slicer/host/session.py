"""The host itself: what a test holds in its hand."""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from . import scripted, stand_ins
from .application import Application
from .dialogs import DIALOGS, Dialogs
from .event_loop import GapMeter
from .main_window import MainWindow
from .properties import state

PANEL_PIXELS = (520, 900)


class Host:
    """Slicer without Slicer, of which there is one in a process."""

    def __init__(
        self,
        application: Application,
        folder: tempfile.TemporaryDirectory,
        native: QtWidgets.QApplication,
        main_window: MainWindow,
    ) -> None:
        self.app = application
        self.main_window = main_window
        self.folder = Path(folder.name)
        """Settings and temporary files of this process."""
        self._folder = folder  # goes with the host
        self.dialogs: Dialogs = DIALOGS
        self.errors: list[str] = []
        """Tracebacks of exceptions in slots, timers and observers: Slicer only prints them, a test must see them."""
        self.gaps = GapMeter()
        self.installed = stand_ins.INSTALLED
        """What slicer.packaging was asked to install."""
        self.samples = stand_ins.REGISTERED_SAMPLES
        """What was registered as sample data."""
        self._native = native
        sys.excepthook = self._on_error
        sys.unraisablehook = lambda caught: self._on_error(caught.exc_type, caught.exc_value, caught.exc_traceback)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: object) -> None:
        text = "".join(traceback.format_exception(kind, error, trace))
        self.errors.append(text)
        sys.stderr.write(text)

    def load_module(self, path: Path | str, *, enter: bool = True) -> scripted.qSlicerScriptedLoadableModuleWidget:
        """Load a scripted module from its file, as at the start of Slicer, and open its panel.

        Returns the panel; its .self() is the module's own widget object. A module that is loaded already is unloaded.
        """
        path = Path(path).resolve()
        self.unload_module(path.stem)
        module = scripted.load(path)
        self.app.startupCompleted.emit()
        widget = module.widgetRepresentation()
        widget.resize(*PANEL_PIXELS)
        widget.show()
        if enter:
            self.main_window.moduleSelector().selectModule(path.stem)
        self.process_events()
        return widget

    def unload_module(self, name: str) -> None:
        """What the application does before it quits. Nothing happens when there is no such module."""
        module = getattr(slicer.modules, name.lower(), None)
        if module is None:
            return
        if module._representation is not None and module._representation.isEntered:
            module._representation.exit()
        self.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
        if module._representation is not None:
            module._representation.deleteLater()
        for attribute in (name.lower(), f"{name}Widget", f"{name}Instance"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)
        self.process_events()

    def process_events(self, seconds: float = 0.0) -> None:
        """Let the window live; at least once, or for some seconds."""
        with self.gaps:
            if seconds <= 0:
                self._native.processEvents()
                self._native.sendPostedEvents(None, QtCore.QEvent.Type.DeferredDelete.value)
                return
            loop = QtCore.QEventLoop()
            QtCore.QTimer.singleShot(int(seconds * 1000), loop.quit)
            loop.exec()

    def wait_until(self, condition: Callable[[], object], seconds: float = 30.0) -> None:
        """Let the window live until condition() is true.

        Raises TimeoutError, with the errors of slots so far, when that takes longer.
        """
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("\n".join([f"still not true after {seconds} s", *self.errors]))
            self.process_events(0.02)

    def click(self, button: QtWidgets.QAbstractButton) -> None:
        """Click as a user would: a button that is disabled or hidden cannot be clicked."""
        self.process_events()
        name = button.objectName or button.text
        if not button.enabled:
            raise AssertionError(f"{name} is disabled: {button.toolTip}")
        if not button.isVisibleTo(button.window()):
            raise AssertionError(f"{name} is not visible")
        with self.gaps:
            button.click()
        self.process_events()

    def grab(self, widget: QtWidgets.QWidget, path: Path | str) -> Path:
        """Write what a widget looks like as a PNG."""
        self.process_events()
        if not widget.grab().save(str(path)):
            raise OSError(f"{path} could not be written")
        return Path(path)

    def render_slice(self, view: str, path: Path | str, size_pixels: tuple[int, int] = (400, 400)) -> Path:
        """Write what a slice view (Red, Yellow or Green) shows as a PNG, drawn by Slicer's own code."""
        from .pictures import write_slice_view

        return write_slice_view(view, Path(path), size_pixels)

    def render_chart(
        self, chart: slicer.vtkMRMLPlotChartNode, path: Path | str, size_pixels: tuple[int, int] = (600, 400)
    ) -> Path:
        """Write a chart as a PNG, as a plot view would show it."""
        from .pictures import write_chart

        return write_chart(chart, Path(path), size_pixels)

    def longest_gap(self) -> float:
        """The longest time in seconds, since the last gaps.reset(), in which the event loop could not run."""
        return self.gaps.longest_seconds

    @property
    def scene(self) -> slicer.vtkMRMLScene:
        """slicer.mrmlScene"""
        return self.app.mrmlScene()

    @property
    def testing(self) -> bool:
        """slicer.app.testingEnabled(), which skips dialogs; False at first, so that they are recorded."""
        return self.app.testingEnabled()

    @testing.setter
    def testing(self, value: bool) -> None:
        state(self.app)["testing"] = value

    @property
    def restarts(self) -> int:
        """How often the module restarted Slicer."""
        return state(self.app)["restarts"]

    @property
    def extensions(self) -> dict:
        """The extension manager's lists: installed, asked (name, restart), offered (by the server)."""
        return state(self.app.extensionsManagerModel())

    def save_scene(self, path: Path | str) -> Path:
        """Save the scene with all data as .mrb."""
        messages = slicer.vtkMRMLMessageCollection()
        if not self.scene.WriteToMRB(str(path), None, messages):
            raise OSError(f"{path} could not be written: {messages.GetAllMessagesAsString()}")
        return Path(path)

    def load_scene(self, path: Path | str, *, clear: bool = True) -> None:
        """Load a .mrb, in the place of the present scene or into it."""
        messages = slicer.vtkMRMLMessageCollection()
        if not self.scene.ReadFromMRB(str(path), clear, messages):
            raise OSError(f"{path} could not be loaded: {messages.GetAllMessagesAsString()}")
        self.process_events()

    def clear_scene(self) -> None:
        """Close the scene, as the File menu does."""
        self.scene.Clear(0)
        self.process_events()

    def reset(self) -> None:
        """What a new test begins with: no module, an empty scene, nothing recorded, settings and answers gone."""
        for name in [module.name for module in list(vars(slicer.modules).values()) if hasattr(module, "instance")]:
            self.unload_module(name)
        self.clear_scene()
        self.errors.clear()
        self.dialogs.clear()
        self.gaps.reset()
        self.installed.clear()
        self.samples.clear()
        self.extensions.update(installed=[], asked=[], offered={"PyTorch"}, interactive=True)
        state(self.app)["restarts"] = 0
        self.testing = False
        self.app.settings().clear()
        sys.modules.pop("PyTorchUtils", None)
        while QtWidgets.QApplication.overrideCursor() is not None:
            QtWidgets.QApplication.restoreOverrideCursor()
