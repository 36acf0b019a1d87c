"""Segmentations carried through a field: voxels by direct lookup, everything else unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import GEOMETRIES, displacement, node_ids, points_ras, rotation, surfaces
from segment_cases import (
    IDS,
    SHAPES,
    TERMINOLOGY,
    add_images,
    added,
    atlas_segmentation,
    ball,
    carried,
    colour,
    nearest,
    propagated,
    voxels,
)

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.quality.colours import label_colour
from MMLNRegistrationLib.scene.atlases import Codes, atlas_labels
from MMLNRegistrationLib.scene.segments import LABELMAP, labelmaps, segmentation_from_labels
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volume_files import volume_file
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, matrix_from_vtk, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import transform_points

PAIRS = [("aligned", "oblique"), ("left-handed", "aligned"), ("oblique", "left-handed oblique")]
SHEAR = np.array([[1.0, 0.2, 0, 5], [0, 1.1, 0.1, -3], [0, 0, 0.9, 2], [0, 0, 0, 1]])


def moved_points(name: str) -> np.ndarray:
    """x + u(x) in the world for the voxels of one of GEOMETRIES."""
    points = points_ras(GEOMETRIES[name])
    return points + displacement(points)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@pytest.mark.parametrize(("subject_grid", "atlas_grid"), PAIRS)
def test_voxels_equal_direct_lookup(scene, tmp_path, subject_grid, atlas_grid):
    node, _ = propagated(scene, tmp_path, subject_grid, atlas_grid)
    for segment_id, shape in zip(IDS, SHAPES.values(), strict=True):
        found = voxels(node, segment_id, GEOMETRIES[subject_grid])
        expected = nearest(shape, moved_points(subject_grid), GEOMETRIES[atlas_grid])
        # float32 against float64 can settle a tie between two voxels the other way.
        assert (found != expected).sum() <= 1e-3 * expected.sum()
        assert expected.sum() > 40 or segment_id == IDS[3]


@pytest.mark.parametrize(("subject_grid", "atlas_grid"), PAIRS)
def test_shape_moves_the_right_way(scene, tmp_path, subject_grid, atlas_grid):
    """A ball against the analytic shape at x + u(x), and against the wrong one at x - u(x)."""
    node, _ = propagated(scene, tmp_path, subject_grid, atlas_grid)
    points = points_ras(GEOMETRIES[subject_grid])
    found = voxels(node, IDS[0], GEOMETRIES[subject_grid])
    right, wrong = (SHAPES["whole"](points + sign * displacement(points)) for sign in (1, -1))
    assert dice(found, right) > 0.95
    assert dice(found, wrong) < 0.85


def test_everything_but_the_voxels_is_kept(scene, tmp_path):
    node, _ = propagated(scene, tmp_path, "aligned", "oblique")
    segmentation = node.GetSegmentation()
    assert node.GetName() == "subject segmentation"
    assert segmentation.GetSegmentIDs() == IDS
    for number, (segment_id, name) in enumerate(zip(IDS, SHAPES, strict=True), start=1):
        segment = segmentation.GetSegment(segment_id)
        assert segment.GetName() == name
        assert segment.GetColor() == pytest.approx(colour(number))
        for tag, expected in (("TerminologyEntry", TERMINOLOGY), ("Note", f"tag {number}")):
            value = vtk.reference("")
            assert segment.GetTag(tag, value)
            assert str(value) == expected


def test_overlap_of_segments_is_kept(scene, tmp_path):
    node, _ = propagated(scene, tmp_path, "aligned", "oblique")
    whole, left, right = (voxels(node, segment_id, GEOMETRIES["aligned"]) for segment_id in IDS[:3])
    assert node.GetSegmentation().GetNumberOfLayers(LABELMAP) == 2
    assert left.sum() > 50
    assert (whole & left).sum() == left.sum()
    assert not (left & right).any()


def test_the_atlas_is_left_alone(scene, tmp_path):
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    before = voxels(atlas, IDS[0], GEOMETRIES["oblique"])
    changed = atlas.GetSegmentation().GetMTime()
    propagated(scene, tmp_path, "aligned", "oblique", atlas)
    np.testing.assert_array_equal(voxels(atlas, IDS[0], GEOMETRIES["oblique"]), before)
    assert atlas.GetSegmentation().GetNumberOfSegments() == 4
    assert atlas.GetSegmentation().GetMTime() == changed


def test_subject_is_the_reference_geometry(scene, tmp_path):
    node, subject = propagated(scene, tmp_path, "left-handed", "oblique")
    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is subject
    image = node.GetSegmentation().GetLayerDataObject(0, LABELMAP)
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    np.testing.assert_allclose(matrix_from_vtk(matrix), GEOMETRIES["left-handed"].ras_from_ijk, atol=1e-9)
    assert image.GetDimensions() == GEOMETRIES["left-handed"].size_ijk


def test_linear_parent_of_the_segments_is_folded_in(scene, tmp_path):
    """The segments moved away, and brought back by a parent: they come out as those that never left."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((20, 10, -5))
    matrix[:3, 3] = (40, -30, 10)
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    away = vtk.vtkTransform()
    away.SetMatrix(vtk_matrix(matrix))
    atlas.GetSegmentation().ApplyLinearTransform(away)
    back = scene.AddNewNodeByClass("vtkMRMLTransformNode", "back")
    back.SetMatrixTransformToParent(vtk_matrix(np.linalg.inv(matrix)))
    atlas.SetAndObserveTransformNodeID(back.GetID())
    node, _ = propagated(scene, tmp_path, "aligned", "oblique", atlas)
    for segment_id, shape in zip(IDS, SHAPES.values(), strict=True):
        expected = nearest(shape, moved_points("aligned"), GEOMETRIES["oblique"])
        found = voxels(node, segment_id, GEOMETRIES["aligned"])
        assert (found != expected).sum() <= 1e-3 * expected.sum()


@pytest.mark.parametrize("matrix", [np.diag([-1.0, 1.0, 1.0, 1.0]), SHEAR], ids=["mirrored", "sheared"])
def test_linear_parent_of_the_whole_atlas_is_folded_in(scene, tmp_path, matrix):
    """Image and segments under one parent, whose bent angles no file can hold."""
    subject, image = add_images(scene, "left-handed", "oblique")
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode", "parent")
    parent.SetMatrixTransformToParent(vtk_matrix(matrix))
    for node in (image, atlas):
        node.SetAndObserveTransformNodeID(parent.GetID())
    assert volume_file(image).is_in_world == (matrix is not SHEAR)
    result = carried(tmp_path, subject, image, atlas)
    node = added(result, "subject", subject).segmentation
    assert node.GetParentTransformNode() is None
    places = transform_points(np.linalg.inv(matrix), moved_points("left-handed"))
    for segment_id, shape in zip(IDS, SHAPES.values(), strict=True):
        expected = nearest(shape, places, GEOMETRIES["oblique"])
        assert (voxels(node, segment_id, GEOMETRIES["left-handed"]) != expected).sum() <= 1e-3 * expected.sum()


def test_cropped_labelmap_is_placed_right(scene, tmp_path):
    """Slicer crops the voxels of segments to where there are any; their indices then do not start at 0."""
    atlas = atlas_segmentation(scene, GEOMETRIES["oblique"])
    image = atlas.GetSegmentation().GetSegment(IDS[0]).GetRepresentation(LABELMAP)
    extent = list(image.GetExtent())
    mask = np.argwhere(array_from_image(image) > 0)
    extent[0:2] = int(mask[:, 2].min()), int(mask[:, 2].max())
    extent[4:6] = int(mask[:, 0].min()), int(mask[:, 0].max())
    image.Crop(extent)
    assert image.GetExtent()[0] > 0
    node, _ = propagated(scene, tmp_path, "aligned", "oblique", atlas)
    for segment_id, shape in zip(IDS, SHAPES.values(), strict=True):
        expected = nearest(shape, moved_points("aligned"), GEOMETRIES["oblique"])
        assert (voxels(node, segment_id, GEOMETRIES["aligned"]) != expected).sum() <= 1e-3 * expected.sum()


def test_surfaces_are_turned_into_voxels_on_a_copy(scene, tmp_path):
    atlas = surfaces(scene, "surfaces", {"ball": ((0, 0, 0), 10)})
    node, _ = propagated(scene, tmp_path, "aligned", "oblique", atlas)
    assert not atlas.GetSegmentation().ContainsRepresentation(LABELMAP)
    exact = ball(moved_points("aligned"), (0, 0, 0), 10)
    assert dice(voxels(node, "ball", GEOMETRIES["aligned"]), exact) > 0.9


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


def test_segments_that_cannot_be_used_are_refused_and_leave_nothing(scene):
    _, image = add_images(scene, "aligned", "oblique")
    scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    for name, kind in (("blank", "Closed surface"), ("outlines", "Planar contour")):
        segment = slicer.vtkSegment()
        segment.AddRepresentation(kind, vtk.vtkPolyData())
        segmentation = surfaces(scene, name, {}).GetSegmentation()
        segmentation.SetSourceRepresentationName(kind)
        segmentation.AddSegment(segment, "one")
    field = displacement(points_ras(GEOMETRIES["aligned"]))
    warp = transform_node(scene, field, GEOMETRIES["aligned"], "warp")
    atlas_segmentation(scene, GEOMETRIES["oblique"], "warped").SetAndObserveTransformNodeID(warp.GetID())
    before = node_ids(scene)
    for name, message in (
        ("empty", "empty has no segments"),
        ("blank", "The segments of blank are empty"),
        ("outlines", "outlines has nothing that can be made of voxels"),
        ("warped", "warped lies under the non-linear transform warp"),
    ):
        with pytest.raises(InputError, match=message):
            atlas_labels(scene.GetFirstNodeByName(name), volume_file(image), Codes())
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
    node = segmentation_from_labels(scene, labels, "seg", names={7: "Thalamus"})
    segmentation = node.GetSegmentation()
    assert [segmentation.GetNthSegment(i).GetName() for i in range(3)] == ["Label 3", "Thalamus", "Label 300"]
    for index, value in enumerate((3, 7, 300)):
        assert segmentation.GetNthSegment(index).GetColor() == pytest.approx(label_colour(value))
    assert segmentation.GetNumberOfLayers(LABELMAP) == 1
    for index, value in enumerate((3, 7, 300)):
        segment_id = segmentation.GetNthSegmentID(index)
        np.testing.assert_array_equal(voxels(node, segment_id, labels.geometry), labels.array_kji == value)


def test_neighbouring_labels_get_different_colours():
    colours = np.array([label_colour(value) for value in range(1, 60)])
    assert (colours >= 0).all()
    assert (colours <= 1).all()
    assert np.abs(np.diff(colours, axis=0)).max(axis=1).min() > 0.2
