"""Charts as SVG that stretches with the page: places in per cent, text in the page's own size."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .verdict import count_text, number_text, seconds_text

HISTOGRAM_BINS = 61
"""Odd, so that the middle bin is centred on J = 1."""
_UPPER_TICKS = {1.5: (1.25, 1.5), 2.0: (1.4, 2.0), 3.0: (2.0, 3.0), 4.0: (2.0, 4.0), 8.0: (2.0, 4.0, 8.0)}
"""Labelled values above 1 for each end of the Jacobian's scale; the lower ones are their inverses."""


class Histogram(NamedTuple):
    """How log J is spread over the foreground."""

    edges: NDArray[np.float64]
    """(bins + 1,) borders in log J."""
    counts: NDArray[np.int64]
    """(bins,) voxels; the outermost bins also hold what lies beyond them."""
    not_positive: int
    """Voxels without a logarithm, J <= 0."""
    mean: float
    """Mean of log J over the voxels that have one."""

    @property
    def total(self) -> int:
        """All voxels of the foreground."""
        return int(self.counts.sum()) + self.not_positive


def log_jacobian_histogram(jacobian_kji: NDArray[np.float32], foreground: NDArray[np.bool_], limit: float) -> Histogram:
    """Histogram of log J between -log(limit) and log(limit)."""
    values = jacobian_kji[foreground]
    positive = values[values > 0]
    logarithm = np.log(positive.astype(np.float64))
    edges = np.linspace(-np.log(limit), np.log(limit), HISTOGRAM_BINS + 1)
    counts, _ = np.histogram(np.clip(logarithm, edges[0], edges[-1]), bins=edges)
    mean = float(logarithm.mean()) if len(logarithm) else float("nan")
    return Histogram(edges, counts, int(len(values) - len(positive)), mean)


def histogram_chart(histogram: Histogram, sd_log_jacobian: float, affine_determinant: float, stops: list[str]) -> str:
    """Bars of log J with a percentage axis, the colour scale below, mean, spread and the linear part's own value."""
    left, right, top, bottom, height = 8.0, 98.0, 40.0, 222.0, 280
    limit_log = float(histogram.edges[-1])
    percent = 100.0 * histogram.counts / max(histogram.total, 1)
    highest = _nice_ceiling(float(percent.max()))

    def across(log_value: float) -> float:
        share = (float(np.clip(log_value, -limit_log, limit_log)) + limit_log) / (2 * limit_log)
        return left + (right - left) * share

    parts = []
    for share in (0.0, 0.5, 1.0):
        y = bottom - (bottom - top) * share
        parts.append(f'<line class="rule" x1="{left}%" x2="{right}%" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{left - 1}%" y="{y + 4:.1f}" text-anchor="end">{share * highest:g} %</text>'
        )
    width = (right - left) / len(percent)
    for place, value in enumerate(percent):
        tall = (bottom - top) * value / highest
        if tall > 0.05:
            parts.append(
                f'<rect class="bars" x="{left + place * width:.3f}%" width="{width * 0.86:.3f}%" '
                f'y="{bottom - tall:.1f}" height="{tall:.1f}"/>'
            )
    mean, deviation = number_text(histogram.mean, 3), number_text(sd_log_jacobian, 3)
    for line, text in enumerate((f"mean {mean}", f"SD {deviation}")):
        parts.append(f'<text class="tick" x="{right}%" y="{13 + 17 * line}" text-anchor="end">{text}</text>')
    if np.isfinite(histogram.mean):
        parts.append(_spread(across, histogram.mean, sd_log_jacobian, 9))
    if affine_determinant > 0:
        x = across(np.log(affine_determinant))
        parts.append(f'<line class="affine" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>')
    parts.append(_colour_strip("histogram-scale", stops, left, right, bottom + 6, 10))
    for value in jacobian_ticks(float(np.exp(limit_log))):
        x = across(np.log(value))
        parts.append(f'<text class="tick" x="{x:.2f}%" y="{bottom + 32}" text-anchor="middle">{value:.3g}</text>')
    parts.append(
        f'<text class="label" x="{(left + right) / 2}%" y="{bottom + 52}" text-anchor="middle">'
        "Jacobian determinant J, logarithmic axis</text>"
    )
    description = (
        f"Histogram of log J over {count_text(histogram.total)} foreground voxels: mean {mean}, "
        f"standard deviation {deviation}."
    )
    return _chart(height, description, "".join(parts))


def _spread(across: Callable[[float], float], mean: float, deviation: float, y: float) -> str:
    low, high, middle = across(mean - deviation), across(mean + deviation), across(mean)
    return (
        f'<line class="spread" x1="{low:.2f}%" x2="{high:.2f}%" y1="{y}" y2="{y}"/>'
        f'<circle class="mean" cx="{middle:.2f}%" cy="{y}" r="4.5"/>'
    )


def jacobian_ticks(limit: float) -> list[float]:
    """Values to label between 1 / limit and limit, one of the ends that the figures choose from."""
    upper = _UPPER_TICKS[round(limit, 6)]
    return [1 / value for value in reversed(upper)] + [1.0, *upper]


def scale_share(value: float, limit: float) -> float:
    """Where a Jacobian determinant stands between 1 / limit (0) and limit (1) on the logarithmic scale."""
    return float(0.5 + 0.5 * np.log(value) / np.log(limit))


def colour_bar(identifier: str, stops: list[str], ticks: list[tuple[float, str]], description: str) -> str:
    """A horizontal colour scale; ticks are (share of the way, label). identifier is unique on the page."""
    parts = [_colour_strip(identifier, stops, 0, 100, 0, 12)]
    for share, label in ticks:
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        parts.append(f'<text class="tick" x="{100 * share:.2f}%" y="29" text-anchor="{anchor}">{escape(label)}</text>')
    return _chart(34, description, "".join(parts))


def timing_chart(seconds: dict[str, float]) -> str:
    """One horizontal bar per step, in the order of the run, the total left out."""
    steps = {name: value for name, value in seconds.items() if name != "total"}
    longest = max(steps.values(), default=0.0) or 1.0
    row, bar_from, bar_span = 30, 32.0, 54.0
    parts = []
    for place, (name, value) in enumerate(steps.items()):
        y = place * row
        span = bar_span * value / longest
        parts.append(f'<text class="label" x="0" y="{y + 19}">{escape(name)}</text>')
        parts.append(f'<rect class="track" x="{bar_from}%" width="{bar_span}%" y="{y + 7}" height="16" rx="3"/>')
        if span > 0:
            parts.append(
                f'<rect class="bars" x="{bar_from}%" width="{max(span, 0.4):.2f}%" y="{y + 7}" height="16" rx="3"/>'
            )
        parts.append(f'<text class="value" x="100%" y="{y + 19}" text-anchor="end">{seconds_text(value)}</text>')
    description = "Seconds by step: " + ", ".join(f"{name} {seconds_text(value)}" for name, value in steps.items())
    return _chart(max(len(steps), 1) * row, description, "".join(parts))


def similarity_strip(before: float, initial: float, after: float) -> str:
    """Three marks on an axis from 0 to 1, or from -1 where a value is negative: hollow, grey, full."""
    known = [value for value in (before, initial, after) if np.isfinite(value)]
    lowest = -1.0 if min(known, default=0.0) < 0 else 0.0

    def across(value: float) -> float:
        return 3 + 94 * (float(np.clip(value, lowest, 1.0)) - lowest) / (1 - lowest)

    parts = ['<line class="rule" x1="3%" x2="97%" y1="12" y2="12"/>']
    for value in (lowest, 0.5 * (1 + lowest), 1.0):
        x = across(value)
        parts.append(f'<line class="rule" x1="{x:.1f}%" x2="{x:.1f}%" y1="8" y2="16"/>')
        parts.append(f'<text class="tick" x="{x:.1f}%" y="32" text-anchor="middle">{value:g}</text>')
    if np.isfinite(before) and np.isfinite(after):
        parts.append(f'<line class="way" x1="{across(before):.2f}%" x2="{across(after):.2f}%" y1="12" y2="12"/>')
    for kind, value in (("before", before), ("linear", initial), ("after", after)):
        if np.isfinite(value):
            parts.append(f'<circle class="mark-{kind}" cx="{across(value):.2f}%" cy="12" r="5.5"/>')
    words = [number_text(value, 2) for value in (before, initial, after)]
    description = f"Before {words[0]}, after the linear part {words[1]}, after the whole map {words[2]}."
    return _chart(36, description, "".join(parts))


def _colour_strip(identifier: str, stops: list[str], left: float, right: float, y: float, height: float) -> str:
    """A gradient of evenly spaced colours from left to right, in per cent."""
    last = len(stops) - 1
    colours = "".join(
        f'<stop offset="{100 * place / last:g}%" stop-color="{colour}"/>' for place, colour in enumerate(stops)
    )
    return (
        f'<linearGradient id="{identifier}">{colours}</linearGradient>'
        f'<rect x="{left}%" width="{right - left}%" y="{y}" height="{height}" rx="2" fill="url(#{identifier})"/>'
    )


def _nice_ceiling(value: float) -> float:
    """The least of 1, 2, 4, 6, 8 or 10 times a power of ten that is not below value: half of it is short to write."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value * (1 - 1e-9)))


def _chart(height: float, description: str, content: str) -> str:
    label = escape(description)
    return f'<svg class="chart" width="100%" height="{height:g}" role="img" aria-label="{label}">{content}</svg>'
