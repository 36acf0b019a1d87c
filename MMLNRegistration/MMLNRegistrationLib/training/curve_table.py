"""The curves of a run as tables, one row a step: what a plot of a program that has its own is fed with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .series import Entries, Series, series

MOST_ROWS = 1000
"""More is not to be seen in a plot; rows next to each other are then averaged."""

STEP = "step"
LOSSES = ("total", "similarity", "regularisation", "slices", "core", "dice", "taught")
VALIDATION = ("dice", "dice_initial", "similarity", "folded_percent")

Table = dict[str, NDArray[np.float64]]
"""Columns of one length by name, "step" first; what is not known is not a number. Empty without rows."""


class CurveTables(NamedTuple):
    """The terms of the loss, and what was validated; of both only what occurs."""

    losses: Table
    validation: Table


def curve_tables(entries: Entries) -> CurveTables:
    """The tables of a ledger's entries."""
    numbers = series(entries)
    return CurveTables(_table(numbers, "step", LOSSES), _table(numbers, "validation", VALIDATION))


def _table(numbers: dict[str, Series], event: str, names: tuple[str, ...]) -> Table:
    """Terms that are zero throughout, such as those that are switched off, are left out."""
    found = {name: numbers[f"{event}.{name}"] for name in names if f"{event}.{name}" in numbers}
    found = {name: data for name, data in found.items() if event == "validation" or data.values.any()}
    if not found:
        return {}
    steps = np.unique(np.concatenate([data.steps for data in found.values()]))
    table = {STEP: steps}
    for name, data in found.items():
        column = np.full(len(steps), np.nan)
        column[np.searchsorted(steps, data.steps)] = data.values
        table[name] = column
    return {name: _thinned(column) for name, column in table.items()}


def _thinned(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most MOST_ROWS means over neighbours, each over what is known of them."""
    if len(column) <= MOST_ROWS:
        return column
    groups = np.array_split(column, MOST_ROWS)
    known = [group[np.isfinite(group)] for group in groups]
    return np.array([group.mean() if len(group) else np.nan for group in known])
