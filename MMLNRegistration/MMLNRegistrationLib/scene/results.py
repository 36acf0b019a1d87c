"""What a registration has written, read without the scene and then put into it without copying.

Reading takes time and may be done by any thread. Putting it into the scene is for the main thread, and quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import slicer

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix, transform_points
from .jacobian import show_as_jacobian
from .transforms import fill_transform_node
from .volumes import display_window, fill_volume_node, show_in_grey
from .vtk_arrays import OwnedArray, owned_array

RESULT_ATTRIBUTE = "MMLNRegistration.Result"
"""Marks volumes that a registration has made: nobody wants to register them next."""

RESULT_FILES = ("displacement.npy", "warped.npy", "jacobian.npy")
"""The files that are read, see writing.ARRAY_FILES."""


@dataclass(frozen=True, eq=False)
class ResultArrays:
    """u (K, J, I, 3), mm RAS, with the warped image and the Jacobian determinant, (K, J, I), on the fixed grid.

    warped_window: the intensities that are black and white.
    """

    geometry: Geometry
    displacement_mm: OwnedArray
    warped: OwnedArray
    jacobian: OwnedArray
    warped_window: tuple[float, float]


@dataclass(frozen=True, eq=False)
class ResultNodes:
    """Where a result goes: nodes of a scene, filled or to be filled. What is None is made."""

    transform: slicer.vtkMRMLTransformNode | None = None
    warped: slicer.vtkMRMLScalarVolumeNode | None = None
    jacobian: slicer.vtkMRMLScalarVolumeNode | None = None


def read_result(folder: Path, geometry: Geometry, world_from_moving_file: Matrix) -> ResultArrays:
    """Read the RESULT_FILES of a registration to the fixed grid `geometry`, in the world.

    world_from_moving_file: where it is not the identity (see VolumeFile), the field leads to the moving image in the
    file, and is lengthened here by this matrix, to lead to it in the world. So is the determinant.

    Raises InputError when a file is missing or does not fit.
    """
    displacement, warped, jacobian = (_read_array(folder / name, geometry) for name in RESULT_FILES)
    if (world_from_moving_file != np.eye(4)).any():
        _lengthen(displacement.array, geometry, world_from_moving_file)
        jacobian.array[...] *= np.float32(np.linalg.det(world_from_moving_file[:3, :3]))
    return ResultArrays(geometry, displacement, warped, jacobian, display_window(warped.array))


def add_result(
    scene: slicer.vtkMRMLScene,
    result: ResultArrays,
    names: tuple[str, str],
    pair: tuple[slicer.vtkMRMLVolumeNode | None, slicer.vtkMRMLVolumeNode | None],
    nodes: ResultNodes,
) -> ResultNodes:
    """Put a result into the nodes, made where they are None, and return them all. All lie directly in the world.

    names, pair: of the fixed and the moving volume; None for one that has been removed meanwhile.
    """
    *_steps, filled = adding_result(scene, result, names, pair, nodes)
    return filled


def adding_result(
    scene: slicer.vtkMRMLScene,
    result: ResultArrays,
    names: tuple[str, str],
    pair: tuple[slicer.vtkMRMLVolumeNode | None, slicer.vtkMRMLVolumeNode | None],
    nodes: ResultNodes,
) -> Iterator[ResultNodes]:
    """add_result in steps of some milliseconds, with the nodes that are there after each; the last one has them all."""
    scene.SaveStateForUndo()
    fixed, moving = names
    transform = nodes.transform or scene.AddNewNodeByClass("vtkMRMLTransformNode", f"{moving} to {fixed}")
    fill_transform_node(transform, result.displacement_mm, result.geometry, *pair)
    yield (nodes := replace(nodes, transform=transform))

    warped = nodes.warped or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{moving} warped")
    warped.SetAttribute(RESULT_ATTRIBUTE, "1")
    yield (nodes := replace(nodes, warped=warped))
    fill_volume_node(warped, result.warped, result.geometry)
    show_in_grey(scene, warped, result.warped_window)
    yield nodes

    jacobian = nodes.jacobian or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{moving} Jacobian")
    jacobian.SetAttribute(RESULT_ATTRIBUTE, "1")
    yield (nodes := replace(nodes, jacobian=jacobian))
    fill_volume_node(jacobian, result.jacobian, result.geometry)
    yield nodes
    show_as_jacobian(scene, jacobian)
    yield nodes


def _read_array(path: Path, geometry: Geometry) -> OwnedArray:
    """Read an array of float32 straight into memory of VTK's."""
    vectors = path.name.startswith("displacement")
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != geometry.shape_kji + ((3,) if vectors else ()) or is_fortran or dtype != np.float32:
                raise InputError(f"The result {path.name} does not fit the fixed volume; register again.")
            owned = owned_array(shape, dtype)
            if file.readinto(owned.array.reshape(-1).view(np.uint8).data) != owned.array.nbytes:
                raise InputError(f"The result {path.name} is cut off; check the space left on the disk.")
    except (OSError, ValueError) as error:
        raise InputError(f"The result {path.name} cannot be read ({error}); register again.") from error
    return owned


def _lengthen(displacement_mm: np.ndarray, geometry: Geometry, matrix: Matrix) -> None:
    """Make x + u(x) matrix(x + u(x)), in place, slice by slice."""
    size_i, size_j, size_k = geometry.size_ijk
    plane_ijk = np.stack(np.meshgrid(0, np.arange(size_j), np.arange(size_i), indexing="ij")[::-1], axis=-1)[0]
    for k in range(size_k):
        points_ras = transform_points(geometry.ras_from_ijk, plane_ijk + np.array((0, 0, k)))
        displacement_mm[k] = transform_points(matrix, points_ras + displacement_mm[k]) - points_ras
