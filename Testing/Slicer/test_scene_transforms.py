"""Transform nodes: what they hold, which way they go, and that files carry it between Slicer and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from mrml import slicer, vtk
from scene_cases import (
    GEOMETRIES,
    displacement,
    itk_resampled,
    itk_transform,
    phantom_volume,
    points_ras,
    rotation,
    warped,
)

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.scene.sampling import DisplacementSampler
from MMLNRegistrationLib.scene.transforms import displacement_from_node, transform_node
from MMLNRegistrationLib.scene.volumes import volume_from_node, volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

PAIRS = [
    ("aligned", "oblique"),
    ("oblique", "left-handed"),
    ("left-handed", "aligned"),
    ("left-handed oblique", "oblique"),
    ("aligned", "left-handed oblique"),
]
"""Fixed and moving grids: every combination of handedness, oblique ones on both sides."""


def sampled_field(node, geometry):
    """u (K, J, I, 3) of any transform node, sampled on a grid."""
    return DisplacementSampler(node, geometry).advance(60.0).reshape(*geometry.shape_kji, 3)


def stored(node, path):
    """The node's transform as a file, written by Slicer."""
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(node)
    return path


def loaded(scene, path):
    """A transform file, read by Slicer."""
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", path.stem)
    storage = slicer.vtkMRMLTransformStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def resliced_by_vtk(node, moving, geometry):
    """moving(T(x)) on a grid by vtkImageReslice with the node's from-parent transform, linear."""
    moving_ijk_from_ijk = vtk.vtkGeneralTransform()
    moving_ijk_from_ijk.PostMultiply()
    moving_ijk_from_ijk.Concatenate(vtk_matrix(geometry.ras_from_ijk))
    moving_ijk_from_ijk.Concatenate(node.GetTransformFromParent())
    moving_ijk_from_ijk.Concatenate(vtk_matrix(moving.geometry.ijk_from_ras))
    image = vtk.vtkImageData()
    image.DeepCopy(volume_node(node.GetScene(), moving, "moving").GetImageData())
    reslice = vtk.vtkImageReslice()
    reslice.SetInputData(image)
    reslice.SetResliceTransform(moving_ijk_from_ijk)
    size_i, size_j, size_k = geometry.size_ijk
    reslice.SetOutputExtent(0, size_i - 1, 0, size_j - 1, 0, size_k - 1)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetInterpolationModeToLinear()
    reslice.Update()
    return array_from_image(reslice.GetOutput())


@pytest.mark.parametrize("name", GEOMETRIES)
def test_field_goes_to_the_scene_and_back(scene, name):
    field = displacement(points_ras(GEOMETRIES[name]))
    back, geometry = displacement_from_node(transform_node(scene, field, GEOMETRIES[name], "field"))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, field)
    assert geometry.matches(GEOMETRIES[name], tolerance_mm=1e-9)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_from_parent_adds_the_displacement(scene, name):
    """At grid points exactly; between them within the error of interpolating the analytic field."""
    geometry = GEOMETRIES[name]
    node = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    random = np.random.default_rng(1)
    for ijk in random.integers(0, geometry.size_ijk, size=(30, 3)):
        point = transform_points(geometry.ras_from_ijk, ijk)
        moved = np.array(node.GetTransformFromParent().TransformPoint(point))
        np.testing.assert_allclose(moved, point + displacement(point), atol=1e-5)
    for point in random.uniform(-15, 15, size=(30, 3)):
        moved = np.array(node.GetTransformFromParent().TransformPoint(point))
        np.testing.assert_allclose(moved, point + displacement(point), atol=0.02)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_to_parent_is_the_inverse(scene, name):
    geometry = GEOMETRIES[name]
    node = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    for point in np.random.default_rng(2).uniform(-15, 15, size=(30, 3)):
        there = node.GetTransformFromParent().TransformPoint(point)
        np.testing.assert_allclose(node.GetTransformToParent().TransformPoint(there), point, atol=0.01)


def test_node_is_what_slicer_makes_of_a_file(scene, tmp_path):
    """Cubic interpolation and from-parent storage: a saved field opens as it was."""
    geometry = GEOMETRIES["oblique"]
    node = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    again = loaded(scene, stored(node, tmp_path / "field.h5"))
    for candidate in (node, again):
        transform = candidate.GetTransformFromParent()
        assert transform.GetInterpolationModeAsString() == "Cubic"
        assert not candidate.IsAbstractTransformComputedFromInverse(transform)
    for point in np.random.default_rng(3).uniform(-20, 20, size=(30, 3)):
        np.testing.assert_allclose(
            again.GetTransformFromParent().TransformPoint(point),
            node.GetTransformFromParent().TransformPoint(point),
            atol=1e-9,
        )


def test_registered_nodes_are_remembered(scene):
    geometry = GEOMETRIES["aligned"]
    fixed = volume_node(scene, phantom_volume(geometry), "fixed")
    moving = volume_node(scene, phantom_volume(geometry), "moving")
    node = transform_node(scene, displacement(points_ras(geometry)), geometry, "field", fixed, moving)
    assert node.GetNodeReference("spatialRegistrationFixed") is fixed
    assert node.GetNodeReference("spatialRegistrationMoving") is moving


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_slicer_itk_and_our_sampling_warp_alike(scene, tmp_path, fixed_name, moving_name):
    """One field, three programs, files both ways: the warped images agree within 0.5 % of the intensity range."""
    geometry, moving = GEOMETRIES[fixed_name], phantom_volume(GEOMETRIES[moving_name])
    field = displacement(points_ras(geometry))
    ours = warped(moving, field, geometry)
    tolerance = 0.005 * np.ptp(moving.array_kji)

    node = transform_node(scene, field, geometry, "field")
    written_by_slicer = sitk.ReadTransform(str(stored(node, tmp_path / "slicer.h5")))
    sitk.WriteTransform(itk_transform(field, geometry), str(tmp_path / "itk.h5"))
    read_by_slicer = loaded(scene, tmp_path / "itk.h5")

    np.testing.assert_allclose(itk_resampled(moving, itk_transform(field, geometry), geometry), ours, atol=tolerance)
    np.testing.assert_allclose(itk_resampled(moving, written_by_slicer, geometry), ours, atol=tolerance)
    np.testing.assert_allclose(resliced_by_vtk(node, moving, geometry), ours, atol=tolerance)
    np.testing.assert_allclose(resliced_by_vtk(read_by_slicer, moving, geometry), ours, atol=tolerance)
    back, back_geometry = displacement_from_node(read_by_slicer)
    assert back_geometry.matches(geometry)
    np.testing.assert_allclose(back, field, atol=1e-5)


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_hardened_volume_shows_the_same_warp(scene, fixed_name, moving_name):
    """Slicer resamples on a grown moving grid; the analytic field says what must be there."""
    geometry, moving = GEOMETRIES[fixed_name], phantom_volume(GEOMETRIES[moving_name])
    node = volume_node(scene, moving, "moving")
    transform = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    node.SetAndObserveTransformNodeID(transform.GetID())
    assert node.HardenTransform()
    hardened = volume_from_node(node)
    points = points_ras(hardened.geometry)
    # Beyond the fixed grid Slicer repeats the border's vectors, so only the inside can be compared.
    inside = np.linalg.norm(points, axis=-1) < 20
    expected = warped(moving, displacement(points), hardened.geometry)
    tolerance = 0.005 * np.ptp(moving.array_kji)
    np.testing.assert_allclose(hardened.array_kji[inside], expected[inside], atol=tolerance)


@pytest.mark.parametrize("wrong", ["sign", "frame", "inverse"])
def test_the_comparison_would_notice_a_wrong_convention(scene, wrong):
    geometry, moving = GEOMETRIES["left-handed"], phantom_volume(GEOMETRIES["aligned"])
    field = displacement(points_ras(geometry))
    node = transform_node(scene, field, geometry, "field")
    if wrong == "sign":
        other = warped(moving, -field, geometry)
    elif wrong == "frame":
        other = warped(moving, field * np.float32([-1, -1, 1]), geometry)
    else:
        node.Inverse()
        other = warped(moving, field, geometry)
    difference = np.abs(resliced_by_vtk(node, moving, geometry) - other).max()
    assert difference > 0.1 * np.ptp(moving.array_kji)


def test_scaled_and_cropped_grid_of_another_program(scene):
    """VTK may store a field with a scale and a shift, on an image whose indices do not start at 0."""
    geometry = GEOMETRIES["oblique"]
    field = displacement(points_ras(geometry))
    node = transform_node(scene, field, geometry, "field")
    transform = node.GetTransformFromParent()
    transform.SetDisplacementScale(0.5)
    transform.SetDisplacementShift(0.25)
    size_i, size_j, size_k = geometry.size_ijk
    transform.GetDisplacementGrid().SetExtent(2, size_i + 1, 0, size_j - 1, -1, size_k - 2)
    back, shifted = displacement_from_node(node)
    np.testing.assert_allclose(back, 0.5 * field + 0.25, atol=1e-6)
    np.testing.assert_allclose(
        shifted.ras_from_ijk[:3, 3], transform_points(geometry.ras_from_ijk, np.array([2, 0, -1])), atol=1e-9
    )


def test_only_a_single_field_from_parent_is_read_directly(scene):
    geometry = GEOMETRIES["aligned"]
    linear = scene.AddNewNodeByClass("vtkMRMLTransformNode", "linear")
    linear.SetMatrixTransformToParent(vtk_matrix(np.diag([1.0, 1.0, 2.0, 1.0])))
    inverted, child = (transform_node(scene, displacement(points_ras(geometry)), geometry, name) for name in "ic")
    inverted.Inverse()
    child.SetAndObserveTransformNodeID(linear.GetID())
    for node in (linear, inverted, child):
        with pytest.raises(InputError, match="not a single displacement field from parent"):
            displacement_from_node(node)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_any_transform_can_be_sampled(scene, name):
    """A field under a linear parent, against the composition written out: own = field(linear^-1(world))."""
    geometry = GEOMETRIES[name]
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((5, -8, 3)) * 1.05
    matrix[:3, 3] = (1, 2, -3)
    linear = scene.AddNewNodeByClass("vtkMRMLTransformNode", "linear")
    linear.SetMatrixTransformToParent(vtk_matrix(matrix))
    field_geometry = GEOMETRIES["oblique"]
    node = transform_node(scene, displacement(points_ras(field_geometry)), field_geometry, "field")
    node.SetAndObserveTransformNodeID(linear.GetID())
    points = points_ras(geometry)
    between = transform_points(np.linalg.inv(matrix), points)
    expected = between + displacement(between) - points
    inside = np.linalg.norm(points, axis=-1) < 18
    sampled = sampled_field(node, geometry)
    assert sampled.dtype == np.float32
    np.testing.assert_allclose(sampled[inside], expected[inside], atol=0.02)


def test_sampling_on_its_own_grid_gives_the_field_back(scene):
    geometry = GEOMETRIES["left-handed oblique"]
    field = displacement(points_ras(geometry))
    sampled = sampled_field(transform_node(scene, field, geometry, "field"), geometry)
    np.testing.assert_allclose(sampled, field, atol=1e-5)


def test_inverse_of_a_node_is_sampled_as_the_inverse(scene):
    geometry = GEOMETRIES["aligned"]
    node = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    node.Inverse()
    inner = Geometry((6, 6, 6), np.diag([2.0, 2.0, 2.0, 1.0]))
    points = points_ras(inner)
    there = points + sampled_field(node, inner)
    np.testing.assert_allclose(there + displacement(there), points, atol=0.02)
