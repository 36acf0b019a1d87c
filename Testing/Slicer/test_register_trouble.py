"""Register when things go wrong: every end leaves a panel that says what happened and can go on."""

from __future__ import annotations

import os
import signal
import sys

import numpy as np
import pytest
from mrml import slicer
from register_cases import MODULE, SECONDS, WarmWorker, add_pair, assert_contract, be_quick, faulty_python, open_panel
from register_cases import register as register_and_wait

pytest.importorskip("PySide6")
pytest.importorskip("torch")

LONG = 1000
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX shells")


@pytest.fixture(scope="module")
def warm_worker():
    worker = WarmWorker()
    yield worker
    worker.really_close()


@pytest.fixture
def panel(host, warm_worker, monkeypatch):
    """The panel with a pair chosen, and a worker that is warm."""
    warm_worker.lend(monkeypatch)
    the_panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(the_panel)
    return the_panel


def start(host, panel, step: str = "Refining"):
    """Begin a registration that nobody waits for, and let it come to a step."""
    panel.parameters.register.iterations = LONG
    host.click(panel.ui.registerButton)
    assert panel.ui.registerButton.text == "Cancel"
    host.wait_until(lambda: panel.ui.status.text.startswith(step), SECONDS)


def results() -> list[str]:
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node.GetName() for node in nodes if node.GetName() not in ("subject", "atlas")]


def assert_goes_on(host, panel):
    """A registration works now."""
    be_quick(panel)
    register_and_wait(host, panel)
    assert panel.ui.message.text == ""
    assert_contract(panel)


@pytest.mark.parametrize("step", ["Writing", "Refining"])
def test_cancel(host, panel, step):
    start(host, panel, step)
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.registerButton.text == "Register"
    assert panel.ui.registerButton.enabled
    assert not panel.ui.message.visible
    assert not panel.ui.progress.visible
    assert results() == []
    assert_goes_on(host, panel)


def test_cancel_while_the_result_is_read(host, panel):
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.ui.status.text.startswith("Loading") or panel.run is None, SECONDS)
    if panel.run is not None:
        host.click(panel.ui.registerButton)
        host.wait_until(lambda: panel.run is None, SECONDS)
        assert results() in ([], ["atlas warped", "atlas Jacobian"])  # once nodes are filled, it is too late to cancel
    assert panel.ui.registerButton.text == "Register"


def test_scene_is_closed_in_the_middle(host, panel):
    start(host, panel)
    host.clear_scene()
    assert panel.run is None
    assert not panel.ui.registerButton.enabled
    assert panel.ui.reason.text == "Choose a fixed and a moving volume."
    host.process_events(0.5)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
    add_pair()
    host.process_events(0.05)
    assert_goes_on(host, panel)


def test_scene_is_closed_afterwards(host, panel):
    register_and_wait(host, panel)
    host.clear_scene()
    assert not panel.ui.resultFrame.visible
    assert panel.session.last is None


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_a_volume_is_removed_in_the_middle(host, panel, role):
    names = {"fixed": "subject", "moving": "atlas"}
    panel.parameters.register.iterations = 2
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.ui.status.text.startswith("Re"), SECONDS)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode(names[role]))
    host.wait_until(lambda: panel.run is None, SECONDS)
    transform = panel.parameters.register.transform
    assert transform.GetName() == "atlas to subject"
    assert transform.GetNodeReferenceID(transform.GetFixedNodeReferenceRole()) == (
        None if role == "fixed" else slicer.util.getNode("subject").GetID()
    )
    assert panel.ui.applyTransform.enabled == (role == "fixed")
    assert "no folded voxel" in panel.ui.verdict.text


def test_a_result_node_is_removed_in_the_middle(host, panel):
    chosen = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "chosen")
    panel.parameters.register.transform = chosen
    host.click(panel.ui.registerButton)
    slicer.mrmlScene.RemoveNode(chosen)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.parameters.register.transform.GetName() == "atlas to subject"
    assert_contract(panel)


def test_a_parent_is_removed_while_the_moving_volume_is_under_the_transform(host, panel):
    register_and_wait(host, panel)
    host.click(panel.ui.applyTransform)
    slicer.mrmlScene.RemoveNode(panel.parameters.register.transform)
    host.click(panel.ui.applyTransform)
    assert slicer.util.getNode("atlas").GetParentTransformNode() is None


def test_module_is_reloaded_in_the_middle(host, panel):
    start(host, panel)
    session = panel.session
    slicer.util.reloadScriptedModule("MMLNRegistration") if hasattr(
        slicer.util, "reloadScriptedModule"
    ) else host.load_module(MODULE)
    host.process_events(0.3)
    again = slicer.modules.MMLNRegistrationWidget.panels[0]
    assert again is not panel
    assert again.run is None
    assert not session.busy
    assert results() == []


def test_other_modules_are_visited_in_the_middle(host, panel):
    host.click(panel.ui.registerButton)
    widget = slicer.modules.mmlnregistration.widgetRepresentation()
    widget.exit()
    host.wait_until(lambda: panel.run is None, SECONDS)
    widget.enter()
    host.process_events(0.05)
    assert panel.ui.resultFrame.visible
    assert results() == ["atlas warped", "atlas Jacobian"]
    assert panel.parameters.register.transform is not None
    assert_contract(panel)


def test_undo_and_redo_leave_a_panel_that_works(host, panel):
    slicer.mrmlScene.SetUndoOn()
    for class_name in ("vtkMRMLScalarVolumeNode", "vtkMRMLTransformNode"):
        default = slicer.mrmlScene.CreateNodeByClass(class_name)
        default.UndoEnabledOn()
        slicer.mrmlScene.AddDefaultNode(default)
    try:
        register_and_wait(host, panel)
        assert results() == ["atlas warped", "atlas Jacobian"]
        slicer.mrmlScene.Undo()
        host.process_events(0.1)
        assert results() == []
        assert panel.parameters.register.transform is None
        host.click(panel.ui.showOverlay)
        host.click(panel.ui.applyTransform)
        assert not panel.ui.applyTransform.checked
        slicer.mrmlScene.Redo()
        host.process_events(0.1)
        assert results() == ["atlas warped", "atlas Jacobian"]
        assert_goes_on(host, panel)
    finally:
        slicer.mrmlScene.SetUndoOff()
        for class_name in ("vtkMRMLScalarVolumeNode", "vtkMRMLTransformNode"):
            slicer.mrmlScene.GetDefaultNodeByClass(class_name).UndoEnabledOff()


def test_worker_is_killed(host, panel, warm_worker):
    start(host, panel)
    os.kill(warm_worker.hello.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.message.visible
    assert "The worker ended in the middle of the work" in panel.ui.message.text
    assert_goes_on(host, panel)


@posix
def test_memory_runs_out(host, tmp_path, monkeypatch):
    fault = """
from MMLNRegistrationLib.backend import runner
real = runner.register_volumes
def register_volumes(fixed, moving, options, progress):
    if options.prepare.spacing_mm < 1.5:
        raise MemoryError
    return real(fixed, moving, options, progress)
runner.register_volumes = register_volumes
"""
    launcher = faulty_python(tmp_path, fault)
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.slicer_python", lambda: launcher)
    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(panel)
    panel.parameters.register.device = "auto"
    register_and_wait(host, panel)
    assert panel.ui.message.text.startswith("Memory ran out")
    assert panel.ui.onProcessor.visible
    host.click(panel.ui.onCoarserGrid)
    assert not panel.ui.offerFrame.visible
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert "grid of 2 mm" in panel.ui.verdict.text
    assert_contract(panel, tolerance=0.5)


@posix
def test_worker_that_cannot_start(host, tmp_path, monkeypatch):
    launcher = faulty_python(tmp_path, "sys.exit('no such library')")
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.slicer_python", lambda: launcher)
    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    register_and_wait(host, panel)
    assert "could not be started" in panel.ui.message.text
    assert "no such library" in panel.ui.message.text
    assert "no such library" in panel.ui.log.plainText


def _vector(node):
    slicer.util.updateVolumeFromArray(node, np.zeros((9, 9, 9), np.float32))
    node.GetImageData().AllocateScalars(10, 3)


def _constant(node):
    slicer.util.updateVolumeFromArray(node, np.full((12, 12, 12), 7, np.int16))


def _small(node):
    slicer.util.updateVolumeFromArray(node, np.arange(64, dtype=np.float32).reshape(4, 4, 4))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_vector, "atlas has 3 values in each voxel"),
        (_constant, "atlas.nrrd is constant"),
        (_small, "atlas.nrrd has 4 x 4 x 4 voxels"),
    ],
)
def test_volumes_that_cannot_be_registered(host, panel, spoil, sentence):
    spoil(slicer.util.getNode("atlas"))
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert sentence in panel.ui.message.text
    assert panel.ui.message.visible


def test_reasons_why_register_is_disabled(host, panel):
    from MMLNRegistrationLib.gui.register_presets import Preset

    def reason() -> str:
        assert not panel.ui.registerButton.enabled
        assert panel.ui.registerButton.toolTip == panel.ui.reason.text
        return panel.ui.reason.text

    subject, atlas = slicer.util.getNode("subject"), slicer.util.getNode("atlas")
    panel.parameters.register.moving = subject
    assert reason() == "Fixed and moving are the same volume; choose two."
    panel.parameters.register.moving = None
    assert reason() == "Choose a moving volume."
    panel.parameters.register.moving = atlas
    assert panel.ui.registerButton.enabled
    panel.parameters.register.warped = atlas
    assert reason() == "atlas cannot be overwritten by a result; choose another node for it."
    panel.parameters.register.warped = None
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    warp.SetAndObserveTransformFromParent(slicer.vtkOrientedGridTransform())
    atlas.SetAndObserveTransformNodeID(warp.GetID())
    panel.parameters.register.preset = Preset.FAST
    assert reason() == "atlas lies under the non-linear transform warp; take it out or harden it first."


def test_an_initial_transform_that_is_not_linear(host, panel):
    warp = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "warp")
    warp.SetAndObserveTransformFromParent(slicer.vtkOrientedGridTransform())
    panel.parameters.register.initial_transform = warp
    host.click(panel.ui.registerButton)
    assert panel.run is None
    assert panel.ui.message.text == "warp is not linear; choose a rigid or affine transform."


def test_presets_become_requests(host, panel, tmp_path):
    from MMLNRegistrationLib.gui.register_parameters import AS_PRESET
    from MMLNRegistrationLib.gui.register_plan import plan
    from MMLNRegistrationLib.gui.register_presets import Preset, Similarity

    def request(preset, iterations=AS_PRESET, similarity=Similarity.AS_PRESET, model=""):
        panel.parameters.register.preset, panel.parameters.register.iterations = preset, iterations
        panel.parameters.register.similarity, panel.parameters.register.model = similarity, model
        asked = plan(panel.parameters.register, tmp_path).request
        return asked.refine, asked.similarity, asked.model

    assert request(Preset.ACCURATE) == (None, "local_correlation", None)
    assert request(Preset.FAST) == (0, "local_correlation", None)
    assert request(Preset.ANY_CONTRAST) == (None, "mutual_information", None)
    assert request(Preset.ACCURATE, 3, Similarity.MIND, "mine.safetensors") == (3, "mind", "mine.safetensors")
    assert request(Preset.FAST, 3, model="mine.safetensors") == (0, "local_correlation", "mine.safetensors")


def test_a_missing_network_is_told(host, panel):
    panel.ui.model.currentPath = (
        "/nowhere/network.safetensors" if sys.platform != "win32" else "C:/nowhere/n.safetensors"
    )
    register_and_wait(host, panel)
    assert "There is no model" in panel.ui.message.text
