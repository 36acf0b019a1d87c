"""How far a displacement field is from the known map of the demo, in millimetres and in Dice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..pipeline.volume import Volume
from ..spatial.geometry import Geometry, Matrix, kji_matrix, transform_points
from ..spatial.warp import identity_grid, sample
from .demo_pair import GREY, WHITE, DemoPair


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
    points_ras = _grid_points(pair.fixed.geometry)
    rigid_mm = transform_points(pair.moving_ras_from_fixed_ras, points_ras) - points_ras
    shift_mm = _centre_of_mass(pair.moving_tissues) - _centre_of_mass(pair.fixed_tissues)
    return DemoErrors(
        stored=field_error(pair, np.zeros_like(pair.true_displacement_mm)),
        centred=field_error(pair, np.broadcast_to(shift_mm, pair.true_displacement_mm.shape)),
        rigid=field_error(pair, rigid_mm),
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
    error_mm = np.linalg.norm(difference_mm, axis=-1)
    median_mm, p95_mm = np.percentile(error_mm, [50, 95])
    carried = _carry_labels(pair.moving_tissues, pair.fixed.geometry, displacement_mm)
    dice_grey, dice_white = (
        _dice(carried == tissue, pair.fixed_tissues.array_kji == tissue) for tissue in (GREY, WHITE)
    )
    return FieldError(float(median_mm), float(p95_mm), dice_grey, dice_white)


def _grid_points(geometry: Geometry) -> NDArray[np.float64]:
    """(K, J, I, 3) RAS positions of the voxel centres, in mm."""
    axes_kji = [np.arange(size, dtype=np.float64) for size in geometry.shape_kji]
    index_ijk = np.stack(np.meshgrid(*axes_kji, indexing="ij")[::-1], axis=-1)
    return transform_points(geometry.ras_from_ijk, index_ijk)


def _centre_of_mass(tissues: Volume) -> NDArray[np.float64]:
    """(3,) RAS centre of all labelled voxels, in mm."""
    centre_ijk = np.argwhere(tissues.array_kji > 0)[:, ::-1].mean(axis=0)
    return transform_points(tissues.geometry.ras_from_ijk, centre_ijk)


def _carry_labels(labels: Volume, geometry: Geometry, displacement_mm: NDArray[np.floating]) -> NDArray[np.uint8]:
    """(K, J, I) labels at x + u(x) for the voxels x of geometry, nearest neighbour, 0 outside."""
    labels_ijk_from_ijk: Matrix = labels.geometry.ijk_from_ras @ geometry.ras_from_ijk
    matrix = torch.from_numpy(kji_matrix(labels_ijk_from_ijk)).float()
    vector_kji_from_ras = torch.from_numpy(labels.geometry.ijk_from_ras[2::-1, :3].copy()).float()
    displacement = torch.from_numpy(np.ascontiguousarray(displacement_mm, dtype=np.float32))
    coordinates_kji = torch.einsum("ab,nbkji->nakji", matrix[:3, :3], identity_grid(geometry.shape_kji))
    coordinates_kji += matrix[:3, 3].view(1, 3, 1, 1, 1)
    coordinates_kji += torch.einsum("ab,kjib->akji", vector_kji_from_ras, displacement)
    image = torch.from_numpy(labels.array_kji.astype(np.float32))[None, None]
    return sample(image, coordinates_kji, nearest=True, outside_zero=True)[0, 0].to(torch.uint8).numpy()


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 1 at best."""
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))
