"""Pictures by Slicer's slice view, without a screen."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scene_cases import GEOMETRIES, displacement, node_ids, phantom_volume, points_ras, read_bundle

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.jacobian import FOLD_COLOUR, jacobian_node
from MMLNRegistrationLib.scene.render import render_slice
from MMLNRegistrationLib.scene.segments import segmentation_from_labels
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.views import SliceLayers
from MMLNRegistrationLib.scene.volumes import volume_node

GEOMETRY = GEOMETRIES["aligned"]


def pixels(path):
    """(height, width, 3) of a PNG, the upper row first."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(int)[..., :3]


def fold_pixels(picture):
    return int((np.abs(picture - np.array(FOLD_COLOUR) * 255).max(axis=-1) < 3).sum())


@pytest.fixture
def brain(scene):
    return volume_node(scene, phantom_volume(GEOMETRY), "brain")


@pytest.mark.parametrize("orientation", ["Axial", "Sagittal", "Coronal"])
def test_picture_shows_the_image(scene, brain, tmp_path, orientation):
    path = render_slice(scene, tmp_path / "slice.png", SliceLayers(brain), orientation, (160, 120))
    picture = pixels(path)
    assert picture.shape == (120, 160, 3)
    assert picture.max() > 200
    assert (picture == picture[..., :1]).all()  # grey
    assert (picture < 20).mean() > 0.2


def test_picture_has_the_patient_the_right_way_round(scene, tmp_path):
    """Axial, as radiologists look: patient's right on the left side of the picture, front at the top."""
    points = points_ras(GEOMETRY)
    image = np.zeros(GEOMETRY.shape_kji, np.float32)
    image[np.linalg.norm(points - (12, 16, 0), axis=-1) < 6] = 100  # right, front
    node = volume_node(scene, Volume(image, GEOMETRY, "ball"), "ball")
    picture = pixels(render_slice(scene, tmp_path / "slice.png", SliceLayers(node), "Axial", (100, 100)))
    rows, columns = np.nonzero(picture[..., 0] > 100)
    assert columns.mean() < 40
    assert rows.mean() < 40


def test_slice_goes_through_the_point(scene, tmp_path):
    points = points_ras(GEOMETRY)
    image = (points[..., 2] > 8).astype(np.float32)
    node = volume_node(scene, Volume(image, GEOMETRY, "step"), "step")
    for height_mm, bright in ((0, False), (14, True)):
        path = render_slice(
            scene,
            tmp_path / "slice.png",
            SliceLayers(node),
            size_pixels=(60, 60),
            point_ras=np.array([0, 0, height_mm]),
        )
        assert (pixels(path)[30, 30, 0] > 200) == bright


def test_zoom_enlarges(scene, brain, tmp_path):
    areas = [
        (
            pixels(render_slice(scene, tmp_path / "z.png", SliceLayers(brain), size_pixels=(80, 80), zoom=zoom)) > 60
        ).sum()
        for zoom in (1.0, 1.5)
    ]
    assert areas[1] / areas[0] == pytest.approx(2.25, rel=0.15)


def test_foreground_is_blended_over_the_background(scene, brain, tmp_path):
    white = volume_node(scene, Volume(np.ones(GEOMETRY.shape_kji, np.float32), GEOMETRY, "w"), "white")
    white.GetDisplayNode().SetWindowLevelMinMax(0, 1)
    centre = []
    for opacity in (0.0, 0.5, 1.0):
        layers = SliceLayers(brain, white, opacity)
        path = render_slice(scene, tmp_path / "b.png", layers, size_pixels=(60, 60), point_ras=np.array([0, 0, 20]))
        centre.append(pixels(path)[30, 30, 0])
    assert centre[0] < 40
    assert abs(centre[1] - 128) < 30
    assert centre[2] == 255


@pytest.mark.parametrize("folded", [True, False])
def test_folding_is_seen(scene, brain, tmp_path, folded):
    jacobian = np.full(GEOMETRY.shape_kji, 0.8, np.float32)
    if folded:
        jacobian[17:19, 20, 22] = -0.1
    node = jacobian_node(scene, Volume(jacobian, GEOMETRY, "j"), "Jacobian")
    path = render_slice(scene, tmp_path / "j.png", SliceLayers(brain, node, 1.0), size_pixels=(200, 200))
    assert (fold_pixels(pixels(path)) > 0) == folded


def test_legend_shows_the_colours_of_folding(scene, brain, tmp_path):
    node = jacobian_node(scene, Volume(np.ones(GEOMETRY.shape_kji, np.float32), GEOMETRY, "j"), "Jacobian")
    layers = SliceLayers(brain, node, 1.0)
    plain = render_slice(scene, tmp_path / "plain.png", layers, size_pixels=(300, 300))
    legend = render_slice(scene, tmp_path / "legend.png", layers, size_pixels=(300, 300), legend_of=node)
    assert fold_pixels(pixels(plain)) == 0
    changed = np.abs(pixels(legend) - pixels(plain)).max(axis=-1) > 20
    assert fold_pixels(pixels(legend)) > 100
    assert np.nonzero(changed)[1].min() > 150


def test_deformed_grid_is_drawn_over_the_image(scene, brain, tmp_path):
    plain = pixels(render_slice(scene, tmp_path / "plain.png", SliceLayers(brain), size_pixels=(200, 200)))
    node = transform_node(scene, displacement(points_ras(GEOMETRY)), GEOMETRY, "field")
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetVisualizationMode(display.VIS_MODE_GRID)
    display.SetGridSpacingMm(6.0)
    display.SetAndObserveRegionNode(brain)
    display.SetVisibility2D(True)
    display.SetVisibility(True)
    grid = pixels(render_slice(scene, tmp_path / "grid.png", SliceLayers(brain), size_pixels=(200, 200)))
    coloured = np.ptp(grid, axis=-1) > 60
    assert (np.ptp(plain, axis=-1) == 0).all()
    assert 0.01 < coloured.mean() < 0.5
    display.SetVisibility(False)
    hidden = pixels(render_slice(scene, tmp_path / "hidden.png", SliceLayers(brain), size_pixels=(200, 200)))
    np.testing.assert_array_equal(hidden, plain)


def test_segments_are_drawn_in_their_colours(scene, brain, tmp_path):
    labels = Volume((phantom_volume(GEOMETRY).array_kji > 300).astype(np.uint8), GEOMETRY, "l")
    node = segmentation_from_labels(scene, labels, "seg", reference_node=brain)
    node.GetSegmentation().GetNthSegment(0).SetColor(0.0, 1.0, 0.0)
    picture = pixels(render_slice(scene, tmp_path / "s.png", SliceLayers(brain), size_pixels=(150, 150)))
    green = (picture[..., 1] - picture[..., [0, 2]].max(axis=-1)) > 60
    assert green.sum() > 100


def test_scene_is_left_as_it_was(scene, brain, tmp_path):
    jacobian = jacobian_node(scene, Volume(np.ones(GEOMETRY.shape_kji, np.float32), GEOMETRY, "j"), "Jacobian")
    before = node_ids(scene)
    for name in ("1.png", "2.png"):
        render_slice(scene, tmp_path / name, SliceLayers(brain, jacobian), size_pixels=(80, 80), legend_of=jacobian)
    assert node_ids(scene) == before
    assert (tmp_path / "1.png").read_bytes() == (tmp_path / "2.png").read_bytes()


def test_scene_from_a_file_can_be_drawn(scene, brain, tmp_path):
    """Slicer's own grey table is not in files; it must be there all the same."""
    expected = pixels(render_slice(scene, tmp_path / "before.png", SliceLayers(brain), size_pixels=(80, 80)))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    node = again.GetFirstNodeByName("brain")
    found = pixels(render_slice(again, tmp_path / "after.png", SliceLayers(node), size_pixels=(80, 80)))
    np.testing.assert_allclose(found, expected, atol=2)


def test_missing_folder_is_refused_and_the_scene_cleaned(scene, brain, tmp_path):
    before = node_ids(scene)
    with pytest.raises(InputError, match="could not be written"):
        render_slice(scene, tmp_path / "nowhere" / "slice.png", SliceLayers(brain), size_pixels=(40, 40))
    assert node_ids(scene) == before
