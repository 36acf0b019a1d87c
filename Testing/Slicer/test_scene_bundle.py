"""scene.mrb: written whole or not at all, and opened again by Slicer's own reader."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import GEOMETRIES, node_ids, read_bundle, registration

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.bundle import fill_scene, write_scene
from MMLNRegistrationLib.scene.transforms import displacement_from_node
from MMLNRegistrationLib.scene.volumes import volume_from_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image
from MMLNRegistrationLib.spatial.geometry import transform_points

PAIRS = [("aligned", "oblique"), ("left-handed", "left-handed oblique")]


def labels_of(result):
    return Volume((result.fixed.array_kji / 200).astype(np.uint8), result.fixed.geometry, "atlas labels")


def values_at(volume, points):
    """The voxels of a volume that lie at these world points."""
    index = np.rint(transform_points(volume.geometry.ijk_from_ras, points)).astype(int)
    np.testing.assert_allclose(transform_points(volume.geometry.ras_from_ijk, index), points, atol=1e-4)
    return volume.array_kji[index[:, 2], index[:, 1], index[:, 0]]


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_everything_comes_back(tmp_path, fixed_name, moving_name):
    """By world position: Slicer reverses the axis order of left-handed volumes when it reads them."""
    result = registration(GEOMETRIES[fixed_name], GEOMETRIES[moving_name])
    write_scene(result, tmp_path / "scene.mrb", labels_of(result))
    scene = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    random = np.random.default_rng(0)
    for name, volume in {
        "subject": result.fixed,
        "atlas": result.moving,
        "atlas warped": result.warped,
        "Jacobian determinant": result.jacobian,
    }.items():
        again = volume_from_node(next(n for n in volumes(scene) if n.GetName() == name))
        ijk = random.integers(0, volume.geometry.size_ijk, size=(300, 3))
        expected = volume.array_kji[ijk[:, 2], ijk[:, 1], ijk[:, 0]]
        found = values_at(again, transform_points(volume.geometry.ras_from_ijk, ijk))
        np.testing.assert_array_equal(found, expected)


def volumes(scene):
    class_name = "vtkMRMLScalarVolumeNode"
    return [scene.GetNthNodeByClass(i, class_name) for i in range(scene.GetNumberOfNodesByClass(class_name))]


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_transform_comes_back_exactly(tmp_path, fixed_name, moving_name):
    result = registration(GEOMETRIES[fixed_name], GEOMETRIES[moving_name])
    write_scene(result, tmp_path / "scene.mrb")
    scene = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    node = scene.GetFirstNodeByName("atlas to subject")
    field, geometry = displacement_from_node(node)
    np.testing.assert_array_equal(field, result.displacement_mm)
    assert geometry.matches(result.fixed.geometry, tolerance_mm=1e-6)
    assert node.GetTransformFromParent().GetInterpolationModeAsString() == "Cubic"
    assert node.GetNodeReference("spatialRegistrationFixed").GetName() == "subject"
    assert node.GetNodeReference("spatialRegistrationMoving").GetName() == "atlas"


def test_views_show_fixed_under_warped(tmp_path):
    result = registration(GEOMETRIES["left-handed"], GEOMETRIES["oblique"])
    write_scene(result, tmp_path / "scene.mrb")
    scene = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    for view, orientation in (("Red", "Axial"), ("Yellow", "Sagittal"), ("Green", "Coronal")):
        composite = scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")
        assert scene.GetNodeByID(composite.GetBackgroundVolumeID()).GetName() == "subject"
        assert scene.GetNodeByID(composite.GetForegroundVolumeID()).GetName() == "atlas warped"
        assert composite.GetForegroundOpacity() == 0.5
        node = scene.GetSingletonNode(view, "vtkMRMLSliceNode")
        assert node.GetOrientation() == orientation
        assert node.GetLayoutColor() == pytest.approx(getattr(node, f"Get{view}Color")(), abs=1e-5)
        centre = [node.GetSliceToRAS().GetElement(row, 3) for row in range(3)]
        np.testing.assert_allclose(centre, result.fixed.geometry.centre_ras, atol=1e-3)
        assert min(node.GetFieldOfView()[:2]) >= np.ptp(result.fixed.geometry.corners_ras, axis=0).max() - 1e-6


def test_labels_come_back_as_segments(tmp_path):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    labels = labels_of(result)
    write_scene(result, tmp_path / "scene.mrb", labels)
    scene = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    node = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    segmentation = node.GetSegmentation()
    expected = np.unique(labels.array_kji)[1:]
    assert [segmentation.GetNthSegment(i).GetName() for i in range(len(expected))] == [f"Label {v}" for v in expected]
    for index, value in enumerate(expected):
        image = slicer.vtkOrientedImageData()
        node.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(index), image)
        found = array_from_image(image)
        assert (found > 0).sum() == (labels.array_kji == value).sum()


def test_scene_without_labels_has_no_segmentation(tmp_path):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    write_scene(result, tmp_path / "scene.mrb")
    scene = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0


def test_only_the_bundle_is_left_behind(tmp_path):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    (tmp_path / "scene.mrb").write_bytes(b"an older one")
    write_scene(result, tmp_path / "scene.mrb")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
    assert (tmp_path / "scene.mrb").read_bytes()[:2] == b"PK"


def test_missing_folder_is_refused(tmp_path):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    with pytest.raises(InputError, match="cannot be written"):
        write_scene(result, tmp_path / "nowhere" / "scene.mrb")
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_older_bundle(tmp_path, monkeypatch):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    (tmp_path / "scene.mrb").write_bytes(b"an older one")

    class FullDisk(slicer.vtkMRMLScene):
        def WriteToMRB(self, path, thumbnail, messages):  # noqa: N802
            with open(path, "wb") as unfinished:
                unfinished.write(b"half")
            messages.AddMessage(vtk.vtkCommand.ErrorEvent, "no space left")
            return False

    monkeypatch.setattr(slicer, "vtkMRMLScene", FullDisk)
    with pytest.raises(InputError, match="no space left"):
        write_scene(result, tmp_path / "scene.mrb")
    assert [path.name for path in tmp_path.iterdir()] == ["scene.mrb"]
    assert (tmp_path / "scene.mrb").read_bytes() == b"an older one"


def test_views_that_are_open_keep_their_size(scene):
    """The application gives each view the size of its window; the pixels must stay square."""
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    fill_scene(scene, result)
    view = scene.GetSingletonNode("Red", "vtkMRMLSliceNode")
    view.SetDimensions(400, 200, 1)
    fill_scene(scene, result)
    assert view.GetDimensions()[:2] == (400, 200)
    width_mm, height_mm, _ = view.GetFieldOfView()
    assert width_mm == pytest.approx(2 * height_mm)
    assert height_mm >= np.ptp(result.fixed.geometry.corners_ras, axis=0).max() - 1e-6


def test_filling_a_scene_twice_gives_two_results_and_one_set_of_views(scene):
    result = registration(GEOMETRIES["aligned"], GEOMETRIES["oblique"])
    fill_scene(scene, result)
    once = node_ids(scene)
    fill_scene(scene, result)
    assert scene.GetNumberOfNodesByClass("vtkMRMLTransformNode") == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceNode") == 3
    assert scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode") == 3
    assert set(once) <= set(node_ids(scene))
