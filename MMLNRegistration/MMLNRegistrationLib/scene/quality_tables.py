"""What an inspection found as tables and plots of the scene, in the form that Slicer's own views show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk

Figures = Mapping[str, Any]
"""What quality.json holds, see quality.inspection_files."""

FOLD_COLUMNS = ("Voxels", "mm³", "Smallest J", "R", "A", "S")
LARGEST_SERIES = 8
"""So many structures have a curve of their own in the histogram; more could not be told apart."""

_FOREGROUND_COLOUR = (0.25, 0.25, 0.25)
_COLOURS = (
    (0.12, 0.47, 0.71),
    (0.85, 0.37, 0.01),
    (0.17, 0.63, 0.17),
    (0.58, 0.40, 0.74),
    (0.55, 0.34, 0.29),
    (0.74, 0.74, 0.13),
    (0.09, 0.75, 0.81),
    (0.89, 0.47, 0.76),
)


def fill_table(node: slicer.vtkMRMLTableNode, columns: Mapping[str, Sequence[Any]]) -> None:
    """Replace what a table node holds: texts where a column has any, else numbers; what is None is not a number."""
    table = vtk.vtkTable()
    for name, values in columns.items():
        is_text = any(isinstance(value, str) for value in values)
        is_whole = bool(values) and all(isinstance(value, int) for value in values)
        array = vtk.vtkStringArray() if is_text else vtk.vtkLongLongArray() if is_whole else vtk.vtkDoubleArray()
        array.SetName(name)
        for value in values:
            array.InsertNextValue(value if value is not None else "" if is_text else float("nan"))
        table.AddColumn(array)
    node.SetAndObserveTable(table)
    node.SetUseColumnTitleAsColumnHeader(True)
    node.SetLocked(True)


def fold_rows(figures: Figures) -> dict[str, list[Any]]:
    """The clusters of folded voxels, by column."""
    keys = ("voxels", "volume_mm3", "jacobian_min", "r_mm", "a_mm", "s_mm")
    folds = figures["folds"]
    return {column: [_rounded(fold[key], 3) for fold in folds] for column, key in zip(FOLD_COLUMNS, keys, strict=True)}


def structure_rows(figures: Figures) -> dict[str, list[Any]]:
    """The scores of the structures, by column."""
    columns = {
        "Structure": "name",
        "Dice": "dice",
        "TC": "tc",
        "Carried / fixed volume": "volume_ratio",
        "Fixed mm³": "fixed_mm3",
        "Moving mm³": "moving_mm3",
        "Carried mm³": "warped_mm3",
        "Mean J": "jacobian_mean",
        "Smallest J": "jacobian_min",
        "Largest J": "jacobian_max",
        "SD of log J": "sd_log_jacobian",
        "Folded voxels": "folded_voxels",
    }
    return {
        column: [_rounded(structure[key], 4) for structure in figures["structures"]] for column, key in columns.items()
    }


def landmark_rows(figures: Figures) -> dict[str, list[Any]]:
    """The errors of the landmarks, by column, with R, A, S of the fixed point."""
    columns = {"Landmark": "name", "Before mm": "before_mm", "After mm": "after_mm"}
    columns |= {axis: f"fixed_{axis.lower()}_mm" for axis in "RAS"}
    return {
        column: [_rounded(landmark[key], 3) for landmark in figures["landmarks"]] for column, key in columns.items()
    }


def histogram_rows(figures: Figures) -> dict[str, list[Any]]:
    """Log J and, for the foreground and each structure, the percentage of its voxels in each bin."""
    histogram = figures["histogram"]
    return {"log J": histogram["log_jacobian"], **histogram["percent"]}


def histogram_chart(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode
) -> None:
    """Make a chart of a table of histogram_rows: a curve for the foreground and for the first structures."""
    names = [table.GetTable().GetColumnName(index) for index in range(table.GetNumberOfColumns())]
    series = [
        _series(
            scene, table, name, _FOREGROUND_COLOUR if index == 0 else _COLOURS[(index - 1) % len(_COLOURS)], names[0]
        )
        for index, name in enumerate(names[1 : LARGEST_SERIES + 2])
    ]
    _fill_chart(scene, chart, series, "Histogram of log J", "log J (0 keeps volume)", "% of the voxels")


def structure_chart(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode, column: str
) -> None:
    """Make a chart of a table of structure_rows: a bar for each structure."""
    series = _series(scene, table, column, _COLOURS[0], None)
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
    series.SetLabelColumnName("Structure")
    _fill_chart(scene, chart, [series], f"{column} by structure", "", column)


def landmark_chart(
    scene: slicer.vtkMRMLScene, chart: slicer.vtkMRMLPlotChartNode, table: slicer.vtkMRMLTableNode
) -> None:
    """Make a chart of a table of landmark_rows: the errors before and after."""
    series = [
        _series(scene, table, name, _COLOURS[index], None) for index, name in enumerate(("Before mm", "After mm"))
    ]
    for one in series:
        one.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeBar)
        one.SetLabelColumnName("Landmark")
    _fill_chart(scene, chart, series, "Landmarks", "", "error, mm")


def _series(
    scene: slicer.vtkMRMLScene,
    table: slicer.vtkMRMLTableNode,
    column: str,
    colour: tuple[float, float, float],
    x_column: str | None,
) -> slicer.vtkMRMLPlotSeriesNode:
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", column)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetYColumnName(column)
    series.SetColor(*colour)
    if x_column is not None:
        series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
        series.SetXColumnName(x_column)
        series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    return series


def _fill_chart(
    scene: slicer.vtkMRMLScene,
    chart: slicer.vtkMRMLPlotChartNode,
    series: Sequence[slicer.vtkMRMLPlotSeriesNode],
    title: str,
    x_title: str,
    y_title: str,
) -> None:
    """Replace the series of a chart; its old ones leave the scene."""
    old = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    chart.RemoveAllPlotSeriesNodeIDs()
    for node in old:
        if node is not None:
            scene.RemoveNode(node)
    for node in series:
        chart.AddAndObservePlotSeriesNodeID(node.GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle(x_title)
    chart.SetYAxisTitle(y_title)
    chart.SetLegendVisibility(len(series) > 1)


def _rounded(value: Any, digits: int) -> Any:
    return round(value, digits) if isinstance(value, float) else value
