"""Jacobian determinants of a map x -> x + u(x) sampled on a grid.

All functions take u in index coordinates: (3, K, J, I), in voxels of the grid it is sampled on, channels k, j, i.
Measured in the grid's own index frame the determinant is the same as in millimetres, for every spacing and
orientation, since the change of frame cancels; differentiating millimetre vectors along index axes without
rotating them is the classical error this avoids.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .geometry import Geometry

_SLAB = 4
"""Slices worked on at a time: the temporaries of a slab stay in the processor's cache."""


class Determinants(NamedTuple):
    """Two readings of the determinant of every voxel, both (K, J, I)."""

    central: Tensor
    """By central differences: the value to show and to take statistics of."""
    strict: Tensor
    """The smallest of the eight determinants made of forward or backward differences along each axis.

    Positive everywhere means that no corner of any voxel is turned inside out. Central differences alone skip
    the voxel itself and can call a checkerboard of folds smooth.
    """


def index_displacement(displacement_mm: NDArray[np.floating], geometry: Geometry) -> Tensor:
    """u as (3, K, J, I), in voxels of its grid, channels k, j, i.

    displacement_mm: (K, J, I, 3) on geometry, components R, A, S.
    """
    kji_from_ras = torch.from_numpy(geometry.ijk_from_ras[:3, :3][::-1].copy()).float()
    return torch.einsum("dr,kjir->dkji", kji_from_ras, torch.from_numpy(np.asarray(displacement_mm, dtype=np.float32)))


def determinants(displacement_voxels: Tensor) -> Determinants:
    """Both readings of det(I + du/dx) for u (3, K, J, I) in voxels; on the faces of the grid u goes on linearly."""
    central = torch.empty_like(displacement_voxels[0])
    strict = torch.empty_like(central)
    for start in range(0, central.shape[0], _SLAB):
        slab = slice(start, start + _SLAB)
        padded = _slab_with_margin(displacement_voxels, start)
        backward, forward = _one_sided_columns(padded)
        central[slab] = _determinant([b + f for b, f in zip(backward, forward, strict=True)]) / 8
        strict[slab] = _smallest_determinant(backward, forward)
    return Determinants(central, strict)


def _slab_with_margin(displacement: Tensor, start: int) -> Tensor:
    """Slices start - 1 ... start + _SLAB, one voxel wider on every side, extrapolated linearly beyond the grid."""
    count = displacement.shape[1]
    stop = min(start + _SLAB, count)
    padded = displacement[:, max(start - 1, 0) : min(stop + 1, count)]
    for dim in (1, 2, 3):
        parts = [padded]
        if dim > 1 or start == 0:
            parts.insert(0, _extrapolated(padded, dim, 0, 1))
        if dim > 1 or stop == count:
            parts.append(_extrapolated(padded, dim, -1, -2))
        padded = torch.cat(parts, dim=dim)
    return padded


def _extrapolated(field: Tensor, dim: int, edge: int, inner: int) -> Tensor:
    if field.shape[dim] == 1:
        return field
    return (2 * field.select(dim, edge) - field.select(dim, inner)).unsqueeze(dim)


def _one_sided_columns(padded: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Backward and forward difference columns of the Jacobian, each three (3, K, J, I) tensors."""
    backward, forward = [], []
    for axis in range(3):
        core = padded
        for other in range(3):
            if other != axis:
                core = core.narrow(other + 1, 1, core.shape[other + 1] - 2)
        difference = torch.diff(core, dim=axis + 1)
        difference[axis] += 1
        count = difference.shape[axis + 1] - 1
        backward.append(difference.narrow(axis + 1, 0, count))
        forward.append(difference.narrow(axis + 1, 1, count))
    return backward, forward


def _smallest_determinant(backward: list[Tensor], forward: list[Tensor]) -> Tensor:
    """Over the eight choices of a backward or forward column per axis; each cross product serves two of them."""
    smallest: Tensor | None = None
    for j_column, i_column in product((backward[1], forward[1]), (backward[2], forward[2])):
        cross = _cross(j_column, i_column)
        for k_column in (backward[0], forward[0]):
            determinant = _dot(k_column, cross)
            smallest = determinant if smallest is None else torch.minimum(smallest, determinant)
    assert smallest is not None
    return smallest


def _determinant(columns: list[Tensor]) -> Tensor:
    """Determinant of the 3x3 matrices whose columns are three (3, K, J, I) tensors."""
    return _dot(columns[0], _cross(columns[1], columns[2]))


def _dot(a: Tensor, b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
