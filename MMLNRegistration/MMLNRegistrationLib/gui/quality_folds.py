"""The list of folds: a table to click in, and the slice views that go where it says."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..quality.verdict import count_text
from ..scene.quality_tables import FOLD_COLUMNS
from ..scene.quality_views import jump_to


class FoldList:
    """Shows a table node of folds, see scene.quality_tables.fold_rows."""

    def __init__(self, table: Any, previous: Any, following: Any, count: Any) -> None:
        """table: a QTableWidget. previous, following: buttons. count: a label."""
        self._table, self._previous, self._following, self._count = table, previous, following, count
        self._places: list[tuple[float, float, float]] = []
        self._is_filling = False
        table.connect("currentCellChanged(int,int,int,int)", self._row_chosen)
        table.connect("cellClicked(int,int)", self._row_clicked)
        previous.connect("clicked(bool)", self._go_back)
        following.connect("clicked(bool)", self._go_on)
        self.show(None)

    def show(self, node: slicer.vtkMRMLTableNode | None) -> None:
        """List what a table node holds; None lists nothing."""
        rows = node.GetNumberOfRows() if node is not None else 0
        self._is_filling = True
        self._table.setRowCount(rows)
        self._places = []
        for row in range(rows):
            assert node is not None
            values = [node.GetTable().GetValue(row, column).ToDouble() for column in range(len(FOLD_COLUMNS))]
            self._places.append((values[3], values[4], values[5]))
            for column, value in enumerate(values):
                item = qt.QTableWidgetItem(_cell(column, value))
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                self._table.setItem(row, column, item)
        self._table.setCurrentCell(-1, -1)
        self._is_filling = False
        if node is None:
            self._count.text = _("Nothing is checked yet.")
        elif rows:
            voxels = sum(int(node.GetTable().GetValue(row, 0).ToDouble()) for row in range(rows))
            self._count.text = _("{voxels} folded voxels in {groups} groups; R, A, S is the worst voxel.").format(
                voxels=count_text(voxels), groups=count_text(rows)
            )
        else:
            self._count.text = _("No voxel folds.")
        self._update_buttons()

    def _row_chosen(self, row: int) -> None:
        if not self._is_filling:
            self._jump(row)

    def _row_clicked(self, row: int) -> None:
        self._jump(row)

    def _jump(self, row: int) -> None:
        self._update_buttons()
        if 0 <= row < len(self._places):
            jump_to(slicer.mrmlScene, self._places[row])

    def _go_back(self) -> None:
        self._table.setCurrentCell(max(self._table.currentRow() - 1, 0), 0)

    def _go_on(self) -> None:
        self._table.setCurrentCell(min(self._table.currentRow() + 1, len(self._places) - 1), 0)

    def _update_buttons(self) -> None:
        row, count = self._table.currentRow(), len(self._places)
        self._previous.enabled = row > 0
        self._following.enabled = row < count - 1


def _cell(column: int, value: float) -> str:
    digits = (0, 1, 2, 1, 1, 1)[column]
    return f"{value:.{digits}f}".replace("-", "\u2212")
