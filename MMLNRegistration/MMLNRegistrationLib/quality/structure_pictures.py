"""Structures drawn over an image, cut where there is the most to see of them, in colours that are always the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..pipeline.volume import Volume
from ..spatial.geometry import Geometry
from . import pictures
from .colours import css, label_colour
from .figures import Picture, draw, picture_of
from .planes import Plane, anatomical_planes, foreground_points_ras, fullest_ras, image_tensor, sampled


def structure_planes(
    geometry: Geometry, shown: NDArray[np.bool_], is_labelled: NDArray[np.bool_]
) -> tuple[Plane, Plane, Plane]:
    """Pictures of all that is shown, through the places where the most is labelled; both (K, J, I).

    Raises ValueError when nothing is shown.
    """
    points_ras = foreground_points_ras(geometry, is_labelled if is_labelled.any() else shown)
    through_ras = fullest_ras(points_ras, float(geometry.spacing_mm.max()))
    return anatomical_planes(geometry, foreground_points_ras(geometry, shown), through_ras)


def draw_structures(
    drawn: dict[str, Picture],
    prefix: str,
    planes: Iterable[Plane],
    image: Volume,
    window: pictures.Window,
    layers: Sequence[Volume],
) -> None:
    """Add a picture of each plane. prefix: see figures.draw. layers: label maps; later ones cover earlier ones."""
    for plane in planes:
        labels = np.zeros((plane.size_pixels, plane.size_pixels), dtype=int)
        for layer in layers:
            points_ras = plane.pixel_centres_ras()
            found = sampled(image_tensor(layer.array_kji), layer.geometry, points_ras, nearest=True)[0]
            labels = np.where(found > 0, np.nan_to_num(found).astype(int), labels)
        colours = {label: label_colour(label) for label in np.unique(labels).tolist()}
        grey = pictures.brightness(picture_of(image, plane), window)
        draw(drawn, prefix, plane, pictures.label_pixels(grey, labels, colours))


def swatches(labels: Iterable[int]) -> list[str]:
    """The colours of labels as CSS has them."""
    return [css(255 * np.array(label_colour(label))) for label in labels]
