"""Propagate when something goes wrong: one sentence beside the button, nothing half done, and the next run works."""

from __future__ import annotations

import pytest
from mrml import slicer
from propagate_cases import (
    ATLAS_GRIDS,
    SECONDS,
    TRUTH,
    add_atlas,
    add_known,
    add_subject,
    dice,
    fill_in,
    open_panel,
    propagate,
    result_labels,
)

pytest.importorskip("PySide6")
pytest.importorskip("torch")


def test_cancel_and_again(host):
    """While it registers, and before anything was sent: no node is made, no word is said, the next run works."""
    panel = open_panel(host)
    subject = add_subject()
    known = add_known(0, subject)
    fill_in(host, panel, subject, known[:2])
    panel.cards[0].ui.transform.setCurrentNode(None)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    host.click(panel.ui.propagateButton)
    assert panel.ui.propagateButton.text == "Cancel"
    assert not panel.ui.inputsButton.enabled
    host.wait_until(lambda: panel.ui.status.text.startswith(("Aligning", "Refining")), SECONDS)
    host.click(panel.ui.propagateButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    host.click(panel.ui.propagateButton)
    host.click(panel.ui.propagateButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.propagateButton.text == "Propagate"
    assert (panel.ui.message.text, panel.ui.progress.visible) == ("", False)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    panel.cards[0].ui.transform.setCurrentNode(known[2])
    propagate(host, panel)
    assert dice(result_labels(panel.parameters.propagate.segmentation), TRUTH) > 0.85


def test_errors_are_one_sentence(host, monkeypatch):
    """From the plan, from the thread that writes, and from the worker."""
    panel = open_panel(host)
    subject = add_subject()
    image, drawn, transform = add_known(0, subject, as_segments=False)
    fill_in(host, panel, subject, (image, drawn, transform))
    nodes = slicer.mrmlScene.GetNumberOfNodes()

    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    panel.cards[0].ui.labels.setCurrentNode(empty)
    host.click(panel.ui.propagateButton)
    assert panel.run is None
    assert panel.ui.message.text == "empty has no segments; choose a segmentation with at least one."
    panel.cards[0].ui.labels.setCurrentNode(drawn)

    voxels = slicer.util.arrayFromVolume(drawn).astype("int16")
    slicer.util.updateVolumeFromArray(drawn, -voxels)
    propagate(host, panel)
    assert "labels 0 holds fractional or negative values" in panel.ui.message.text
    slicer.util.updateVolumeFromArray(drawn, voxels)

    drawn.SetOrigin(1000, 0, 0)
    propagate(host, panel)
    assert "does not lie over" in panel.ui.message.text
    drawn.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ATLAS_GRIDS[0].ras_from_ijk))

    assert slicer.mrmlScene.GetNumberOfNodes() == nodes + 1
    monkeypatch.setattr("MMLNRegistrationLib.gui.installation.is_complete", lambda: False)
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.Session.ready", lambda session: False)
    host.click(panel.ui.propagateButton)
    assert panel.ui.message.text == "PyTorch is not installed: nothing can be propagated without it."
    monkeypatch.undo()
    propagate(host, panel)
    assert panel.ui.message.text == ""


def test_out_of_memory_offers_another_way(host):
    """What the worker offers is offered as buttons, which start it again that way."""
    panel = open_panel(host)
    subject = add_subject()
    fill_in(host, panel, subject, add_known(0, subject))
    from MMLNRegistrationLib.backend.jobs import JobError

    host.click(panel.ui.propagateButton)
    panel.run.cancel()
    host.wait_until(lambda: panel.run is None, SECONDS)
    panel._failed(JobError("out_of_memory", "The GPU's memory is full.", ("cpu", "coarser")))
    assert panel.ui.message.text == "The GPU's memory is full."
    host.click(panel.ui.onCoarserGrid)
    assert panel.run.plan.request.on_out_of_memory == "coarser"
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert not panel.ui.offerFrame.visible
    assert dice(result_labels(panel.parameters.propagate.segmentation), TRUTH) > 0.85


def test_nodes_deleted_and_scene_closed_in_mid_run(host):
    """Without its nodes a run still delivers, to new ones; without its scene nobody gets anything."""
    panel = open_panel(host)
    subject = add_subject()
    atlas = add_known(0, subject)
    fill_in(host, panel, subject, atlas)
    panel.parameters.propagate.segmentation = old = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "old")
    host.click(panel.ui.propagateButton)
    for node in (subject, old, *atlas):
        slicer.mrmlScene.RemoveNode(node)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.message.text == ""
    made = panel.parameters.propagate.segmentation
    assert made is not old
    assert dice(result_labels(made), TRUTH) > 0.85
    assert panel.parameters.propagate.subject is None

    subject = add_subject()
    fill_in(host, panel, subject, add_atlas(1, True))
    host.click(panel.ui.propagateButton)
    host.wait_until(lambda: "Aligning" in panel.ui.status.text or "Preparing" in panel.ui.status.text, SECONDS)
    host.clear_scene()
    assert panel.run is None
    assert not panel.ui.resultFrame.visible
    host.wait_until(lambda: not panel.session.busy, SECONDS)
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
    assert panel.ui.propagateButton.text == "Propagate"

    # A module that is reloaded or unloaded in mid-run ends it as well.
    subject = add_subject()
    fill_in(host, panel, subject, add_known(2, subject))
    host.click(panel.ui.propagateButton)
    host.unload_module("MMLNRegistration")
    assert panel.run is None
    host.process_events(0.3)
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
