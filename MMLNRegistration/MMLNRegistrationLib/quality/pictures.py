"""From sampled values to pixels: grey windows, colour scales, PNG as data URIs."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width) grey or (height, width, 3) red, green, blue."""

FOLD_COLOUR = (255, 0, 214)
"""Magenta: no other figure uses it, and no value of the scales comes near it."""

_DIVERGING = np.array([(24, 82, 157), (122, 179, 218), (246, 246, 244), (240, 152, 107), (163, 22, 38)], dtype=float)
"""Blue below, near white in the middle, red above: told apart in the common forms of colour blindness."""
_RISING = np.array([(0, 0, 4), (76, 14, 108), (178, 48, 90), (244, 134, 20), (252, 255, 170)], dtype=float)
"""Black to pale yellow, ever brighter: it reads the same in print and for every eye."""
_OUTSIDE_FOREGROUND_BRIGHTNESS = 0.2


class Window(NamedTuple):
    """The values shown as black and as white."""

    black: float
    white: float


def window_of(array_kji: NDArray[np.float32], foreground: NDArray[np.bool_]) -> Window:
    """The window that shows the foreground: 1st to 99.5th percentile of its finite values."""
    values = array_kji[foreground]
    black, white = np.percentile(values[np.isfinite(values)], (1.0, 99.5))
    return Window(float(black), float(white))


def brightness(values: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """Values as 0 (black) to 1 (white); not a number stays so."""
    # An empty image has an empty window; any span shows it as one even grey.
    span = (window.white - window.black) or 1.0
    return np.clip((values - window.black) / span, 0.0, 1.0)


def grey_pixels(shown: NDArray[np.float32]) -> Pixels:
    """Brightness 0 to 1 as grey; not a number is black."""
    return np.rint(255 * np.nan_to_num(shown)).astype(np.uint8)


def rising_pixels(shown: NDArray[np.float32]) -> Pixels:
    """Values 0 to 1 on the rising scale; not a number is black."""
    return np.rint(_on_scale(np.nan_to_num(shown), _RISING)).astype(np.uint8)


def jacobian_pixels(
    jacobian: NDArray[np.float32],
    foreground: NDArray[np.float32],
    folded: NDArray[np.float32],
    limit: float,
) -> Pixels:
    """log J from 1 / limit to limit on the diverging scale, dimmer off the foreground; folding in FOLD_COLOUR.

    jacobian, foreground and folded (0 to 1) are sampled pictures (height, width). A pixel that touches a folded voxel
    counts as folded. Not a number is black.
    """
    positive = np.clip(np.nan_to_num(jacobian, nan=1.0), 1 / limit, limit)
    colours = _on_scale(0.5 + 0.5 * np.log(positive) / np.log(limit), _DIVERGING)
    inside = np.nan_to_num(foreground)[..., None]
    colours *= _OUTSIDE_FOREGROUND_BRIGHTNESS + (1 - _OUTSIDE_FOREGROUND_BRIGHTNESS) * inside
    colours[np.isnan(jacobian)] = 0
    colours[np.nan_to_num(folded) > 0] = FOLD_COLOUR
    return np.rint(colours).astype(np.uint8)


def _on_scale(share: NDArray[np.floating], stops: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(share, places, stops[:, channel]) for channel in range(3)], axis=-1)


def diverging_stops() -> list[str]:
    """The diverging scale's colours from low to high, as CSS colours at even steps."""
    return [_css(stop) for stop in _DIVERGING]


def rising_stops() -> list[str]:
    """The rising scale's colours from low to high, as CSS colours at even steps."""
    return [_css(stop) for stop in _RISING]


def _css(colour: NDArray[np.float64]) -> str:
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def png_data_uri(pixels: Pixels) -> str:
    """The picture as a lossless PNG inside a data URI. Nothing stays on disk."""
    image = sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3)
    with tempfile.TemporaryDirectory(prefix="mmln-report-") as folder:
        path = Path(folder) / "picture.png"
        sitk.WriteImage(image, str(path), True, 9)
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
