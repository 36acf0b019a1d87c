"""Segmentations carried through a field: voxels by direct lookup, everything else unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import GEOMETRIES, displacement, node_ids, phantom_volume, points_ras, rotation, surfaces

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.segments import (
    LABELMAP,
    label_colour,
    labelmaps,
    propagate_segmentation,
    segmentation_from_labels,
)
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, fill_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import transform_points

PAIRS = [("aligned", "oblique"), ("left-handed", "aligned"), ("oblique", "left-handed oblique")]
TERMINOLOGY = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^12738006^Brain~SCT^^~Anatomic codes - DICOM master list~SCT^^~SCT^^"
)


def ball(points, centre, radius_mm):
    return np.linalg.norm(points - centre, axis=-1) < radius_mm


SHAPES = {
    "whole": lambda points: ball(points, (0, 0, 0), 17),
    "left part": lambda points: ball(points, (-6, 2, 1), 6) & (points[..., 0] < -5),
    "right part": lambda points: ball(points, (-6, 2, 1), 6) & (points[..., 0] >= -5),
    "nothing": lambda points: np.zeros(points.shape[:-1], bool),
}
"""Segments by world position: the first overlaps the next two, the last is empty."""


def atlas_segmentation(scene, geometry, name="atlas segments"):
    """Four segments with colours, tags and own IDs; the two parts share a layer."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for number, (segment_name, shape) in enumerate(SHAPES.items(), start=1):
        image = slicer.vtkOrientedImageData()
        fill_image(image, shape(points_ras(geometry)).astype(np.uint8))
        image.SetImageToWorldMatrix(vtk_matrix(geometry.ras_from_ijk))
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        segment.SetColor(0.2 * number, 0.1, 0.9 - 0.2 * number)
        segment.SetTag("TerminologyEntry", TERMINOLOGY)
        segment.SetTag("Note", f"tag {number}")
        segment.SetLabelValue(1)
        segment.AddRepresentation(LABELMAP, image)
        node.GetSegmentation().AddSegment(segment, f"id-{number * 7}")
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return node


def voxels(node, segment_id, reference):
    """The segment as a bool array on the grid of a volume node, by Slicer's own export."""
    image = slicer.vtkOrientedImageData()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    target = slicer.vtkOrientedImageData()
    fill_image(target, np.zeros(reference.shape_kji, np.uint8))
    target.SetImageToWorldMatrix(vtk_matrix(reference.ras_from_ijk))
    resampled = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, target, resampled, False, False
    )
    return array_from_image(resampled) > 0


def nearest(shape, moved_ras, geometry):
    """The shape as voxels of a grid, looked up at world points, nearest neighbour, in plain numpy."""
    mask = shape(points_ras(geometry))
    index = np.rint(transform_points(geometry.ijk_from_ras, moved_ras)).astype(int)
    inside = ((index >= 0) & (index < geometry.size_ijk)).all(-1)
    index[~inside] = 0
    return mask[index[..., 2], index[..., 1], index[..., 0]] & inside


def propagated(scene, fixed_name, moving_name, atlas=None):
    geometry = GEOMETRIES[fixed_name]
    subject = volume_node(scene, phantom_volume(geometry), "subject")
    atlas = atlas or atlas_segmentation(scene, GEOMETRIES[moving_name])
    field = displacement(points_ras(geometry))
    return propagate_segmentation(scene, atlas, field, geometry, subject, "subject segments"), atlas, subject


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_voxels_equal_direct_lookup(scene, fixed_name, moving_name):
    node, atlas, _ = propagated(scene, fixed_name, moving_name)
    geometry = GEOMETRIES[fixed_name]
    points = points_ras(geometry)
    moved = points + displacement(points)
    for index, shape in enumerate(SHAPES.values()):
        found = voxels(node, atlas.GetSegmentation().GetNthSegmentID(index), geometry)
        expected = nearest(shape, moved, GEOMETRIES[moving_name])
        # float32 against float64 can settle a tie between two voxels the other way.
        assert (found != expected).sum() <= 1e-3 * expected.sum()
        assert expected.sum() > 40 or index == 3


@pytest.mark.parametrize(("fixed_name", "moving_name"), PAIRS)
def test_shape_moves_the_right_way(scene, fixed_name, moving_name):
    """A ball against the analytic shape at x + u(x), and against the wrong one at x - u(x)."""
    node, _, _ = propagated(scene, fixed_name, moving_name)
    geometry = GEOMETRIES[fixed_name]
    points = points_ras(geometry)
    found = voxels(node, "id-7", geometry)
    right, wrong = (SHAPES["whole"](points + sign * displacement(points)) for sign in (1, -1))
    assert 2 * (found & right).sum() / (found.sum() + right.sum()) > 0.95
    assert 2 * (found & wrong).sum() / (found.sum() + wrong.sum()) < 0.85


def test_everything_but_the_voxels_is_kept(scene):
    node, atlas, _ = propagated(scene, "aligned", "oblique")
    before, after = atlas.GetSegmentation(), node.GetSegmentation()
    assert node.GetName() == "subject segments"
    assert [after.GetNthSegmentID(i) for i in range(4)] == ["id-7", "id-14", "id-21", "id-28"]
    for index in range(4):
        one, other = before.GetNthSegment(index), after.GetNthSegment(index)
        assert other.GetName() == one.GetName()
        assert other.GetColor() == one.GetColor()
        assert other.GetLabelValue() == one.GetLabelValue()
        for tag in ("TerminologyEntry", "Note"):
            values = [vtk.reference(""), vtk.reference("")]
            assert one.GetTag(tag, values[0])
            assert other.GetTag(tag, values[1])
            assert str(values[0]) == str(values[1])
    assert after.GetNumberOfLayers(LABELMAP) == before.GetNumberOfLayers(LABELMAP)


def test_overlap_of_segments_is_kept(scene):
    node, _, subject = propagated(scene, "aligned", "oblique")
    whole, left, right = (voxels(node, f"id-{number}", GEOMETRIES["aligned"]) for number in (7, 14, 21))
    assert node.GetSegmentation().GetNumberOfLayers(LABELMAP) == 2
    assert left.sum() > 50
    assert (whole & left).sum() == left.sum()
    assert not (left & right).any()
    assert subject is not None


def test_the_atlas_is_left_alone(scene):
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    before = voxels(atlas, "id-7", GEOMETRIES["oblique"])
    propagated(scene, "aligned", "oblique", atlas)
    np.testing.assert_array_equal(voxels(atlas, "id-7", GEOMETRIES["oblique"]), before)
    assert atlas.GetSegmentation().GetNumberOfSegments() == 4


def test_subject_is_the_reference_geometry(scene):
    node, _, subject = propagated(scene, "left-handed", "oblique")
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is subject
    image = node.GetSegmentation().GetLayerDataObject(0, LABELMAP)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    found = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
    np.testing.assert_allclose(found, GEOMETRIES["left-handed"].ras_from_ijk, atol=1e-9)
    assert image.GetDimensions() == GEOMETRIES["left-handed"].size_ijk


def test_linear_parent_of_the_atlas_is_folded_in(scene):
    """The same segments, once in the world, once moved away and back by a parent: equal results."""
    direct, _, _ = propagated(scene, "aligned", "oblique")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((20, 10, -5))
    matrix[:3, 3] = (40, -30, 10)
    away = GEOMETRIES["oblique"]
    moved_atlas = atlas_segmentation(scene, away)
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "parent")
    parent.SetMatrixTransformToParent(vtk_matrix(matrix))
    back = scene.AddNewNodeByClass("vtkMRMLTransformNode", "back")
    back.SetMatrixTransformToParent(vtk_matrix(np.linalg.inv(matrix)))
    moved_atlas.GetSegmentation().ApplyLinearTransform(parent.GetTransformToParent())
    moved_atlas.SetAndObserveTransformNodeID(back.GetID())
    folded, _, _ = propagated(scene, "aligned", "oblique", moved_atlas)
    one, other = (voxels(node, "id-7", GEOMETRIES["aligned"]) for node in (direct, folded))
    assert (one != other).sum() <= 1e-3 * one.sum()


def test_cropped_labelmap_is_placed_right(scene):
    """Slicer crops the voxels of segments to where there are any; their indices then do not start at 0."""
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    image = atlas.GetSegmentation().GetSegment("id-7").GetRepresentation(LABELMAP)
    before, _, _ = propagated(scene, "aligned", "oblique", atlas)
    extent = list(image.GetExtent())
    mask = np.argwhere(array_from_image(image) > 0)
    extent[0:2] = int(mask[:, 2].min()), int(mask[:, 2].max())
    extent[4:6] = int(mask[:, 0].min()), int(mask[:, 0].max())
    image.Crop(extent)
    assert image.GetExtent()[0] > 0
    after, _, _ = propagated(scene, "aligned", "oblique", atlas)
    np.testing.assert_array_equal(
        voxels(before, "id-7", GEOMETRIES["aligned"]), voxels(after, "id-7", GEOMETRIES["aligned"])
    )


def test_surfaces_are_turned_into_voxels_on_a_copy(scene):
    atlas = surfaces(scene, "surfaces", {"ball": ((0, 0, 0), 10)})
    node, _, _ = propagated(scene, "aligned", "oblique", atlas)
    assert not atlas.GetSegmentation().ContainsRepresentation(LABELMAP)
    points = points_ras(GEOMETRIES["aligned"])
    exact = ball(points + displacement(points), (0, 0, 0), 10)
    found = voxels(node, "ball", GEOMETRIES["aligned"])
    assert 2 * (found & exact).sum() / (found.sum() + exact.sum()) > 0.9


SHEAR = np.array([[1.0, 0.2, 0, 5], [0, 1.1, 0.1, -3], [0, 0, 0.9, 2], [0, 0, 0, 1]])


@pytest.mark.parametrize("grid", ["oblique", "left-handed"])
@pytest.mark.parametrize("space_from_node", [np.eye(4), SHEAR])
def test_surfaces_become_voxels_of_the_grid_asked_for(scene, grid, space_from_node):
    """Wherever they lie, off the grid too, and whatever the user's own settings for such conversions say."""
    node = surfaces(scene, "surfaces", {"inner": ((0, 0, 0), 10), "outer": ((60, 0, 0), 8)})
    segmentation = node.GetSegmentation()
    setting = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    own = "5;0;0;0;0;5;0;0;0;0;5;0;0;0;0;1;0;9;0;9;0;9;"
    segmentation.SetConversionParameter(setting, own)
    changed = segmentation.GetMTime(), node.GetMTime()

    converted, layers = labelmaps(node, space_from_node, GEOMETRIES[grid].ras_from_ijk)
    assert (segmentation.GetMTime(), node.GetMTime()) == changed
    assert segmentation.GetConversionParameter(setting) == own
    assert not segmentation.ContainsRepresentation(LABELMAP)
    found = dict.fromkeys(("inner", "outer"), 0.0)
    for index, (labels_kji, geometry) in layers.items():
        step = GEOMETRIES[grid].ijk_from_ras @ geometry.ras_from_ijk
        np.testing.assert_allclose(step[:3, :3], np.eye(3), atol=1e-6)
        np.testing.assert_allclose(step[:3, 3], step[:3, 3].round(), atol=1e-6)
        points = transform_points(np.linalg.inv(space_from_node), points_ras(geometry))
        for name, centre, radius_mm in (("inner", (0, 0, 0), 10), ("outer", (60, 0, 0), 8)):
            if converted.GetLayerIndex(name, LABELMAP) == index:
                marked = labels_kji == converted.GetSegment(name).GetLabelValue()
                exact = ball(points, centre, radius_mm)
                found[name] = 2 * (marked & exact).sum() / (marked.sum() + exact.sum())
    assert min(found.values()) > 0.9, found


def test_wrong_inputs_are_refused_and_leave_nothing(scene):
    geometry = GEOMETRIES["aligned"]
    field = displacement(points_ras(geometry))
    subject = volume_node(scene, phantom_volume(geometry), "subject")
    other = volume_node(scene, phantom_volume(GEOMETRIES["oblique"]), "other")
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    warp = transform_node(scene, field, geometry, "warp")
    warped_atlas = atlas_segmentation(scene, GEOMETRIES["oblique"], "warped")
    warped_atlas.SetAndObserveTransformNodeID(warp.GetID())
    before = node_ids(scene)
    for segmentation, volume, message in (
        (atlas, other, "other is not on the grid of the registration"),
        (empty, subject, "empty has no segments"),
        (warped_atlas, subject, "warped lies under the non-linear transform warp"),
    ):
        with pytest.raises(InputError, match=message):
            propagate_segmentation(scene, segmentation, field, geometry, volume, "result")
    assert node_ids(scene) == before


def label_volume(dtype=np.uint16):
    geometry = GEOMETRIES["left-handed"]
    points = points_ras(geometry)
    labels = 3 * ball(points, (0, 0, 0), 15).astype(dtype)
    labels[ball(points, (4, 4, 4), 6)] = 7
    labels[ball(points, (-4, -4, 4), 5)] = 300
    return Volume(labels, geometry, "labels")


def test_labels_become_segments(scene):
    labels = label_volume()
    node = segmentation_from_labels(scene, labels, "seg", names={7: "Thalamus"}, colours={300: (0.25, 0.5, 0.75)})
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(i).GetName() for i in range(3)] == ["Label 3", "Thalamus", "Label 300"]
    assert segmentation.GetNthSegment(2).GetColor() == (0.25, 0.5, 0.75)
    assert segmentation.GetNthSegment(1).GetColor() == pytest.approx(label_colour(7))
    assert segmentation.GetNumberOfLayers(LABELMAP) == 1
    for index, value in enumerate((3, 7, 300)):
        segment_id = segmentation.GetNthSegmentID(index)
        np.testing.assert_array_equal(voxels(node, segment_id, labels.geometry), labels.array_kji == value)


def test_neighbouring_labels_get_different_colours():
    colours = np.array([label_colour(value) for value in range(1, 60)])
    assert (colours >= 0).all()
    assert (colours <= 1).all()
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.2
