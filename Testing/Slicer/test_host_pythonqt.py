"""PythonQt's rules hold in the host: what would fail in Slicer fails here."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from mrml import slicer

pytest.importorskip("PySide6")


@pytest.fixture
def qt(host):
    import qt

    return qt


def test_properties_are_attributes_and_hide_their_getters(qt):
    button = qt.QPushButton("Apply")
    assert (button.text, button.enabled, button.name) == ("Apply", True, "")
    button.enabled, button.toolTip, button.objectName = False, "because", "apply"
    assert (button.isEnabled(), button.toolTip, button.name) == (False, "because", "apply")
    with pytest.raises(TypeError, match="not callable"):
        button.text()


def test_new_attributes_are_refused_but_not_in_a_subclass(qt):
    button = qt.QPushButton()
    for name in ("enabledd", "_mine"):
        with pytest.raises(AttributeError, match="creating new attributes on C\\+\\+ objects is not allowed"):
            setattr(button, name, True)
    with pytest.raises(AttributeError, match="is a method"):
        button.setText = "text"

    class Mine(qt.QPushButton):
        pass

    mine = Mine()
    mine.anything = 1
    assert mine.anything == 1
    assert isinstance(mine, qt.QPushButton)


def test_wrong_types_and_read_only_properties_are_refused(qt):
    box = qt.QSpinBox()
    with pytest.raises(AttributeError, match="does not accept"):
        box.value = ["no", "number"]
    with pytest.raises(AttributeError, match="cannot be written"):
        qt.QComboBox().count = 3


def test_unknown_name_finds_a_child_or_fails(qt):
    frame = qt.QFrame()
    label = qt.QLabel("text", frame)
    label.objectName = "status"
    assert frame.status.text == "text"
    with pytest.raises(AttributeError, match="no attribute named 'nothing'"):
        _ = frame.nothing


def test_dynamic_properties_are_attributes_once_they_are_set(qt):
    label = qt.QLabel()
    label.setProperty("SlicerParameterName", "a.b")
    assert label.SlicerParameterName == "a.b"
    label.SlicerParameterName = "a.c"
    assert label.property("SlicerParameterName") == "a.c"


def test_type_of_a_widget_is_exact(qt):
    assert type(qt.QPushButton()) is qt.QPushButton
    assert isinstance(qt.QPushButton(), qt.QAbstractButton)
    assert issubclass(qt.QPushButton, qt.QWidget)
    assert not isinstance(qt.QPushButton(), qt.QLabel)
    frame = qt.QFrame()
    button = qt.QPushButton(frame)
    assert frame.findChildren(qt.QPushButton) == [button]
    assert frame.findChildren("QAbstractButton") == [button]


def test_signature_must_be_exact(qt):
    button, got = qt.QPushButton(), []
    assert button.connect("clicked(bool)", got.append)
    assert button.connect("clicked()", lambda: got.append("none"))
    button.click()
    assert got == [False, "none"]
    for wrong in ("clicked(int)", "clickedd()", "clicked"):
        with pytest.raises(AttributeError, match="has no signal"):
            button.connect(wrong, got.append)
    selector = slicer.qMRMLNodeComboBox()
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    with pytest.raises(AttributeError, match=r"it has currentNodeChanged\(vtkMRMLNode\*\)"):
        selector.connect("currentNodeChanged(bool)", got.append)


def test_slot_gets_as_many_arguments_as_it_declares(qt):
    box, got = qt.QSpinBox(), []
    box.valueChanged.connect(lambda: got.append(()))
    box.valueChanged.connect(lambda value: got.append((value,)))
    box.valueChanged.connect(lambda *values: got.append(values))

    class Receiver:
        def slot(self, value):
            got.append((self, value))

    receiver = Receiver()
    box.connect("valueChanged(int)", receiver.slot)
    box.value = 7
    assert got == [(), (7,), (7,), (receiver, 7)]


def test_disconnect_takes_one_or_all(qt):
    button, got = qt.QPushButton(), []

    def first():
        got.append(1)

    button.clicked.connect(first)
    button.connect("clicked()", lambda: got.append(2))
    assert button.clicked.disconnect(first)
    assert not button.clicked.disconnect(first)
    button.click()
    assert got == [2]
    button.disconnect("clicked()")
    button.click()
    assert got == [2]


def test_error_in_a_slot_a_timer_or_an_observer_is_kept(host, qt):
    def fail(*_arguments):
        raise RuntimeError("no memory")

    button = qt.QPushButton()
    button.clicked.connect(fail)
    button.click()
    qt.QTimer.singleShot(0, fail)
    host.process_events(0.02)
    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAddedEvent, fail)
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode")
    slicer.mrmlScene.RemoveObserver(tag)
    assert len(host.errors) == 3
    assert all("no memory" in error for error in host.errors)
    host.errors.clear()


def test_connections_go_with_their_sender(qt):
    from host import signals

    before = len(signals._connected)
    button = qt.QPushButton()
    button.clicked.connect(lambda: None)
    assert len(signals._connected) == before + 1
    del button
    gc.collect()
    assert len(signals._connected) == before


UI = """<ui version="4.0"><widget class="QWidget" name="top"><layout class="QVBoxLayout" name="l"><item>
<widget class="{cls}" name="child"><property name="{name}"{dynamic}><string>x</string></property></widget>
</item></layout></widget><connections><connection><sender>top</sender><signal>{signal}</signal>
<receiver>child</receiver><slot>hide()</slot></connection></connections></ui>"""


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, None),
        ({"cls": "QLabl"}, "neither in Qt nor among"),
        ({"name": "txet"}, "QLabel has no property txet"),
        ({"name": "txet", "dynamic": ' stdset="0"'}, None),
        ({"signal": "windowTitleChanged(int)"}, "has no signal"),
    ],
)
def test_ui_file_may_only_name_what_there_is(host, tmp_path, change, complaint):
    values = {"cls": "QLabel", "name": "text", "dynamic": "", "signal": "windowTitleChanged(QString)"} | change
    path = Path(tmp_path / "panel.ui")
    path.write_text(UI.format(**values))
    if complaint is None:
        widget = slicer.util.loadUI(str(path))
        assert slicer.util.childWidgetVariables(widget).child.text in ("x", "")
        return
    with pytest.raises((LookupError, AttributeError), match=complaint):
        slicer.util.loadUI(str(path))


def test_settings_lie_in_the_folder_of_the_host(host, qt):
    qt.QSettings().setValue("MMLNRegistration/Server", "https://example.org")
    assert slicer.app.settings().value("MMLNRegistration/Server") == "https://example.org"
    assert host.folder in Path(slicer.app.settings().fileName()).parents
