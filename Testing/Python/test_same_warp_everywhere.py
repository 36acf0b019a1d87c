"""transform.h5 warps the moving image in SimpleITK, in mmln apply and in Slicer as the registration itself did.

Bound: 0.5 % of the intensity range inside the foreground, for right- and left-handed, aligned and oblique grids.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from cli_cases import BEND_MM, array_of, brain, itk_image, lps_from_ijk, register_in_process, resampled, write

LARGEST_DIFFERENCE = 0.005
"""Share of the warped image's intensity range."""

IDENTITY = sitk.Transform(3, sitk.sitkIdentity)


def turn(degrees: float, axis: int) -> NDArray[np.float64]:
    """3x3 rotation about an axis of the world."""
    result = np.eye(3)
    first, second = [other for other in range(3) if other != axis]
    result[first, first] = result[second, second] = math.cos(math.radians(degrees))
    result[second, first] = math.sin(math.radians(degrees))
    result[first, second] = -result[second, first]
    return result


OBLIQUE = turn(20, 2) @ turn(-15, 1) @ turn(10, 0)
GRIDS = {
    "aligned": ((26, 27, 28), (2.0, 2.0, 2.0), np.eye(3)),
    "oblique": ((30, 22, 27), (1.9, 2.3, 2.0), OBLIQUE),
    "left-handed": ((26, 30, 24), (2.0, 1.8, 2.2), np.diag([1.0, 1.0, -1.0])),
    "left-handed oblique": ((24, 27, 30), (2.2, 2.0, 1.8), OBLIQUE @ np.eye(3)[[1, 0, 2]]),
    "sagittal": ((27, 26, 25), (2.0, 2.0, 2.1), np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])),
}
"""Sizes along i, j, k, spacings in mm, and the directions of the axes, as columns."""

PAIRS = [
    ("aligned", "left-handed oblique"),
    ("oblique", "aligned"),
    ("left-handed", "oblique"),
    ("left-handed oblique", "sagittal"),
    ("sagittal", "left-handed"),
]
"""Fixed and moving grids."""


class Case(NamedTuple):
    """A registration's files."""

    fixed: Path
    moving: Path
    folder: Path

    @property
    def warped(self) -> Path:
        return self.folder / "warped.nii.gz"

    @property
    def transform(self) -> Path:
        return self.folder / "transform.h5"


@pytest.fixture(scope="module", params=PAIRS, ids=lambda names: f"{names[0]} from {names[1]}")
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    files = []
    for name, grid, bend_mm in zip(("fixed", "moving"), request.param, (0.0, BEND_MM), strict=True):
        size, spacing_mm, direction = GRIDS[grid]
        to_world = lps_from_ijk(size, spacing_mm, direction)
        files.append(write(folder / f"{name}.nii.gz", brain(size, to_world, bend_mm), to_world))
    finished = Case(*files, folder / "out")
    register_in_process(*files, finished.folder)
    return finished


def check(warped: NDArray[np.floating], expected: NDArray[np.floating], inside: NDArray[np.bool_]) -> None:
    difference = np.abs(warped - expected)[inside]
    assert difference.size > 1000
    assert difference.max() < LARGEST_DIFFERENCE * np.ptp(expected)


def check_on_fixed_grid(case: Case, warped: NDArray[np.floating]) -> None:
    check(warped, array_of(case.warped), array_of(case.fixed) > 0)


def test_the_field_does_something(case):
    """Or the comparisons below could not fail."""
    with pytest.raises(AssertionError):
        check_on_fixed_grid(case, resampled(case.moving, IDENTITY, case.warped))


def test_simpleitk(case):
    check_on_fixed_grid(case, resampled(case.moving, sitk.ReadTransform(str(case.transform)), case.fixed))


def test_apply(case, run, tmp_path):
    arguments = ("apply", case.transform, case.moving, "--reference", case.fixed)
    assert run(*arguments, "--output", tmp_path / "applied.nrrd").code == 0
    check_on_fixed_grid(case, array_of(tmp_path / "applied.nrrd"))


def test_slicer_resliced(case):
    """The moving image resliced onto the fixed grid. Slicer may turn an axis as it reads, so it reads all files."""
    slicer, vtk = slicer_core()
    scene = slicer.vtkMRMLScene()
    transform, moving, fixed, warped = slicer_nodes(slicer, scene, case)
    moving_ijk_from_fixed_ijk = vtk.vtkGeneralTransform()
    moving_ijk_from_fixed_ijk.PostMultiply()
    moving_ijk_from_fixed_ijk.Concatenate(matrix(vtk, fixed.GetIJKToRASMatrix))
    moving_ijk_from_fixed_ijk.Concatenate(transform.GetTransformFromParent())
    moving_ijk_from_fixed_ijk.Concatenate(matrix(vtk, moving.GetRASToIJKMatrix))
    size = fixed.GetImageData().GetDimensions()
    again = resliced(vtk, moving.GetImageData(), moving_ijk_from_fixed_ijk, size)
    check(again, voxels(warped), voxels(fixed) > 0)


def test_slicer_hardened(case):
    """The moving volume under the transform, hardened, on a grid that Slicer chooses: SimpleITK must agree there.

    That grid's points lie between the vectors. Slicer's cubic interpolation of them is set to linear, as in SimpleITK:
    at the fixed grid's own points, as above, both give the same.
    """
    slicer, vtk = slicer_core()
    scene = slicer.vtkMRMLScene()
    transform, moving, *_ = slicer_nodes(slicer, scene, case)
    transform.GetTransformFromParentAs("vtkOrientedGridTransform").SetInterpolationModeToLinear()
    moving.SetAndObserveTransformNodeID(transform.GetID())
    assert moving.HardenTransform()
    hardened, ijk_to_ras = voxels(moving), matrix(vtk, moving.GetIJKToRASMatrix)
    to_ras = np.array([[ijk_to_ras.GetElement(row, column) for column in range(4)] for row in range(4)])
    grid = itk_image(np.zeros(hardened.shape, np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ to_ras)
    expected = sitk.Resample(sitk.ReadImage(str(case.moving)), grid, sitk.ReadTransform(str(case.transform)))
    inside = sitk.Resample(sitk.ReadImage(str(case.fixed)) > 0, grid, IDENTITY, sitk.sitkNearestNeighbor)
    check(hardened, sitk.GetArrayFromImage(expected), sitk.GetArrayFromImage(inside) > 0)


def slicer_core():
    return tuple(pytest.importorskip(name, reason="slicer-core is not installed") for name in ("slicer", "vtk"))


def slicer_nodes(slicer, scene, case: Case):
    """The transform and the moving, fixed and warped volume as Slicer reads the files."""
    nodes = []
    for kind, storage_kind, path in (
        ("Transform", "Transform", case.transform),
        ("ScalarVolume", "VolumeArchetype", case.moving),
        ("ScalarVolume", "VolumeArchetype", case.fixed),
        ("ScalarVolume", "VolumeArchetype", case.warped),
    ):
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", path.stem)
        storage = getattr(slicer, f"vtkMRML{storage_kind}StorageNode")()
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        nodes.append(node)
    return nodes


def matrix(vtk, read):
    result = vtk.vtkMatrix4x4()
    read(result)
    return result


def resliced(vtk, image, source_from_target, size: tuple[int, int, int]) -> NDArray[np.floating]:
    """(K, J, I) of an image, sampled linearly through a transform of voxel indices."""
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(source_from_target)
    reslice.SetOutputExtent(0, size[0] - 1, 0, size[1] - 1, 0, size[2] - 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetInterpolationModeToLinear()
    reslice.Update()
    return array(reslice.GetOutput())


def voxels(node) -> NDArray[np.floating]:
    return array(node.GetImageData())


def array(image) -> NDArray[np.floating]:
    numpy_support = pytest.importorskip("vtk.util.numpy_support")
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
