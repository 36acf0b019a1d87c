"""What Quality can show, as the module's window calls it. Scenes keep the names."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


class View(enum.Enum):
    """What the slice views show."""

    JACOBIAN = 1
    FADE = 2
    FLICKER = 3
    CHECKERBOARD = 4
    DIFFERENCE = 5

    @property
    def needs_warped(self) -> bool:
        """Whether it compares the images, and so needs the warped one."""
        return self is not View.JACOBIAN

    def label(self) -> str:
        """How the window calls it."""
        return {
            View.JACOBIAN: _("Jacobian map and folds"),
            View.FADE: _("Fixed and warped, overlaid"),
            View.FLICKER: _("Fixed and warped, flickering"),
            View.CHECKERBOARD: _("Checkerboard of fixed and warped"),
            View.DIFFERENCE: _("Difference of fixed and warped"),
        }[self]


class Deformation(enum.Enum):
    """How the transform itself is drawn."""

    NONE = 0
    GRID = 1
    ARROWS = 2

    def label(self) -> str:
        """How the window calls it."""
        return {
            Deformation.NONE: _("Not drawn"),
            Deformation.GRID: _("Deformed grid"),
            Deformation.ARROWS: _("Arrows"),
        }[self]


class Plot(enum.Enum):
    """What the plot view shows."""

    HISTOGRAM = 1
    DICE = 2
    TC = 3
    ROUGHNESS = 4
    LANDMARKS = 5

    @property
    def column(self) -> str:
        """The column of the structures' table that is shown; empty for the other plots."""
        return {Plot.DICE: "Dice", Plot.TC: "TC", Plot.ROUGHNESS: "SD of log J"}.get(self, "")

    def label(self) -> str:
        """How the window calls it."""
        return {
            Plot.HISTOGRAM: _("Histogram of log J"),
            Plot.DICE: _("Dice by structure"),
            Plot.TC: _("Volume kept (TC) by structure"),
            Plot.ROUGHNESS: _("SD of log J by structure"),
            Plot.LANDMARKS: _("Landmarks, before and after"),
        }[self]


class Table(enum.Enum):
    """What the table view shows."""

    STRUCTURES = 1
    FOLDS = 2
    LANDMARKS = 3
    HISTOGRAM = 4

    def label(self) -> str:
        """How the window calls it."""
        return {
            Table.STRUCTURES: _("Structures"),
            Table.FOLDS: _("Folded voxels"),
            Table.LANDMARKS: _("Landmarks"),
            Table.HISTOGRAM: _("Histogram of log J"),
        }[self]
