"""Tables and plots of a check in Slicer's own views."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ..scene.quality_tables import histogram_chart, landmark_chart, structure_chart
from .quality_choices import Plot, Table


def table_node(parameters: Any, table: Table) -> slicer.vtkMRMLTableNode | None:
    """The node of a table; None where the check has made none. parameters: a QualityParameters."""
    return {
        Table.STRUCTURES: parameters.structures_table,
        Table.FOLDS: parameters.folds_table,
        Table.LANDMARKS: parameters.landmarks_table,
        Table.HISTOGRAM: parameters.histogram_table,
    }[table]


def missing(node: slicer.vtkMRMLTableNode | None, table: Table) -> str:
    """Why there is nothing to show of a table, as a sentence; empty when there is."""
    if node is None:
        return _("Check the transform first.")
    if node.GetNumberOfRows():
        return ""
    if table is Table.FOLDS:
        return _("No voxel folds.")
    if table is Table.LANDMARKS:
        return _("Choose landmarks of both images, then check the transform again.")
    return _("Choose segments, then check the transform again.")


def table_of(plot: Plot) -> Table:
    """The table that a plot is made of."""
    if plot is Plot.HISTOGRAM:
        return Table.HISTOGRAM
    return Table.LANDMARKS if plot is Plot.LANDMARKS else Table.STRUCTURES


def show_plot(parameters: Any) -> None:
    """Show the chosen plot, in a layout that has a plot view."""
    node = table_node(parameters, table_of(parameters.plot))
    chart = parameters.chart
    if chart is None:
        chart = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", _("Quality"))
        parameters.chart = chart
    if parameters.plot is Plot.HISTOGRAM:
        histogram_chart(slicer.mrmlScene, chart, node)
    elif parameters.plot is Plot.LANDMARKS:
        landmark_chart(slicer.mrmlScene, chart, node)
    else:
        structure_chart(slicer.mrmlScene, chart, node, parameters.plot.column)
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def show_table(parameters: Any) -> None:
    """Show the chosen table, in a layout that has a table view."""
    node = table_node(parameters, parameters.table)
    assert node is not None
    layout = slicer.app.layoutManager()
    layout.setLayout(slicer.modules.tables.logic().GetLayoutWithTable(layout.layout))
    application = slicer.app.applicationLogic()
    application.GetSelectionNode().SetActiveTableID(node.GetID())
    application.PropagateTableSelection()
