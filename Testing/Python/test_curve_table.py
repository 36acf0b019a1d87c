"""The curves of a run as tables."""

from __future__ import annotations

import numpy as np

from MMLNRegistrationLib.training.curve_table import MOST_ROWS, curve_tables


def step(number: int, **values: float) -> dict[str, object]:
    return {"event": "step", "step": number, "level": 1, **values}


def test_columns_have_one_length_and_know_what_is_missing() -> None:
    entries = [
        {"event": "start", "step": 0},
        step(10, total=3.0, slices=1.0, core=0.0, seconds=0.5),
        step(20, total=2.0, core=0.0, seconds=0.5),
        {"event": "validation", "step": 20, "dice": None, "similarity": 0.7, "folded_percent": 0.0, "best": True},
    ]
    losses, validation = curve_tables(entries)
    assert set(losses) == {"step", "total", "slices"}  # core is switched off
    assert losses["step"].tolist() == [10, 20]
    assert losses["total"].tolist() == [3, 2]
    assert losses["slices"][0] == 1
    assert np.isnan(losses["slices"][1])
    assert {name: column.tolist() for name, column in validation.items()} == {
        "step": [20],
        "similarity": [0.7],
        "folded_percent": [0],  # no folding is worth a line
    }


def test_nothing_makes_empty_tables() -> None:
    assert curve_tables([{"event": "start", "step": 0}]) == ({}, {})


def test_many_rows_are_averaged() -> None:
    count = 5 * MOST_ROWS
    values = np.linspace(1, 0, count)
    losses, _ = curve_tables([step(10 * index, total=float(value)) for index, value in enumerate(values, start=1)])
    assert len(losses["step"]) == len(losses["total"]) == MOST_ROWS
    assert np.isclose(losses["total"].mean(), values.mean())
    assert (np.diff(losses["step"]) > 0).all()
