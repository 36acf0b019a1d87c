"""Where a map folds: connected clusters of folded voxels, the largest first, so that each can be looked at."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, transform_points


class FoldCluster(NamedTuple):
    """Folded voxels that touch each other, if only by a corner."""

    voxels: int
    volume_mm3: float
    jacobian_min: float
    """The smallest one-sided determinant in it."""
    r_mm: float
    a_mm: float
    s_mm: float
    """The centre of the voxel that has it, in the world."""


COLUMNS = FoldCluster._fields


def fold_clusters(strict: NDArray[np.floating], geometry: Geometry) -> tuple[FoldCluster, ...]:
    """The clusters of voxels that fail the strict test, by size, then by how badly they fold.

    strict: (K, J, I), the smallest one-sided determinant of each voxel of geometry, see spatial.jacobian.
    """
    folded = strict <= 0
    if not folded.any():
        return ()
    components = sitk.GetArrayFromImage(sitk.ConnectedComponent(sitk.GetImageFromArray(folded.astype(np.uint8)), True))
    places = np.flatnonzero(components)
    numbers, depths = components.reshape(-1)[places], strict.reshape(-1)[places]
    order = np.lexsort((depths, numbers))
    counts = np.bincount(numbers)[1:]
    worst = order[np.concatenate(([0], np.cumsum(counts)[:-1]))]
    index_kji = np.stack(np.unravel_index(places[worst], strict.shape), axis=-1)
    worst_ras = transform_points(geometry.ras_from_ijk, index_kji[:, ::-1])
    voxel_mm3 = voxel_volume_mm3(geometry)
    clusters = [
        FoldCluster(int(count), float(count * voxel_mm3), float(depths[at]), *ras.tolist())
        for count, at, ras in zip(counts, worst, worst_ras, strict=True)
    ]
    return tuple(sorted(clusters, key=lambda cluster: (-cluster.voxels, cluster.jacobian_min)))


def voxel_volume_mm3(geometry: Geometry) -> float:
    """The volume of one voxel."""
    return float(abs(np.linalg.det(geometry.ras_from_ijk[:3, :3])))
