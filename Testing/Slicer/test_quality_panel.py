"""Quality, click by click, with the real worker: known folds are found, other programs' transforms are judged."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from mrml import slicer
from quality_cases import (
    FOLDS_KJI,
    GEOMETRY,
    SECONDS,
    SHIFT_MM,
    add_bspline,
    add_folded,
    add_pair,
    add_points,
    add_segments,
    add_shift,
    check,
    choose,
    composites,
    fold_places,
    open_panel,
    view_centre,
)
from scene_cases import surfaces

from MMLNRegistrationLib.scene.volumes import geometry_of_node, scalars_of_node

pytest.importorskip("PySide6")
pytest.importorskip("torch")


def test_the_button_says_what_is_missing(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    chosen = panel.parameters.quality

    def reason():
        assert not panel.ui.checkButton.enabled
        assert panel.ui.checkButton.toolTip == panel.ui.reason.text
        return panel.ui.reason.text

    assert reason() == "Choose a transform to check."
    chosen.transform = add_shift()
    assert reason().startswith("Choose the fixed volume")
    chosen.fixed = chosen.moving = fixed
    assert reason().startswith("Fixed and moving are the same")
    chosen.moving = moving
    assert panel.ui.checkButton.enabled
    fixed.SetAndObserveTransformNodeID(chosen.transform.GetID())
    chosen.moving = None
    assert reason().startswith("subject lies under shift")
    fixed.SetAndObserveTransformNodeID(None)
    chosen.fixed_points = add_points("F", (0, 0, 0))
    assert reason().startswith("Landmarks need two lists")
    chosen.fixed_points = None
    chosen.fixed_segments = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    assert reason().startswith("empty has no segments")


def test_a_transform_brings_its_images_along(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    node = add_shift()
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), fixed.GetID())
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), moving.GetID())
    panel.ui.transform.setCurrentNode(node)
    host.wait_until(lambda: panel.parameters.quality.fixed is not None, SECONDS)
    assert (panel.parameters.quality.fixed, panel.parameters.quality.moving) == (fixed, moving)
    panel.ui.moving.setCurrentNode(None)
    host.process_events(0.1)
    assert panel.parameters.quality.moving is None
    assert panel.ui.checkButton.enabled


def test_what_was_registered_last_is_chosen(host, tmp_path):
    from MMLNRegistrationLib.gui.session import LastRegistration

    panel = open_panel(host)
    fixed, moving = add_pair()
    node = add_shift()
    panel.session.last = LastRegistration(fixed.GetID(), moving.GetID(), node.GetID(), tmp_path)
    panel.parameters.parameterNode.Modified()
    host.wait_until(lambda: panel.parameters.quality.transform is not None, SECONDS)
    assert panel.parameters.quality.transform is node
    assert panel.ui.fixed.currentNode() is fixed
    panel.ui.transform.setCurrentNode(None)
    host.process_events(0.1)
    assert panel.parameters.quality.transform is None


def test_known_folds_are_found_and_jumped_to(host):
    panel = open_panel(host)
    fixed, _moving = add_pair()
    choose(panel, add_folded(), fixed)
    chosen = check(host, panel)
    places = fold_places()
    folded = scalars_of_node(chosen.folded)
    assert all(folded[place] or folded[place[0], place[1], place[2] + 1] for place in FOLDS_KJI)
    table = panel.ui.foldTable
    assert table.rowCount == 2
    assert [float(table.item(row, 0).text()) for row in range(2)] == sorted(
        (float(table.item(row, 0).text()) for row in range(2)), reverse=True
    )
    assert sum(int(table.item(row, 0).text()) for row in range(2)) == folded.sum()
    assert "Folded" in panel.ui.verdict.text
    assert f"{folded.sum()} folded voxels in 2 groups" in panel.ui.foldCount.text
    host.click(panel.ui.nextFold)
    assert np.linalg.norm(places[:2] - view_centre(), axis=1).min() < 3.5
    host.click(panel.ui.nextFold)
    assert np.linalg.norm(places[2] - view_centre()) < 3.5
    assert not panel.ui.nextFold.enabled
    host.click(panel.ui.previousFold)
    assert np.linalg.norm(places[:2] - view_centre(), axis=1).min() < 3.5
    assert not panel.ui.previousFold.enabled
    table.cellClicked.emit(1, 0)
    assert np.linalg.norm(places[2] - view_centre()) < 3.5
    for composite in composites():
        assert composite.GetBackgroundVolumeID() == fixed.GetID()
        assert composite.GetForegroundVolumeID() == chosen.jacobian.GetID()
        assert composite.GetLabelVolumeID() == chosen.folded.GetID()


def test_linear_transform_of_another_program(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    node = add_shift()
    scale = np.diag((1.1, 0.9, 1.2, 1.0))
    scale[:3, 3] = SHIFT_MM
    node.SetMatrixTransformFromParent(slicer.util.vtkMatrixFromArray(scale))
    choose(panel, node, fixed, moving)
    chosen = check(host, panel)
    np.testing.assert_allclose(scalars_of_node(chosen.jacobian), 1.1 * 0.9 * 1.2, rtol=1e-3)
    assert geometry_of_node(chosen.jacobian).matches(GEOMETRY)
    assert panel.ui.foldCount.text == "No voxel folds."


def test_bspline_that_slicer_has_to_invert(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    node = add_bspline()
    choose(panel, node, fixed, moving)
    chosen = check(host, panel)
    # The determinant of the inverse, at a point: one over that of what is stored.
    k, j, i = 11, 12, 13
    place = GEOMETRY.ras_from_ijk[:3, :3] @ (i, j, k) + GEOMETRY.ras_from_ijk[:3, 3]
    step = 0.5
    inverse = node.GetTransformFromParent()
    columns = [
        np.subtract(inverse.TransformPoint(place + axis * step), inverse.TransformPoint(place - axis * step)) / step / 2
        for axis in np.eye(3)
    ]
    assert scalars_of_node(chosen.jacobian)[k, j, i] == pytest.approx(np.linalg.det(np.stack(columns, -1)), abs=0.03)


@pytest.mark.parametrize("where", ["outside", "under the transform"])
def test_images_are_compared(host, where):
    panel = open_panel(host)
    fixed, moving = add_pair()
    node = add_shift()
    if where != "outside":
        moving.SetAndObserveTransformNodeID(node.GetID())
    choose(panel, node, fixed, moving)
    chosen = check(host, panel)
    inside = (slice(4, -4),) * 3
    np.testing.assert_allclose(scalars_of_node(chosen.warped)[inside], scalars_of_node(fixed)[inside], atol=25)
    assert "No fold" in panel.ui.verdict.text
    assert "Local similarity" in panel.ui.verdict.text
    assert chosen.warped.GetName() == "atlas by shift"


def test_segments_and_landmarks(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    voxel = GEOMETRY.ras_from_ijk[:3, 0]
    choose(panel, add_shift(2 * voxel), fixed, moving)
    chosen = panel.parameters.quality
    chosen.fixed_segments, chosen.moving_segments = add_segments("fixed", 0), add_segments("moving", 2)
    chosen.fixed_points = add_points("F", (0, 0, 0))
    chosen.moving_points = add_points("M", 2 * voxel + (0, 0, 1.5))
    chosen = check(host, panel)
    table = chosen.structures_table.GetTable()
    rows = {table.GetValue(row, 0).ToString(): row for row in range(table.GetNumberOfRows())}
    assert set(rows) == {"Thalamus", "Fornix"}
    assert table.GetColumnByName("Dice").GetValue(rows["Thalamus"]) == 1.0
    assert table.GetColumnByName("TC").GetValue(rows["Thalamus"]) == 1.0
    # Fornix was not moved along: of its four voxels the shift by two leaves two.
    assert table.GetColumnByName("Dice").GetValue(rows["Fornix"]) == pytest.approx(0.5)
    points = chosen.landmarks_table.GetTable()
    before = np.linalg.norm(2 * voxel + (0, 0, 1.5))
    for row in range(3):
        assert points.GetColumnByName("Before mm").GetValue(row) == pytest.approx(before, abs=1e-3)
        assert points.GetColumnByName("After mm").GetValue(row) == pytest.approx(1.5, abs=1e-3)
    assert "Landmarks: median error" in panel.ui.verdict.text
    assert "Dice 0.750" in panel.ui.verdict.text


def test_segments_that_have_only_surfaces(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_shift(), fixed, moving)
    chosen = panel.parameters.quality
    chosen.fixed_segments = surfaces(slicer.mrmlScene, "fixed surfaces", {"Thalamus": ((0, 0, 0), 8)})
    chosen.moving_segments = surfaces(slicer.mrmlScene, "moving surfaces", {"Thalamus": (tuple(SHIFT_MM), 8)})
    table = check(host, panel).structures_table.GetTable()
    assert table.GetColumnByName("Dice").GetValue(0) > 0.9
    assert not chosen.fixed_segments.GetSegmentation().ContainsRepresentation("Binary labelmap")


def test_a_second_check_goes_into_the_same_nodes(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_shift(), fixed, moving)
    check(host, panel)
    count = slicer.mrmlScene.GetNumberOfNodes()
    shift = panel.parameters.quality.transform
    panel.parameters.quality.transform = add_folded()
    chosen = check(host, panel)
    assert slicer.mrmlScene.GetNumberOfNodes() == count + 1
    assert chosen.jacobian.GetName() == "folded field Jacobian"
    assert panel.ui.foldTable.rowCount == 2
    first = panel._folder
    panel.parameters.quality.transform, panel.parameters.quality.moving = shift, None
    chosen = check(host, panel)
    assert panel.ui.foldTable.rowCount == 0
    assert chosen.warped is None
    # On the disk there is what can be exported, and no more.
    host.wait_until(lambda: not first.exists() and not list(panel._folder.parent.rglob("*.mha")), 5)
    assert panel._folder.is_dir()


def test_export(host, tmp_path):
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_folded(), fixed, moving)
    assert not panel.ui.exportButton.enabled
    assert panel.ui.exportButton.toolTip.startswith("Check the transform first")
    check(host, panel)
    assert panel.ui.exportButton.toolTip == "Choose a folder first."
    panel.ui.folder.currentPath = str(tmp_path)
    for number in ("", "-2"):
        host.click(panel.ui.exportButton)
        folder = tmp_path / f"folded_field-quality{number}"
        host.wait_until(lambda: panel.ui.exportButton.enabled, 5)
        assert str(folder) in panel.ui.exported.text
        assert "folded field" in (folder / "report.html").read_text()
        with (folder / "folds.csv").open(newline="") as stream:
            assert len(list(csv.DictReader(stream))) == 2
    (tmp_path / "file").write_text("x")
    panel.ui.folder.currentPath = str(tmp_path / "file")
    host.click(panel.ui.exportButton)
    host.wait_until(lambda: panel.ui.message.text, 5)
    assert "cannot be written" in panel.ui.message.text


def test_tables_and_plots_are_shown(host):
    panel = open_panel(host)
    fixed, _moving = add_pair()
    choose(panel, add_folded(), fixed)
    assert panel.ui.showPlot.toolTip == "Check the transform first."
    panel.parameters.quality.fixed_segments = add_segments("fixed", 0)
    chosen = check(host, panel)
    from MMLNRegistrationLib.gui.quality_choices import Plot, Table

    host.click(panel.ui.showPlot)
    assert slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode().GetPlotChartNodeID() == chosen.chart.GetID()
    names = [chosen.chart.GetNthPlotSeriesNode(n).GetYColumnName() for n in range(3)]
    assert names == ["foreground", "Thalamus", "Fornix"]
    chosen.plot = Plot.ROUGHNESS
    host.click(panel.ui.showPlot)
    assert chosen.chart.GetNthPlotSeriesNode(0).GetYColumnName() == "SD of log J"
    chosen.plot = Plot.LANDMARKS
    assert not panel.ui.showPlot.enabled
    assert panel.ui.showPlot.toolTip.startswith("Choose landmarks")
    for table, node in ((Table.STRUCTURES, chosen.structures_table), (Table.FOLDS, chosen.folds_table)):
        chosen.table = table
        host.click(panel.ui.showTable)
        assert slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() == node.GetID()


def test_restored_from_a_saved_scene(host, tmp_path):
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_folded(), fixed, moving)
    check(host, panel)
    verdict = panel.ui.verdict.text
    saved = host.save_scene(tmp_path / "scene.mrb")
    host.clear_scene()
    assert panel.ui.foldTable.rowCount == 0
    assert not panel.ui.verdict.visible
    host.load_scene(saved)
    assert panel.ui.verdict.text == verdict
    assert panel.ui.foldTable.rowCount == 2
    chosen = panel.parameters.quality
    assert (chosen.fixed.GetName(), chosen.transform.GetName()) == ("subject", "folded field")
    assert panel.ui.viewsButton.enabled
    assert not panel.ui.exportButton.enabled
