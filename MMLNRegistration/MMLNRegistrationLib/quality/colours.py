"""Colours with a meaning: scales of values, folding, and the structures of a label map."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

FOLD_COLOUR = (255, 0, 214)
"""Magenta: no other figure uses it, and no value of the scales comes near it."""

DIVERGING = np.array([(24, 82, 157), (122, 179, 218), (246, 246, 244), (240, 152, 107), (163, 22, 38)], dtype=float)
"""Blue below, near white in the middle, red above: told apart in the common forms of colour blindness."""
RISING = np.array([(0, 0, 4), (76, 14, 108), (178, 48, 90), (244, 134, 20), (252, 255, 170)], dtype=float)
"""Black to pale yellow, ever brighter: it reads the same in print and for every eye."""


def label_colour(value: int) -> tuple[float, float, float]:
    """Red, green, blue from 0 to 1 for a label, well apart from those of the labels next to it, always the same."""
    golden_ratio = 0.618034
    return colorsys.hsv_to_rgb(value * golden_ratio % 1, 0.55 + 0.15 * (value % 3), 0.95 - 0.12 * (value % 4))


def on_scale(share: NDArray[np.floating], stops: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3) from 0 to 255 for shares (...) from 0 to 1 of the way along evenly spaced stops (N, 3)."""
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, places, stops[:, channel]) for channel in range(3)], axis=-1)


def css_stops(stops: NDArray[np.float64]) -> list[str]:
    """A scale's colours from low to high, as CSS has them."""
    return [css(stop) for stop in stops]


def css(colour: NDArray[np.floating]) -> str:
    """Red, green, blue from 0 to 255 as CSS has them."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)
