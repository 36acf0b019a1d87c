"""Curves of a training as Slicer's own tables and charts, which its plot view draws and a scene keeps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

MARK = "MMLNRegistration.Training"
"""Attribute of all nodes that are made here: which one it is."""

STEP = "step"
CURVES = {
    "losses": {
        "total": ("Total", (0.1, 0.1, 0.1)),
        "similarity": ("Similarity", (0.0, 0.45, 0.7)),
        "regularisation": ("Regularisation", (0.78, 0.33, 0.0)),
        "slices": ("2D slices", (0.0, 0.48, 0.35)),
        "core": ("Core", (0.66, 0.26, 0.5)),
        "dice": ("Dice", (0.48, 0.36, 0.0)),
        "taught": ("Known velocities", (0.4, 0.4, 0.4)),
    },
    "overlap": {
        "dice": ("Dice", (0.04, 0.42, 0.49)),
        "dice_initial": ("Dice before", (0.55, 0.55, 0.55)),
        "similarity": ("Correlation", (0.0, 0.45, 0.7)),
    },
    "folding": {"folded_percent": ("Folded voxels, %", (0.78, 0.33, 0.0))},
}
"""The charts: their columns with name and colour. The colours are those of the run folder's curves.svg."""

_TABLE_OF_CHART = {"losses": "losses", "overlap": "validation", "folding": "validation"}


def update_curves(
    scene: slicer.vtkMRMLScene, tables: Mapping[str, Mapping[str, NDArray[np.float64]]], titles: Mapping[str, str]
) -> None:
    """Bring the charts in line with the tables "losses" and "validation"; missing nodes are made.

    tables: columns by name, "step" among them. titles: of the charts, by the keys of CURVES.
    """
    for name, columns in tables.items():
        table = _node(scene, "vtkMRMLTableNode", name, f"Training {name}")
        _fill(table, columns)
    for key, curves in CURVES.items():
        chart = _node(scene, "vtkMRMLPlotChartNode", key, f"Training {key}")
        table_name = _TABLE_OF_CHART[key]
        table = _node(scene, "vtkMRMLTableNode", table_name, f"Training {table_name}")
        present = [name for name in curves if name in tables.get(table_name, {})]
        _set_series(scene, chart, table, key, present)
        if chart.GetTitle() != titles[key]:
            chart.SetTitle(titles[key])
            chart.SetXAxisTitle("Step")


def chart_of(scene: slicer.vtkMRMLScene, key: str) -> slicer.vtkMRMLPlotChartNode | None:
    """A chart by its key in CURVES; None while there is none."""
    return _found(scene, "vtkMRMLPlotChartNode", key)


def table_of(scene: slicer.vtkMRMLScene, name: str) -> slicer.vtkMRMLTableNode | None:
    """The table "losses" or "validation"; None while there is none."""
    return _found(scene, "vtkMRMLTableNode", name)


def _set_series(
    scene: slicer.vtkMRMLScene,
    chart: slicer.vtkMRMLPlotChartNode,
    table: slicer.vtkMRMLTableNode,
    key: str,
    present: list[str],
) -> None:
    ids = []
    for name in present:
        label, colour = CURVES[key][name]
        series = _found(scene, "vtkMRMLPlotSeriesNode", f"{key}.{name}")
        if series is None:
            series = _node(scene, "vtkMRMLPlotSeriesNode", f"{key}.{name}", label)
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetXColumnName(STEP)
            series.SetYColumnName(name)
            series.SetColor(*colour)
            series.SetLineWidth(2)
            few = key != "losses"
            series.SetMarkerStyle(
                slicer.vtkMRMLPlotSeriesNode.MarkerStyleCircle if few else slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone
            )
        if series.GetTableNodeID() != table.GetID():
            series.SetAndObserveTableNodeID(table.GetID())
        ids.append(series.GetID())
    if ids != [chart.GetNthPlotSeriesNodeID(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]:
        chart.RemoveAllPlotSeriesNodeIDs()
        for node_id in ids:
            chart.AddAndObservePlotSeriesNodeID(node_id)


def _fill(node: slicer.vtkMRMLTableNode, columns: Mapping[str, NDArray[np.float64]]) -> None:
    table = vtk.vtkTable()
    for name, values in columns.items():
        column = numpy_support.numpy_to_vtk(np.ascontiguousarray(values, dtype=np.float64), deep=True)
        column.SetName(name)
        table.AddColumn(column)
    node.SetAndObserveTable(table)


def _node(scene: slicer.vtkMRMLScene, class_name: str, mark: str, name: str) -> slicer.vtkMRMLNode:
    node = _found(scene, class_name, mark)
    if node is None:
        node = scene.AddNewNodeByClass(class_name, name)
        node.SetAttribute(MARK, mark)
    return node


def _found(scene: slicer.vtkMRMLScene, class_name: str, mark: str) -> slicer.vtkMRMLNode | None:
    return next((node for node in _nodes(scene, class_name) if node.GetAttribute(MARK) == mark), None)


def _nodes(scene: slicer.vtkMRMLScene, class_name: str) -> list[slicer.vtkMRMLNode]:
    """The nodes of a class that were made here."""
    count = scene.GetNumberOfNodesByClass(class_name)
    nodes = [scene.GetNthNodeByClass(index, class_name) for index in range(count)]
    return [node for node in nodes if node.GetAttribute(MARK) is not None]
