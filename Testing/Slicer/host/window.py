"""One picture of what a user would have before them: the module's panel, and the views beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import qt
import slicer

VIEW_BARS = {"Red": "#f34a33", "Yellow": "#edd54c", "Green": "#6eb04b"}
BAR_PIXELS, GAP_PIXELS, VIEWS_WIDTH = 18, 4, 640
PANEL_WIDTH, LEAST_HEIGHT = 500, 720


def write_window(panel: qt.QWidget, path: Path, chart: slicer.vtkMRMLPlotChartNode | None = None) -> Path:
    """The panel at its full height, the red view at the top right, the others, or a chart, below it."""
    height = max(LEAST_HEIGHT, _height(panel))
    panel.resize(PANEL_WIDTH, height)
    slicer.app.processEvents()
    picture = qt.QImage(PANEL_WIDTH + GAP_PIXELS + VIEWS_WIDTH, height, qt.QImage.Format_RGB32)
    picture.fill(qt.QColor("#202020"))
    painter = qt.QPainter(picture)
    painter.drawPixmap(0, 0, panel.grab())
    left, upper = PANEL_WIDTH + GAP_PIXELS, (height - GAP_PIXELS) // 2
    lower = height - upper - GAP_PIXELS
    half = (VIEWS_WIDTH - GAP_PIXELS) // 2
    with tempfile.TemporaryDirectory() as folder:
        _draw_view(painter, "Red", qt.QRect(left, 0, VIEWS_WIDTH, upper), Path(folder))
        below = qt.QRect(left, upper + GAP_PIXELS, VIEWS_WIDTH, lower)
        if chart is not None:
            _draw_chart(painter, chart, below, Path(folder))
        else:
            for number, name in enumerate(("Yellow", "Green")):
                box = qt.QRect(left + number * (half + GAP_PIXELS), below.top(), half, lower)
                _draw_view(painter, name, box, Path(folder))
    painter.end()
    return _save(picture, path)


def _height(panel: qt.QWidget) -> int:
    """What the panel needs; of tabs, only the one that is seen counts."""
    height = panel.sizeHint().height()
    for tabs in panel.findChildren(qt.QTabWidget):
        pages = [tabs.widget(index).sizeHint().height() for index in range(tabs.count)]
        height += tabs.currentWidget().sizeHint().height() - max(pages)
    return height


def write_views(path: Path, size_pixels: tuple[int, int] = (360, 400)) -> Path:
    """The three slice views side by side."""
    width, height = size_pixels
    picture = qt.QImage(3 * width + 2 * GAP_PIXELS, height, qt.QImage.Format_RGB32)
    picture.fill(qt.QColor("#202020"))
    painter = qt.QPainter(picture)
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(VIEW_BARS):
            _draw_view(painter, name, qt.QRect(number * (width + GAP_PIXELS), 0, width, height), Path(folder))
    painter.end()
    return _save(picture, path)


def _draw_view(painter: qt.QPainter, name: str, box: qt.QRect, folder: Path) -> None:
    from .pictures import write_slice_view

    bar = qt.QRect(box.left(), box.top(), box.width(), BAR_PIXELS)
    painter.fillRect(bar, qt.QColor(VIEW_BARS[name]))
    painter.setPen(qt.QColor("black"))
    painter.drawText(bar.adjusted(6, 0, 0, 0), qt.Qt.AlignVCenter, name[0])
    file = write_slice_view(name, folder / f"{name}.png", (box.width(), box.height() - BAR_PIXELS))
    painter.drawImage(box.left(), box.top() + BAR_PIXELS, qt.QImage(str(file)))


def _draw_chart(painter: qt.QPainter, chart: slicer.vtkMRMLPlotChartNode, box: qt.QRect, folder: Path) -> None:
    from .pictures import write_chart

    file = write_chart(chart, folder / "chart.png", (box.width(), box.height()))
    painter.drawImage(box.left(), box.top(), qt.QImage(str(file)))


def _save(picture: qt.QImage, path: Path) -> Path:
    if not picture.save(str(path)):
        raise OSError(f"{path} could not be written")
    return path
