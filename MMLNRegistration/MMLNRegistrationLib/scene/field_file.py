"""Any transform of the scene as the displacement from one volume's file to another's; the window need not wait for it.

One that holds its field on the volume's very grid is taken as it is. Others are sampled a little at a time, on the main
thread, which alone may ask the scene.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, transform_points, translation_matrix
from .sampling import DisplacementSampler
from .volume_files import VolumeFile
from .vtk_arrays import array_from_image, index_from_array_index, matrix_from_vtk


class FieldFile:
    """u (K, J, I, 3), mm RAS, from the subject to the atlas as their files place them, as numpy's own file."""

    def __init__(self, node: slicer.vtkMRMLTransformNode, subject: VolumeFile, atlas: VolumeFile) -> None:
        """node: it takes points of the subject to the atlas, both in the world."""
        self._subject, self._atlas = subject, atlas
        self._world = Geometry(subject.geometry.shape_kji, subject.world_from_file @ subject.geometry.ras_from_ijk)
        self._sampler: DisplacementSampler | None = None
        self._place = 0
        own = _own_field(node, self._world)
        if own is not None:
            self._field = own
        else:
            self._field = np.empty((*self._world.shape_kji, 3), np.float32)
            self._sampler = DisplacementSampler(node, self._world)

    @property
    def fraction(self) -> float:
        """How much of it there is, 0 to 1. It can be written at 1."""
        return 1.0 if self._sampler is None else self._sampler.fraction

    def sample(self, seconds: float) -> None:
        """Go on for about so long, on the main thread."""
        if self._sampler is not None and not self._sampler.done:
            vectors = self._sampler.advance(seconds)
            self._field.reshape(-1, 3)[self._place : self._place + len(vectors)] = vectors
            self._place += len(vectors)

    def write(self, path: Path) -> None:
        """Write it. Any thread may do it. Raises OSError when the disk is full."""
        is_in_world = self._subject.is_in_world and self._atlas.is_in_world
        with path.open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": self._field.shape}
            np.lib.format.write_array_header_1_0(file, header)
            for k, plane in enumerate(self._field):
                vectors = plane if is_in_world else self._between_files(k, plane)
                file.write(np.ascontiguousarray(vectors, "<f4").data)

    def _between_files(self, k: int, plane: NDArray[np.floating]) -> NDArray[np.float64]:
        """What the vectors of a plane are between the places of the files."""
        size_j, size_i = plane.shape[:2]
        index_i, index_j = np.meshgrid(np.arange(size_i), np.arange(size_j))
        index_ijk = np.stack((index_i, index_j, np.full_like(index_i, k)), axis=-1)
        target_ras = transform_points(self._world.ras_from_ijk, index_ijk) + plane
        file_from_world = np.asarray(np.linalg.inv(self._atlas.world_from_file), dtype=np.float64)
        return transform_points(file_from_world, target_ras) - transform_points(
            self._subject.geometry.ras_from_ijk, index_ijk
        )


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
