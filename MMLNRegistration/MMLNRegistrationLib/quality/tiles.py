"""Pictures as scalable SVG: one square tile per plane, in millimetres, with letters, scale and overlays.

Each image is written into the page once (`picture_definitions`) and shown by reference wherever it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from .figures import Picture
from .planes import Plane

CHECKER_SQUARES = 9
"""Squares of the checkerboard along a tile."""


def picture_definitions(pictures: Mapping[str, Picture], side_mm: float) -> str:
    """The hidden SVG that holds every image of the page, by key, and the checkerboard's shape. side_mm: of a tile."""
    images = "".join(
        f'<image id="{key}" width="{plane.side_mm:.2f}" height="{plane.side_mm:.2f}" href="{uri}"/>'
        for key, (plane, uri) in pictures.items()
    )
    checks = f'<clipPath id="checks">{_checks(side_mm)}</clipPath>'
    return f'<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>{images}{checks}</defs></svg>'


def wall(planes: Iterable[Plane], pictures: Sequence[tuple[str, str, str]]) -> str:
    """A row of tiles for every plane. pictures: the key without the plane's name, the label, what is seen, for each."""
    shown = "".join(
        tile(plane, use(f"{key}-{plane.name}"), f"{plane.name.capitalize()} view: {text}.", label)
        for plane in planes
        for key, label, text in pictures
    )
    return f'<div class="tiles wall across-{len(pictures)}">{shown}</div>'


def trio(planes: Iterable[Plane], content: Callable[[Plane], str], text: str) -> str:
    """A large tile for every plane. content: of the tile, see tile. text: what is seen."""
    shown = "".join(tile(plane, content(plane), f"{plane.name.capitalize()} view: {text}.") for plane in planes)
    return f'<div class="tiles trio">{shown}</div>'


def use(key: str) -> str:
    """Shows the image with this key."""
    return f'<use href="#{key}"/>'


def checkerboard(first_key: str, second_key: str) -> str:
    """Two images in alternate squares."""
    return f'{use(first_key)}<g clip-path="url(#checks)">{use(second_key)}</g>'


def tile(plane: Plane, content: str, description: str, label: str = "") -> str:
    """One picture: content in mm from the picture's corner, with letters, position and scale bar.

    description is what the picture says to those who cannot see it; label names the picture inside it.
    """
    side = plane.side_mm
    size = side * 0.05
    near, far, middle = size * 0.55, side - size * 0.55, side / 2
    letters = plane.letters
    marks = "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{letter}</text>'
        for letter, x, y, anchor in (
            (letters.left, near, middle + size * 0.36, "start"),
            (letters.right, far, middle + size * 0.36, "end"),
            (letters.top, middle, near + size * 0.6, "middle"),
            (letters.bottom, middle, far, "middle"),
        )
    )
    corners = (
        f'<text class="small" x="{near:.1f}" y="{near + size * 0.6:.1f}">{plane.name.capitalize()} '
        f'<tspan class="position">{plane.position}</tspan></text>'
        f'<text class="name" x="{near:.1f}" y="{far:.1f}">{escape(label)}</text>'
    )
    return (
        f'<svg class="tile" role="img" aria-label="{escape(description)}" viewBox="0 0 {side:.2f} {side:.2f}">'
        f'{content}<g class="marks" font-size="{size:.2f}" stroke-width="{size * 0.16:.2f}">'
        f"{marks}{corners}{_scale_bar(side, near, far)}</g></svg>"
    )


def grid_lines(lines: list[NDArray[np.float64]]) -> str:
    """Polylines (N, 2) in mm as one path."""
    parts = []
    for line in lines:
        steps = [f"{x:.1f} {y:.1f}" for x, y in line]
        parts.append("M" + "L".join(steps))
    return f'<path class="grid-lines" d="{"".join(parts)}"/>'


def ring(place_mm: NDArray[np.float64], plane: Plane) -> str:
    """A ring around a place on the picture, given across and down in mm."""
    return f'<circle class="ring" cx="{place_mm[0]:.1f}" cy="{place_mm[1]:.1f}" r="{plane.side_mm * 0.035:.1f}"/>'


def _checks(side_mm: float) -> str:
    square = side_mm / CHECKER_SQUARES
    path = "".join(
        f"M{column * square:.2f} {row * square:.2f}h{square:.2f}v{square:.2f}h{-square:.2f}z"
        for row in range(CHECKER_SQUARES)
        for column in range(CHECKER_SQUARES)
        if (row + column) % 2
    )
    return f'<path d="{path}"/>'


def _scale_bar(side_mm: float, near: float, far: float) -> str:
    """A bar of 1, 2 or 5 times a power of ten millimetres, at most a fifth of the picture long."""
    longest = side_mm / 5
    power = 10.0 ** np.floor(np.log10(longest))
    length = max(step * power for step in (1, 2, 5) if step * power <= longest)
    return (
        f'<path class="bar" d="M{far - length:.2f} {far:.2f}h{length:.4g}" stroke-width="{side_mm * 0.005:.2f}"/>'
        f'<text class="small" x="{far:.1f}" y="{far - near * 0.7:.1f}" text-anchor="end">{length:g} mm</text>'
    )
