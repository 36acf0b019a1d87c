"""From sampled values to pixels: grey windows, colour scales, PNG as data URIs."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .colours import DIVERGING, FOLD_COLOUR, RISING, on_scale

Pixels = NDArray[np.uint8]
"""(height, width) grey or (height, width, 3) red, green, blue."""

_OUTSIDE_FOREGROUND_BRIGHTNESS = 0.2
_TINT = 0.4
"""How much of a structure's colour lies over the grey inside it."""


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
    return np.rint(on_scale(np.nan_to_num(shown), RISING)).astype(np.uint8)


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
    colours = on_scale(0.5 + 0.5 * np.log(positive) / np.log(limit), DIVERGING)
    inside = np.nan_to_num(foreground)[..., None]
    colours *= _OUTSIDE_FOREGROUND_BRIGHTNESS + (1 - _OUTSIDE_FOREGROUND_BRIGHTNESS) * inside
    colours[np.isnan(jacobian)] = 0
    colours[np.nan_to_num(folded) > 0] = FOLD_COLOUR
    return np.rint(colours).astype(np.uint8)


def label_pixels(
    shown: NDArray[np.float32], labels: NDArray[np.integer], colours: Mapping[int, tuple[float, float, float]]
) -> Pixels:
    """Structures over a grey picture, brightness 0 to 1: tinted, with a line of full colour along their borders.

    labels: (height, width), 0 where there is none. colours: of the labels, red, green, blue from 0 to 1.
    """
    grey = 255 * np.nan_to_num(shown)[..., None]
    own = np.zeros((*labels.shape, 3))
    for label in np.unique(labels[labels > 0]).tolist():
        own[labels == label] = 255 * np.array(colours[label])
    is_border = np.zeros(labels.shape, dtype=bool)
    is_border[1:] |= labels[1:] != labels[:-1]
    is_border[:-1] |= labels[1:] != labels[:-1]
    is_border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    is_border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    share = np.where(labels > 0, np.where(is_border, 1.0, _TINT), 0.0)[..., None]
    return np.rint((1 - share) * grey + share * own).astype(np.uint8)


def png_data_uri(pixels: Pixels) -> str:
    """The picture as a lossless PNG inside a data URI. Nothing stays on disk."""
    image = sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3)
    with tempfile.TemporaryDirectory(prefix="mmln-report-") as folder:
        path = Path(folder) / "picture.png"
        sitk.WriteImage(image, str(path), True, 9)
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
