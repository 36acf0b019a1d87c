"""How far a displacement field is from the known map of the demo, in millimetres and in Dice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..pipeline.field import warp_labels
from ..pipeline.volume import Volume
from ..spatial.geometry import transform_points
from .demo_pair import GREY, WHITE, DemoPair
from .metrics import dice, errors, voxel_points_ras


class FieldError(NamedTuple):
    """One field against the truth, inside the brain, and the tissues that it carries over."""

    median_mm: float
    p95_mm: float
    dice_grey: float
    dice_white: float


class DemoErrors(NamedTuple):
    """The same figures for the field that is judged and for four that it should be seen beside."""

    stored: FieldError
    """No transform: both volumes where their files put them."""
    centred: FieldError
    """The centres of mass of the two brains aligned by a shift; what a viewer's "centre volumes" does."""
    rigid: FieldError
    """The true rigid misplacement undone and nothing else; what is left is the deformation."""
    registered: FieldError
    """The field that was judged."""
    limit: FieldError
    """The true field itself: the best Dice that labels on these two grids allow."""


def demo_errors(pair: DemoPair, displacement_mm: NDArray[np.floating]) -> DemoErrors:
    """Judge displacement_mm (K, J, I, 3), RAS components on the grid of pair.fixed, beside four others.

    Raises ValueError when its shape is not that of the fixed grid.
    """
    shape = pair.true_displacement_mm.shape
    points_ras = voxel_points_ras(pair.fixed.geometry, np.ones(shape[:3], dtype=bool))
    rigid_mm = transform_points(pair.moving_ras_from_fixed_ras, points_ras) - points_ras
    shift_mm = _centre_of_mass(pair.moving_tissues) - _centre_of_mass(pair.fixed_tissues)
    return DemoErrors(
        stored=field_error(pair, np.zeros(shape)),
        centred=field_error(pair, np.broadcast_to(shift_mm, shape)),
        rigid=field_error(pair, rigid_mm.reshape(shape)),
        registered=field_error(pair, displacement_mm),
        limit=field_error(pair, pair.true_displacement_mm),
    )


def field_error(pair: DemoPair, displacement_mm: NDArray[np.floating]) -> FieldError:
    """Compare displacement_mm (K, J, I, 3), RAS components on the grid of pair.fixed, with the true displacement.

    Raises ValueError when its shape is not that of the fixed grid.
    """
    if displacement_mm.shape != pair.true_displacement_mm.shape:
        raise ValueError(f"Expected a displacement of {pair.true_displacement_mm.shape}, not {displacement_mm.shape}.")
    difference_mm = displacement_mm[pair.brain] - pair.true_displacement_mm[pair.brain]
    distance = errors(np.linalg.norm(difference_mm, axis=-1))
    carried = warp_labels(pair.moving_tissues, displacement_mm, pair.fixed.geometry)
    overlap = dice(carried.array_kji, pair.fixed_tissues.array_kji, (GREY, WHITE))
    return FieldError(distance.median_mm, distance.p95_mm, overlap[GREY], overlap[WHITE])


def _centre_of_mass(tissues: Volume) -> NDArray[np.float64]:
    """(3,) RAS centre of all labelled voxels, in mm."""
    return voxel_points_ras(tissues.geometry, tissues.array_kji > 0).mean(axis=0)
