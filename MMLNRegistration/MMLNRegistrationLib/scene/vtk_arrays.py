"""Arrays and matrices on their way into VTK and back, index order (k, j, i) on the numpy side."""

from __future__ import annotations

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from ..spatial.geometry import Matrix, translation_matrix


def vtk_matrix(matrix: NDArray[np.floating]) -> vtk.vtkMatrix4x4:
    """A 4x4 array as a VTK matrix."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel())
    return result


def matrix_from_vtk(matrix: vtk.vtkMatrix4x4) -> Matrix:
    """A VTK matrix as a float64 (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def fill_image(image: vtk.vtkImageData, array: NDArray) -> None:
    """Give an image the size and a copy of the voxels of array: (K, J, I) scalars or (K, J, I, 3) vectors.

    Its voxel indices start at 0. Origin, spacing and directions are left alone.
    """
    shape_kji = array.shape[:3]
    components = 1 if array.ndim == 3 else array.shape[3]
    flat = np.ascontiguousarray(array).reshape(-1, components)
    image.SetDimensions(*shape_kji[::-1])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))


def array_from_image(image: vtk.vtkImageData) -> NDArray:
    """The voxels of an image as a view: (K, J, I) for scalars, (K, J, I, C) for C components."""
    values = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    return values.reshape(*image.GetDimensions()[::-1], *values.shape[1:])


def index_from_array_index(image: vtk.vtkImageData) -> Matrix:
    """From array indices (i, j, k) to the voxel indices of an image whose extent does not start at 0."""
    return translation_matrix(np.array(image.GetExtent()[::2], dtype=np.float64))
