"""What the views would show: slices by Slicer's own slice logic, charts by VTK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import slicer
import vtk

from MMLNRegistrationLib.scene.render import render_view


def write_slice_view(name: str, path: Path, size_pixels: tuple[int, int]) -> Path:
    """What the slice view of this name (Red, Yellow, Green) shows, as a PNG with the given width and height."""
    widget = slicer.app.layoutManager().sliceWidget(name)
    node, logic = widget.mrmlSliceNode(), widget.sliceLogic()
    dimensions, field_of_view_mm = node.GetDimensions(), node.GetFieldOfView()
    # All that the view shows now is in the picture, whatever its shape.
    mm_per_pixel = max(field_of_view_mm[axis] / size_pixels[axis] for axis in range(2))
    try:
        _resize(node, size_pixels, [size * mm_per_pixel for size in size_pixels])
        render_view(slicer.app.applicationLogic(), logic, Path(path), size_pixels)
    finally:
        _resize(node, dimensions[:2], field_of_view_mm[:2])
    return Path(path)


def _resize(node: slicer.vtkMRMLSliceNode, size_pixels: Sequence[int], field_of_view_mm: Sequence[float]) -> None:
    was_modifying = node.StartModify()
    node.SetDimensions(*size_pixels, 1)
    node.SetFieldOfView(*field_of_view_mm, node.GetFieldOfView()[2])
    node.EndModify(was_modifying)


def write_chart(chart: slicer.vtkMRMLPlotChartNode, path: Path, size_pixels: tuple[int, int]) -> Path:
    """What a plot view shows for a chart, as a PNG."""
    view = vtk.vtkContextView()
    window = view.GetRenderWindow()
    window.SetOffScreenRendering(True)
    window.SetSize(*size_pixels)
    view.GetRenderer().SetBackground(1, 1, 1)
    drawn = vtk.vtkChartXY()
    view.GetScene().AddItem(drawn)
    if chart.GetTitleVisibility():
        drawn.SetTitle(chart.GetTitle() or "")
    drawn.SetShowLegend(bool(chart.GetLegendVisibility()))
    for axis, title in ((vtk.vtkAxis.BOTTOM, chart.GetXAxisTitle()), (vtk.vtkAxis.LEFT, chart.GetYAxisTitle())):
        drawn.GetAxis(axis).SetTitle(title or "")
    drawn.GetAxis(vtk.vtkAxis.LEFT).SetLogScale(bool(chart.GetYAxisLogScale()))
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        _draw_series(drawn, chart.GetNthPlotSeriesNode(index))
    window.Render()
    grabber = vtk.vtkWindowToImageFilter()
    grabber.SetInput(window)
    grabber.ReadFrontBufferOff()
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputConnection(grabber.GetOutputPort())
    writer.Write()
    return Path(path)


def _draw_series(chart: vtk.vtkChartXY, series: slicer.vtkMRMLPlotSeriesNode) -> None:
    table = series.GetTableNode().GetTable()
    if table.GetNumberOfRows() == 0:
        return
    bars = series.GetPlotType() in (series.PlotTypeBar, series.PlotTypeScatterBar)
    plot = chart.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
    y_name = series.GetYColumnName()
    x_name = series.GetXColumnName()
    if x_name and series.GetPlotType() in (series.PlotTypeScatter, series.PlotTypeScatterBar):
        plot.SetInputData(table, x_name, y_name)
    else:
        plot.SetUseIndexForXSeries(True)
        plot.SetInputData(table, y_name, y_name)
    plot.SetLabel(series.GetName())
    red, green, blue = (round(255 * part) for part in series.GetColor())
    plot.SetColor(red, green, blue, 255)
    plot.SetWidth(series.GetLineWidth() if series.GetLineStyle() != series.LineStyleNone else 0.0)
    if not bars and series.GetMarkerStyle() != series.MarkerStyleNone:
        plot.SetMarkerStyle(vtk.vtkPlotPoints.CIRCLE)
        plot.SetMarkerSize(series.GetMarkerSize())
