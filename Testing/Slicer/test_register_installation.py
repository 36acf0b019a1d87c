"""What the module needs is asked for when it is needed, and not before; and Slicer's restart is survived."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest
from mrml import slicer
from register_cases import MODULE, add_pair, open_panel

pytest.importorskip("PySide6")

MARK = "MMLNRegistration/ResumeInstallation"


@pytest.fixture
def missing(monkeypatch):
    """Names of packages that are not there; a test adds to it, and takes away what it has installed."""
    from MMLNRegistrationLib.gui import installation

    names: set[str] = set()
    real = installation.is_there
    monkeypatch.setattr(installation, "is_there", lambda name: name not in names and (name == "torch" or real(name)))
    return names


class TorchUtils:
    """What the PyTorch extension brings: PyTorchUtils, installing nothing."""

    def __init__(self, missing: set[str], answer: str) -> None:
        self.asked: list[tuple[bool, str]] = []
        module = types.ModuleType("PyTorchUtils")

        def install(logic, askConfirmation=False, torchVersionRequirement=None):  # noqa: N803, its own names
            self.asked.append((askConfirmation, torchVersionRequirement))
            if answer == "broken":
                raise RuntimeError("no network.")
            if answer == "yes":
                missing.discard("torch")
                return types.ModuleType("torch")
            return None

        module.PyTorchUtilsLogic = type("PyTorchUtilsLogic", (), {"installTorch": install})
        sys.modules["PyTorchUtils"] = module
        missing.discard("PyTorchUtils")


@pytest.fixture
def panel(host, monkeypatch):
    """The panel with a pair chosen; what it would do after the installation is not done."""
    the_panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    return the_panel


def settings_mark() -> object:
    import qt

    return qt.QSettings().value(MARK, None)


def test_opening_the_module_asks_nothing_and_needs_no_torch():
    code = f"""
import sys
sys.modules["torch"] = None
sys.path.insert(0, {str(Path(__file__).parent)!r})
from host import start
host = start()
panel = host.load_module({str(MODULE)!r})
assert host.errors == [], host.errors
assert host.dialogs.shown == [], host.dialogs.shown
assert host.installed == []
from MMLNRegistrationLib.gui import installation
assert not installation.is_there("torch")
host.unload_module("MMLNRegistration")
print("well")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("well"), done.stderr


def test_no_extension_and_a_no(host, panel, missing):
    missing.update({"torch", "PyTorchUtils"})
    host.dialogs.answer("cancel")
    host.click(panel.ui.registerButton)
    assert "extension PyTorch" in host.dialogs.texts[0]
    assert host.extensions["asked"] == []
    assert host.restarts == 0
    assert panel.run is None
    assert panel.ui.message.text == "PyTorch is not installed: nothing can be registered without it."


def test_no_extension_and_a_yes_which_is_gone_on_with_after_the_restart(host, panel, missing):
    missing.update({"torch", "PyTorchUtils"})
    host.dialogs.answer("ok")
    host.click(panel.ui.registerButton)
    assert host.extensions["asked"] == [("PyTorch", False)]
    assert host.restarts == 1
    assert slicer.util.toBool(settings_mark())

    utils = TorchUtils(missing, "yes")
    again = host.load_module(MODULE)
    assert utils.asked == [(True, ">=2.2")]
    assert settings_mark() is None
    assert again.self().session.ready()
    assert len(utils.asked) == 1

    host.load_module(MODULE)
    assert len(utils.asked) == 1


def test_an_extension_that_the_server_does_not_have(host, panel, missing):
    missing.update({"torch", "PyTorchUtils"})
    host.extensions["offered"].clear()
    host.dialogs.answer("ok")
    host.click(panel.ui.registerButton)
    assert "could not be installed" in host.dialogs.texts[-1]
    assert host.restarts == 0
    assert settings_mark() is None


@pytest.mark.parametrize(("answer", "is_ready"), [("yes", True), ("no", False)])
def test_the_extension_installs_torch_after_its_own_question(host, panel, missing, answer, is_ready):
    missing.add("torch")
    utils = TorchUtils(missing, answer)
    assert panel.session.ready() == is_ready
    assert utils.asked == [(True, ">=2.2")]
    assert host.dialogs.shown == []


def test_an_installation_that_fails_is_told(host, panel, missing):
    missing.add("torch")
    TorchUtils(missing, "broken")
    assert not panel.session.ready()
    assert "no network." in host.dialogs.texts[0]
    assert "PyTorch Utils" in host.dialogs.texts[0]


def test_torch_alone_is_needed(host, panel, missing):
    missing.update({"safetensors", "nibabel", "nilearn", "deepbet"})
    assert panel.session.ready()
    assert host.dialogs.shown == []
    assert host.installed == []


def test_brain_extraction_is_asked_for_when_it_is_wanted(host, panel, missing):
    missing.add("deepbet")
    panel.ui.brains.checked = True
    assert panel.parameters.register.extract_brains
    host.dialogs.answer("cancel")
    host.click(panel.ui.registerButton)
    assert panel.run is None
    assert "deepbet" in host.dialogs.texts[0]
    assert "Brain extraction needs deepbet" in panel.ui.message.text


def test_with_a_server_nothing_is_needed_here(host, panel, missing):
    missing.update({"torch", "PyTorchUtils"})
    panel.ui.server.text = "http://localhost:1"
    panel.ui.server.editingFinished.emit()
    assert not panel.session.is_remote
    assert not panel.ui.registerButton.enabled
    assert panel.ui.reason.text == "Give the server's token too, or clear its address to work on this machine."
    panel.ui.token.text = "t" * 32
    panel.ui.token.editingFinished.emit()
    assert panel.ui.registerButton.enabled
    assert panel.session.is_remote
    assert panel.session.ready()
    panel.ui.server.text = ""
    panel.ui.server.editingFinished.emit()
    assert not panel.session.is_remote


def test_an_address_that_is_none(host, panel):
    panel.ui.token.text = "t" * 32
    panel.ui.server.text = "nonsense"
    panel.ui.server.editingFinished.emit()
    assert panel.ui.message.visible
    assert not panel.session.is_remote


def test_sample_data_is_offered_and_made_here(host):
    pytest.importorskip("nilearn")
    pytest.importorskip("torch")
    from MMLNRegistrationLib.gui.sample_data import generate

    host.load_module(MODULE)
    offered = host.samples[-1]
    assert (offered["category"], offered["download"]) == ("MMLNRegistration", generate)
    maker = generate(coarsening=8)
    host.wait_until(lambda: maker.is_done, 120)
    names = ["MNI152 template", "MNI152 template, deformed", "Tissues of the deformed template"]
    assert [node.GetName() for node in maker.nodes] == names
    assert all(slicer.util.arrayFromVolume(node).max() > 100 for node in maker.nodes[:2])
    assert sorted(set(slicer.util.arrayFromVolume(maker.nodes[2]).ravel())) == [0, 1, 2, 3]
    assert maker.nodes[2].GetDisplayNode().GetColorNode().GetColorName(2) == "White matter"


def test_sample_data_that_cannot_be_made(host, monkeypatch):
    from MMLNRegistrationLib.gui import sample_data

    host.load_module(MODULE)
    monkeypatch.setattr(sample_data, "_MODULE", "MMLNRegistrationLib.no_such_module")
    maker = sample_data.generate()
    host.wait_until(lambda: maker.is_done, 60)
    assert "no_such_module" in host.dialogs.texts[0]


def test_sample_data_without_its_template(host, missing):
    missing.add("nilearn")
    from MMLNRegistrationLib.gui.sample_data import generate

    host.load_module(MODULE)
    host.dialogs.answer("cancel")
    assert generate() is None
    assert "nilearn" in host.dialogs.texts[0]
    host.dialogs.answer("ok")
    assert generate() is None  # the host installs nothing
    assert host.installed == [["nibabel>=5.2"]]
