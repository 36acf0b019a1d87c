"""A module lives in the host as in Slicer: bound to its parameter node, clicked, closed, reloaded, saved."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from mrml import slicer

pytest.importorskip("PySide6")
DEMO = Path(__file__).with_name("host_demo") / "Demo" / "Demo.py"


@pytest.fixture
def panel(host):
    return host.load_module(DEMO)


def add_volume(value=3.0, name="volume"):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.full((4, 5, 6), value, np.float32))
    return node


def test_button_does_its_work_and_shows_the_result(host, panel):
    volume, ui = add_volume(), panel.self().ui
    assert ui.volumeSelector.currentNode() is volume
    host.dialogs.answer("ok")
    host.click(ui.applyButton)
    result = panel.self().parameters.multiply.result
    assert (slicer.util.arrayFromVolume(result) == 6.0).all()
    red = slicer.app.layoutManager().sliceWidget("Red")
    assert red.mrmlSliceCompositeNode().GetBackgroundVolumeID() == result.GetID()
    assert host.dialogs.texts == ["Multiply now?"]


def test_widgets_and_parameters_follow_each_other(host, panel):
    ui, parameters = panel.self().ui, panel.self().parameters
    ui.factorSlider.value = 4.5
    ui.wayBox.currentIndex = 1
    ui.stepsBox.value = 7
    ui.noteEdit.text = "a note"
    ui.folderEdit.currentPath = "elsewhere"
    multiply = parameters.multiply
    assert (multiply.factor, multiply.way.name, multiply.note) == (4.5, "ACCURATE", "a note")
    assert (multiply.inner.steps, multiply.inner.folder) == (7, Path("elsewhere"))
    parameters.multiply.device = "GPU"
    parameters.multiply.inner.steps = 9
    assert (ui.deviceBox.currentText, ui.stepsBox.value) == ("GPU", 9)
    with pytest.raises(ValueError, match="within range"):
        parameters.multiply.factor = 11.0


def test_parameters_survive_saving_and_loading(host, panel, tmp_path):
    volume, parameters = add_volume(), panel.self().parameters
    parameters.multiply.volume = volume
    parameters.multiply.factor = 5.0
    parameters.multiply.names = ["a", "b"]
    host.save_scene(tmp_path / "scene.mrb")
    host.clear_scene()
    assert panel.self().parameters is None
    add_volume(name="another, so that IDs differ")
    host.load_scene(tmp_path / "scene.mrb")
    panel.self().bind()
    loaded = panel.self().parameters.multiply
    assert (loaded.factor, list(loaded.names), loaded.volume.GetName()) == (5.0, ["a", "b"], "volume")
    assert panel.self().ui.factorSlider.value == 5.0


def test_error_is_shown_and_recorded(host, panel):
    host.dialogs.answer("ok")
    host.click(panel.self().ui.applyButton)
    assert "The volume could not be multiplied." in host.dialogs.texts[-1]
    assert "There is no volume" in host.dialogs.texts[-1]
    assert "ValueError" in host.errors.pop()


def test_question_without_an_answer_is_cancelled_and_recorded(host, panel):
    add_volume()
    host.click(panel.self().ui.applyButton)
    assert [shown.text for shown in host.dialogs.unexpected] == ["Multiply now?"]
    assert panel.self().parameters.multiply.result is None
    host.dialogs.unexpected.clear()


def test_module_can_be_reloaded(host, panel):
    first = panel.self()
    slicer.util.reloadScriptedModule("Demo")
    assert panel.self() is not first
    assert panel.self() is slicer.modules.DemoWidget
    panel.self().enter()
    add_volume()
    host.dialogs.answer("ok")
    host.click(panel.self().ui.applyButton)
    assert panel.self().parameters.multiply.result is not None


def test_self_test_runs(host, panel):
    slicer.selfTests["Demo"]()
    assert type(slicer.modules.DemoInstance) is sys.modules["Demo"].Demo


def test_panel_can_be_looked_at(host, panel, tmp_path):
    picture = host.grab(panel, tmp_path / "panel.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert picture.stat().st_size > 2000


def test_window_shows_panel_and_views(host, panel, tmp_path):
    import qt
    from host.window import GAP_PIXELS, LEAST_HEIGHT, PANEL_WIDTH, VIEW_BARS, VIEWS_WIDTH, write_views, write_window

    slicer.util.setSliceViewerLayers(background=add_volume(), fit=True)
    window = qt.QImage(str(write_window(panel, tmp_path / "window.png")))
    assert (window.width(), window.height()) == (PANEL_WIDTH + GAP_PIXELS + VIEWS_WIDTH, LEAST_HEIGHT)
    assert window.pixelColor(PANEL_WIDTH + GAP_PIXELS + 300, 2).name() == VIEW_BARS["Red"]
    views = qt.QImage(str(write_views(tmp_path / "views.png", (60, 50))))
    assert [views.pixelColor(number * (60 + GAP_PIXELS) + 50, 2).name() for number in range(3)] == list(
        VIEW_BARS.values()
    )
    chart = slicer.util.plot(np.eye(3), show=False)
    assert write_window(panel, tmp_path / "chart.png", chart).stat().st_size > 5000
