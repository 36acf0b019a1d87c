"""Any transform node as a displacement field, sampled in slices of time so that a window can go on meanwhile."""

from __future__ import annotations

import time

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, transform_points
from .transforms import stored_field, transformed_points

_PIECE_POINTS = 2048
"""Points put through the transform at a time: some milliseconds, also where Slicer has to invert it for each."""

_PIECE_VECTORS = 1 << 16
"""Vectors taken at a time where the node holds them at these very voxels."""


class DisplacementSampler:
    """u of a transform node, parents included, from parent, at the voxels of a grid one after the other.

    x + u(x) is the point of the node's own space that the transform puts at the point x of the world. A transform that
    is changed meanwhile gives a field that is none; whoever samples has to watch it.
    """

    def __init__(self, node: slicer.vtkMRMLTransformNode, geometry: Geometry) -> None:
        """geometry: the grid, in the world."""
        self._own_from_world = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node, self._own_from_world)
        stored = stored_field(node)
        self._stored = stored if stored is not None and stored.geometry.matches(geometry) else None
        self._geometry = geometry
        self._count = int(np.prod(geometry.shape_kji))
        self._place = 0

    @property
    def fraction(self) -> float:
        """How much is done, 0 to 1."""
        return self._place / self._count

    @property
    def done(self) -> bool:
        """Whether all voxels are."""
        return self._place == self._count

    def advance(self, seconds: float) -> NDArray[np.float32]:
        """(N, 3) the next vectors in array order, mm, R, A, S: as many as come in this time, at least some."""
        end = time.perf_counter() + seconds
        pieces = []
        while not self.done:
            pieces.append(self._next())
            if time.perf_counter() > end:
                break
        return np.concatenate(pieces) if pieces else np.empty((0, 3), np.float32)

    def _next(self) -> NDArray[np.float32]:
        if self._stored is not None:
            flat = self._stored.vectors.reshape(-1, 3)
            vectors = flat[self._place : self._place + _PIECE_VECTORS] * self._stored.scale + self._stored.shift
            self._place += len(vectors)
            return vectors.astype(np.float32)
        places = np.arange(self._place, min(self._place + _PIECE_POINTS, self._count))
        index_kji = np.stack(np.unravel_index(places, self._geometry.shape_kji), axis=-1)
        points_ras = transform_points(self._geometry.ras_from_ijk, index_kji[:, ::-1])
        self._place += len(places)
        return (transformed_points(self._own_from_world, points_ras) - points_ras).astype(np.float32)
