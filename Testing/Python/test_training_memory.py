"""The benchmark that counts the memory of a training step on fake tensors, against a step with real ones."""

import importlib.util
from types import ModuleType

import pytest
import torch

from mmln_reference import WIDTH
from MMLNRegistrationLib.model.losses import LossConfig, Structures
from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig
from repository import ROOT
from saved_tensors import SavedTensors

SHAPE = (16, 16, 16)


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = ROOT / "Testing" / "Benchmarks" / "training_memory.py"
    specification = importlib.util.spec_from_file_location("training_memory", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("recomputes", [False, True])
def test_the_count_is_that_of_a_real_step(
    benchmark: ModuleType, recomputes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "SHAPE", SHAPE)
    config = MMLNConfig(width=WIDTH, blocks=2)
    learning = MutualLearning(MMLN(config), LossConfig())
    if recomputes:
        learning.recompute_activations()
    fixed, moving = torch.rand(2, 1, 1, *SHAPE)
    maps = Structures(*torch.rand(2, 1, 3, *SHAPE))
    with SavedTensors() as saved:
        learning(3, fixed, moving, maps)
    real = saved.bytes + sum(tensor.nbytes for tensor in (fixed, moving, *learning.parameters()))
    kept, peak = benchmark.step_bytes(config, 3, recomputes, False, "correlation", 3)
    assert kept == pytest.approx(real, rel=0.1)
    assert peak > kept
