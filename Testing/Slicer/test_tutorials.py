"""The steps of the tutorial pages lead to what the pages promise, on small volumes with the real worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrml import slicer
from register_cases import MODULE, add_pair

pytest.importorskip("PySide6")
pytest.importorskip("torch")

PAGES = Path(__file__).resolve().parents[2] / "docs" / "tutorial"
ON_PROCESSOR = {"Accurate": "Quick"}
"""What the test chooses where the page chooses something slower."""


@pytest.fixture
def panel(host):
    return host.load_module(MODULE)


@pytest.fixture
def walk(host, panel):
    """Does the steps of a page; values: what is entered in the place of a value on the page."""

    def walk_page(name, values):
        from tutorial_steps import Walker, read_steps

        steps = read_steps(PAGES / name)
        assert len(steps) >= 5
        Walker(host, panel, values).walk(steps)

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
    chosen = panel.self().panels[0].parameters.register
    assert chosen.transform is not None
    assert chosen.warped is not None
    assert slicer.util.arrayFromVolume(chosen.jacobian).min() > 0
    assert moving.GetParentTransformNode() is None
    assert np.abs(slicer.util.arrayFromVolume(fixed)).sum() == before


def test_names_of_the_sample_data_are_those_of_the_page(host):
    from MMLNRegistrationLib.gui.sample_data import NAMES

    text = (PAGES / "register.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in NAMES)


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
