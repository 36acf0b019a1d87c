"""The real module code on PySide6 and slicer-core, under PythonQt's rules; README.md says what is real."""

from __future__ import annotations

import atexit
import ctypes
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Host

SOURCES_VARIABLE = "SLICER_SOURCES"
OWN_FILES = ("i18n", "ScriptedLoadableModule", "parameterNodeWrapper", "packaging", "testing")
"""What of slicer.* is Slicer's own where there is a checkout, and a stand-in otherwise."""

_running: tuple[Host, Path | None] | None = None


def start(slicer_sources: Path | None = None) -> Host:
    """The host of this process, started by the first call.

    slicer_sources: a checkout of Slicer, whose own Python files then take the place of the stand-ins.

    Raises RuntimeError when the host runs already, with other sources.
    """
    global _running
    if _running is None:
        _running = _start(slicer_sources), slicer_sources
    if _running[1] != slicer_sources:
        raise RuntimeError("The host of this process runs already, with other sources of Slicer")
    return _running[0]


def _start(sources: Path | None) -> Host:
    if sys.version_info < (3, 12):
        # PySide 6.12 takes None for immortal, which it is from Python 3.12 on: every call that returns it takes a
        # reference away, and when none is left Python aborts.
        ctypes.c_ssize_t.from_address(id(None)).value += 1 << 40
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.pop("DISPLAY", None)
    import slicer
    from PySide6 import QtCore, QtWidgets

    folder = tempfile.TemporaryDirectory(prefix="slicer-host-")
    # Qt's fonts crash now and then when they are freed at the end of a process that has VTK's FreeType too; the
    # application is left to the system instead, which frees all of it.
    atexit.unregister(QtCore.__moduleShutdown)
    native = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    native.setOrganizationName("NA-MIC")
    native.setApplicationName("Slicer")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.Format.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope, folder.name)

    from . import dialogs, pythonqt

    sys.modules["qt"] = qt = pythonqt.make_qt_module(
        {"QMessageBox": dialogs.MessageBox, "QFileDialog": dialogs.FileDialog, "Signal": QtCore.Signal}
    )
    QtWidgets.QDialog.exec_ = QtWidgets.QDialog.exec = dialogs.ask_instead_of_waiting
    qt.Property = QtCore.Property
    from . import ctk_widgets

    sys.modules["ctk"] = ctk_widgets.make_ctk_module()
    from . import application, mrml_widgets, ui_loader

    for name, widget in mrml_widgets.WIDGETS.items():
        setattr(slicer, name, widget)
    qt.QUiLoader = ui_loader.make_loader(mrml_widgets.WIDGETS | ctk_widgets.WIDGETS)
    slicer.app = app = application.Application(native, Path(folder.name))
    slicer.mrmlScene = app.mrmlScene()
    slicer.modules = application.make_modules(app)
    slicer.selfTests = {}
    _fill_in_slicer(sources)
    from . import scripted, session

    slicer.qSlicerScriptedLoadableModule = scripted.qSlicerScriptedLoadableModule
    slicer.qSlicerScriptedLoadableModuleWidget = scripted.qSlicerScriptedLoadableModuleWidget
    from .main_window import MainWindow

    return session.Host(app, folder, native, MainWindow())


def _fill_in_slicer(sources: Path | None) -> None:
    import slicer

    from . import stand_ins

    sys.modules["SampleData"] = stand_ins.sample_data()
    if sources is not None:
        own = Path(sources) / "Base" / "Python" / "slicer"
        if not (own / "ScriptedLoadableModule.py").is_file():
            raise FileNotFoundError(f"{sources} is no checkout of Slicer: {own} has no ScriptedLoadableModule.py")
        slicer.__path__.append(str(own))
        for name in OWN_FILES:
            setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
        return
    makers = {"i18n": stand_ins.i18n, "packaging": stand_ins.packaging, "testing": stand_ins.testing}
    for name, make in makers.items():
        _put(name, make())
    from . import parameter_nodes, scripted

    _put("ScriptedLoadableModule", scripted.make_module())
    _put("parameterNodeWrapper", parameter_nodes.make_module())


def _put(name: str, module: object) -> None:
    import slicer

    sys.modules[f"slicer.{name}"] = module
    setattr(slicer, name, module)
