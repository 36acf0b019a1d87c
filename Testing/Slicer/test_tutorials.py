"""The steps of the tutorial pages lead to what the pages promise, on small volumes with the real worker."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import quality_cases
from mrml import slicer
from register_cases import MODULE, WarmWorker, add_pair

pytest.importorskip("PySide6")
pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))  # training_cases

PAGES = Path(__file__).resolve().parents[2] / "docs" / "tutorial"
ON_PROCESSOR = {"Accurate": "Fast"}
"""What the test chooses where the page chooses something slower."""


@pytest.fixture(scope="module")
def warm_worker():
    worker = WarmWorker()
    yield worker
    worker.really_close()


@pytest.fixture
def panel(host, warm_worker, monkeypatch):
    warm_worker.lend(monkeypatch)
    return host.load_module(MODULE)


@pytest.fixture
def walk(host, panel):
    """Does the steps of a page; values: what is entered in the place of a value on the page."""

    def walk_page(name, values, before=None):
        from tutorial_steps import Walker, read_steps

        steps = read_steps(PAGES / name)
        assert len(steps) >= 5
        Walker(host, panel, values, before).walk(steps)

    return walk_page


def sample_pair():
    """Two small volumes under the names of the sample data."""
    fixed, moving = add_pair()
    fixed.SetName("MNI152 template")
    moving.SetName("MNI152 template, deformed")
    return fixed, moving


def test_register(host, panel, walk):
    fixed, moving = sample_pair()
    host.process_events(0.1)
    before = np.abs(slicer.util.arrayFromVolume(fixed)).sum()
    walk("register.md", ON_PROCESSOR)
    chosen = panel_called(panel, "Register").parameters.register
    assert chosen.transform is not None
    assert chosen.warped is not None
    assert slicer.util.arrayFromVolume(chosen.jacobian).min() > 0
    assert moving.GetParentTransformNode() is None
    assert np.abs(slicer.util.arrayFromVolume(fixed)).sum() == before


def test_propagate(host, panel, walk):
    """The volumes in the table are those of the segmentation, and the structures lie where they belong."""
    fixed, moving = sample_pair()
    regions = np.digitize(slicer.util.arrayFromVolume(moving), (60, 200, 330)).astype(np.uint8)
    drawn = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Tissues of the deformed template")
    drawn.CopyOrientation(moving)
    slicer.util.updateVolumeFromArray(drawn, regions)
    walk("propagate.md", ON_PROCESSOR)
    chosen = panel.self().panels[1].parameters.propagate
    segmentation = chosen.segmentation.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == chosen.table.GetNumberOfRows() == 3
    expected = np.digitize(slicer.util.arrayFromVolume(fixed), (60, 200, 330))
    voxels = [int(float(chosen.table.GetCellText(row, 1))) for row in range(3)]
    assert voxels == pytest.approx([(expected == label).sum() for label in (1, 2, 3)], rel=0.25)
    assert segmentation.ContainsRepresentation("Closed surface")


def test_folding(host, panel, walk, tmp_path):
    fixed, moving = quality_cases.add_pair()
    fixed.SetName("MNI152 template")
    moving.SetName("MNI152 template, deformed")
    quality_cases.add_folded().SetName("MNI152 template, deformed to MNI152 template")
    walk("folding.md", {"report": str(tmp_path)})
    found = panel_called(panel, "Quality")
    assert found.parameters.quality.folds_table.GetNumberOfRows() >= 2
    assert list(tmp_path.rglob("report.html"))
    assert list(tmp_path.rglob("*.csv"))


@pytest.mark.slow
def test_train(host, panel, walk, tmp_path):
    from MMLNRegistrationLib.backend import detached
    from training_cases import write_brains

    run = tmp_path / "run"
    train = panel_called(panel, "Train")

    def make_short():
        for name, value in (("steps1", 3000), ("steps2", 0), ("steps3", 0), ("width", 2), ("spacing", 5.0)):
            getattr(train.ui, name).value = value
        train.ui.threads.value, train.ui.validateEvery.value, train.ui.checkpointEvery.value = 1, 20, 20
        train.parameters.train.device = "cpu"

    def wait_for_a_model():
        host.wait_until(lambda: (train.state.step or 0) > 25, 120.0)

    try:
        walk(
            "train.md",
            {"brains": str(write_brains(tmp_path / "brains")), "runs/first": str(run)},
            {"Start training": make_short, "Show curves": wait_for_a_model},
        )
    finally:
        detached.end_by_force(run)
    assert train.parameters.register.model.endswith(".safetensors")


def panel_called(widget, name):
    """One of the module's panels."""
    return next(panel for panel in widget.self().panels if panel.ui_name == name)


def test_names_of_the_sample_data_are_those_of_the_page(host):
    from MMLNRegistrationLib.gui.sample_data import NAMES, TISSUES_NAME

    for page, names in (("register.md", NAMES), ("propagate.md", (*NAMES, TISSUES_NAME))):
        text = (PAGES / page).read_text(encoding="utf-8")
        assert all(f"`{name}`" in text for name in names)


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("1. Press **Register**.", [("press", "Register", "")]),
        ("2. Choose `atlas` at **Moving**: text", [("choose", "Moving", "atlas")]),
        ("3. Set **A** to `1`, then press **B**.", [("set", "A", "1"), ("press", "B", "")]),
        ("4. Untick **A**, tick **B**.", [("untick", "A", ""), ("tick", "B", "")]),
        ("   Wait until **A** can be pressed again.", [("wait", "A", "")]),
        ("5. Look at **A**.", [("see", "A", "")]),
        ("Look at **A**.", []),
    ],
)
def test_steps_are_read(host, tmp_path, line, steps):
    from tutorial_steps import read_steps

    (tmp_path / "page.md").write_text(line + "\n")
    assert [(step.way, step.name, step.value) for step in read_steps(tmp_path / "page.md")] == steps


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1. Press **Regster**.", "found 0 times"),
        ("1. Press **Register**.", "is disabled: Choose a fixed"),
        ("1. Choose `nothing` at **Moving**.", "found 0 times"),
        ("1. Look at **what is not there**.", "no such text"),
        ("1. Choose `a` at **Elsewhere**.", "0 visible labels"),
    ],
)
def test_wrong_step_is_found(host, panel, tmp_path, line, complaint):
    from tutorial_steps import Walker, read_steps

    (tmp_path / "page.md").write_text(line + "\n")
    with pytest.raises(AssertionError, match=f"line 1, .*{complaint}"):
        Walker(host, panel).walk(read_steps(tmp_path / "page.md"))
