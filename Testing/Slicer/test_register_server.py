"""Register on a server: the same panel, the same numbers, and nothing of the server in the scene."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from mrml import slicer
from register_cases import RIGID_PLACE, add_pair, assert_contract, be_quick, open_panel, register

pytest.importorskip("PySide6")
pytest.importorskip("torch")
pytest.importorskip("uvicorn")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Python"))  # server_cases


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from server_cases import Server

    the_server = Server(tmp_path_factory.mktemp("server"))
    yield the_server
    the_server.stop()


def use(panel, address: str, token: str) -> None:
    panel.ui.server.text, panel.ui.token.text = address, token
    panel.ui.token.editingFinished.emit()


def test_a_server_registers(host, server, tmp_path):
    from server_cases import TOKEN

    panel = open_panel(host)
    add_pair(parent=RIGID_PLACE)
    host.process_events(0.05)
    be_quick(panel)
    use(panel, server.address, TOKEN)
    assert panel.session.is_remote
    register(host, panel)
    assert panel.ui.message.text == ""
    assert_contract(panel)
    host.save_scene(tmp_path / "scene.mrb")
    node = panel.parameters.parameterNode
    values = [node.GetParameter(name) for name in node.GetParameterNames()]
    assert not any(TOKEN in value or server.address in value for value in values)


def test_devices_are_the_servers(host, server):
    from server_cases import TOKEN

    panel = open_panel(host)
    use(panel, server.address, TOKEN)
    panel.ui.expertButton.collapsed = False
    host.click(panel.ui.refreshDevices)
    host.wait_until(lambda: panel.ui.device.itemText(0).startswith("Automatic ("), 30)
    assert "cpu" in panel.ui.device.itemText(0)
    use(panel, "", "")
    assert panel.ui.device.itemText(0) == "Automatic"


def test_a_wrong_token_is_told(host, server):
    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(panel)
    use(panel, server.address, "not-the-token-of-this-server")
    register(host, panel)
    assert "does not accept the token" in panel.ui.message.text


def test_a_server_is_not_changed_in_the_middle(host, server):
    from server_cases import TOKEN

    panel = open_panel(host)
    add_pair()
    host.process_events(0.05)
    be_quick(panel, 500)
    use(panel, server.address, TOKEN)
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.ui.status.text.startswith("Refining"), 60)
    panel.ui.server.text = ""
    panel.ui.server.editingFinished.emit()
    assert "work under way" in panel.ui.message.text
    assert panel.session.is_remote
    host.click(panel.ui.registerButton)
    host.wait_until(lambda: panel.run is None, 60)
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")[-1].GetName() == "atlas"
