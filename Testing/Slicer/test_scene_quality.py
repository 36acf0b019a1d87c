"""The scene's part of judging a transform: sampling, spaces, landmarks, labels, mixtures, tables, plots, views."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import displacement, field_of, grid, phantom_volume, points_ras, rotation, surfaces
from test_scene_jacobian import shown_colours

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.comparison import Mixture
from MMLNRegistrationLib.scene.jacobian import jacobian_node
from MMLNRegistrationLib.scene.jacobian_thresholds import percent_beyond, show_all, show_beyond
from MMLNRegistrationLib.scene.label_layers import label_layers, segment_labels
from MMLNRegistrationLib.scene.landmarks import landmark_points
from MMLNRegistrationLib.scene.quality_results import read_inspection, show_folds, show_jacobian
from MMLNRegistrationLib.scene.quality_tables import (
    fill_table,
    fold_rows,
    histogram_chart,
    histogram_rows,
    structure_chart,
    structure_rows,
)
from MMLNRegistrationLib.scene.quality_views import (
    ARROWS,
    GRID,
    flip_foreground,
    hide_deformation,
    jump_to,
    show_deformation,
    show_layers,
)
from MMLNRegistrationLib.scene.sampling import DisplacementSampler
from MMLNRegistrationLib.scene.segments import segmentation_from_labels
from MMLNRegistrationLib.scene.spaces import moving_geometry, require_not_under
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.views import SliceLayers, set_up_slice_views
from MMLNRegistrationLib.scene.volumes import geometry_of_node, volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, vtk_matrix

GEOMETRY = grid((14, 16, 18), (3.0, 2.5, 2.0), rotation((10, -15, 20)))
MATRIX = np.array([[0.9, 0.1, 0, 3], [-0.1, 1.1, 0.05, -2], [0, 0, 1.0, 5], [0, 0, 0, 1]])


def linear(scene, matrix=MATRIX, name="linear"):
    """A transform node whose to-parent is the inverse of matrix: it leads from world points x to matrix x."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformFromParent(vtk_matrix(matrix))
    return node


def bspline(scene):
    """A B-spline as another program could have left it: stored to parent, so that Slicer has to invert it."""
    coefficients = vtk.vtkImageData()
    coefficients.SetDimensions(8, 8, 8)
    coefficients.SetSpacing(14, 14, 14)
    coefficients.SetOrigin(-49, -49, -49)
    coefficients.AllocateScalars(vtk.VTK_DOUBLE, 3)
    values = array_from_image(coefficients)
    values[...] = np.random.default_rng(3).uniform(-2, 2, values.shape)
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(coefficients)
    node = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "bspline")
    node.SetAndObserveTransformToParent(transform)
    return node


def composite(scene):
    """A field under a linear transform."""
    node = transform_node(scene, displacement(points_ras(GEOMETRY)), GEOMETRY, "field")
    node.SetAndObserveTransformNodeID(linear(scene).GetID())
    return node


def sampled(node, seconds=0.0):
    sampler = DisplacementSampler(node, GEOMETRY)
    pieces = []
    while not sampler.done:
        assert sampler.fraction < 1
        pieces.append(sampler.advance(seconds))
    assert len(pieces) > 1
    return np.concatenate(pieces).reshape(*GEOMETRY.shape_kji, 3)


@pytest.mark.parametrize("make", [linear, bspline, composite], ids=lambda make: make.__name__)
def test_slices_of_time_give_the_whole_field(scene, make):
    node = make(scene)
    np.testing.assert_allclose(sampled(node), field_of(node, GEOMETRY), atol=1e-5)


def test_field_on_the_very_grid_is_taken_as_it_is(scene):
    field = displacement(points_ras(GEOMETRY))
    node = transform_node(scene, field, GEOMETRY, "field")
    sampler = DisplacementSampler(node, GEOMETRY)
    np.testing.assert_allclose(sampler.advance(10.0).reshape(field.shape), field, atol=1e-6)
    np.testing.assert_allclose(field_of(node, GEOMETRY), field, atol=1e-4)
    node.Inverse()  # now it is stored to parent, and another transform
    assert np.abs(DisplacementSampler(node, GEOMETRY).advance(10.0).reshape(field.shape) - field).max() > 1


def test_linear_field_by_hand(scene):
    points = points_ras(GEOMETRY)
    expected = points @ MATRIX[:3, :3].T + MATRIX[:3, 3] - points
    np.testing.assert_allclose(sampled(linear(scene)), expected, atol=1e-4)


def test_inverse_of_a_bspline(scene):
    """Stored to parent, asked from parent: what comes out leads back."""
    node = bspline(scene)
    field = sampled(node)
    forward = node.GetTransformToParent()
    points = points_ras(GEOMETRY)
    for k, j, i in ((3, 4, 5), (7, 8, 9), (10, 3, 12)):
        moved = points[k, j, i] + field[k, j, i]
        np.testing.assert_allclose(forward.TransformPoint(moved), points[k, j, i], atol=0.01)
    assert np.abs(field).max() > 0.5


def test_moving_side_lies_in_the_transforms_space(scene):
    node, parent = linear(scene), linear(scene, np.diag([2.0, 2.0, 2.0, 1.0]), "parent")
    volume = volume_node(scene, phantom_volume(GEOMETRY), "moving")
    assert moving_geometry(volume, node).matches(GEOMETRY)
    volume.SetAndObserveTransformNodeID(node.GetID())
    assert moving_geometry(volume, node).matches(GEOMETRY)
    assert not geometry_of_node(volume).matches(GEOMETRY)
    volume.SetAndObserveTransformNodeID(parent.GetID())
    np.testing.assert_allclose(
        moving_geometry(volume, node).ras_from_ijk, np.diag([0.5, 0.5, 0.5, 1]) @ GEOMETRY.ras_from_ijk
    )
    parent.SetAndObserveTransformNodeID(node.GetID())
    np.testing.assert_allclose(
        moving_geometry(volume, node).ras_from_ijk, np.diag([0.5, 0.5, 0.5, 1]) @ GEOMETRY.ras_from_ijk
    )
    with pytest.raises(InputError, match="lies under linear"):
        require_not_under(volume, node)


def test_non_linear_parent_between_is_refused(scene):
    node, between = linear(scene), bspline(scene)
    between.SetAndObserveTransformNodeID(node.GetID())
    volume = volume_node(scene, phantom_volume(GEOMETRY), "moving")
    volume.SetAndObserveTransformNodeID(between.GetID())
    with pytest.raises(InputError, match="not linear lies between moving and linear"):
        moving_geometry(volume, node)


def markups(scene, name, points, labels=None):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", name)
    for number, point in enumerate(points):
        node.AddControlPoint(vtk.vtkVector3d(*map(float, point)), (labels or {}).get(number, f"{name}-{number}"))
    return node


FIXED_POINTS = np.array([(0.0, 0.0, 0.0), (5.0, 2.0, 1.0), (-4.0, 6.0, 2.0)])


def test_landmarks_by_order(scene):
    shift = np.array((3.0, 0.0, 4.0))
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    node = linear(scene, matrix)
    fixed = markups(scene, "F", FIXED_POINTS)
    moving = markups(scene, "M", FIXED_POINTS + shift + (0, 1, 0))
    points = landmark_points(fixed, moving, node)
    assert [point.name for point in points] == ["F-0", "F-1", "F-2"]
    for point, place in zip(points, FIXED_POINTS, strict=True):
        np.testing.assert_allclose(point.mapped_ras, place + shift)
        np.testing.assert_allclose(np.subtract(point.moving_ras, point.mapped_ras), (0, 1, 0), atol=1e-9)
    moving.SetAndObserveTransformNodeID(node.GetID())  # shown warped: it is the same landmark still
    assert landmark_points(fixed, moving, node) == points


def test_landmarks_by_label(scene):
    node = linear(scene)
    fixed = markups(scene, "F", FIXED_POINTS, {0: "a", 1: "b", 2: "c"})
    moving = markups(scene, "M", FIXED_POINTS[:2], {0: "c", 1: "a"})
    points = {point.name: point for point in landmark_points(fixed, moving, node)}
    assert set(points) == {"a", "c"}
    np.testing.assert_allclose(points["c"].fixed_ras, FIXED_POINTS[2])
    np.testing.assert_allclose(points["c"].moving_ras, FIXED_POINTS[0])


def test_landmarks_that_do_not_belong_together(scene):
    node = linear(scene)
    with pytest.raises(InputError, match="F has 3 points and M 2"):
        landmark_points(markups(scene, "F", FIXED_POINTS), markups(scene, "M", FIXED_POINTS[:2]), node)
    with pytest.raises(InputError, match="has no points"):
        landmark_points(markups(scene, "F", FIXED_POINTS), markups(scene, "M", []), node)


def segmentation(scene, start, name, names):
    labels = np.zeros(GEOMETRY.shape_kji, np.uint8)
    labels[3:8, 3:8, start : start + 5] = 4
    labels[9:12, 3:8, 4:8] = 9
    return segmentation_from_labels(scene, Volume(labels, GEOMETRY, name), name, names)


def test_segments_of_one_name_have_one_label(scene, tmp_path):
    first = segmentation(scene, 3, "first", {4: "Thalamus", 9: "Fornix"})
    second = segmentation(scene, 5, "second", {4: "Fornix", 9: "Fornix"})
    labels = segment_labels([first, second])
    assert labels == {"Thalamus": 1, "Fornix": 2, "Fornix (2)": 3}
    (layer,) = label_layers(first, labels, np.eye(4), GEOMETRY.ras_from_ijk)
    layer.write(tmp_path / "first.nrrd")
    read = io.read_labels(tmp_path / "first.nrrd")
    assert read.geometry.matches(GEOMETRY)
    counts = dict(zip(*np.unique(read.array_kji, return_counts=True), strict=True))
    assert (counts[1], counts[2]) == (125, 60)
    (layer,) = label_layers(second, labels, np.eye(4), GEOMETRY.ras_from_ijk)
    layer.write(tmp_path / "second.nrrd")
    assert set(np.unique(io.read_labels(tmp_path / "second.nrrd").array_kji)) == {0, 2, 3}


def test_segments_that_have_only_surfaces(scene, tmp_path):
    node = surfaces(scene, "surfaces", {"Thalamus": ((0, 1, 0), 12), "Fornix": ((19, 1, 0), 9)})  # overlap
    layers = label_layers(node, segment_labels([node]), np.eye(4), GEOMETRY.ras_from_ijk)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    counts = {}
    for number, layer in enumerate(layers):
        layer.write(tmp_path / f"{number}.nrrd")
        read = io.read_labels(tmp_path / f"{number}.nrrd")
        counts |= dict(zip(*np.unique(read.array_kji, return_counts=True), strict=True))
    voxel_mm3 = float(np.prod(GEOMETRY.spacing_mm))
    for label, radius_mm in ((1, 12), (2, 9)):
        assert counts[label] * voxel_mm3 == pytest.approx(4 / 3 * np.pi * radius_mm**3, rel=0.1)


def test_segments_that_cannot_be_read(scene):
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(InputError, match="has no segments"):
        label_layers(empty, {}, np.eye(4), np.eye(4))
    empty.GetSegmentation().AddEmptySegment("a", "a")
    with pytest.raises(InputError, match="something drawn"):
        label_layers(empty, segment_labels([empty]), np.eye(4), np.eye(4))


def test_checkerboard_and_difference():
    geometry = grid((8, 8, 8), (1.0, 2.0, 1.0), np.eye(3))
    fixed, warped = np.full(geometry.shape_kji, 20, np.int16), np.full(geometry.shape_kji, 3.0, np.float32)
    board = Mixture(fixed, warped, ((0, 40), (0, 4)), geometry, square_mm=4.0)
    fractions = list(board.steps())
    assert fractions[-1] == 1
    image = board.image.array
    assert set(np.unique(image)) == {50.0, 75.0}
    assert (image[:4, :2, :4] == 50).all()
    assert (image[:4, :2, 4:] == 75).all()
    assert (image[:4, 2:4, :4] == 75).all()
    assert (image[4:, :2, :4] == 75).all()
    difference = Mixture(fixed, warped, ((0, 40), (0, 4)), geometry, square_mm=None)
    list(difference.steps())
    np.testing.assert_allclose(difference.image.array, 25)


def test_thresholds_hide_the_middle(scene):
    values = np.ones((10, 10, 10), np.float32)
    values.ravel()[:5] = (-0.5, 0.4, 0.9, 1.5, 2.5)
    node = jacobian_node(scene, Volume(values, grid(values.shape, (1, 1, 1), np.eye(3)), "J"), "J")
    display = node.GetDisplayNode()

    def alphas():
        producer = display.GetOutputImageDataConnection().GetProducer()
        producer.Update()
        return (array_from_image(producer.GetOutput()).reshape(-1, 4)[:5, 3] > 0).tolist()

    assert alphas() == [True] * 5
    before = shown_colours(node, 5)
    show_beyond(scene, display, 0.5, 2.0)
    assert alphas() == [True, True, False, False, True]
    np.testing.assert_array_equal(shown_colours(node, 5)[[0, 1, 4]], before[[0, 1, 4]])
    show_beyond(scene, display, 0.5, 1.2)
    assert alphas() == [True, True, False, True, True]
    assert scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode") <= 3
    show_all(scene, display)
    assert alphas() == [True] * 5
    assert percent_beyond(values, 0.5, 2.0) == (pytest.approx(0.2), pytest.approx(0.1))


FIGURES = {
    "folds": [{"voxels": 3, "volume_mm3": 4.5, "jacobian_min": -0.25, "r_mm": 1.0, "a_mm": 2.0, "s_mm": -3.0}],
    "structures": [
        {
            **dict.fromkeys(("tc", "volume_ratio", "fixed_mm3", "moving_mm3", "warped_mm3"), 1.0),
            **dict.fromkeys(("jacobian_mean", "jacobian_min", "jacobian_max", "sd_log_jacobian"), 0.5),
            "name": name,
            "dice": dice,
            "folded_voxels": 2,
        }
        for name, dice in (("Thalamus", 0.8), ("Fornix", None))
    ],
    "landmarks": [],
    "histogram": {"log_jacobian": [-0.1, 0.0, 0.1], "percent": {"foreground": [1.0, 98.0, 1.0], "Fornix": [0, 100, 0]}},
    "windows": {"fixed": [0, 1]},
}


def test_tables_and_plots(scene):
    folds, structures, histogram = (scene.AddNewNodeByClass("vtkMRMLTableNode", name) for name in "fsh")
    fill_table(folds, fold_rows(FIGURES))
    assert [folds.GetCellText(0, column) for column in range(3)] == ["3", "4.5", "-0.25"]
    fill_table(structures, structure_rows(FIGURES))
    assert structures.GetCellText(0, 0) == "Thalamus"
    assert np.isnan(structures.GetTable().GetColumnByName("Dice").GetValue(1))
    fill_table(histogram, histogram_rows(FIGURES))
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "chart")
    histogram_chart(scene, chart, histogram)
    assert [chart.GetNthPlotSeriesNode(n).GetYColumnName() for n in range(2)] == ["foreground", "Fornix"]
    structure_chart(scene, chart, structures, "Dice")
    assert chart.GetNumberOfPlotSeriesNodes() == scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1
    assert chart.GetNthPlotSeriesNode(0).GetLabelColumnName() == "Structure"


def test_results_come_into_the_scene(scene, tmp_path):
    jacobian = np.linspace(-1, 2, int(np.prod(GEOMETRY.shape_kji)), dtype=np.float32).reshape(GEOMETRY.shape_kji)
    io.write_volume(Volume(jacobian, GEOMETRY, "J"), tmp_path / "jacobian.nii")
    io.write_volume(Volume((jacobian <= 0).astype(np.uint8), GEOMETRY, "f"), tmp_path / "folded.nii")
    (tmp_path / "quality.json").write_text(json.dumps(FIGURES))
    result = read_inspection(tmp_path, GEOMETRY)
    np.testing.assert_array_equal(result.jacobian.array, jacobian)
    assert result.warped is None
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "J")
    folds = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "folds")
    show_jacobian(scene, volume, result)
    show_folds(scene, folds, result)
    assert geometry_of_node(volume).matches(GEOMETRY)
    np.testing.assert_array_equal(array_from_image(folds.GetImageData()), jacobian <= 0)
    (tmp_path / "jacobian.nii").write_bytes(b"short")
    with pytest.raises(InputError, match="cut off"):
        read_inspection(tmp_path, GEOMETRY)
    (tmp_path / "quality.json").write_text("{")
    with pytest.raises(InputError, match=r"quality\.json cannot be read"):
        read_inspection(tmp_path, GEOMETRY)


def test_views_show_jump_and_flicker(scene):
    fixed = volume_node(scene, phantom_volume(GEOMETRY), "fixed")
    warped = volume_node(scene, phantom_volume(GEOMETRY), "warped")
    set_up_slice_views(scene, SliceLayers(fixed))
    show_layers(scene, fixed, warped, 1.0)
    composites = [scene.GetNthNodeByClass(n, "vtkMRMLSliceCompositeNode") for n in range(3)]
    assert {composite.GetForegroundVolumeID() for composite in composites} == {warped.GetID()}
    assert flip_foreground(scene, warped.GetID())
    assert {composite.GetForegroundOpacity() for composite in composites} == {0.0}
    assert flip_foreground(scene, warped.GetID())
    assert {composite.GetForegroundOpacity() for composite in composites} == {1.0}
    assert not flip_foreground(scene, fixed.GetID())
    assert {composite.GetForegroundOpacity() for composite in composites} == {1.0}
    jump_to(scene, (7.0, -6.0, 5.0))
    for n in range(3):
        to_ras = scene.GetNthNodeByClass(n, "vtkMRMLSliceNode").GetSliceToRAS()
        np.testing.assert_allclose([to_ras.GetElement(row, 3) for row in range(3)], (7, -6, 5))


def test_deformation_is_shown_by_the_nodes_own_display(scene):
    node = transform_node(scene, displacement(points_ras(GEOMETRY)), GEOMETRY, "field")
    fixed = volume_node(scene, phantom_volume(GEOMETRY), "fixed")
    hide_deformation(node)
    show_deformation(node, fixed, ARROWS, 6.0)
    display = node.GetDisplayNode()
    assert (display.GetVisualizationMode(), display.GetGlyphSpacingMm()) == (display.VIS_MODE_GLYPH, 6.0)
    show_deformation(node, fixed, GRID, 9.0)
    assert (display.GetVisualizationMode(), display.GetGridSpacingMm()) == (display.VIS_MODE_GRID, 9.0)
    assert node.GetNumberOfDisplayNodes() == 1
    hide_deformation(node)
    assert not display.GetVisibility()
