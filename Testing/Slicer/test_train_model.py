"""The card that Train shows is that of the network which the run has now."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from mrml import slicer

pytest.importorskip("PySide6")
pytest.importorskip("torch")

UI = Path(__file__).resolve().parents[2] / "MMLNRegistration" / "Resources" / "UI" / "Train.ui"


@pytest.fixture
def ui(host):
    return slicer.util.childWidgetVariables(slicer.util.loadUI(str(UI)))


def test_card_follows_the_file(ui, tmp_path):
    from MMLNRegistrationLib.gui.train_model import TrainModel
    from MMLNRegistrationLib.model.card import ModelCard
    from MMLNRegistrationLib.model.checkpoint import save_checkpoint
    from MMLNRegistrationLib.model.network import MMLN, MMLNConfig

    network = MMLN(MMLNConfig(width=2))
    card = ModelCard("", "For a test.", "nothing", "none", "none", "2026-01-01")
    shown, best, own = TrainModel(ui), tmp_path / "best.safetensors", tmp_path / "own.safetensors"
    for number, name in enumerate(("early", "late")):
        save_checkpoint(best, network, replace(card, name=name))
        os.utime(best, ns=(number, number))
        shown.told(best)
        assert f"Name: {name}" in ui.modelCard.plainText
    save_checkpoint(own, network, replace(card, name="own"))
    ui.modelFile.currentPath = str(own)
    os.utime(best, ns=(2, 2))
    shown.told(best)
    assert "Name: own" in ui.modelCard.plainText
    shown.told(None)
    assert shown.path == str(own)
