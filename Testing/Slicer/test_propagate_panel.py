"""Propagate, click by click, with the real worker: what is in the scene afterwards, in numbers."""

from __future__ import annotations

import pytest
import vtk
from mrml import slicer
from propagate_cases import (
    NAMES,
    SUBJECT_GRID,
    TRUTH,
    add_atlas,
    add_subject,
    bend,
    dice,
    fill_in,
    labels,
    open_panel,
    propagate,
    result_labels,
)
from scene_cases import points_ras
from test_scene_segments import TERMINOLOGY

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
    """A segmentation and two label maps: matched by name; better than each alone; agreement where they agree."""
    panel = open_panel(host)
    subject, atlases = add_subject(), [add_atlas(number, as_segments=number == 0) for number in range(3)]
    fill_in(host, panel, subject, *atlases)
    assert panel.ui.fusion.enabled
    propagate(host, panel)
    chosen = panel.parameters.propagate
    assert chosen.segmentation.GetSegmentation().GetNumberOfSegments() == 3
    assert dice(result_labels(chosen.segmentation), TRUTH) > 0.85
    agreement = slicer.util.arrayFromVolume(chosen.agreement)
    assert agreement.shape == SUBJECT_GRID.shape_kji
    voted = agreement[result_labels(chosen.segmentation) > 0]
    assert 1 / 3 < voted.min() < 0.9 < voted.max() <= 1
    assert chosen.table.GetNumberOfColumns() == 4
    assert "3 structures from 3 atlases, mean agreement" in panel.ui.verdict.text
    import sys

    sys.path.insert(0, "/tmp/dev")
    import c_conf

    c_conf.grab(host, panel, "three")  # GRAB
    host.click(panel.ui.showAgreement)
    composite = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert composite.GetForegroundVolumeID() == chosen.agreement.GetID()
    host.click(panel.ui.showSegmentation)
    assert composite.GetBackgroundVolumeID() == subject.GetID()
    assert composite.GetForegroundVolumeID() is None
