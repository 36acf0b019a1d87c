"""Networks on disk: what is saved comes back; anything else is refused with a sentence, and nothing half-written."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mmln_reference import blob_pair, tiny_network
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.card import ModelCard, read_card
from MMLNRegistrationLib.model.checkpoint import load_checkpoint, save_checkpoint
from MMLNRegistrationLib.model.registry import available_models, find_model

CARD = ModelCard(
    name="tiny",
    description="A network for tests.",
    training_data="None.",
    normalisation="Intensities in [0, 1].",
    commit="0123abc",
    date="2026-01-31",
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_network(), CARD)
    return path


def rewrite(path: Path, change: str, value: object) -> None:
    """Write the file again with one thing changed: a header field, a tensor renamed, a weight nudged."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["mmln"])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if change == "rename":
        tensors["other"] = tensors.pop("levels.0.up.bias")
    elif change == "reshape":
        tensors["levels.0.up.bias"] = tensors["levels.0.up.bias"][:2].clone()
    elif change == "nudge":
        tensors["levels.0.up.bias"][0] += 1e-6
    else:
        section, _, field = change.rpartition(".")
        target = header[section] if section else header
        if value is None:
            del target[field]
        else:
            target[field] = value
    save_file(tensors, path, metadata={"mmln": json.dumps(header)})


def test_network_and_card_come_back(saved: Path) -> None:
    network, card = load_checkpoint(saved)
    original = tiny_network()
    assert card == CARD == read_card(saved)
    assert network.config == original.config
    assert not network.training
    fixed, moving = blob_pair(16)
    assert torch.equal(network(fixed, moving).velocity, original(fixed, moving).velocity)


def test_half_precision_is_half_the_size_and_nearly_the_same_network(saved: Path) -> None:
    half = saved.with_name("half.safetensors")
    save_checkpoint(half, tiny_network(), CARD, half_precision=True)
    assert half.stat().st_size < 0.7 * saved.stat().st_size
    network, _ = load_checkpoint(half)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())
    fixed, moving = blob_pair(16)
    expected = tiny_network()(fixed, moving).velocity
    torch.testing.assert_close(network(fixed, moving).velocity, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("change", "value", "sentence"),
    [
        ("rename", None, "do not fit"),
        ("reshape", None, "levels.0.up.bias"),
        ("nudge", None, "damaged"),
        ("sha256", "0" * 64, "damaged"),
        ("sha256", None, "damaged"),
        ("format_version", 2, "format version 2"),
        ("format_version", None, "no model of this program"),
        ("config.width", 5, "do not fit"),
        ("config.width", "four", "width"),
        ("config.width", None, "config"),
        ("config.surprise", 1, "config"),
        ("card", "free text", "card"),
        ("card.date", None, "card"),
    ],
)
def test_changed_files_are_refused(saved: Path, change: str, value: object, sentence: str) -> None:
    rewrite(saved, change, value)
    with pytest.raises(InputError, match=sentence):
        load_checkpoint(saved)


def test_other_files_are_refused(saved: Path) -> None:
    content = saved.read_bytes()
    with pytest.raises(InputError, match="no model file"):
        load_checkpoint(saved.with_name("missing.safetensors"))
    with pytest.raises(InputError, match="no model file"):
        load_checkpoint(saved.parent)
    for damaged in (b"", b"a text, not a network", content[:100], content[:-10]):
        saved.write_bytes(damaged)
        with pytest.raises(InputError, match="safetensors file"):
            load_checkpoint(saved)
    save_file({"weight": torch.ones(2)}, saved)
    with pytest.raises(InputError, match="no model of this program"):
        read_card(saved)
    torch.save(tiny_network().state_dict(), saved)
    with pytest.raises(InputError, match="safetensors file"):
        load_checkpoint(saved)


def test_failed_writing_leaves_the_old_file_and_no_rest(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full_disk(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(InputError, match="No space left"):
        save_checkpoint(saved, tiny_network(seed=1), CARD)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
    with pytest.raises(InputError, match="cannot be written"):
        save_checkpoint(saved.parent / "missing" / "x.safetensors", tiny_network(), CARD)


def test_header_is_readable_json_with_all_that_matters(saved: Path) -> None:
    with safe_open(saved, framework="pt") as file:
        header = json.loads(file.metadata()["mmln"])
    assert header["format_version"] == 1
    assert header["config"] == json.loads(json.dumps(asdict(tiny_network().config)))
    assert header["card"] == asdict(CARD)
    assert len(header["sha256"]) == 64


def test_models_are_found_by_name_and_by_file(saved: Path) -> None:
    (model,) = available_models(saved.parent)
    assert model.card == CARD
    assert model.path == saved
    assert find_model("tiny", saved.parent) == saved
    assert find_model(str(saved), saved.parent / "empty") == saved


def test_unknown_models_are_refused_with_the_choices(saved: Path) -> None:
    with pytest.raises(InputError, match="bundled are tiny"):
        find_model("huge", saved.parent)
    with pytest.raises(InputError, match="no model is bundled"):
        find_model("tiny", saved.parent / "empty")
    with pytest.raises(InputError, match="no model"):
        find_model(f"../{saved.parent.name}/tiny", saved.parent)
    saved.rename(saved.with_name("wrong.safetensors"))
    with pytest.raises(InputError, match="calls itself 'tiny'"):
        available_models(saved.parent)
