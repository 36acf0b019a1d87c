"""An atlas's labels carried to a subject: one registration, one nearest-neighbour look-up."""

from __future__ import annotations

from ..errors import InputError
from .field import warp_labels
from .result import Registration
from .volume import Volume


def require_labels_of(image: Volume, labels: Volume) -> None:
    """Raise InputError when a label map does not lie where its image lies."""
    if not labels.geometry.matches(image.geometry, tolerance_mm=0.1) and not _covers(labels, image):
        raise InputError(
            f"The label map {labels.name} does not lie over {image.name}; give the one drawn on that volume."
        )


def carry_labels(registration: Registration, labels: Volume) -> Volume:
    """The moving image's label map on the fixed grid, labels(x + u(x)), nearest voxel, 0 outside.

    Raises InputError when the label map does not lie where the moving image lies.
    """
    require_labels_of(registration.moving, labels)
    return warp_labels(labels, registration.displacement_mm, registration.fixed.geometry)


def _covers(labels: Volume, image: Volume) -> bool:
    """Whether the label map's box holds the middle of the image: another grid is fine, another place is not."""
    corners_ras = labels.geometry.corners_ras
    centre_ras = image.geometry.centre_ras
    return bool(((corners_ras.min(axis=0) <= centre_ras) & (centre_ras <= corners_ras.max(axis=0))).all())
