"""What Propagate shows when it is done: the verdict, the table of volumes, the structures in the views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..quality.verdict import count_text, number_text, seconds_text
from ..scene.propagation import StructureRow


def verdict(report: Mapping[str, Any], rows: Sequence[StructureRow]) -> str:
    """A propagation's report in a line, and its notes. Rich text, as register_result.verdict."""
    atlases, found = len(report["atlases"]), [row for row in rows if row.voxels]
    if atlases > 1:
        line = _("{structures} structures from {atlases} atlases, mean agreement {agreement} %").format(
            structures=len(found), atlases=atlases, agreement=number_text(100 * (report["mean_agreement"] or 0.0), 0)
        )
    else:
        line = _("{structures} structures from one atlas").format(structures=len(found))
    folded = report["folded_voxels"]
    folding = _("{count} folded voxels").format(count=count_text(folded)) if folded else _("no folded voxel")
    line = _("{line}, {folding}, {seconds} on {device}.").format(
        line=line, folding=folding, seconds=seconds_text(report["seconds"]["total"]), device=report["device"]
    )
    mark, colour = ("✗", "#b02020") if folded or not found else ("✓", "#1d7a3a")
    notes = "".join(f"<br>{_escaped(note)}" for note in report["notes"])
    return f'<span style="color:{colour}"><b>{mark}</b></span> {line}{notes}'


def fill_table(table: Any, rows: Sequence[StructureRow]) -> None:
    """Show the structures in a QTableWidget, each with its colour; agreement where there were several atlases."""
    several = any(row.agreement is not None for row in rows)
    titles = [_("Structure"), _("Voxels"), _("Volume (ml)"), _("Agreement (%)")][: 4 if several else 3]
    table.setRowCount(0)
    table.setColumnCount(len(titles))
    table.setHorizontalHeaderLabels(titles)
    table.setRowCount(len(rows))
    for index, row in enumerate(rows):
        agreement = "" if row.agreement is None else number_text(100 * row.agreement, 1)
        for column, text in enumerate(
            (row.name, count_text(row.voxels), number_text(row.ml, 2), agreement)[: len(titles)]
        ):
            item = qt.QTableWidgetItem(text)
            if column == 0:
                item.setIcon(_icon(row.colour))
            else:
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(index, column, item)
    header = table.horizontalHeader()
    header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(0, qt.QHeaderView.Stretch)


def show_structures(
    subject: slicer.vtkMRMLVolumeNode | None, segmentation: slicer.vtkMRMLSegmentationNode, fit: bool
) -> None:
    """Show the segmentation over the subject alone in all slice views. fit: centre them on the subject."""
    segmentation.CreateDefaultDisplayNodes()
    segmentation.GetDisplayNode().SetVisibility(True)
    if subject is not None:
        slicer.util.setSliceViewerLayers(background=subject, foreground=None, label=None, fit=fit)


def hide_segmentations(nodes: Sequence[slicer.vtkMRMLNode | None]) -> None:
    """Hide those of the nodes that are segmentations and still there: an atlas's would lie over the result."""
    for node in nodes:
        if node is not None and node.GetScene() is not None and node.IsA("vtkMRMLSegmentationNode"):
            node.SetDisplayVisibility(False)


def show_agreement(subject: slicer.vtkMRMLVolumeNode | None, agreement: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Show the agreement map over the subject alone in all slice views."""
    background = subject if subject is not None else agreement
    slicer.util.setSliceViewerLayers(background, foreground=agreement, label=None, foregroundOpacity=0.6)


def jump_to(row: StructureRow) -> None:
    """Centre all slice views on a structure."""
    if row.centre_ras is not None:
        slicer.vtkMRMLSliceNode.JumpAllSlices(
            slicer.mrmlScene, *row.centre_ras, slicer.vtkMRMLSliceNode.CenteredJumpSlice
        )


def _icon(colour: tuple[float, float, float]) -> Any:
    pixmap = qt.QPixmap(14, 14)
    pixmap.fill(qt.QColor(*[round(255 * share) for share in colour]))
    return qt.QIcon(pixmap)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
