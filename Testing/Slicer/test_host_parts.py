"""The parts of the host: dialogs, event loop, widgets, views, files, extensions."""

from __future__ import annotations

import time

import numpy as np
import pytest
from mrml import slicer

pytest.importorskip("PySide6")


def add_volume(name="volume", shape=(8, 10, 12)):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    node.CreateDefaultDisplayNodes()
    return node


def test_messages_are_recorded_and_questions_answered(host):
    slicer.util.errorDisplay("It failed.", detailedText="why")
    assert (host.dialogs.shown[0].text, host.dialogs.shown[0].details) == ("It failed.", "why")
    host.dialogs.answer("ok", "no", "retry")
    assert slicer.util.confirmOkCancelDisplay("Go on?")
    assert not slicer.util.confirmYesNoDisplay("Really?")
    assert slicer.util.confirmRetryCloseDisplay("Again?")
    assert host.dialogs.texts == ["It failed.", "Go on?", "Really?", "Again?"]
    assert host.dialogs.unused == []


def test_answer_must_be_a_button_of_the_box(host):
    host.dialogs.answer("yes")
    with pytest.raises(AssertionError, match="has no button 'yes'"):
        slicer.util.confirmOkCancelDisplay("Go on?")


def test_message_box_with_own_buttons(host):
    import qt

    box = qt.QMessageBox()
    box.text = "What now?"
    wait, stop = box.addButton("Wait", qt.QMessageBox.AcceptRole), box.addButton("Stop", qt.QMessageBox.RejectRole)
    host.dialogs.answer("Stop")
    box.exec_()
    assert box.clickedButton() == stop != wait
    assert host.dialogs.shown[-1].buttons == ("Wait", "Stop")


def test_file_dialogs_return_plain_paths(host, tmp_path):
    import qt

    host.dialogs.answer(tmp_path, tmp_path / "a.csv", [tmp_path / "1", tmp_path / "2"], None)
    assert qt.QFileDialog.getExistingDirectory(None, "Folder") == str(tmp_path)
    assert qt.QFileDialog.getSaveFileName(None, "Table", "", "*.csv") == str(tmp_path / "a.csv")
    assert qt.QFileDialog.getOpenFileNames(None, "Files") == (str(tmp_path / "1"), str(tmp_path / "2"))
    assert qt.QFileDialog.getOpenFileName(None, "File") == ""


def test_own_dialog_is_answered_by_a_function(host):
    import qt

    dialog = qt.QDialog()
    qt.QLabel("Your name:", dialog)
    edit = qt.QLineEdit(dialog)

    def write(shown):
        edit.text = "Anna"
        return "ok"

    host.dialogs.answer(write)
    assert dialog.exec_() == qt.QDialog.Accepted.value
    assert (edit.text, host.dialogs.texts) == ("Anna", ["Your name:"])


def test_testing_mode_skips_dialogs(host):
    host.testing = True
    slicer.util.confirmOkCancelDisplay("Go on?")
    slicer.util.errorDisplay("It failed.")
    assert host.dialogs.shown == []


def test_gap_meter_sees_what_blocks(host):
    import qt

    host.process_events(0.05)
    host.gaps.reset()
    host.process_events(0.1)
    assert host.longest_gap() < 0.05

    def sleepy_slot():
        time.sleep(0.12)

    qt.QTimer.singleShot(10, sleepy_slot)
    host.process_events(0.2)
    assert 0.12 <= host.longest_gap() < 0.3
    assert "sleepy_slot" in host.gaps.blocked_by
    host.gaps.reset()
    time.sleep(0.1)
    assert host.longest_gap() == 0


def test_wait_until_gives_up_with_a_sentence(host):
    with pytest.raises(TimeoutError, match=r"still not true after 0\.05 s"):
        host.wait_until(lambda: False, seconds=0.05)


def test_button_that_nobody_could_click_is_not_clicked(host):
    import qt

    button = qt.QPushButton("Apply")
    button.enabled, button.toolTip = False, "Choose a volume"
    with pytest.raises(AssertionError, match="Apply is disabled: Choose a volume"):
        host.click(button)
    button.enabled = True
    button.hide()
    with pytest.raises(AssertionError, match="is not visible"):
        host.click(button)


def test_node_selector_follows_the_scene(host):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLScalarVolumeNode"], True
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    selector.setMRMLScene(slicer.mrmlScene)
    volume = add_volume()
    assert (selector.nodeCount(), selector.currentNode()) == (1, None)
    selector.setCurrentNode(volume)
    assert (got, selector.currentNodeID) == ([volume], volume.GetID())
    slicer.mrmlScene.RemoveNode(volume)
    assert (got[1:], selector.currentNode()) == ([None], None)
    selector.noneEnabled = False
    second = add_volume("second")
    assert selector.currentNode() is second
    hidden = add_volume("hidden")
    hidden.HideFromEditorsOn()
    selector.baseName = "Warped"
    assert selector.addNode().GetName() == "Warped"
    assert selector.nodeCount() == 2


def test_checkable_node_selector(host):
    import qt

    first, second = add_volume("1"), add_volume("2")
    selector = slicer.qMRMLCheckableNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    selector.setCheckState(second, qt.Qt.Checked)
    assert selector.checkedNodes() == [second]
    slicer.mrmlScene.RemoveNode(second)
    assert selector.noneChecked()
    assert selector.nodes() == [first]


def test_collapsible_button_hides_its_contents(host):
    import ctk
    import qt

    button = ctk.ctkCollapsibleButton()
    button.text = "Advanced"
    layout = qt.QVBoxLayout(button)
    label = qt.QLabel("inside")
    layout.addWidget(label)
    button.show()
    host.process_events()
    got = []
    button.connect("contentsCollapsed(bool)", got.append)
    open_height = button.sizeHint().height()
    button.collapsed = True
    assert (label.visible, got, button.checked) == (False, [True], False)
    assert button.sizeHint().height() < open_height
    button.collapsed = False
    assert label.visible


def test_sliders_keep_to_their_bounds(host):
    import ctk

    slider, got = ctk.ctkSliderWidget(), []
    slider.minimum, slider.maximum, slider.decimals = -1, 1, 3
    slider.connect("valueChanged(double)", got.append)
    slider.value = 0.5
    slider.value = 7
    assert (slider.value, got) == (1.0, [0.5, 1.0])
    both = ctk.ctkRangeWidget()
    both.setRange(0, 10)
    both.setValues(2, 12)
    assert (both.minimumValue, both.maximumValue) == (2.0, 10.0)


def test_slice_views_show_what_they_are_told(host, tmp_path):
    volume = add_volume()
    slicer.util.setSliceViewerLayers(background=volume, foreground=volume, foregroundOpacity=0.3, fit=True)
    for name in slicer.app.layoutManager().sliceViewNames():
        composite = slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()
        assert (composite.GetBackgroundVolumeID(), composite.GetForegroundOpacity()) == (volume.GetID(), 0.3)
    picture = host.render_slice("Red", tmp_path / "red.png", (120, 80))
    import qt

    image = qt.QImage(str(picture))
    assert (image.width(), image.height()) == (120, 80)
    assert image.pixelColor(60, 40).red() > image.pixelColor(1, 1).red()
    node = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    assert node.GetDimensions()[:2] == (400, 400)


def test_chart_goes_to_the_plot_view(host, tmp_path):
    chart = slicer.util.plot(np.c_[np.arange(5), np.arange(5) ** 2], xColumnIndex=0, columnNames=["x", "loss"])
    view = slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode()
    assert view.GetPlotChartNodeID() == chart.GetID()
    assert host.render_chart(chart, tmp_path / "chart.png", (200, 150)).stat().st_size > 500


def test_files_are_read_and_written_by_slicers_code(host, tmp_path):
    volume = add_volume()
    assert slicer.util.saveNode(volume, str(tmp_path / "v.nrrd"))
    assert slicer.util.exportNode(volume, str(tmp_path / "v.nii.gz"))
    for name in ("v.nrrd", "v.nii.gz"):
        loaded = slicer.util.loadVolume(str(tmp_path / name), properties={"name": "again"})
        assert loaded.GetName() == "again"
        np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), slicer.util.arrayFromVolume(volume))
    with pytest.raises(RuntimeError):
        slicer.util.loadVolume(str(tmp_path / "missing.nrrd"))


def test_way_to_an_extension_can_be_walked(host):
    model, got = slicer.app.extensionsManagerModel(), []
    model.connect("extensionInstalled(QString)", got.append)
    assert not model.installExtensionFromServer("Nonsense")
    assert model.installExtensionFromServer("PyTorch", False)
    assert (got, model.isExtensionInstalled("PyTorch")) == (["PyTorch"], True)
    assert host.extensions["asked"] == [("Nonsense", True), ("PyTorch", False)]
    slicer.util.restart()
    assert host.restarts == 1


def test_next_test_begins_as_new(host):
    assert (host.restarts, host.extensions["installed"], host.dialogs.shown) == (0, [], [])
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
