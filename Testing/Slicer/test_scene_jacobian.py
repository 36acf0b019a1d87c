"""The Jacobian's colours, asked from Slicer's own display pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from scene_cases import grid, read_bundle

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.jacobian import FOLD_COLOUR, add_legend, jacobian_colours, jacobian_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image

FOLD_RGB = np.rint(np.array(FOLD_COLOUR) * 255)
SIZE = 10


def node_of(scene, values):
    """A Jacobian node whose first voxels have these values, the others 1."""
    array = np.ones((SIZE, SIZE, SIZE), np.float32)
    array.ravel()[: len(values)] = values
    return jacobian_node(scene, Volume(array, grid(array.shape, (1.0, 1.0, 1.0), np.eye(3)), "jacobian"), "Jacobian")


def shown_colours(node, count):
    """(count, 3) red, green, blue that Slicer gives to the first voxels."""
    producer = node.GetDisplayNode().GetOutputImageDataConnection().GetProducer()
    producer.Update()
    return array_from_image(producer.GetOutput()).reshape(-1, 4)[:count, :3].astype(int)


def colours_of(scene, values):
    return shown_colours(node_of(scene, values), len(values))


def test_one_is_white(scene):
    np.testing.assert_array_equal(colours_of(scene, [1.0, 0.9999, 1.0001]), 255)


def test_zero_and_below_are_folded(scene):
    np.testing.assert_array_equal(colours_of(scene, [0.0, -1e-6, -0.5, -1.0, -40.0]), np.tile(FOLD_RGB, (5, 1)))


def test_just_above_zero_is_not_folded(scene):
    (smallest,) = colours_of(scene, [2e-4])
    assert np.abs(smallest - FOLD_RGB).max() > 100


def test_fold_colour_occurs_nowhere_else(scene):
    values = np.linspace(2e-4, 5, 900)
    distance = np.abs(colours_of(scene, values) - FOLD_RGB).max(axis=1)
    assert distance.min() > 60


def test_smaller_is_blue_and_larger_is_red(scene):
    smaller = colours_of(scene, [0.9, 0.7, 0.5])
    larger = colours_of(scene, [1.1, 1.4, 2.0])
    assert (smaller[:, 2] > smaller[:, 0]).all()
    assert (larger[:, 0] > larger[:, 2]).all()
    assert (np.diff(smaller[:, 0]) < 0).all()
    assert (np.diff(larger[:, 2]) < 0).all()


def test_scale_is_symmetrical_in_the_logarithm(scene):
    """x and 1/x are equally strong: 1/x is as far along the blue side as x is along the red one."""
    factors = np.linspace(1.05, 2.0, 20)
    larger, smaller = colours_of(scene, factors), colours_of(scene, 1 / factors)
    blue_end, red_end = colours_of(scene, [0.3])[0], colours_of(scene, [3.0])[0]
    strength_of_blue = (255 - smaller[:, 0]) / (255 - blue_end[0])
    strength_of_red = (255 - larger[:, 2]) / (255 - red_end[2])
    # The two sides have different stops, so only the ends and the order can be compared closely.
    assert strength_of_blue[-1] == pytest.approx(1, abs=0.02)
    assert strength_of_red[-1] == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(strength_of_blue, strength_of_red, atol=0.2)


def test_display_neither_interpolates_nor_chooses_its_own_window(scene):
    display = node_of(scene, []).GetDisplayNode()
    assert not display.GetInterpolate()
    assert not display.GetAutoWindowLevel()


def test_all_jacobians_of_a_scene_share_one_colour_table(scene):
    first, second = node_of(scene, []), node_of(scene, [])
    assert first.GetDisplayNode().GetColorNode() is second.GetDisplayNode().GetColorNode()
    assert jacobian_colours(scene) is first.GetDisplayNode().GetColorNode()


def test_colours_survive_saving(scene, tmp_path):
    values = [-1.0, 0.0, 2e-4, 0.3, 0.5, 0.8, 1.0, 1.2, 1.9, 4.0]
    expected = colours_of(scene, values)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    again = read_bundle(tmp_path / "scene.mrb", tmp_path / "cache")
    node = again.GetFirstNodeByName("Jacobian")
    np.testing.assert_allclose(shown_colours(node, len(values)), expected, atol=1)
    assert not node.GetDisplayNode().GetInterpolate()
    assert jacobian_colours(again) is node.GetDisplayNode().GetColorNode()


def test_colours_are_written_in_the_format_that_older_versions_read(scene, tmp_path):
    import zipfile

    node_of(scene, [])
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    with zipfile.ZipFile(tmp_path / "scene.mrb") as bundle:
        assert any(name.endswith("Data/Jacobian determinant.ctbl") for name in bundle.namelist())


def test_legend_belongs_to_the_volume(scene):
    node = node_of(scene, [])
    legend = add_legend(scene, node)
    assert legend.GetPrimaryDisplayNode() is node.GetDisplayNode()
    assert legend.GetDisplayableNode() is node
    assert legend.GetVisibility()
