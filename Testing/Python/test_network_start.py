"""Registrations that a network starts: used where it helps, left out with a word where it does not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_cases import Pair, Run
from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend.messages import DEFAULT_MODEL
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.checkpoint import Checkpoint, save_checkpoint
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig
from MMLNRegistrationLib.pipeline.refine import RefineConfig
from MMLNRegistrationLib.pipeline.registration import Options, register

CONFIG = MMLNConfig(
    levels=2,
    width=4,
    blocks=1,
    reads_force=True,
    force_step_voxels=0.6,
    force_momentum=0.3,
    velocity_sigma_voxels=1.0,
    passes=(5, 5),
    branch_2d=False,
)
CARD = ModelCard("stepping", "steps along the force alone", "nothing", "as prepared", "none", "2026-01-01", 2.0)
ALONE = RefineConfig(iterations=0)


@pytest.fixture(scope="module")
def model() -> Checkpoint:
    """It has learnt nothing: its corrections are next to zero, its steps are not."""
    torch.manual_seed(0)
    return Checkpoint(MMLN(CONFIG).eval(), CARD)


def test_a_pair_comes_closer(model: Checkpoint, pair: Pair) -> None:
    result = register(io.read_image(pair.fixed), io.read_image(pair.moving), Options(model=model, refine=ALONE))
    assert result.notes == ()
    assert result.model == "stepping"
    assert result.similarity_after.local_correlation > result.similarity_initial.local_correlation + 0.01
    assert result.folding.folded_voxels == 0


def test_a_volume_with_itself_stays(model: Checkpoint, pair: Pair) -> None:
    fixed = io.read_image(pair.fixed)
    result = register(fixed, fixed, Options(model=model, initial="identity", refine=ALONE))
    assert "left out" in result.notes[0]
    np.testing.assert_array_equal(result.displacement_mm, 0)


def test_by_file_on_the_command_line(model: Checkpoint, pair: Pair, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "stepping.safetensors"
    save_checkpoint(path, model.network, model.card)
    names = []
    for number, options in enumerate((["--model", path], ["--model", "none"], [])):
        out = tmp_path / str(number)
        assert run("register", pair.fixed, pair.moving, "--output", out, "--refine", 0, *options).code == 0
        names.append(json.loads((out / "report.json").read_text(encoding="utf-8"))["model"])
    assert names[0] == "stepping"
    assert names[1].startswith("none")
    assert names[2] == DEFAULT_MODEL
