"""Grids, images and maps that are known everywhere, as formulas of the world: what the tests compare with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.spatial.geometry import Geometry, Matrix, transform_points

Points = NDArray[np.float64]
Map = Callable[[Points], Points]
"""Points (..., 3) of the world, in mm RAS, to points of the world."""


def rotation(degrees: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 3) rotation about R, then A, then S."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        one, two = [a for a in range(3) if a != axis]
        step = np.eye(3)
        step[one, one] = step[two, two] = np.cos(angle)
        step[one, two], step[two, one] = -np.sin(angle), np.sin(angle)
        result = step @ result
    return result


DIRECTIONS = {
    "identity": np.eye(3),
    "lps_axes": np.diag([-1.0, -1.0, 1.0]),
    "left_handed": np.diag([-1.0, 1.0, 1.0]),
    "rotated_90": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "oblique": rotation((20.0, -15.0, 30.0)),
    "oblique_left_handed": rotation((-10.0, 25.0, 15.0)) @ np.diag([1.0, -1.0, 1.0]),
}
"""Directions of the i, j, k axes in RAS, as columns."""


def grid(
    direction: str,
    shape_kji: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    centre_ras: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """A grid of one of the DIRECTIONS, with its spacing along i, j, k, around a point."""
    matrix = np.eye(4)
    matrix[:3, :3] = DIRECTIONS[direction] * spacing_mm
    matrix[:3, 3] = centre_ras - matrix[:3, :3] @ ((np.array(shape_kji[::-1]) - 1) / 2)
    return Geometry(shape_kji, matrix)


def voxels_ras(geometry: Geometry) -> Points:
    """(K, J, I, 3) world positions of the voxel centres."""
    axes = np.meshgrid(*[np.arange(size, dtype=float) for size in geometry.shape_kji], indexing="ij")
    return transform_points(geometry.ras_from_ijk, np.stack(axes[::-1], axis=-1))


def blob(points: Points, centre_ras: tuple[float, float, float], sigma_mm: float) -> Points:
    """A Gaussian of height 1."""
    return np.exp(-0.5 * (((points - np.array(centre_ras)) / sigma_mm) ** 2).sum(axis=-1))


def brain(points: Points) -> NDArray[np.float64]:
    """Something like a brain of 100 x 120 x 90 mm, 0 around it: fluid, grey and white matter, folded at random."""
    flat = points.reshape(-1, 3)
    r, a, s = flat.T
    # The outline is no ellipsoid: one would not tell small rotations from none.
    outline = np.sqrt((r / 50) ** 2 + ((a + 0.002 * s**2) / 60) ** 2 + ((s - 0.003 * a**2 + 0.1 * r) / 45) ** 2)
    near = outline < 1.2
    random = np.random.default_rng(12)
    folds = np.zeros(np.count_nonzero(near))
    centres, heights = random.uniform(-1, 1, (80, 3)) * (50, 60, 45), random.choice([-0.5, 0.5], 80)
    for centre, height in zip(centres, heights, strict=True):
        folds += height * np.exp(-0.5 * ((flat[near] - centre) ** 2).sum(axis=1) / 10.0**2)
    value = np.zeros(len(flat))
    depth = outline[near]
    value[near] = (0.2 + 0.3 * _inside(depth + folds - 0.9) + 0.4 * _inside(depth + folds - 0.72)) * _inside(depth - 1)
    return np.where(value > 0.01, value, 0).reshape(points.shape[:-1])


def _inside(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where level < 0, 0 where it is > 0, over about five millimetres of a brain."""
    return 1 / (1 + np.exp(np.clip(level * 30, -60, 60)))


def image(function: Callable[[Points], NDArray[np.float64]], geometry: Geometry, name: str = "image") -> Volume:
    """A formula of the world, seen by a grid."""
    return Volume(function(voxels_ras(geometry)).astype(np.float32), geometry, name)


def affine_map(to_from: Matrix) -> Map:
    return lambda points: transform_points(to_from, points)


def wave(amplitude_mm: float, length_mm: float) -> Map:
    """A smooth deformation of the world; it neither keeps volume nor respects the axes."""

    def bend(points: Points) -> Points:
        r, a, s = np.moveaxis(points * (2 * np.pi / length_mm), -1, 0)
        shift = np.stack([np.sin(r + a), np.sin(a - s + 1), np.sin(s + r - 1)], axis=-1)
        return points + amplitude_mm * shift

    return bend


def determinant_of(function: Map, points: Points) -> NDArray[np.float64]:
    """Jacobian determinant of a map of the world at points (..., 3), by differences over a ten-thousandth of a mm."""
    half_mm = 5e-5
    columns = [(function(points + half_mm * unit) - function(points - half_mm * unit)) / 1e-4 for unit in np.eye(3)]
    return np.linalg.det(np.stack(columns, axis=-1))


def displacement_of(function: Map, geometry: Geometry) -> NDArray[np.float32]:
    """u (K, J, I, 3) in mm RAS with x + u(x) = function(x) at every voxel x of a grid."""
    points = voxels_ras(geometry)
    return (function(points) - points).astype(np.float32)


def matrix_4x4(linear: NDArray[np.float64], offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Matrix:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = linear, offset_mm
    return matrix
