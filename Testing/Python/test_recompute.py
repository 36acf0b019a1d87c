"""Recomputed feature maps: the same losses and gradients bit by bit, and less memory; and mixed precision."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import create_autospec

import pytest
import torch
from torch import Tensor

from mmln_reference import WIDTH, blob_pair, enlarge_outputs, tiny_network
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.level import Level, LevelInput
from MMLNRegistrationLib.model.losses import LevelLoss, LossConfig, Structures
from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.model.network import MMLNConfig
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.training.config import fast_preset
from MMLNRegistrationLib.training.distributed import Ranks
from MMLNRegistrationLib.training.pairs import PairSource
from MMLNRegistrationLib.training.run_folder import RunFolder
from MMLNRegistrationLib.training.trainer import Trainer
from MMLNRegistrationLib.training.validation import ValidationSet
from saved_tensors import SavedTensors


def mutual_learning(recomputes: bool = False, similarity: str = "local_correlation") -> MutualLearning:
    learning = MutualLearning(tiny_network(), LossConfig(similarity=similarity, dice_weight=1.0))
    torch.manual_seed(3)
    enlarge_outputs(learning.slice_branches)
    if recomputes:
        learning.recompute_activations()
    return learning


def blob_structures(fixed: Tensor, moving: Tensor) -> Structures:
    return Structures((fixed > 0.5).float(), (moving > 0.5).float())


def loss_of(learning: MutualLearning, level: int, device: str = "cpu") -> LevelLoss:
    fixed, moving = (image.to(device) for image in blob_pair(16))
    return learning(level, fixed, moving, blob_structures(fixed, moving))


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("frozen_below", [False, True])
def test_recomputing_changes_no_bit_of_losses_and_gradients(level: int, frozen_below: bool) -> None:
    kept, recomputed = mutual_learning(), mutual_learning(recomputes=True)
    recomputed.load_state_dict(kept.state_dict(), strict=True)
    losses = []
    for learning in (kept, recomputed):
        for below in learning.network.levels[: level - 1]:
            below.requires_grad_(not frozen_below)
        losses.append(loss_of(learning, level))
        losses[-1].total.backward()
    for first, second in zip(*losses, strict=True):
        assert torch.equal(first, second)
    pairs = list(zip(kept.named_parameters(), recomputed.parameters(), strict=True))
    learnt = [name for (name, first), _ in pairs if first.grad is not None]
    assert any(name.startswith(f"network.levels.{level - 1}.") for name in learnt)
    for (name, first), second in pairs:
        assert (first.grad is None) == (second.grad is None), name
        assert first.grad is None or torch.equal(first.grad, second.grad), name


@pytest.mark.parametrize(("dimensions", "size"), [(3, 12), (2, 32)])
def test_a_level_keeps_less_than_half(dimensions: int, size: int) -> None:
    torch.manual_seed(1)
    level = Level(2, 16, 5, 5.0, reads_velocity=True, dimensions=dimensions)
    shape = (size,) * dimensions
    inputs = LevelInput(
        torch.rand(1, 2, *shape),
        torch.randn(1, dimensions, *shape),
        torch.randn(1, 16, *[size // 2] * dimensions),
    )
    kept = []
    for level.recomputes in (False, True):
        with SavedTensors() as saved:
            output = level(inputs)
        kept.append(saved.bytes)
        assert output.velocity.requires_grad
    assert kept[1] < 0.5 * kept[0]


def test_the_2d_branch_keeps_a_quarter_and_less() -> None:
    fixed, moving = blob_pair(16)
    kept = []
    for recomputes in (False, True):
        learning = mutual_learning(recomputes)
        *_, run = learning.network.run_levels(fixed, moving, 2)
        with SavedTensors() as saved:
            learning.slice_branches[1].velocity(run, 0)
        kept.append(saved.bytes)
    assert kept[1] < 0.25 * kept[0]


def test_without_gradients_nothing_is_recomputed() -> None:
    learning = mutual_learning(recomputes=True)
    calls = []
    learning.network.levels[0].down.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        loss_of(learning, 1)
    assert len(calls) == 1
    loss_of(learning, 1).total.backward()
    assert len(calls) == 3


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("similarity", ["correlation", "local_correlation"])
@pytest.mark.parametrize("recomputes", [False, True])
def test_in_mixed_precision_losses_stay_float32_and_close(level: int, similarity: str, recomputes: bool) -> None:
    learning = mutual_learning(recomputes, similarity)
    expected = loss_of(learning, level)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(learning, level)
        features = learning.network.levels[0](LevelInput(torch.rand(1, 2, 4, 4, 4), None, None)).features
    assert features.dtype == torch.bfloat16
    for name, term in loss._asdict().items():
        assert term.dtype == torch.float32, name
        assert term.item() == pytest.approx(getattr(expected, name).item(), abs=0.02, rel=0.05), name
    loss.total.backward()
    gradients = [parameter.grad for parameter in learning.network.levels[level - 1].parameters()]
    for gradient in gradients:
        assert gradient is not None
        assert gradient.dtype == torch.float32
        assert torch.isfinite(gradient).all()


def test_in_mixed_precision_velocities_and_warped_images_are_float32() -> None:
    network = tiny_network()
    with torch.autocast("cpu", torch.bfloat16):
        runs = list(network.run_levels(*blob_pair(16)))
    for run in runs:
        assert run.output.velocity.dtype == torch.float32
        assert run.inputs.images.dtype == torch.float32
        assert run.output.features.shape[1] == WIDTH


@pytest.mark.parametrize("wanted", [False, True])
def test_the_setting_of_a_run_reaches_every_level_and_branch(wanted: bool, tmp_path: Path) -> None:
    config = replace(fast_preset(), network=MMLNConfig(width=2, blocks=1), checkpoint_activations=wanted)
    card = ModelCard("tiny", "Nothing.", "None.", "none", "none", "2026-01-01")
    folder, device = RunFolder(tmp_path), torch.device("cpu")
    source, validation = create_autospec(PairSource), create_autospec(ValidationSet)
    trainer = Trainer(config, source, validation, folder, card, device, Ranks(), silent, lambda entry: None)
    parts = [*trainer.learning.network.levels, *trainer.learning.slice_branches]
    assert [part.recomputes for part in parts] == [wanted] * 5


@pytest.mark.gpu
@pytest.mark.parametrize("level", [1, 2, 3])
def test_on_cuda_recomputing_needs_less_memory_and_gives_the_same(level: int) -> None:
    peaks, losses = [], []
    for recomputes in (False, True):
        learning = mutual_learning(recomputes).to("cuda")
        fixed, moving = (torch.nn.functional.interpolate(image.cuda(), size=64) for image in blob_pair(16))
        torch.cuda.reset_peak_memory_stats()
        with torch.autocast("cuda", torch.bfloat16):
            loss = learning(level, fixed, moving)
        loss.total.backward()
        peaks.append(torch.cuda.max_memory_allocated())
        losses.append(loss.total.item())
        assert loss.total.dtype == torch.float32
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert peaks[1] < peaks[0]
