"""What Quality shows in the slice views, and what becomes of a check that is disturbed."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer
from quality_cases import (
    GEOMETRY,
    MODULE,
    SECONDS,
    add_bspline,
    add_folded,
    add_pair,
    add_shift,
    check,
    choose,
    composites,
    image,
    open_panel,
)
from scene_cases import grid

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.volumes import scalars_of_node, volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image

pytest.importorskip("PySide6")
pytest.importorskip("torch")

LARGE = grid((56, 56, 56), (0.8, 0.8, 0.8), np.eye(3))


@pytest.fixture
def checked(host):
    """A panel after a check of the folded field, with a moving image."""
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_folded(), fixed, moving)
    check(host, panel)
    return panel


def select(host, panel, name, value):
    """As a user does: by the index of the entry."""
    combo = getattr(panel.ui, name)
    combo.currentIndex = combo.findText(value.label())
    host.process_events(0.02)


def test_each_view_shows_what_it_says(host, checked):
    from MMLNRegistrationLib.gui.quality_choices import View

    panel, chosen = checked, checked.parameters.quality
    fixed, warped = chosen.fixed, chosen.warped

    select(host, panel, "view", View.FADE)
    for composite in composites():
        assert (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()) == (fixed.GetID(), warped.GetID())
        assert composite.GetLabelVolumeID() is None
    panel.ui.opacity.value = 0.25
    assert {composite.GetForegroundOpacity() for composite in composites()} == {0.25}

    select(host, panel, "view", View.CHECKERBOARD)
    host.wait_until(lambda: panel.parameters.quality.mixture is not None, 5)
    mixture = panel.parameters.quality.mixture
    assert {composite.GetBackgroundVolumeID() for composite in composites()} == {mixture.GetID()}
    assert not composites()[0].GetForegroundVolumeID()
    board = scalars_of_node(mixture).copy()
    assert mixture.GetName().endswith("checkerboard")
    panel.ui.square_mm.value = 4.0
    host.wait_until(lambda: (scalars_of_node(panel.parameters.quality.mixture) != board).any(), 5)

    select(host, panel, "view", View.DIFFERENCE)
    host.wait_until(lambda: mixture.GetName().endswith("difference"), 5)
    assert panel.parameters.quality.mixture is mixture
    # The shift brings the images together, so there is next to no difference but at the folds.
    assert np.median(scalars_of_node(mixture)) < 2
    assert scalars_of_node(mixture).max() > 5
    display, fixed_display = warped.GetDisplayNode(), fixed.GetDisplayNode()
    assert display.GetWindowLevelMax() == pytest.approx(fixed_display.GetWindowLevelMax(), rel=0.1)

    select(host, panel, "view", View.JACOBIAN)
    assert {composite.GetForegroundVolumeID() for composite in composites()} == {chosen.jacobian.GetID()}


def test_flicker_goes_on_and_stops(host, checked):
    from MMLNRegistrationLib.gui.quality_choices import View

    panel = checked
    select(host, panel, "view", View.FLICKER)
    assert panel._views.is_flickering
    seen = set()
    for _ in range(30):
        host.process_events(0.05)
        seen |= {composite.GetForegroundOpacity() for composite in composites()}
    assert seen == {0.0, 1.0}
    slicer.modules.mmlnregistration.widgetRepresentation().self().exit()
    assert not panel._views.is_flickering
    assert {composite.GetForegroundOpacity() for composite in composites()} == {0.5}
    slicer.modules.mmlnregistration.widgetRepresentation().self().enter()
    assert panel._views.is_flickering
    select(host, panel, "view", View.FADE)
    assert not panel._views.is_flickering
    select(host, panel, "view", View.FLICKER)
    host.clear_scene()
    assert not panel._views.is_flickering


def test_what_others_show_stays_shown(host, checked):
    """A flicker stops for it, and opening the module again does not bring the layers of the check back."""
    from MMLNRegistrationLib.gui.quality_choices import View

    panel, fixed = checked, checked.parameters.quality.fixed
    select(host, panel, "view", View.FLICKER)
    slicer.util.setSliceViewerLayers(background=fixed, foreground=None, label=None, foregroundOpacity=0.7)
    host.wait_until(lambda: not panel._views.is_flickering, 5)
    assert {composite.GetForegroundOpacity() for composite in composites()} == {0.7}
    widget = slicer.modules.mmlnregistration.widgetRepresentation()
    widget.exit()
    widget.enter()
    host.process_events(0.1)
    assert {composite.GetForegroundVolumeID() for composite in composites()} == {None}
    select(host, panel, "view", View.FADE)
    assert None not in {composite.GetForegroundVolumeID() for composite in composites()}


def test_thresholds_count_and_hide(host, checked):
    panel = checked
    jacobian = panel.parameters.quality.jacobian
    values = scalars_of_node(jacobian)
    panel.ui.lower.value, panel.ui.upper.value = 0.9, 1.1
    below, above = 100 * np.mean(values < 0.9), 100 * np.mean(values > 1.1)
    assert panel.ui.beyond.text == f"{below:.2g} % of the voxels below, {above:.2g} % above"

    def hidden():
        producer = jacobian.GetDisplayNode().GetOutputImageDataConnection().GetProducer()
        producer.Update()
        return array_from_image(producer.GetOutput())[..., 3] == 0

    assert not hidden().any()
    host.click(panel.ui.only_beyond)
    steps = 1 / 85  # of the colours
    clear = (values > 0.9 + steps) & (values < 1.1 - steps)
    assert hidden()[clear].all()
    assert not hidden()[(values < 0.9 - steps) | (values > 1.1 + steps)].any()
    host.click(panel.ui.only_beyond)
    assert not hidden().any()


def test_the_transforms_own_display_draws_it(host, checked):
    from MMLNRegistrationLib.gui.quality_choices import Deformation

    panel = checked
    transform = panel.parameters.quality.transform
    select(host, panel, "deformation", Deformation.GRID)
    display = transform.GetDisplayNode()
    assert (display.GetVisibility(), display.GetVisualizationMode()) == (1, display.VIS_MODE_GRID)
    panel.ui.spacing_mm.value = 5.0
    assert display.GetGridSpacingMm() == 5.0
    select(host, panel, "deformation", Deformation.ARROWS)
    assert display.GetVisualizationMode() == display.VIS_MODE_GLYPH
    assert display.GetRegionNode() is panel.parameters.quality.fixed
    select(host, panel, "deformation", Deformation.NONE)
    assert not display.GetVisibility()


def test_without_a_moving_image_the_others_say_why(host):
    from MMLNRegistrationLib.gui.quality_choices import View

    panel = open_panel(host)
    fixed, _moving = add_pair()
    choose(panel, add_shift(), fixed)
    check(host, panel)
    select(host, panel, "view", View.FADE)
    assert panel.ui.beyond.text.startswith("Choose a moving volume")
    assert not panel._views.is_flickering


def started(host, panel):
    """A check that has begun, of a grid that takes a second to sample."""
    points = LARGE.points_ras().reshape(*LARGE.shape_kji, 3)
    fixed, moving = (volume_node(slicer.mrmlScene, Volume(image(points), LARGE, n), n) for n in ("subject", "atlas"))
    choose(panel, add_bspline(), fixed, moving)
    host.click(panel.ui.checkButton)
    assert panel.run is not None
    assert panel.ui.checkButton.text == "Cancel"
    assert panel.ui.progress.visible


def is_idle(panel):
    """Whether there is nothing left of a check."""
    return panel.run is None and panel.ui.checkButton.text == "Check transform" and not panel.ui.progress.visible


def at_step(panel, words):
    return panel.ui.status.text.startswith(words)


@pytest.mark.parametrize("where", ["Writing the images", "Sampling the transform", "in the worker"])
def test_cancel(host, where):
    panel = open_panel(host)
    started(host, panel)
    host.wait_until(lambda: at_step(panel, where) or panel.session.client.busy, SECONDS)
    assert panel.session.client.busy == (where == "in the worker")
    host.click(panel.ui.checkButton)
    host.wait_until(lambda: is_idle(panel), SECONDS)
    assert panel.ui.message.text == ""
    assert panel.parameters.quality.jacobian is None
    check(host, panel)
    assert panel.parameters.quality.jacobian is not None


@pytest.mark.parametrize("which", ["transform", "fixed", "moving"])
def test_node_removed_in_mid_run(host, which):
    panel = open_panel(host)
    started(host, panel)
    host.wait_until(lambda: at_step(panel, "Sampling"), SECONDS)
    node = getattr(panel.parameters.quality, which)
    name = node.GetName()
    slicer.mrmlScene.RemoveNode(node)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.message.text == f"{name} was removed while it was checked."
    assert getattr(panel.parameters.quality, which) is None


def test_transform_changed_in_mid_run(host):
    panel = open_panel(host)
    started(host, panel)
    host.wait_until(lambda: at_step(panel, "Sampling"), SECONDS)
    panel.parameters.quality.transform.SetAndObserveTransformNodeID(add_shift().GetID())
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.message.text == "bspline was changed while it was checked; check it again."


def test_scene_closed_in_mid_run(host):
    panel = open_panel(host)
    started(host, panel)
    host.wait_until(lambda: at_step(panel, "Sampling"), SECONDS)
    host.clear_scene()
    host.process_events(0.2)
    assert is_idle(panel)
    assert panel.ui.message.text == ""
    fixed, _moving = add_pair()
    choose(panel, add_shift(), fixed)
    check(host, panel)


def test_module_reloaded_in_mid_run(host):
    panel = open_panel(host)
    started(host, panel)
    host.wait_until(lambda: at_step(panel, "Sampling"), SECONDS)
    panel = open_panel(host)
    host.process_events(0.2)
    assert panel.run is None
    assert panel.parameters.quality.transform.GetName() == "bspline"


def test_result_arrives_while_another_module_is_seen(host):
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_folded(), fixed, moving)
    host.click(panel.ui.checkButton)
    module = slicer.modules.mmlnregistration.widgetRepresentation().self()
    module.exit()
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert panel.ui.foldTable.rowCount == 0
    module.enter()
    assert panel.ui.foldTable.rowCount == 2
    assert panel.parameters.quality.warped is not None


def test_torch_that_is_missing_and_a_server(host, monkeypatch):
    panel = open_panel(host)
    fixed, _moving = add_pair()
    choose(panel, add_shift(), fixed)
    monkeypatch.setattr(panel.session, "ready", lambda: False)
    host.click(panel.ui.checkButton)
    assert panel.ui.message.text.startswith("PyTorch is not installed")
    assert panel.run is None
    panel.session.use("http://127.0.0.1:9", "0123456789abcdef0123456789abcdef")
    panel.parameters.parameterNode.Modified()
    assert panel.ui.reason.text.startswith("A server does not check transforms")


def test_errors_are_one_sentence(host):
    panel = open_panel(host)
    fixed, _moving = add_pair()
    above = add_bspline()
    fixed.SetAndObserveTransformNodeID(above.GetID())
    choose(panel, add_shift(), fixed)
    host.click(panel.ui.checkButton)
    assert panel.ui.message.text.startswith("subject lies under the non-linear transform bspline")
    assert panel.run is None
    fixed.SetAndObserveTransformNodeID(None)
    scalars_of_node(fixed)[...] = 7
    host.click(panel.ui.checkButton)
    host.wait_until(lambda: panel.run is None, SECONDS)
    assert "is constant: every voxel is 7" in panel.ui.message.text


def test_the_window_is_never_held_up(host):
    """A check of a transform that Slicer inverts for each point, and all that comes into the scene at the end."""
    panel = open_panel(host)
    fixed, moving = add_pair()
    choose(panel, add_bspline(), fixed, moving)
    check(host, panel)
    gaps = []
    for _ in range(3):  # other programs on the machine stop us too, so that the best try counts
        host.gaps.begin()
        check(host, panel)
        gaps.append(host.longest_gap())
        assert host.gaps.longest_busy_seconds < 0.1
    assert min(gaps) < 0.1
    assert scalars_of_node(panel.parameters.quality.jacobian).shape == GEOMETRY.shape_kji
    assert MODULE.is_file()
