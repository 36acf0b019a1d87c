"""Train, click by click: trainings of tiny brains in processes of their own, followed, stopped, killed, resumed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mrml import slicer
from register_cases import MODULE, WarmWorker

pytest.importorskip("PySide6")
pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))

from MMLNRegistrationLib.backend import detached
from MMLNRegistrationLib.backend.detached import RunState
from MMLNRegistrationLib.scene.training_curves import CURVES, chart_of, table_of
from training_cases import write_brains

SECONDS = 120.0
LONG = 3000


@pytest.fixture(scope="module")
def warm_worker():
    worker = WarmWorker()
    yield worker
    worker.really_close()


@pytest.fixture(scope="module")
def brains(tmp_path_factory):
    return write_brains(tmp_path_factory.mktemp("brains"))


@pytest.fixture
def run(tmp_path):
    """The folder of a run; whatever trains there is ended at last."""
    folder = tmp_path / "run"
    yield folder
    detached.end_by_force(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """For the prepared scans, that all runs share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def panel(host, warm_worker, monkeypatch, brains, cache, run):
    """The panel, set to a tiny training."""
    warm_worker.lend(monkeypatch)
    the_panel = open_panel(host)
    choose(the_panel, brains, run)
    the_panel.ui.cache.currentPath = str(cache)
    host.process_events(0.05)
    return the_panel


def open_panel(host):
    """Load the module, and show its Train tab."""
    widget = host.load_module(MODULE).self()
    panel = next(panel for panel in widget.panels if panel.ui_name == "Train")
    widget.ui.tabs.currentIndex = widget.ui.tabs.indexOf(panel.widget)
    return panel


def choose(panel, data: Path, run: Path, steps: int = LONG) -> None:
    """What a user would type for a training of one level on 16 voxels a side."""
    panel.ui.data.currentPath = str(data)
    panel.ui.runFolder.currentPath = str(run)
    panel.ui.steps1.value, panel.ui.steps2.value, panel.ui.steps3.value = steps, 0, 0
    panel.ui.width.value, panel.ui.spacing.value, panel.ui.threads.value = 2, 5.0, 1
    panel.ui.validateEvery.value, panel.ui.checkpointEvery.value = 20, 20
    panel.parameters.train.device = "cpu"


def start(host, panel) -> None:
    host.click(panel.ui.startButton)
    assert panel.ui.message.text == ""
    wait_for(host, panel, lambda state: state.is_at_work)


def wait_for(host, panel, wanted, seconds: float = SECONDS) -> RunState:
    host.wait_until(lambda: wanted(panel.state) or "fault" in panel.ui.message.text, seconds)
    assert wanted(panel.state), panel.ui.message.text
    return panel.state


def rows(name: str) -> int:
    table = table_of(slicer.mrmlScene, name)
    return 0 if table is None else table.GetNumberOfRows()


def test_start_curves_stop_and_resume(host, panel, run):
    ui = panel.ui
    assert ui.startButton.text == "Start training"
    assert not ui.resumeButton.enabled
    start(host, panel)
    assert ui.startButton.text == "Stop"
    assert not ui.dataButton.enabled
    host.wait_until(lambda: rows("losses") > 2 and rows("validation") > 1, SECONDS)
    before = rows("losses")
    host.wait_until(lambda: rows("losses") > before, SECONDS)
    host.gaps.begin()
    host.process_events(4.0)
    assert host.longest_gap() < 0.1, host.gaps.blocked_by
    assert "left" in ui.status.text
    assert "of memory" in ui.status.text
    assert f"of {LONG:,}" in ui.status.text
    assert "Best validation, at step" in ui.best.text
    assert 0 < ui.progress.value < 1000

    losses = chart_of(slicer.mrmlScene, "losses")
    assert losses.GetTitle() == "run: Training loss"
    names = [
        losses.GetNthPlotSeriesNode(index).GetYColumnName() for index in range(losses.GetNumberOfPlotSeriesNodes())
    ]
    assert {"total", "similarity", "dice"} <= set(names)
    steps = slicer.util.arrayFromTableColumn(table_of(slicer.mrmlScene, "losses"), "step")
    assert (np.diff(steps) == 10).all()
    selection = slicer.app.applicationLogic().GetSelectionNode()
    assert selection.GetActivePlotChartID() == losses.GetID()
    ui.curve.currentIndex = 1
    assert selection.GetActivePlotChartID() == chart_of(slicer.mrmlScene, "overlap").GetID()

    host.click(ui.startButton)
    stopped = wait_for(host, panel, lambda state: not state.is_at_work)
    assert stopped.kind == "stopped"
    assert not ui.startButton.enabled
    assert "resume it, or choose another run folder" in ui.reason.text
    host.click(ui.resumeButton)
    assert wait_for(host, panel, lambda state: state.kind == "running" and (state.step or 0) > stopped.step + 10)
    host.click(ui.startButton)
    assert wait_for(host, panel, lambda state: not state.is_at_work).step > stopped.step + 10


def test_a_training_outlives_the_module_and_is_found_again(host, panel, run):
    start(host, panel)
    first = wait_for(host, panel, lambda state: (state.step or 0) > 10)
    slicer.util.reloadScriptedModule("MMLNRegistration")
    again = next(p for p in slicer.modules.MMLNRegistrationWidget.panels if p.ui_name == "Train")
    assert again is not panel
    slicer.modules.MMLNRegistrationWidget.enter()
    host.clear_scene()  # with it goes what the module had remembered in the scene
    host.wait_until(lambda: again.state.is_at_work and (again.state.step or 0) > first.step + 20, SECONDS)
    assert again.parameters.train.run_folder == str(run)
    assert again.state.pid == first.pid
    assert "run (running" in again.ui.runs.currentText
    host.unload_module("MMLNRegistration")
    assert detached.state_of(run).kind == "running"
    panel = open_panel(host)
    wait_for(host, panel, lambda state: state.kind == "running")
    host.click(panel.ui.startButton)
    assert wait_for(host, panel, lambda state: not state.is_at_work).kind == "stopped"


def test_a_killed_training_is_called_so_and_resumes(host, panel, run):
    start(host, panel)
    state = wait_for(host, panel, lambda state: (state.step or 0) > 25 and state.pid is not None)
    os.kill(state.pid, signal.SIGKILL)
    killed = wait_for(host, panel, lambda state: not state.is_at_work)
    assert killed.kind == "interrupted"
    assert "resume it from the last checkpoint" in panel.ui.message.text
    assert panel.ui.resumeButton.enabled
    host.click(panel.ui.resumeButton)
    assert panel.ui.message.text == ""
    wait_for(host, panel, lambda state: state.kind == "running" and (state.step or 0) > killed.step)


def test_an_end_by_force_is_asked_for(host, panel, run):
    start(host, panel)
    state = wait_for(host, panel, lambda state: (state.step or 0) > 10)
    os.kill(state.pid, signal.SIGSTOP)  # a training that hangs
    host.click(panel.ui.startButton)
    wait_for(host, panel, lambda state: state.kind == "stopping")
    assert not panel.ui.startButton.enabled
    host.dialogs.answer("cancel")
    host.click(panel.ui.forceButton)
    assert panel.state.is_at_work
    host.dialogs.answer("ok")
    host.click(panel.ui.forceButton)
    assert wait_for(host, panel, lambda state: not state.is_at_work).kind == "interrupted"
    assert not panel.ui.stopFrame.visible


def test_what_the_data_holds_and_what_is_wrong(host, panel, tmp_path):
    ui = panel.ui
    host.click(ui.checkButton)
    assert ui.checkButton.text == "Cancel"
    host.wait_until(lambda: panel.check.job is None, SECONDS)
    assert "6 subjects" in ui.dataFindings.text
    assert "Ready to train" in ui.dataFindings.text
    assert not ui.dataProblems.visible
    bad = write_brains(tmp_path / "bad", ("anna", "ben", "cleo"))
    (bad / "ben_labels.nii.gz").write_bytes(b"no volume")
    ui.data.currentPath = str(bad)
    assert not ui.dataFindings.visible
    host.click(ui.checkButton)
    host.wait_until(lambda: panel.check.job is None, SECONDS)
    assert "ben_labels.nii.gz" in ui.dataProblems.plainText
    assert "none can be spared for validation" in ui.dataFindings.text
    ui.data.currentPath = str(tmp_path / "nowhere")
    host.click(ui.checkButton)
    assert "does not exist" in ui.message.text


def test_bad_data_fails_with_its_sentence(host, panel, tmp_path):
    panel.ui.data.currentPath = str(write_brains(tmp_path / "few", ("anna", "ben")))
    host.click(panel.ui.startButton)
    wait_for(host, panel, lambda state: state.kind == "failed")
    assert "none can be spared for validation" in panel.ui.message.text
    assert panel.ui.startButton.enabled  # after another choice
    panel.ui.logButton.collapsed = False
    assert "mmln: Of 2 subjects" in panel.ui.log.plainText


def test_a_validation_pair_the_card_and_the_way_into_register(host, panel, run):
    panel.ui.steps1.value = 40
    start(host, panel)
    host.click(panel.ui.previewButton)
    host.wait_until(lambda: not panel.preview.busy, SECONDS)
    done = wait_for(host, panel, lambda state: state.kind == "finished")
    assert (done.step, done.total_steps) == (40, 40)
    assert "choose a new run folder" in panel.ui.reason.text or "new one" in panel.ui.reason.text
    folds = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Folds: of another image")
    slicer.util.setSliceViewerLayers(foreground=folds, label=folds, foregroundOpacity=1.0)
    host.click(panel.ui.previewButton)
    host.wait_until(lambda: not panel.preview.busy, SECONDS)
    assert "Level 1, step 40: Dice" in panel.ui.previewFigures.text
    nodes = {node.GetName().split(":")[0]: node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")}
    assert set(nodes) == {"Folds", "Training fixed", "Training moving", "Training warped"}
    arrays = {name: slicer.util.arrayFromVolume(node) for name, node in nodes.items() if name != "Folds"}
    assert not np.array_equal(arrays["Training moving"], arrays["Training warped"])
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == nodes["Training fixed"].GetID()
    assert red.GetForegroundVolumeID() == nodes["Training warped"].GetID()
    assert (red.GetLabelVolumeID(), red.GetForegroundOpacity()) == (None, 0.5)
    panel.ui.previewPair.value = 2
    host.click(panel.ui.previewButton)
    host.wait_until(lambda: not panel.preview.busy, SECONDS)
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 4

    assert "Name: run" in panel.ui.modelCard.plainText
    assert "Grid: 20 mm" in panel.ui.modelCard.plainText
    host.click(panel.ui.useModel)
    assert panel.parameters.register.model == str(run / "best.safetensors")
    panel.ui.modelFile.currentPath = str(run / "config.json")
    assert "cannot be read" in panel.ui.modelProblem.text
    assert not panel.ui.useModel.enabled


def test_presets_fill_in_the_choices(host, panel):
    from MMLNRegistrationLib.gui.train_presets import TrainPreset

    panel.ui.preset.currentIndex = 1
    train = panel.parameters.train
    assert train.preset is TrainPreset.PAPER
    assert (train.steps_3, train.atlases, train.augmentation, train.save_memory) == (60000, 5, False, True)
    assert panel.ui.steps3.value == 60000
    panel.ui.branch2d.checked = False
    assert panel.parameters.train.branch_2d is False
    panel.ui.preset.currentIndex = 0
    assert panel.ui.branch2d.checked


def test_choices_survive_the_scene_and_curves_its_end(host, panel, run, tmp_path):
    start(host, panel)
    host.wait_until(lambda: rows("losses") > 2, SECONDS)
    host.save_scene(tmp_path / "scene.mrb")
    host.clear_scene()
    assert chart_of(slicer.mrmlScene, "losses") is None
    host.process_events(1.0)
    assert chart_of(slicer.mrmlScene, "losses") is None  # not before they are asked for
    assert panel.parameters.train.run_folder == str(run)  # it is found again
    host.click(panel.ui.showCurves)
    assert rows("losses") > 2
    host.load_scene(tmp_path / "scene.mrb")
    assert panel.parameters.train.width == 2
    assert all(chart_of(slicer.mrmlScene, key) is not None for key in CURVES)


def test_known_runs_are_listed_and_forgotten(host, panel, run, tmp_path):
    panel.ui.steps1.value = 10
    start(host, panel)
    wait_for(host, panel, lambda state: state.kind == "finished")
    panel.ui.runFolder.currentPath = str(tmp_path / "other")
    host.wait_until(lambda: panel.ui.runs.itemText(1) == "run (finished)", 10)
    assert panel.ui.runs.currentText == "Choose a run"
    panel.ui.runs.currentIndex = 1
    assert panel.parameters.train.run_folder == str(run)
    wait_for(host, panel, lambda state: state.kind == "finished")
    host.click(panel.ui.forgetRun)
    assert panel.ui.runs.currentText == "No training yet"
    assert (run / "best.safetensors").is_file()


def test_prepared_scans_lie_where_they_are_wanted(host, panel, brains, cache, run):
    panel.ui.steps1.value = 10
    start(host, panel)
    wait_for(host, panel, lambda state: state.kind == "finished")
    assert not (run / "prepared").exists()
    shared = set(cache.rglob("*.safetensors"))
    assert shared
    panel.ui.cache.currentPath = ""
    panel.ui.runFolder.currentPath = str(run.with_name("alone"))
    host.wait_until(lambda: panel.ui.startButton.enabled, SECONDS)
    start(host, panel)
    wait_for(host, panel, lambda state: state.kind == "finished")
    alone = run.with_name("alone") / "prepared"
    assert {path.relative_to(alone) for path in alone.rglob("*.*")} == {path.relative_to(cache) for path in shared}


def test_a_run_begun_on_a_command_line_is_followed_and_resumed(host, panel, brains, cache, run):
    config = {"stages": [{"level": 1, "steps": LONG, "frozen_steps": 0, "learning_rate": 1e-3,
                          "final_learning_rate": 1e-3}], "network": {"width": 2}, "spacing_mm": 5.0}  # fmt: skip
    from MMLNRegistrationLib.backend.messages import Train

    detached.start(Train(data=(brains,), output=run, cache=cache, device="cpu", threads=1), config, sys.executable)
    time.sleep(0.1)
    (run / "request.json").unlink()
    state = wait_for(host, panel, lambda state: state.kind == "running" and (state.step or 0) > 5)
    host.click(panel.ui.startButton)
    wait_for(host, panel, lambda state: state.kind == "stopped")
    host.click(panel.ui.resumeButton)
    wait_for(host, panel, lambda now: now.kind == "running" and (now.step or 0) > state.step)
    assert json.loads((run / "request.json").read_text())["data"] == [str(brains)]


def test_missing_torch_is_asked_for(host, panel, monkeypatch):
    from MMLNRegistrationLib.gui import installation

    monkeypatch.setattr(installation, "ensure_torch", lambda: False)
    host.click(panel.ui.startButton)
    assert "PyTorch is not installed" in panel.ui.message.text
    assert panel.state.kind == "none"
