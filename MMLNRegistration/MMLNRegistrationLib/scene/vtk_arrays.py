"""Arrays and matrices on their way into VTK and back, index order (k, j, i) on the numpy side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vtk
from numpy.typing import NDArray
from vtk.util import numpy_support

from ..spatial.geometry import Matrix, translation_matrix


@dataclass(frozen=True, eq=False)
class OwnedArray:
    """Memory that VTK owns, and numpy's view of it: an image takes it over without copying.

    array: (K, J, I) or (K, J, I, C).
    """

    data: vtk.vtkDataArray
    array: NDArray


def owned_array(shape: tuple[int, ...], dtype: np.dtype) -> OwnedArray:
    """Memory for an array (K, J, I) or (K, J, I, C), not set to anything. Any thread may make and fill it."""
    data = vtk.vtkDataArray.CreateDataArray(numpy_support.get_vtk_array_type(dtype))
    data.SetNumberOfComponents(1 if len(shape) == 3 else shape[3])
    data.SetNumberOfTuples(int(np.prod(shape[:3])))
    return OwnedArray(data, numpy_support.vtk_to_numpy(data).reshape(shape))


def vtk_matrix(matrix: NDArray[np.floating]) -> vtk.vtkMatrix4x4:
    """A 4x4 array as a VTK matrix."""
    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel())
    return result


def matrix_from_vtk(matrix: vtk.vtkMatrix4x4) -> Matrix:
    """A VTK matrix as a float64 (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def fill_image(image: vtk.vtkImageData, array: NDArray | OwnedArray) -> None:
    """Give an image the size and the voxels of array: (K, J, I) scalars or (K, J, I, 3) vectors.

    An array is copied, what VTK owns already is taken over. The image's voxel indices start at 0. Origin, spacing and
    directions are left alone.
    """
    if isinstance(array, OwnedArray):
        image.SetDimensions(*array.array.shape[2::-1])
        image.GetPointData().SetScalars(array.data)
        return
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
