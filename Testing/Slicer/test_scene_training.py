"""Curves and previews of a training as nodes of a scene."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer
from scene_cases import node_ids

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.scene.training_curves import CURVES, chart_of, table_of, update_curves
from MMLNRegistrationLib.scene.training_preview import read_preview, show_preview

TITLES = {key: f"run: {key}" for key in CURVES}
TABLES = {
    "losses": {"step": np.array([10.0, 20.0]), "total": np.array([1.0, 0.5]), "slices": np.array([0.3, np.nan])},
    "validation": {"step": np.array([20.0]), "similarity": np.array([0.8]), "folded_percent": np.array([0.1])},
}


def series_of(chart) -> dict:
    nodes = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return {node.GetYColumnName(): node for node in nodes}


def columns_of(table) -> dict:
    whole = table.GetTable()
    return {
        whole.GetColumnName(index): slicer.util.arrayFromTableColumn(table, whole.GetColumnName(index)).tolist()
        for index in range(whole.GetNumberOfColumns())
    }


def test_curves_are_charts_of_tables(scene):
    update_curves(scene, TABLES, TITLES)
    losses = chart_of(scene, "losses")
    assert losses.GetTitle() == "run: losses"
    series = series_of(losses)
    assert list(series) == ["total", "slices"]
    assert series["total"].GetTableNode() is table_of(scene, "losses")
    assert series["total"].GetXColumnName() == "step"
    assert list(series_of(chart_of(scene, "overlap"))) == ["similarity"]
    assert list(series_of(chart_of(scene, "folding"))) == ["folded_percent"]
    found = columns_of(table_of(scene, "losses"))
    assert found["step"] == [10.0, 20.0]
    assert np.isnan(found["slices"][1])


def test_curves_grow_in_the_same_nodes(scene):
    update_curves(scene, {"losses": {}, "validation": {}}, TITLES)
    assert series_of(chart_of(scene, "losses")) == {}
    update_curves(scene, TABLES, TITLES)
    before = node_ids(scene)
    more = {
        name: {column: np.append(values, 30.0) for column, values in table.items()} for name, table in TABLES.items()
    }
    update_curves(scene, more, TITLES)
    assert node_ids(scene) == before
    assert columns_of(table_of(scene, "losses"))["total"] == [1.0, 0.5, 30.0]
    other_run = {"losses": {"step": np.array([1.0]), "total": np.array([2.0])}, "validation": {}}
    update_curves(scene, other_run, {key: "other" for key in CURVES})
    assert list(series_of(chart_of(scene, "losses"))) == ["total"]
    assert series_of(chart_of(scene, "overlap")) == {}
    assert chart_of(scene, "losses").GetTitle() == "other"


def test_curves_leave_other_charts_alone(scene):
    other = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Training losses")
    before = node_ids(scene)
    assert chart_of(scene, "losses") is None
    update_curves(scene, TABLES, TITLES)
    assert node_ids(scene)[: len(before)] == before
    assert chart_of(scene, "losses") is not other
    assert series_of(other) == {}


def preview_files(folder, shape=(4, 5, 6)) -> tuple[dict, dict]:
    files = {}
    for number, role in enumerate(("fixed", "moving", "warped")):
        files[f"{role}.npy"] = folder / f"{role}.npy"
        np.save(files[f"{role}.npy"], np.full(shape, number / 2, np.float32))
    ras_from_ijk = [[2.0, 0, 0, -5], [0, 2.0, 0, -4], [0, 0, 2.0, -3], [0, 0, 0, 1]]
    report = {"shape_kji": list(shape), "ras_from_ijk": ras_from_ijk, "fixed": "anna", "moving": "ben", "warped": "c"}
    return files, report


def test_a_preview_is_three_volumes_that_stay_the_same_nodes(scene, tmp_path):
    files, report = preview_files(tmp_path)
    nodes = show_preview(scene, read_preview(files, report))
    assert nodes["fixed"].GetName() == "Training fixed: anna"
    assert (slicer.util.arrayFromVolume(nodes["moving"]) == 0.5).all()
    assert nodes["warped"].GetImageData().GetDimensions() == (6, 5, 4)
    assert nodes["warped"].GetSpacing() == (2.0, 2.0, 2.0)
    assert nodes["warped"].GetOrigin() == (-5.0, -4.0, -3.0)
    before = node_ids(scene)
    again = show_preview(scene, read_preview(files, {**report, "fixed": "dina"}))
    assert again["fixed"] is nodes["fixed"]
    assert again["fixed"].GetName() == "Training fixed: dina"
    assert node_ids(scene) == before


def test_a_preview_whose_file_is_gone_is_one_sentence(tmp_path):
    files, report = preview_files(tmp_path)
    files["warped.npy"].unlink()
    with pytest.raises(InputError, match="warped image cannot be read"):
        read_preview(files, report)
