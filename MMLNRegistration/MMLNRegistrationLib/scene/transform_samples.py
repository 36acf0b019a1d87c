"""Any transform of the scene as a displacement on a volume's grid, without the window waiting for it.

One that holds its field on that very grid is taken as it is. Others are sampled a little at a time, on the main thread,
which alone may ask the scene.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, transform_points, translation_matrix
from .transforms import transformed_points
from .volume_files import VolumeFile
from .vtk_arrays import array_from_image, index_from_array_index, matrix_from_vtk

_POINTS = 4096
"""Transformed between two looks at the clock."""


class DisplacementFile:
    """u (K, J, I, 3), mm RAS, from the subject to the atlas as their files place them, as numpy's own file."""

    def __init__(self, node: slicer.vtkMRMLTransformNode, subject: VolumeFile, atlas: VolumeFile) -> None:
        """node: it takes points of the subject to the atlas, both in the world."""
        self._subject = subject
        self._file_from_world = np.asarray(np.linalg.inv(atlas.world_from_file), dtype=np.float64)
        view = _own_field(node, subject.geometry) if subject.is_in_world and atlas.is_in_world else None
        self._array = np.empty((*subject.geometry.shape_kji, 3), np.float32) if view is None else view
        self._rows = int(np.prod(subject.geometry.shape_kji[:2]))
        self._done = 0 if view is None else self._rows
        self._own_from_world = vtk.vtkGeneralTransform()
        if view is None:
            slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node, self._own_from_world)

    @property
    def fraction(self) -> float:
        """How much of it there is, 0 to 1. It can be written at 1."""
        return self._done / self._rows

    def sample(self, seconds: float) -> None:
        """Go on for about so long, on the main thread."""
        end = time.monotonic() + seconds
        while self._done < self._rows and time.monotonic() < end:
            self._done = self._sample_rows(self._done)

    def write(self, path: Path) -> None:
        """Write it. Any thread may do it. Raises OSError when the disk is full."""
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": self._array.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for plane in self._array:
                file.write(np.ascontiguousarray(plane, "<f4").data)

    def _sample_rows(self, start: int) -> int:
        """Sample some rows of voxels from this one on, and return the next. Rows are counted through all planes."""
        _, size_j, size_i = self._subject.geometry.shape_kji
        rows = np.arange(start, min(start + max(_POINTS // size_i, 1), self._rows))
        index_i, index_row = np.meshgrid(np.arange(size_i), rows)
        points_ijk = np.stack((index_i, index_row % size_j, index_row // size_j), axis=-1).reshape(-1, 3)
        own_ras = transform_points(self._subject.geometry.ras_from_ijk, points_ijk)
        world_ras = transform_points(self._subject.world_from_file, own_ras)
        moved = transform_points(self._file_from_world, transformed_points(self._own_from_world, world_ras))
        self._array.reshape(self._rows, size_i, 3)[rows] = (moved - own_ras).reshape(len(rows), size_i, 3)
        return start + len(rows)


def _own_field(node: slicer.vtkMRMLTransformNode, geometry: Geometry) -> NDArray[np.floating] | None:
    """A view of the field that a node holds, if it is one from parent on this very grid, with no parent above it."""
    transform = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, True)
    if transform is None or node.GetParentTransformNode() is not None:
        return None
    transform.Update()
    if transform.GetDisplacementScale() != 1 or transform.GetDisplacementShift() != 0:
        return None
    grid, direction = transform.GetDisplacementGrid(), transform.GetGridDirectionMatrix()
    ras_from_index = translation_matrix(np.array(grid.GetOrigin()))
    if direction is not None:
        ras_from_index = ras_from_index @ matrix_from_vtk(direction)
    ras_from_index = ras_from_index @ np.diag([*grid.GetSpacing(), 1.0])
    values = array_from_image(grid)
    own = Geometry(values.shape[:3], ras_from_index @ index_from_array_index(grid))
    return values if own.matches(geometry) else None
