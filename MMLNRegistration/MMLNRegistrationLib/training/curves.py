"""The curves of a training run as one SVG file: panels above each other on a common axis of steps.

Attributes only, no style sheet: the file must look the same in a browser, in a README and in simple SVG viewers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from .series import (
    Entries,
    LevelSpan,
    Series,
    best_step,
    event_steps,
    level_spans,
    running_mean,
    series,
    split,
    thin,
)

MOST_POINTS = 600
"""Points of one line; the plot is hardly wider in pixels."""
MOST_DOTS = 60
"""A line of more points is drawn without a dot at each."""

LOSS_TERMS = {
    "similarity": ("Similarity loss", "#0072b2"),
    "regularisation": ("Regularisation loss", "#c65300"),
    "slices": ("2D slices loss", "#007a5a"),
    "core": ("Core loss", "#a9427f"),
    "dice": ("Dice loss", "#7a5c00"),
    "taught": ("error of known velocities", "#444444"),
}
"""Title and colour of each term: the hues of Okabe and Ito, some darker so that a thin line is seen on white."""

_WIDTH, _LEFT, _RIGHT = 900.0, 66.0, 794.0
_FIRST_PANEL, _TITLE, _GAP, _FOOTER = 84.0, 21.0, 9.0, 62.0
_INK, _MUTED, _GRID, _ACCENT = "#18212b", "#5a6673", "#ccd3da", "#0b6b7d"
_FOLDED = "#c65300"
_BANDS = ("#f4f6f8", "#e9edf1")
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', sans-serif"
_HALO = 'stroke="#ffffff" stroke-opacity="0.8" stroke-width="4" stroke-linejoin="round" paint-order="stroke"'
_RESUME_LOOK = f'stroke="{_INK}" stroke-width="1" stroke-opacity="0.55" stroke-dasharray="2 3"'


class _Line(NamedTuple):
    data: Series
    colour: str
    width: float = 2.0
    opacity: float = 1.0
    dash: str = ""
    dots: bool = False
    by_level: bool = False
    """Broken where a level ends."""
    name: str | None = ""
    """Words before the last value, which is written at the line's end. None writes nothing there."""


class _Panel(NamedTuple):
    title: str
    height: float
    lines: list[_Line]
    """The last one lies on top."""
    floor: float | None = None
    """Lower end of the axis where the data shall not decide it."""
    unit: str = ""
    best: float | None = None
    """Step of the top line's point to ring."""


class _Axes(NamedTuple):
    """Where steps and values lie in the picture."""

    last_step: float
    low: float
    high: float
    top: float
    bottom: float

    def x(self, step: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * step / self.last_step

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * (value - self.low) / (self.high - self.low)


def curves_picture(entries: Entries) -> str:
    """An SVG file, 900 wide, of a ledger's entries: loss by term, validation, folding and learning rate by step.

    A panel whose numbers do not occur is left out. As long as nothing has two points the picture says so.
    """
    numbers, spans, best = series(entries), level_spans(entries), best_step(entries)
    panels = [*_loss_panels(numbers, spans), *_validation_panels(numbers, best)]
    if (rate := numbers.get("step.learning_rate")) is not None:
        panels.append(_Panel("Learning rate", 42.0, [_Line(rate, _MUTED, 1.6, by_level=True)], floor=0.0))
    if not panels or all(len(data.steps) < 2 for data in numbers.values()):
        return _nothing_yet()
    last_step = max(1.0, *(float(data.steps[-1]) for data in numbers.values()))
    resumed = [step for step in event_steps(entries, "resume") if step <= last_step]
    summary = _summary(numbers, best, last_step)

    end = _FIRST_PANEL + sum(_TITLE + panel.height + _GAP for panel in panels) - _GAP
    steps_axis = _Axes(last_step, 0.0, 1.0, _FIRST_PANEL, end)
    parts = [
        _text(_LEFT, 31, "Training curves", f'font-size="18" font-weight="650" fill="{_INK}"'),
        _text(_LEFT, 52, summary, f'font-size="13" fill="{_MUTED}"'),
        _bands([span for span in spans if span.first_step < last_step], steps_axis),
    ]
    top = _FIRST_PANEL
    for panel in panels:
        parts.append(_drawn_panel(panel, last_step, top, spans))
        top += _TITLE + panel.height + _GAP
    parts += [_resume_marks(resumed, steps_axis), _step_ticks(steps_axis), _legend(end + 46, bool(resumed))]
    return _file(end + _FOOTER, f"Training curves: {summary}", "".join(parts))


def nice_ticks(low: float, high: float, most: int) -> list[float]:
    """At most `most` (>= 2) multiples of 1, 2 or 5 times a power of ten from low to high, as dense as that allows."""
    if not high > low or most < 2:
        raise ValueError(f"There are no ticks from {low} to {high} for {most} places.")
    power = math.floor(math.log10((high - low) / most))
    distances = [factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5)]
    tables = [
        [place * distance for place in range(math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9) + 1)]
        for distance in distances
    ]
    return next(table for table in tables if len(table) <= most)


def _loss_panels(numbers: dict[str, Series], spans: Sequence[LevelSpan]) -> list[_Panel]:
    panels = []
    for term, (title, colour) in LOSS_TERMS.items():
        raw = numbers.get(f"step.{term}")
        if raw is None or not raw.values.any():  # a term that is switched off is zero, or not there
            continue
        mean = running_mean(raw, spans, 2 * max(1, len(raw.steps) // 60) + 1)
        light = _Line(raw, colour, 1.0, opacity=0.4, by_level=True, name=None)
        panels.append(_Panel(title, 74.0, [light, _Line(mean, colour, 2.2, by_level=True)]))
    return panels


def _validation_panels(numbers: dict[str, Series], best: float | None) -> list[_Panel]:
    dice, similarity = numbers.get("validation.dice"), numbers.get("validation.similarity")
    initial, folded = numbers.get("validation.dice_initial"), numbers.get("validation.folded_percent")
    panels = []
    if dice is not None:
        lines = [_Line(dice, _ACCENT, 2.2, dots=True)]
        if initial is not None:
            initial = Series(np.append(0.0, initial.steps), np.append(initial.values[0], initial.values))
            lines.insert(0, _Line(initial, _MUTED, 1.5, dash="6 4", name="initial "))
        panels.append(_Panel("Validation: Dice", 170.0, lines, best=best))
    elif similarity is not None:
        lines = [_Line(similarity, _ACCENT, 2.2, dots=True)]
        panels.append(_Panel("Validation: similarity", 170.0, lines, best=best))
    if folded is not None:
        lines = [_Line(folded, _FOLDED, dots=True)]
        panels.append(_Panel("Validation: folded voxels", 58.0, lines, floor=0.0, unit="\u2009%"))
    return panels


def _drawn_panel(panel: _Panel, last_step: float, top: float, spans: Sequence[LevelSpan]) -> str:
    axes = _axes(panel, last_step, top + _TITLE)
    ticks = nice_ticks(axes.low, axes.high, max(2, min(5, int(panel.height // 24))))
    parts = [_text(_LEFT + 8, top + 14, panel.title, f'font-size="13" font-weight="600" fill="{_INK}"')]
    for value in ticks:
        y = axes.y(value)
        label = _number_text(value, ticks[1] - ticks[0] if len(ticks) > 1 else value) + panel.unit
        parts.append(f'<path d="M{_LEFT:g} {y:.1f}H{_RIGHT:g}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, label, f'text-anchor="end" fill="{_MUTED}"'))
    parts += [_drawn_line(line, axes, spans) for line in panel.lines]
    parts.append(_end_labels(panel, axes))
    if panel.best is not None:
        parts.append(_best_mark(panel.lines[-1], panel.best, axes))
    return f"<g>{''.join(parts)}</g>"


def _axes(panel: _Panel, last_step: float, top: float) -> _Axes:
    """The axes of a panel: all its values, with room above and below."""
    values = [value for line in panel.lines for value in (line.data.values.min(), line.data.values.max())]
    low, high = float(min(values)), float(max(values))
    if panel.floor is not None:
        low = min(low, panel.floor)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        high = low + (abs(low) or 1.0)
    room = high - low
    below = 0.0 if low == panel.floor else 0.06 * room
    above = (0.06 if panel.best is None else 0.16) * room  # the value of the best stands above its point
    return _Axes(last_step, low - below, high + above, top, top + panel.height)


def _drawn_line(line: _Line, axes: _Axes, spans: Sequence[LevelSpan]) -> str:
    data = thin(line.data, MOST_POINTS)
    look = f'stroke="{line.colour}" stroke-width="{line.width:g}"'
    if line.opacity < 1:
        look += f' stroke-opacity="{line.opacity:g}"'
    if line.dash:
        look += f' stroke-dasharray="{line.dash}"'
    parts = []
    for part in split(data, spans) if line.by_level else [data]:
        places = [(axes.x(step), axes.y(value)) for step, value in zip(part.steps, part.values, strict=True)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{points}" {look} fill="none" stroke-linejoin="round"/>')
        if (line.dots and len(data.steps) <= MOST_DOTS) or len(places) == 1:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{line.colour}"/>' for x, y in places]
    return "".join(parts)


def _end_labels(panel: _Panel, axes: _Axes) -> str:
    """The last value of each named line, beside its end, moved apart where two would overlap."""
    labels = []
    for line in panel.lines:
        if line.name is not None:
            value = float(line.data.values[-1])
            labels.append((axes.y(value) + 4, f"{line.name}{_value_text(value)}{panel.unit}", line.colour))
    parts, lowest_free = [], -math.inf
    for y, text, colour in sorted(labels):
        y = max(y, lowest_free)
        lowest_free = y + 15
        parts.append(_text(_RIGHT + 8, y, text, f'fill="{colour}" font-weight="600"'))
    return "".join(parts)


def _best_mark(line: _Line, best: float, axes: _Axes) -> str:
    """A ring around the best point of a line, and its value above; nothing where the line has no such step."""
    values = line.data.values[line.data.steps == best]
    if not len(values):
        return ""
    x, y = axes.x(best), axes.y(float(values[-1]))
    words = f"best {_value_text(float(values[-1]))}"
    look = f'text-anchor="middle" font-weight="600" fill="{_INK}" {_HALO}'
    ring = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{_INK}" stroke-width="1.6"/>'
    return ring + _text(min(max(x, _LEFT + 34), _RIGHT - 34), y - 12, words, look)


def _bands(spans: Sequence[LevelSpan], axes: _Axes) -> str:
    """One shaded band for each level through all panels, its name on top where there is room."""
    parts = []
    for place, span in enumerate(spans):
        left, right = axes.x(span.first_step), axes.x(min(span.last_step, axes.last_step))
        parts.append(
            f'<rect x="{left:.1f}" y="{axes.top - 22:g}" width="{right - left:.1f}" '
            f'height="{axes.bottom - axes.top + 22:g}" fill="{_BANDS[place % 2]}"/>'
        )
        words = f"level {span.level}" if right - left >= 52 else f"{span.level}" if right - left >= 12 else ""
        if words:
            look = f'text-anchor="middle" font-weight="600" fill="{_MUTED}"'
            parts.append(_text((left + right) / 2, axes.top - 7, words, look))
    return "".join(parts)


def _resume_marks(steps: Sequence[float], axes: _Axes) -> str:
    return "".join(
        f'<path d="M{axes.x(step):.1f} {axes.top:g}V{axes.bottom:g}" {_RESUME_LOOK}/>' for step in sorted(set(steps))
    )


def _step_ticks(axes: _Axes) -> str:
    parts = [f'<path d="M{_LEFT:g} {axes.bottom:g}H{_RIGHT:g}" stroke="{_MUTED}"/>']
    for step in nice_ticks(0.0, axes.last_step, 9):
        if step == int(step):
            x = axes.x(step)
            parts.append(f'<path d="M{x:.1f} {axes.bottom:g}v5" stroke="{_MUTED}"/>')
            parts.append(_text(x, axes.bottom + 20, _count_text(step), f'text-anchor="middle" fill="{_MUTED}"'))
    parts.append(_text(_LEFT - 14, axes.bottom + 20, "step", f'text-anchor="end" fill="{_MUTED}"'))
    return "".join(parts)


def _legend(y: float, resumed: bool) -> str:
    """What the kinds of line mean."""
    words = "Light line: as recorded. Dark line: running mean within a level."
    parts = [_text(_LEFT, y, words, f'fill="{_MUTED}"')]
    if resumed:
        parts.append(f'<path d="M{_RIGHT - 128:g} {y - 12:g}v15" {_RESUME_LOOK}/>')
        parts.append(_text(_RIGHT - 120, y, "the run was resumed", f'fill="{_MUTED}"'))
    return "".join(parts)


def _nothing_yet() -> str:
    words = "There is nothing to draw yet: curves need the figures of two steps."
    text = _text(_WIDTH / 2, 84, words, f'text-anchor="middle" font-size="15" fill="{_MUTED}"')
    return _file(160.0, words, text)


def _summary(numbers: dict[str, Series], best: float | None, last_step: float) -> str:
    parts = [f"{_count_text(last_step)} steps"]
    name = "dice" if "validation.dice" in numbers else "similarity"
    measured = numbers.get(f"validation.{name}")
    if measured is not None and best is not None and (at_best := measured.values[measured.steps == best]).size:
        known = "Dice" if name == "dice" else name
        parts.append(f"best validation {known} {_value_text(float(at_best[-1]))} at step {_count_text(best)}")
    return ", ".join(parts)


def _number_text(value: float, distance: float) -> str:
    """A tick's value with as many digits as the distance between ticks asks for."""
    digits = max(0, -math.floor(math.log10(abs(distance)) + 1e-9)) if distance else 0
    text = f"{value:.{digits}f}" if digits <= 4 else f"{value:.0e}".replace("e-0", "e-")
    return _true_minus(text if value else "0")


def _value_text(value: float) -> str:
    """A value with three significant digits, and three decimals at most where it is not small."""
    text = f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.3g}".replace("e-0", "e-")
    return _true_minus(text)


def _true_minus(text: str) -> str:
    return "\u2212" + text[1:] if text.startswith("-") else text


def _count_text(count: float) -> str:
    return f"{count:,.0f}".replace(",", "\u2009")


def _text(x: float, y: float, words: str, look: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(words)}</text>'


def _file(height: float, description: str, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {height:g}" width="{_WIDTH:g}" '
        f'height="{height:g}" font-family="{_FONT}" font-size="12" role="img">'
        f'<title>{escape(description)}</title><rect width="100%" height="100%" fill="#ffffff"/>{content}</svg>\n'
    )
