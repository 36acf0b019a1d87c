"""Propagate, click by click, with the real worker: what is in the scene afterwards, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from mrml import slicer
from propagate_cases import (
    NAMES,
    SUBJECT_GRID,
    TRUTH,
    add_atlas,
    add_known,
    add_subject,
    bend,
    carried,
    dice,
    fill_in,
    labels,
    open_panel,
    propagate,
    result_labels,
)
from scene_cases import points_ras
from segment_cases import TERMINOLOGY

pytest.importorskip("PySide6")
pytest.importorskip("torch")


def test_one_atlas_with_segments(host):
    """The button says what is missing; names, colours, terminology and IDs are the atlas's; the shapes fit."""
    panel = open_panel(host)
    ui = panel.ui
    assert not ui.propagateButton.enabled
    assert ui.reason.text == "Choose a subject."
    subject, (image, segments) = add_subject(), add_atlas(0, as_segments=True)
    ui.subject.setCurrentNode(subject)
    assert ui.reason.text == "Choose the image of atlas 1."
    panel.cards[0].ui.image.setCurrentNode(image)
    panel.cards[0].ui.labels.setCurrentNode(None)
    assert ui.propagateButton.toolTip == ui.reason.text == "Choose the labels of atlas 1."
    panel.cards[0].ui.labels.setCurrentNode(segments)
    assert not ui.reason.visible
    propagate(host, panel)
    assert ui.message.text == ""
    chosen = panel.parameters.propagate
    result = chosen.segmentation.GetSegmentation()
    before = dice(labels(bend(points_ras(SUBJECT_GRID), 0)), TRUTH)
    assert dice(result_labels(chosen.segmentation), TRUTH) > max(before + 0.1, 0.8)
    for label, name in NAMES.items():
        one, other = result.GetSegment(f"own-{label}"), segments.GetSegmentation().GetSegment(f"own-{label}")
        assert (one.GetName(), one.GetColor()) == (name, other.GetColor())
        text = vtk.reference("")
        assert one.GetTag("TerminologyEntry", text)
        assert str(text) == TERMINOLOGY
    reference = chosen.segmentation.GetNodeReference(
        slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    )
    assert reference is subject
    assert chosen.agreement is None
    assert "3 structures from one atlas, no folded voxel" in ui.verdict.text
    assert [ui.volumes.item(row, 0).text() for row in range(3)] == list(NAMES.values())
    assert ui.volumes.item(0, 1).text().replace("\u2009", "") == str((result_labels(chosen.segmentation) == 1).sum())
    assert chosen.table.GetNumberOfRows() == 3


def test_three_atlases_are_fused(host):
    """One is registered, two have their transforms; segmentation and label maps are matched by name."""
    panel = open_panel(host)
    subject = add_subject()
    fill_in(host, panel, subject, add_atlas(0, True), add_known(1, subject, False), add_known(2, subject, False))
    assert panel.ui.fusion.enabled
    propagate(host, panel)
    chosen = panel.parameters.propagate
    assert chosen.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    found = result_labels(chosen.segmentation)
    assert dice(found, TRUTH) > 0.9
    agreement = slicer.util.arrayFromVolume(chosen.agreement)
    assert agreement.shape == SUBJECT_GRID.shape_kji
    assert 1 / 3 < agreement[found > 0].min() < 0.9 < agreement[found > 0].max() <= 1
    assert chosen.table.GetNumberOfColumns() == 4
    assert "3 structures from 3 atlases, mean agreement" in panel.ui.verdict.text
    host.click(panel.ui.showAgreement)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == chosen.agreement.GetID()
    host.click(panel.ui.showSegmentation)
    assert composite.GetBackgroundVolumeID() == subject.GetID()
    assert composite.GetForegroundVolumeID() is None
    centre = points_ras(SUBJECT_GRID)[found == 3].mean(axis=0)
    panel.ui.volumes.cellClicked.emit(2, 0)
    for view, axis in zip(slicer.util.getNodesByClass("vtkMRMLSliceNode"), (2, 0, 1), strict=True):
        assert view.GetSliceToRAS().GetElement(axis, 3) == pytest.approx(centre[axis], abs=0.01)
    host.click(panel.ui.show3d)
    assert chosen.segmentation.GetSegmentation().ContainsRepresentation("Closed surface")


def test_the_registration_just_made_is_reused(host):
    """As Register leaves it: the image and its transform are filled in, and nothing is registered again."""
    panel = open_panel(host)
    subject = add_subject()
    image, segments, transform = add_known(0, subject)
    from MMLNRegistrationLib.gui.session import LastRegistration

    panel.parameters.propagate.subject = subject
    panel.session.last = LastRegistration(subject.GetID(), image.GetID(), transform.GetID(), host.folder)
    module = slicer.modules.MMLNRegistrationWidget
    module.exit()
    module.enter()
    assert panel.cards[0].choice[::2] == (image, transform)
    panel.cards[0].ui.labels.setCurrentNode(segments)
    assert panel.ui.presetHint.text == "Nothing is registered: all atlases have a transform."
    propagate(host, panel)
    first = panel.parameters.propagate.segmentation
    assert (result_labels(first) == carried(0, transform)).mean() > 0.999

    # Again, with another transform of the scene: into the same nodes, and where that transform puts it.
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    shift = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "shift")
    matrix = np.eye(4)
    matrix[:3, 3] = (3.0, -2.0, 1.0)
    shift.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.linalg.inv(matrix)))
    panel.cards[0].ui.transform.setCurrentNode(shift)
    propagate(host, panel)
    assert panel.parameters.propagate.segmentation is first
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes + 1
    assert (result_labels(first) == carried(0, shift)).mean() > 0.999

    # The transform is not forced on whoever wants to register anew.
    panel.cards[0].ui.transform.setCurrentNode(None)
    module.exit()
    module.enter()
    assert panel.cards[0].choice.transform is None


def test_choices_of_another_image_bring_their_transform_along(host):
    panel = open_panel(host)
    subject = add_subject()
    image, segments, transform = add_known(0, subject)
    other, _labels = add_atlas(1, False)
    panel.ui.subject.setCurrentNode(subject)
    card = panel.cards[0].ui
    card.image.setCurrentNode(other)
    assert panel.cards[0].choice.transform is None
    card.image.setCurrentNode(image)
    assert panel.cards[0].choice.transform is transform
    card.labels.setCurrentNode(segments)
    segments.SetAndObserveTransformNodeID(transform.GetID())
    host.process_events()
    host.click(panel.ui.addAtlas)
    assert (
        panel.ui.reason.text == "segments 0 lies under atlas 0 to subject already; take it out, or choose no transform."
    )
    segments.SetAndObserveTransformNodeID(None)
    host.click(panel.cards[1].ui.remove)
    assert panel.ui.reason.text == ""
    panel.parameters.propagate.segmentation = segments
    assert panel.ui.reason.text.startswith("segments 0 cannot be overwritten")
    panel.parameters.propagate.segmentation = None
    card.image.setCurrentNode(subject)
    assert panel.ui.reason.text == "Subject and atlas 1 are the same volume; choose two."


def test_cards_follow_the_parameters_and_are_saved_with_the_scene(host, tmp_path):
    panel = open_panel(host)
    subject = add_subject()
    fill_in(host, panel, subject, add_known(0, subject), add_atlas(1, False))
    panel.ui.fusion.currentIndex = 1
    host.save_scene(tmp_path / "scene.mrb")
    host.click(panel.cards[0].ui.remove)
    assert len(panel.cards) == 1
    assert panel.cards[0].choice.image.GetName() == "atlas 1"
    assert not panel.cards[0].ui.remove.isVisibleTo(panel.widget)
    host.clear_scene()
    assert [card.choice for card in panel.cards] == [(None, None, None)]
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "another, so that IDs differ")
    host.load_scene(tmp_path / "scene.mrb")
    assert panel.parameters.propagate.subject.GetName() == "subject"
    assert panel.parameters.propagate.fusion.name == "MAJORITY"
    names = [[node.GetName() if node else None for node in card.choice] for card in panel.cards]
    assert names == [["atlas 0", "segments 0", "atlas 0 to subject"], ["atlas 1", "labels 1", None]]
    assert panel.ui.propagateButton.enabled
