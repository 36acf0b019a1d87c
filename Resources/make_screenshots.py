"""Make the pictures of the module: its panels at work, and its slice views, by the test host and the real worker.

python Resources/make_screenshots.py [FOLDER]      into Resources/Screenshots, or another folder

The volumes are the demo pair where nilearn is installed, small phantoms otherwise. It takes some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "MMLNRegistration" / "MMLNRegistration.py"
sys.path[:0] = [str(ROOT / "MMLNRegistration"), str(ROOT / "Testing" / "Slicer"), str(ROOT / "Testing" / "Python")]

SECONDS = 1800.0
COARSENING = 2
"""Of the demo pair: voxels of 2 mm, so that all pictures take minutes and not an hour."""

TISSUES = {1: ("Grey matter", (0.55, 0.75, 0.95)), 2: ("White matter", (0.95, 0.9, 0.7)), 3: ("CSF", (0.4, 0.5, 0.9))}
FOLD_WAVE_MM, FOLD_HEIGHT_MM = 30.0, 14.0
"""Of the field that shows what folding looks like: waves of this length and height, added to the true one."""

TRAINING = {"steps1": 60, "steps2": 60, "steps3": 600, "width": 4, "spacing": 5.0, "threads": 1, "validateEvery": 20}
"""Widgets of the Train panel: small enough for a processor."""

ROWS_OF_CURVES = 32
"""How many are waited for, one each ten steps, before the picture is taken."""


class Data(NamedTuple):
    """Nodes: fixed, moving, and a segmentation of moving."""

    fixed: Any
    moving: Any
    segments: Any


def main(folder: Path) -> None:
    """All pictures."""
    from host import start

    folder.mkdir(parents=True, exist_ok=True)
    host = start()
    widget = host.load_module(MODULE)
    data = brains() if find_spec("nilearn") is not None else phantoms()
    host.process_events(0.2)
    for make in (register, propagate, quality, folding, training):
        make(host, widget, data, folder)
        if host.errors or host.dialogs.unexpected:
            raise RuntimeError("\n".join([*host.errors, *map(str, host.dialogs.unexpected)]))
        print(make.__name__, flush=True)
    host.reset()


def brains() -> Data:
    """The demo pair."""
    import slicer

    from MMLNRegistrationLib.gui.sample_data import NAMES
    from MMLNRegistrationLib.quality.demo_pair import make_demo_pair
    from MMLNRegistrationLib.scene.segments import segmentation_from_labels
    from MMLNRegistrationLib.scene.volumes import volume_node

    pair = make_demo_pair(coarsening=COARSENING)
    fixed = volume_node(slicer.mrmlScene, pair.fixed, NAMES[0])
    moving = volume_node(slicer.mrmlScene, pair.moving, NAMES[1])
    names = {label: name for label, (name, _colour) in TISSUES.items()}
    segments = segmentation_from_labels(slicer.mrmlScene, pair.moving_tissues, "tissues", names, moving)
    for index, (_name, colour) in enumerate(TISSUES.values()):
        segments.GetSegmentation().GetNthSegment(index).SetColor(*colour)
    segments.SetDisplayVisibility(False)
    return Data(fixed, moving, segments)


def phantoms() -> Data:
    """What the tests register."""
    import slicer
    from register_cases import add_pair

    from MMLNRegistrationLib.pipeline.volume import Volume
    from MMLNRegistrationLib.scene.segments import segmentation_from_labels
    from MMLNRegistrationLib.scene.volumes import volume_from_node

    fixed, moving = add_pair()
    volume = volume_from_node(moving)
    labels = Volume((volume.array_kji > 100).astype(np.uint8), volume.geometry, "tissues")
    segments = segmentation_from_labels(slicer.mrmlScene, labels, "tissues", {1: "Body"}, moving)
    segments.SetDisplayVisibility(False)
    return Data(fixed, moving, segments)


def open_tab(host: Any, widget: Any, name: str) -> Any:
    """The panel of a name, shown."""
    (panel,) = [panel for panel in widget.self().panels if panel.ui_name == name]
    tabs = widget.self().ui.tabs
    tabs.currentIndex = tabs.indexOf(panel.widget)
    host.process_events(0.1)
    return panel


def run(host: Any, button: Any, panel: Any) -> None:
    """Press a button and wait for what it starts."""
    host.click(button)
    host.wait_until(lambda: panel.run is None, SECONDS)
    if panel.ui.message.text:
        raise RuntimeError(panel.ui.message.text)
    host.process_events(0.3)


def register(host: Any, widget: Any, data: Data, folder: Path) -> None:
    """The pair registered, the fixed image and the warped one over each other."""
    from host.window import write_views, write_window

    from MMLNRegistrationLib.gui.register_presets import Preset

    panel = open_tab(host, widget, "Register")
    panel.parameters.register.fixed = data.fixed
    panel.parameters.register.moving = data.moving
    panel.parameters.register.preset = Preset.ACCURATE
    run(host, panel.ui.registerButton, panel)
    write_window(widget, folder / "module-register.png")
    write_views(folder / "view-overlay.png")


def propagate(host: Any, widget: Any, data: Data, folder: Path) -> None:
    """The segments of moving on fixed, by the registration that is there."""
    from host.window import write_window

    panel = open_tab(host, widget, "Propagate")
    panel.ui.subject.setCurrentNode(data.fixed)
    card = panel.cards[0].ui
    card.image.setCurrentNode(data.moving)
    card.labels.setCurrentNode(data.segments)
    card.transform.setCurrentNode(panel.parameters.register.transform)
    run(host, panel.ui.propagateButton, panel)
    host.click(panel.ui.showSegmentation)
    write_window(widget, folder / "module-propagate.png")
    panel.parameters.propagate.segmentation.SetDisplayVisibility(False)


def quality(host: Any, widget: Any, data: Data, folder: Path) -> None:
    """The registration judged: the Jacobian map, and the deformed grid."""
    from host.window import write_views, write_window

    from MMLNRegistrationLib.gui.quality_choices import Deformation, View

    panel = open_tab(host, widget, "Quality")
    choose_transform(panel, panel.parameters.register.transform, data)
    run(host, panel.ui.checkButton, panel)
    panel.parameters.quality.view = View.JACOBIAN
    host.process_events(0.5)
    write_window(widget, folder / "module-quality.png")
    write_views(folder / "view-jacobian.png")
    panel.parameters.quality.view = View.FADE
    panel.parameters.quality.deformation = Deformation.GRID
    host.process_events(0.5)
    write_views(folder / "view-grid.png")
    panel.parameters.quality.deformation = Deformation.NONE
    host.process_events(0.2)


def folding(host: Any, widget: Any, data: Data, folder: Path) -> None:
    """A field that folds, as it may come from elsewhere: its folds in their own colour, found by the list."""
    import slicer
    from host.window import write_views

    from MMLNRegistrationLib.gui.quality_choices import View
    from MMLNRegistrationLib.scene.transforms import displacement_from_node, transform_node

    panel = open_tab(host, widget, "Quality")
    displacement_mm, geometry = displacement_from_node(panel.parameters.register.transform)
    points = geometry.points_ras().reshape(*geometry.shape_kji, 3) - geometry.centre_ras
    window = np.exp(-((points / 25.0) ** 2).sum(-1))
    waves = np.sin(2 * np.pi * points[..., 1] / FOLD_WAVE_MM) * FOLD_HEIGHT_MM
    folded = displacement_mm.copy()
    folded[..., 1] += (window * waves).astype(np.float32)
    node = transform_node(slicer.mrmlScene, folded, geometry, "from another program", data.fixed, data.moving)
    choose_transform(panel, node, data)
    run(host, panel.ui.checkButton, panel)
    panel.parameters.quality.view = View.JACOBIAN
    host.click(panel.ui.nextFold)
    host.process_events(0.5)
    write_views(folder / "view-folding.png")


def choose_transform(panel: Any, transform: Any, data: Data) -> None:
    """Fill the selectors of Quality."""
    for name, node in (("transform", transform), ("fixed", data.fixed), ("moving", data.moving)):
        setattr(panel.parameters.quality, name, node)


def training(host: Any, widget: Any, data: Data, folder: Path) -> None:
    """A tiny training on made-up brains, with its curves."""
    from host.window import write_window

    from MMLNRegistrationLib.backend import detached
    from MMLNRegistrationLib.scene.training_curves import chart_of, table_of
    from training_cases import write_brains

    host.clear_scene()
    panel = open_tab(host, widget, "Train")
    with tempfile.TemporaryDirectory(prefix="study-") as temporary:
        run_folder = Path(temporary) / "runs" / "first"
        panel.ui.data.currentPath = str(write_brains(Path(temporary) / "brains"))
        panel.ui.runFolder.currentPath = str(run_folder)
        panel.parameters.train.device = "cpu"
        for name, value in TRAINING.items():
            getattr(panel.ui, name).value = value
        try:
            check_data(host, panel)
            host.click(panel.ui.startButton)
            host.wait_until(enough_rows(lambda: table_of(host.scene, "losses")), SECONDS)
            host.click(panel.ui.previewButton)
            host.wait_until(lambda: not panel.preview.busy, SECONDS)
            write_window(widget, folder / "module-train.png", chart_of(host.scene, "losses"))
            host.click(panel.ui.startButton)
            host.wait_until(lambda: not panel.state.is_at_work, SECONDS)
        finally:
            detached.end_by_force(run_folder)


def check_data(host: Any, panel: Any) -> None:
    """Press "Check data" and wait for what it says."""
    host.click(panel.ui.checkButton)
    host.wait_until(lambda: panel.check.job is None, SECONDS)


def enough_rows(find: Callable[[], Any], wanted: int = ROWS_OF_CURVES) -> Callable[[], bool]:
    """Whether a table has its first rows."""

    def are_there() -> bool:
        table = find()
        return table is not None and table.GetNumberOfRows() >= wanted

    return are_there


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "Resources" / "Screenshots")
