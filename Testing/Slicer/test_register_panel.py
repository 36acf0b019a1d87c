"""Register, click by click, with the real worker: what is in the scene afterwards, in numbers."""

from __future__ import annotations

import numpy as np
import pytest
import vtk
from mrml import slicer
from register_cases import (
    MODULE,
    RIGID_PLACE,
    WarmWorker,
    add_pair,
    assert_contract,
    be_quick,
    bend,
    image,
    open_panel,
    register,
    world_points,
)
from scene_cases import label_node

from MMLNRegistrationLib.scene.transforms import displacement_from_node

pytest.importorskip("PySide6")
pytest.importorskip("torch")


@pytest.fixture(scope="module")
def warm_worker():
    worker = WarmWorker()
    yield worker
    worker.really_close()


@pytest.fixture(autouse=True)
def use_warm_worker(host, warm_worker, monkeypatch):
    warm_worker.lend(monkeypatch)


def test_two_volumes_are_registered_by_one_click(host):
    panel = open_panel(host)
    assert not panel.ui.registerButton.enabled
    assert panel.ui.reason.text == "Choose a fixed and a moving volume."
    fixed, moving = add_pair()
    host.process_events(0.05)
    assert (panel.parameters.register.fixed, panel.parameters.register.moving) == (fixed, moving)
    be_quick(panel)
    register(host, panel)
    assert_contract(panel)
    chosen = panel.parameters.register
    assert chosen.transform.GetName() == "atlas to subject"
    assert chosen.transform.GetNodeReferenceID(chosen.transform.GetMovingNodeReferenceRole()) == moving.GetID()
    assert chosen.transform.GetNodeReferenceID(chosen.transform.GetFixedNodeReferenceRole()) == fixed.GetID()
    assert "no folded voxel" in panel.ui.verdict.text
    assert panel.ui.resultFrame.visible
    assert panel.session.last.transform_id == chosen.transform.GetID()
    assert (panel.session.last.folder / "velocity.safetensors").is_file()


def test_the_result_is_shown_with_a_fader(host):
    panel = open_panel(host)
    fixed, _moving = add_pair()
    host.process_events(0.05)
    be_quick(panel, 1)
    register(host, panel)
    for name in ("Red", "Yellow", "Green"):
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        assert composite.GetBackgroundVolumeID() == fixed.GetID()
        assert composite.GetForegroundVolumeID() == panel.parameters.register.warped.GetID()
        assert composite.GetForegroundOpacity() == 0.5
    panel.ui.fader.value = 0.2
    assert composite.GetForegroundOpacity() == pytest.approx(0.2)


def test_a_second_run_goes_into_the_same_nodes(host):
    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(panel, 1)
    register(host, panel)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    first = displacement_from_node(panel.parameters.register.transform)[0].copy()
    panel.parameters.register.iterations = 4
    register(host, panel)
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert np.abs(displacement_from_node(panel.parameters.register.transform)[0] - first).max() > 0.1
    assert_contract(panel)


SHEAR = np.array([[1.04, 0.06, 0.0, 3.0], [0.0, 0.97, 0.05, -2.0], [0.03, 0.0, 1.02, 1.5], [0, 0, 0, 1]])


@pytest.mark.parametrize("parent", [RIGID_PLACE, SHEAR], ids=["rigid", "affine"])
def test_a_linear_parent_of_the_moving_volume_is_the_start(host, parent):
    panel = open_panel(host)
    from MMLNRegistrationLib.gui.register_presets import Start

    add_pair(parent=parent)
    host.process_events(0.05)
    be_quick(panel)
    panel.parameters.register.start = Start.AUTOMATIC
    register(host, panel)
    assert_contract(panel)


def test_a_rigid_parent_of_the_fixed_volume_is_respected(host):
    panel = open_panel(host)
    fixed, _moving = add_pair(fixed_parent=RIGID_PLACE)
    host.process_events(0.05)
    be_quick(panel)
    register(host, panel)
    assert_contract(panel)
    assert panel.parameters.register.warped.GetTransformNodeID() is None
    assert fixed.GetTransformNodeID() is not None


def test_an_initial_transform_is_where_it_starts(host):
    panel = open_panel(host)
    _fixed, moving = add_pair(parent=SHEAR)
    above = moving.GetParentTransformNode()
    moving.SetAndObserveTransformNodeID(None)
    host.process_events(0.05)
    be_quick(panel)
    panel.parameters.register.initial_transform = above
    assert not panel.ui.start.enabled
    register(host, panel)
    chosen = panel.parameters.register
    displacement_mm, geometry = displacement_from_node(chosen.transform)
    points = world_points(geometry)
    # The moving volume lies where it lay: its place in the world is that in its own coordinates.
    found = image((points + displacement_mm) @ SHEAR[:3, :3].T + SHEAR[:3, 3])
    inside = image(bend(points)) > 50
    before, after = (np.abs(values - image(bend(points)))[inside].mean() for values in (image(points), found))
    assert after < 0.25 * before
    determinant = slicer.util.arrayFromVolume(chosen.jacobian)[inside].mean()
    assert determinant == pytest.approx(1 / np.linalg.det(SHEAR[:3, :3]), abs=0.05)


@pytest.mark.parametrize("parent", [None, RIGID_PLACE], ids=["in the world", "under a transform"])
def test_the_moving_volume_goes_under_the_transform_and_back(host, parent):
    panel = open_panel(host)
    _fixed, moving = add_pair(parent=parent)
    host.process_events(0.05)
    be_quick(panel)
    register(host, panel)
    before = moving.GetTransformNodeID()
    host.click(panel.ui.applyTransform)
    assert panel.ui.applyTransform.checked
    own_from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, moving.GetParentTransformNode(), own_from_world)
    displacement_mm, geometry = displacement_from_node(panel.parameters.register.transform)
    world = world_points(geometry)[15, 16, 17]
    placed = np.linalg.inv(np.eye(4) if parent is None else parent)
    expected = placed[:3, :3] @ (world + displacement_mm[15, 16, 17]) + placed[:3, 3]
    assert np.allclose(own_from_world.TransformPoint(world), expected, atol=1e-3)
    host.click(panel.ui.applyTransform)
    assert not panel.ui.applyTransform.checked
    assert moving.GetTransformNodeID() == before


def test_hardening_makes_the_moving_volume_like_the_fixed_one(host):
    panel = open_panel(host)
    _fixed, moving = add_pair()
    host.process_events(0.05)
    be_quick(panel)
    register(host, panel)
    host.click(panel.ui.applyTransform)
    assert moving.HardenTransform()
    hardened = slicer.util.arrayFromVolume(moving)
    from MMLNRegistrationLib.scene.volumes import geometry_of_node

    points = world_points(geometry_of_node(moving))
    goal = image(bend(points))
    inside = goal > 50
    assert np.abs(hardened - goal)[inside].mean() < 0.4 * np.abs(image(points) - goal)[inside].mean()
    host.click(panel.ui.applyTransform)  # it lies nowhere now, so that there is nothing to take back
    assert moving.GetTransformNodeID() is None
    assert not panel.ui.applyTransform.checked


def test_masks_are_a_label_map_or_a_segmentation(host):
    from MMLNRegistrationLib.pipeline.volume import Volume
    from MMLNRegistrationLib.scene.segments import segmentation_from_labels
    from MMLNRegistrationLib.scene.volumes import geometry_of_node

    panel = open_panel(host)
    fixed, moving = add_pair(parent=RIGID_PLACE)
    labels = Volume(
        (slicer.util.arrayFromVolume(fixed) > 40).astype(np.uint8), geometry_of_node(fixed), "inside of the subject"
    )
    segments = Volume(
        (slicer.util.arrayFromVolume(moving) > 40).astype(np.uint8), geometry_of_node(moving), "inside of the atlas"
    )
    host.process_events(0.05)
    be_quick(panel)
    panel.parameters.register.fixed_mask = segmentation_from_labels(slicer.mrmlScene, labels, "fixed mask")
    panel.parameters.register.moving_mask = label_node(slicer.mrmlScene, segments, "moving mask")
    register(host, panel)
    assert panel.ui.message.text == ""
    assert_contract(panel)


def test_it_comes_back_with_a_saved_scene(host, tmp_path):
    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(panel)
    register(host, panel)
    displacement_mm = displacement_from_node(panel.parameters.register.transform)[0].copy()
    host.load_scene(host.save_scene(tmp_path / "scene.mrb"))
    assert panel.parameters.register.iterations == 10
    assert panel.parameters.register.fixed.GetName() == "subject"
    assert np.allclose(displacement_from_node(panel.parameters.register.transform)[0], displacement_mm, atol=1e-4)
    register(host, panel)
    assert_contract(panel)


def test_logic_registers_without_a_window(host):
    widget = host.load_module(MODULE).self()
    fixed, moving = add_pair()
    nodes = widget.logic.register(fixed, moving, refine=4, initial="identity", device="cpu")
    displacement_mm, geometry = displacement_from_node(nodes.transform)
    goal = image(bend(world_points(geometry)))
    inside = goal > 50
    found = image(world_points(geometry) + displacement_mm)
    assert np.abs(found - goal)[inside].mean() < 0.25 * np.abs(image(world_points(geometry)) - goal)[inside].mean()


def test_self_test_passes(host):
    host.load_module(MODULE)
    slicer.selfTests["MMLNRegistration"]()
