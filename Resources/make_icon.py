"""Draws MMLNRegistration.svg: a brain from above under a deformed grid, coloured by how much each cell has grown.

Run it with any Python, then render the picture as Resources/README.md says.
"""

import math
from pathlib import Path

SIZE = 128
CENTRE = (64.0, 64.0)
CELL = 11.0
CELLS = 12
POINTS_PER_CELL = 6
SOURCES = ((41, 46, 20, 7.0), (87, 80, 20, 6.5), (86, 38, 19, -5.5), (42, 88, 19, -5.5))
"""Centre x, y, reach and strength of what pushes the grid's points away, or draws them near."""
SHRUNK, KEPT, GROWN = (34, 153, 214), (250, 246, 238), (246, 112, 64)


def brain_outline(points: int = 360) -> list[tuple[float, float]]:
    """An egg with gyri, narrower at the front, with a notch where the hemispheres part."""
    outline = []
    for step in range(points):
        angle = 2 * math.pi * step / points  # from the front, clockwise
        gyri = 1 - 0.026 * math.cos(16 * angle) - 0.008 * math.cos(6 * angle)
        front = math.exp(-((math.sin(angle / 2) / 0.075) ** 2))
        back = math.exp(-((math.cos(angle / 2) / 0.075) ** 2))
        notch = 1 - 0.13 * front - 0.10 * back
        width = 43.5 - 4.0 * math.cos(angle)
        outline.append(
            (CENTRE[0] + width * math.sin(angle) * gyri * notch, CENTRE[1] - 53.0 * math.cos(angle) * gyri * notch)
        )
    return outline


def deformed(x: float, y: float) -> tuple[float, float]:
    """Sources and sinks move the grid's points; smooth, and without folding."""
    moved_x, moved_y = x, y
    for source_x, source_y, reach, strength in SOURCES:
        dx, dy = x - source_x, y - source_y
        push = strength * math.exp(-(dx * dx + dy * dy) / (2 * reach * reach)) / reach
        moved_x += push * dx
        moved_y += push * dy
    return moved_x, moved_y


def path(points: list[tuple[float, float]], closed: bool) -> str:
    """The d attribute of a polygon or a polyline."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + ("Z" if closed else "")


def cell_colour(growth: float) -> str:
    """Blue where the area shrank, orange where it grew."""
    share = max(-1.0, min(1.0, math.log2(growth) / 0.8))
    end = GROWN if share > 0 else SHRUNK
    return "#" + "".join(f"{round(kept + abs(share) * (to - kept)):02x}" for kept, to in zip(KEPT, end, strict=True))


def grid_lines() -> tuple[list[str], list[str]]:
    """Filled cells and lines of the deformed grid."""
    start = [c - CELL * CELLS / 2 for c in CENTRE]
    corner = [[deformed(start[0] + CELL * i, start[1] + CELL * j) for i in range(CELLS + 1)] for j in range(CELLS + 1)]
    cells, lines = [], []
    for j in range(CELLS):
        for i in range(CELLS):
            a, b, c, d = corner[j][i], corner[j][i + 1], corner[j + 1][i + 1], corner[j + 1][i]
            area = 0.5 * abs((c[0] - a[0]) * (d[1] - b[1]) - (d[0] - b[0]) * (c[1] - a[1]))
            colour = cell_colour(area / CELL**2)
            cells.append(f'<path d="{path([a, b, c, d], True)}" fill="{colour}" stroke="{colour}" stroke-width=".6"/>')
    steps = [CELL * step / POINTS_PER_CELL for step in range(CELLS * POINTS_PER_CELL + 1)]
    for line in range(CELLS + 1):
        at = CELL * line
        lines.append(path([deformed(start[0] + at, start[1] + s) for s in steps], False))
        lines.append(path([deformed(start[0] + s, start[1] + at) for s in steps], False))
    return cells, lines


def icon() -> str:
    """The whole picture."""
    outline = path(brain_outline(), True)
    cells, lines = grid_lines()
    fissure = path([deformed(CENTRE[0], 14 + step) for step in range(101)], False)
    newline = "\n    "
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" width="{SIZE}" height="{SIZE}">
  <defs>
    <linearGradient id="ground" x1="0" y1="0" x2="0" y2="1">
      <stop offset="0" stop-color="#1d4066"/>
      <stop offset="1" stop-color="#0b1d33"/>
    </linearGradient>
    <clipPath id="brain"><path d="{outline}"/></clipPath>
  </defs>
  <rect x="1" y="1" width="126" height="126" rx="26" fill="url(#ground)"/>
  <g clip-path="url(#brain)">
    {newline.join(cells)}
    <path d="{"".join(lines)}" fill="none" stroke="#17324f" stroke-width="1.1"/>
    <path d="{fissure}" fill="none" stroke="#0b1d33" stroke-width="3" stroke-linecap="round"/>
  </g>
  <path d="{outline}" fill="none" stroke="#ffffff" stroke-width="3" stroke-linejoin="round"/>
</svg>
"""


if __name__ == "__main__":
    Path(__file__).with_name("MMLNRegistration.svg").write_text(icon(), encoding="utf-8", newline="\n")
