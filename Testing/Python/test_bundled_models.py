"""The networks that come with the package: small, open about where they are from, and of use."""

import json

import numpy as np
import pytest

from cli_cases import Pair
from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend.messages import DEFAULT_MODEL
from MMLNRegistrationLib.model.checkpoint import load_checkpoint
from MMLNRegistrationLib.model.registry import AvailableModel, available_models
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register
from MMLNRegistrationLib.training.config import from_json
from MMLNRegistrationLib.training.ledger import read_ledger
from repository import ROOT

MODELS = available_models()
RECORDS = ROOT / "Resources" / "Training"
SIXTEEN_MIB = 16 * 2**20


def test_the_default_is_among_them() -> None:
    assert DEFAULT_MODEL in [model.card.name for model in MODELS]


@pytest.fixture(params=MODELS, ids=lambda model: model.card.name)
def bundled(request: pytest.FixtureRequest) -> AvailableModel:
    return request.param


def test_small_and_whole(bundled: AvailableModel) -> None:
    assert bundled.path.stat().st_size <= SIXTEEN_MIB
    network = load_checkpoint(bundled.path).network
    assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_card_names_data_and_terms(bundled: AvailableModel) -> None:
    for word in ("CC0", "Apache"):
        assert word in bundled.card.training_data
    assert "T1" in bundled.card.description
    assert len(bundled.card.commit) >= 7


def test_the_record_is_of_this_network(bundled: AvailableModel) -> None:
    record = RECORDS / bundled.card.name
    config = from_json(json.loads((record / "config.json").read_text(encoding="utf-8")), "the record")
    network = load_checkpoint(bundled.path).network.config
    assert (network.width, network.passes) == (config.network.width, config.network.passes)
    steps = [entry for entry in read_ledger(record / "ledger.jsonl") if entry["event"] == "step"]
    assert steps[-1]["step"] <= config.total_steps


def test_it_brings_a_pair_closer(bundled: AvailableModel, pair: Pair) -> None:
    fixed, moving = io.read_image(pair.fixed), io.read_image(pair.moving)
    options = Options(model=load_checkpoint(bundled.path), refine=RefineConfig(iterations=0))
    result = register(fixed, moving, options)
    assert result.notes == ()
    assert result.model == bundled.card.name
    assert result.similarity_after.local_correlation > result.similarity_initial.local_correlation
    assert result.folding.folded_voxels == 0


def test_it_is_left_out_where_it_brings_nothing(bundled: AvailableModel, pair: Pair) -> None:
    fixed = io.read_image(pair.fixed)
    options = Options(model=load_checkpoint(bundled.path), initial="identity", refine=RefineConfig(iterations=0))
    result = register(fixed, fixed, options)
    assert "left out" in result.notes[0]
    np.testing.assert_array_equal(result.displacement_mm, 0)
