"""Volumes between the scene and the pipeline: geometry, parent transforms, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import GEOMETRIES, displacement, grid, label_node, phantom_volume, points_ras, rotation

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import geometry_of_node, scalars_of_node, volume_from_node, volume_node
from MMLNRegistrationLib.scene.vtk_arrays import fill_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import transform_points


@pytest.mark.parametrize("name", GEOMETRIES)
def test_volume_goes_to_the_scene_and_back(scene, name):
    volume = phantom_volume(GEOMETRIES[name])
    back = volume_from_node(volume_node(scene, volume, "brain"))
    np.testing.assert_array_equal(back.array_kji, volume.array_kji)
    assert back.geometry.matches(volume.geometry, tolerance_mm=1e-9)
    assert back.name == "brain"


@pytest.mark.parametrize("name", GEOMETRIES)
def test_every_voxel_lies_where_slicer_puts_it(scene, name):
    """IJKToRAS is Slicer's own answer to where a voxel is; the value there is checked against the phantom."""
    node = volume_node(scene, phantom_volume(GEOMETRIES[name]), "brain")
    ras_from_ijk = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(ras_from_ijk)
    for ijk in [(0, 0, 0), (5, 17, 9), (21, 18, 14)]:
        position = np.array(ras_from_ijk.MultiplyPoint((*ijk, 1.0)))[:3]
        expected = transform_points(GEOMETRIES[name].ras_from_ijk, np.array(ijk))
        np.testing.assert_allclose(position, expected, atol=1e-9)
        value = node.GetImageData().GetScalarComponentAsDouble(*ijk, 0)
        assert value == phantom_volume(GEOMETRIES[name]).array_kji[ijk[::-1]]


def test_what_is_read_is_a_copy(scene):
    node = volume_node(scene, phantom_volume(GEOMETRIES["aligned"]), "brain")
    volume = volume_from_node(node)
    volume.array_kji[:] = 0
    assert volume_from_node(node).array_kji.max() > 500


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_voxel_types_of_slicer(scene, dtype):
    volume = phantom_volume(GEOMETRIES["aligned"])
    typed = Volume((volume.array_kji / 4).astype(dtype), volume.geometry, "typed")
    back = volume_from_node(volume_node(scene, typed, "typed"))
    assert back.array_kji.dtype == np.float32
    np.testing.assert_array_equal(back.array_kji, typed.array_kji.astype(np.float32))


def test_extent_that_does_not_start_at_zero(scene):
    volume = phantom_volume(GEOMETRIES["oblique"])
    node = volume_node(scene, volume, "cropped")
    size_i, size_j, size_k = volume.geometry.size_ijk
    node.GetImageData().SetExtent(3, size_i + 2, -2, size_j - 3, 0, size_k - 1)
    expected = transform_points(volume.geometry.ras_from_ijk, np.array([3, -2, 0]))
    np.testing.assert_allclose(volume_from_node(node).geometry.ras_from_ijk[:3, 3], expected)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_linear_parents_are_folded_in_exactly(scene, name):
    """Two parents, with rotation, scaling and shear, point by point against MRML's own way to the world."""
    volume = phantom_volume(GEOMETRIES[name])
    node = volume_node(scene, volume, "brain")
    outer, inner = (scene.AddNewNodeByClass("vtkMRMLTransformNode", label) for label in ("outer", "inner"))
    for parent, angles, shear in ((outer, (3, 20, -8), 0.1), (inner, (-15, 4, 9), -0.2)):
        matrix = np.eye(4)
        matrix[:3, :3] = rotation(angles) @ np.diag([1.1, 0.9, 1.2])
        matrix[0, 1] += shear
        matrix[:3, 3] = (12, -7, 30)
        parent.SetMatrixTransformToParent(vtk_matrix(matrix))
    inner.SetAndObserveTransformNodeID(outer.GetID())
    node.SetAndObserveTransformNodeID(inner.GetID())

    folded = volume_from_node(node)
    to_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(inner, None, to_world)
    random = np.random.default_rng(0)
    for ijk in random.integers(0, volume.geometry.size_ijk, size=(50, 3)):
        expected = to_world.TransformPoint(transform_points(volume.geometry.ras_from_ijk, ijk))
        np.testing.assert_allclose(transform_points(folded.geometry.ras_from_ijk, ijk), expected, atol=1e-9)
    np.testing.assert_array_equal(folded.array_kji, volume.array_kji)


def test_non_linear_parent_is_refused(scene):
    geometry = GEOMETRIES["aligned"]
    node = volume_node(scene, phantom_volume(geometry), "brain")
    warp = transform_node(scene, displacement(points_ras(geometry)), geometry, "warp")
    node.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(InputError, match="brain lies under the non-linear transform warp"):
        volume_from_node(node)


def test_empty_node_is_refused(scene):
    with pytest.raises(InputError, match="nothing has no voxels"):
        volume_from_node(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing"))


@pytest.mark.parametrize("components", [3, 4, 30])
def test_several_values_in_a_voxel_are_refused(scene, components):
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colourful")
    image = vtk.vtkImageData()
    fill_image(image, np.zeros((9, 9, 9, components), np.float32))
    node.SetAndObserveImageData(image)
    with pytest.raises(InputError, match=f"colourful has {components} values in each voxel"):
        volume_from_node(node)


def test_label_map_goes_to_the_scene_and_back(scene):
    geometry = GEOMETRIES["left-handed"]
    labels = Volume(phantom_volume(geometry).array_kji.astype(np.uint16), geometry, "labels")
    node = label_node(scene, labels, "labels")
    assert node.IsA("vtkMRMLLabelMapVolumeNode")
    assert scalars_of_node(node).dtype == np.uint16
    np.testing.assert_array_equal(scalars_of_node(node), labels.array_kji)
    assert geometry_of_node(node).matches(geometry, tolerance_mm=1e-9)


def test_grey_window_spans_the_image(scene):
    node = volume_node(scene, phantom_volume(GEOMETRIES["aligned"]), "brain")
    display = node.GetDisplayNode()
    assert display.GetColorNode().GetName() == "Grey"
    assert display.GetWindowLevelMin() < 5
    assert 300 < display.GetWindowLevelMax() <= phantom_volume(GEOMETRIES["aligned"]).array_kji.max()


def test_window_of_an_image_that_is_nearly_all_background(scene):
    image = np.zeros((20, 20, 20), np.float32)
    image[10, 10, 10] = 50
    volume = Volume(image, grid((20, 20, 20), (1.0, 1.0, 1.0), np.eye(3)), "point")
    display = volume_node(scene, volume, "point").GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 50)
