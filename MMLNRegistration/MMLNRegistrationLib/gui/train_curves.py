"""The curves of a training in Slicer's plot view, kept up to date while they are shown."""

from __future__ import annotations

import enum
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..scene.training_curves import CURVES, chart_of, update_curves
from ..training.curve_table import CurveTables


class Curve(enum.Enum):
    """Which chart."""

    LOSSES = "losses"
    OVERLAP = "overlap"
    FOLDING = "folding"

    def label(self) -> str:
        """How the window calls it."""
        return {
            Curve.LOSSES: _("Training loss"),
            Curve.OVERLAP: _("Validation: Dice, correlation"),
            Curve.FOLDING: _("Validation: folded voxels"),
        }[self]


class TrainCurves:
    """Tables and charts are in the scene from the first show on. After the scene was closed there are none again."""

    def __init__(self, combo: Any) -> None:
        """combo: a QComboBox, filled here with the charts."""
        self._combo = combo
        self._tables = CurveTables({}, {})
        self._run = ""
        for curve in Curve:
            combo.addItem(curve.label())
        combo.connect("currentIndexChanged(int)", self._chosen)

    def told(self, tables: CurveTables, run: str) -> None:
        """The numbers of a run by this name."""
        self._tables, self._run = tables, run
        if chart_of(slicer.mrmlScene, Curve.LOSSES.value) is not None:
            self._update()

    def show(self) -> None:
        """Show the chart that is chosen, in a layout that has a plot view."""
        self._update()
        _show_chart(chart_of(slicer.mrmlScene, self._key()))

    def _key(self) -> str:
        return list(Curve)[max(self._combo.currentIndex, 0)].value

    def _update(self) -> None:
        titles = {
            curve.value: _("{run}: {curve}").format(run=self._run, curve=curve.label()) if self._run else curve.label()
            for curve in Curve
        }
        assert set(titles) == set(CURVES)
        update_curves(slicer.mrmlScene, self._tables._asdict(), titles)

    def _chosen(self, index: int) -> None:
        if chart_of(slicer.mrmlScene, Curve.LOSSES.value) is not None:
            self.show()


def _show_chart(chart: slicer.vtkMRMLPlotChartNode | None) -> None:
    """By Slicer's own logic, which changes to a layout with a plot view where the present one has none."""
    if chart is None:
        return
    manager = slicer.app.layoutManager()
    if manager is None:  # no main window
        return
    slicer.modules.plots.logic().ShowChartInLayout(chart)
