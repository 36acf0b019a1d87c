"""Target registration error: how far the map puts points of the fixed image from where they are in the moving one.

before_mm: |moving - fixed|, as the headers put both. after_mm: |moving - (fixed + u(fixed))|.
A table of landmarks is CSV with a header: name, fixed_r_mm, fixed_a_mm, fixed_s_mm, moving_r_mm, moving_a_mm,
moving_s_mm, and, where a program knows it better than the field on its grid, mapped_r_mm, mapped_a_mm, mapped_s_mm.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry
from ..tables import read_rows

_POINTS = ("fixed", "moving", "mapped")
_AXES = ("r", "a", "s")
COLUMNS = ("name", "before_mm", "after_mm", "fixed_r_mm", "fixed_a_mm", "fixed_s_mm")


class Points(NamedTuple):
    """One landmark in both images, mm RAS, and where the map puts the fixed one, when that is known."""

    name: str
    fixed_ras: tuple[float, float, float]
    moving_ras: tuple[float, float, float]
    mapped_ras: tuple[float, float, float] | None = None


class Landmark(NamedTuple):
    """The error of one landmark; after_mm is not a number where the point lies off the fixed image."""

    name: str
    before_mm: float
    after_mm: float
    fixed_r_mm: float
    fixed_a_mm: float
    fixed_s_mm: float


def read_points(table: Path) -> tuple[Points, ...]:
    """The landmarks of a table. Raises InputError for a missing or damaged one."""
    rows = read_rows(table, ["name", *_columns("fixed"), *_columns("moving")])
    return tuple(
        Points(
            row["name"],
            _place(row, "fixed", table),
            _place(row, "moving", table),
            _place(row, "mapped", table) if "mapped_r_mm" in row else None,
        )
        for row in rows
    )


def write_points(points: Sequence[Points], table: Path) -> None:
    """Write landmarks as a table; mapped places are written when all have one. Raises OSError."""
    known = [name for name in _POINTS if name != "mapped" or all(point.mapped_ras for point in points)]
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", *(column for name in known for column in _columns(name))])
        for point in points:
            places = {"fixed": point.fixed_ras, "moving": point.moving_ras, "mapped": point.mapped_ras or ()}
            writer.writerow([point.name, *(repr(float(mm)) for name in known for mm in places[name])])


def landmark_errors(
    points: Sequence[Points], displacement_mm: NDArray[np.float32], geometry: Geometry
) -> tuple[Landmark, ...]:
    """The error of each landmark. displacement_mm: u on geometry, between its voxels linear."""
    from .planes import displacement_tensor, sampled

    if not points:
        return ()
    fixed = np.array([point.fixed_ras for point in points])
    moving = np.array([point.moving_ras for point in points])
    shift = sampled(displacement_tensor(displacement_mm), geometry, fixed[None])[:, 0].T
    mapped = fixed + shift
    for row, point in enumerate(points):
        if point.mapped_ras is not None:
            mapped[row] = point.mapped_ras
    before = np.linalg.norm(moving - fixed, axis=1)
    after = np.linalg.norm(moving - mapped, axis=1)
    return tuple(
        Landmark(point.name, float(first), float(last), *point.fixed_ras)
        for point, first, last in zip(points, before, after, strict=True)
    )


def _columns(point: str) -> list[str]:
    return [f"{point}_{axis}_mm" for axis in _AXES]


def _place(row: dict[str, str], point: str, table: Path) -> tuple[float, float, float]:
    try:
        r, a, s = (float(row[column]) for column in _columns(point))
    except (KeyError, ValueError) as error:
        raise InputError(f"{table.name}: the place {point} of {row['name']!r} is no three numbers; correct it.") from (
            error
        )
    if not np.isfinite((r, a, s)).all():
        raise InputError(f"{table.name}: the place {point} of {row['name']!r} is not finite; correct it.")
    return r, a, s
