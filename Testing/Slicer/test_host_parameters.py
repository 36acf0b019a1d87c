"""Parameter nodes in the host: the stand-in, or Slicer's own wrapper where a checkout is given, does the same."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from mrml import slicer

pytest.importorskip("PySide6")
CLASSES = Path(__file__).with_name("host_demo") / "parameters.py"


@pytest.fixture
def classes(host):
    """The classes are made after the host, which has what they import."""
    spec = importlib.util.spec_from_file_location("host_demo_parameters", CLASSES)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def node(host):
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "parameters")


@pytest.fixture
def parameters(classes, node):
    return classes.Parameters(node)


def test_defaults(parameters, classes):
    outer = parameters.outer
    assert (outer.volume, outer.factor, outer.way, outer.device) == (None, 2.0, classes.Way.ACCURATE, "CPU")
    assert (outer.inner.steps, outer.inner.folder) == (3, Path("results"))
    assert (parameters.switch, list(parameters.names), parameters.note) == (False, [], "first")


def test_values_are_kept_in_the_node(parameters, classes, node):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.outer.volume = volume
    parameters.outer.way = classes.Way.FAST
    parameters.outer.inner.folder = Path("elsewhere")
    parameters.switch = True
    parameters.names = ["a"]
    parameters.names.append("b")
    again = classes.Parameters(node)
    assert (again.outer.volume, again.outer.way) == (volume, classes.Way.FAST)
    assert (again.outer.inner.folder, again.switch, list(again.names)) == (Path("elsewhere"), True, ["a", "b"])
    assert node.GetNodeReferenceID("outer.volume") == volume.GetID()
    assert node.GetParameter("outer.way") == "FAST"


def test_values_by_dotted_names(parameters):
    parameters.setValue("outer.inner.steps", 9)
    assert parameters.getValue("outer.inner.steps") == 9
    assert parameters.dataType("outer.inner.folder") is Path
    with pytest.raises(ValueError, match="nothing"):
        parameters.getValue("outer.nothing")
    with pytest.raises(AttributeError, match="nothing"):
        parameters.outer.nothing = 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("outer.factor", 11.0),
        ("outer.factor", -1.0),
        ("outer.factor", "two"),
        ("outer.device", "TPU"),
        ("outer.inner.steps", 0),
        ("outer.inner.steps", 2.5),
        ("outer.inner.folder", "a text"),
        ("outer.way", "FAST"),
        ("switch", 1),
        ("note", None),
    ],
)
def test_bad_values_are_refused_and_the_old_one_kept(parameters, name, value):
    before = parameters.getValue(name)
    with pytest.raises((TypeError, ValueError)):
        parameters.setValue(name, value)
    assert parameters.getValue(name) == before


def test_pack_that_was_read_is_a_copy(parameters):
    held = parameters.outer
    parameters.switch = True
    parameters.outer.factor = 5.0
    assert parameters.outer.factor == 5.0
    assert held.factor == 2.0


def test_widgets_are_bound_by_their_exact_class(parameters, host):
    import ctk
    import qt

    slider, box, spin = ctk.ctkSliderWidget(), qt.QComboBox(), qt.QSpinBox()
    tag = parameters.connectParametersToGui(
        {"outer.factor": slider, "outer.way": box, "outer.inner.steps": spin, "switch": qt.QCheckBox()}
    )
    assert (slider.minimum, slider.maximum, slider.value) == (0.0, 10.0, 2.0)
    assert (box.count, box.currentText, spin.minimum, spin.maximum) == (2, "ACCURATE", 1, 20)
    slider.value = 7.5
    box.currentIndex = 0
    assert (parameters.outer.factor, parameters.outer.way.name) == (7.5, "FAST")
    parameters.outer.inner.steps = 12
    assert spin.value == 12
    parameters.disconnectGui(tag)
    slider.value = 1.0
    parameters.outer.inner.steps = 4
    assert (parameters.outer.factor, spin.value) == (7.5, 12)

    class Mine(qt.QSpinBox):
        pass

    for name, widget in (("outer.inner.steps", Mine()), ("note", qt.QPlainTextEdit()), ("outer.factor", qt.QLabel())):
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(RuntimeError, match="unbounded"):
        parameters.connectParametersToGui({"number": ctk.ctkSliderWidget()})


def test_deleted_node_is_no_value(parameters, host):
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.outer.volume = volume
    selector = slicer.qMRMLNodeComboBox()
    selector.setMRMLScene(slicer.mrmlScene)
    selector.noneEnabled = True
    parameters.connectParametersToGui({"outer.volume": selector})
    assert selector.currentNode() is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert (selector.currentNode(), parameters.outer.volume) == (None, None)


def test_types_that_cannot_be_kept_are_refused(host):
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    class Wrong:
        value: complex

    with pytest.raises(Exception, match="Unable to create serializer"):
        parameterNodeWrapper(Wrong)


def test_slicers_own_files_are_used_where_there_is_a_checkout(host):
    sources = os.environ.get("SLICER_SOURCES")
    if not sources:
        pytest.skip("needs SLICER_SOURCES to name a checkout of Slicer")
    for name in ("parameterNodeWrapper", "ScriptedLoadableModule", "i18n", "packaging"):
        assert Path(sources) in Path(sys.modules[f"slicer.{name}"].__file__).parents
