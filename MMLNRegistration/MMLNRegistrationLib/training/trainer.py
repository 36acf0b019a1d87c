"""The training loop: level after level, each from the one below, until the steps are done or somebody stops it.

Everything random follows from the seed and the step, so a run that was stopped at any time goes on from its last
checkpoint and, on a CPU, ends with the very weights of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from ..errors import RegistrationError
from ..model.card import ModelCard
from ..model.checkpoint import save_checkpoint
from ..model.losses import LevelLoss, Structures
from ..model.mutual import MutualLearning
from ..model.network import MMLN
from ..pipeline.device import peak_memory_bytes, reset_peak_memory
from ..progress import Cancelled, Progress
from .config import StageConfig, TrainConfig
from .curves import curves_picture
from .distributed import Ranks
from .ledger import Ledger, read_ledger
from .pairs import Batch, PairSource
from .run_folder import RunFolder, State, optimiser_tensors, restore_optimiser
from .validation import ValidationSet

LOG_EVERY = 10
"""Steps averaged in one entry of the ledger."""

Report = Callable[[Mapping[str, Any]], None]
"""Called with every entry of the ledger, as it is written."""


class Trainer:
    """One run: the network being trained, its optimiser, and where it stands."""

    def __init__(
        self,
        config: TrainConfig,
        source: PairSource,
        validation: ValidationSet,
        folder: RunFolder,
        card: ModelCard,
        device: torch.device,
        ranks: Ranks,
        progress: Progress,
        report: Report,
    ) -> None:
        """card: of the model that comes out, its grid spacing aside. ranks: this process among those of the run."""
        self.config, self.source, self.validation, self.folder = config, source, validation, folder
        self.card, self.device, self.ranks, self.progress, self.report = card, device, ranks, progress, report
        torch.manual_seed(config.seed)
        self.learning = MutualLearning(MMLN(config.network), config.loss)
        self.learning.to(device)
        if config.checkpoint_activations:
            self.learning.recompute_activations()
        if config.channels_last:
            self.learning.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.state = State(step=0, best_score=None, best_step=None)
        self.optimiser: torch.optim.Adam | None = None
        self.ledger = Ledger(folder.ledger)

    def run(self, resume: bool) -> State:
        """Train from the beginning, or from the newest checkpoint. Returns where it ended.

        Cancelled, raised by progress at the end of a step, leaves a checkpoint of that step.
        Raises RegistrationError when the loss is no number any more, InputError when files cannot be written.
        """
        resumed = self._resume() if resume else False
        self._log({"event": "resume" if resumed else "start", "step": self.state.step})
        if self.state.validation_due:
            self._validate(stage_at(self.config, self.state.step - 1)[0])
            self._save()
        with ThreadPoolExecutor(max_workers=1) as loader:
            self._steps(loader)
        self._log({"event": "end", "step": self.state.step})
        return self.state

    def _steps(self, loader: ThreadPoolExecutor) -> None:
        total = self.config.total_steps
        waiting: Future[Batch] | None = None
        while self.state.step < total:
            stage, index = stage_at(self.config, self.state.step)
            if index == 0:
                self._begin_stage(stage)
            self._set_rate_and_freezing(stage, index)
            start = time.perf_counter()
            reset_peak_memory(self.device)
            batch = waiting.result() if waiting else self._batch(self.state.step)
            waiting = loader.submit(self._batch, self.state.step + 1) if self.state.step + 1 < total else None
            loss = self._step(stage, batch)
            self.state = replace(self.state, step=self.state.step + 1)
            self._after_step(stage, index + 1, batch, loss, time.perf_counter() - start)

    def _batch(self, step: int) -> Batch:
        stage, index = stage_at(self.config, step)
        return self.source.batch(step, stage.level, taught=index < stage.taught_steps, part=self.ranks.rank)

    def _begin_stage(self, stage: StageConfig) -> None:
        if self.config.start_from_below and stage.level > 1:
            levels = list(self.learning.network.levels)
            start_from(levels[stage.level - 1], levels[stage.level - 2])
        self.optimiser = self._new_optimiser(stage)

    def _new_optimiser(self, stage: StageConfig) -> torch.optim.Adam:
        branches = self.learning.slice_branches
        learning = [*self.learning.network.levels[: stage.level], *branches[stage.level - 1 : stage.level]]
        self.learning.requires_grad_(False)
        parameters = [parameter for module in learning for parameter in module.parameters()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        return torch.optim.Adam(parameters, lr=stage.learning_rate)

    def _set_rate_and_freezing(self, stage: StageConfig, index: int) -> None:
        assert self.optimiser is not None
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(stage, index)
        learns = index >= stage.frozen_steps
        for level in self.learning.network.levels[: stage.level - 1]:
            level.requires_grad_(learns)

    def _step(self, stage: StageConfig, batch: Batch) -> LevelLoss:
        assert self.optimiser is not None
        structures = batch.structures
        mixed = self.config.mixed_precision and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            loss: LevelLoss = self.learning(
                stage.level,
                batch.fixed.to(self.device),
                batch.moving.to(self.device),
                None if structures is None else Structures(*(maps.to(self.device) for maps in structures)),
                None if batch.velocity is None else batch.velocity.to(self.device),
                compare_images=batch.compare_images,
                # Each pass has to learn what it is given to do.
                passes=1 + self.state.step % self.config.network.passes_of(stage.level),
            )
        if not math.isfinite(float(loss.total.detach())):
            raise self._diverged("The loss")
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()
        self.ranks.average_gradients(self.learning)
        gradients = [parameter.grad for parameter in self.learning.parameters() if parameter.grad is not None]
        if not torch.stack([gradient.isfinite().all() for gradient in gradients]).all():
            raise self._diverged("The gradient")
        self.optimiser.step()
        return loss

    def _diverged(self, what: str) -> RegistrationError:
        return RegistrationError(
            f"{what} is no number any more after {self.state.step} steps; the last checkpoint is intact, but training "
            "needs a lower learning rate: begin a new run with one."
        )

    def _after_step(self, stage: StageConfig, done: int, batch: Batch, loss: LevelLoss, seconds: float) -> None:
        """Book-keeping after each step; `done` counts the stage's steps."""
        config, step = self.config, self.state.step
        ends = done == stage.steps
        self._add(loss, batch, seconds)
        saves = ends or done % config.checkpoint_every == 0
        if saves or done % LOG_EVERY == 0:
            self._log_steps(stage, done)
        self.state = replace(self.state, validation_due=ends or done % config.validate_every == 0)
        stopped = False
        try:
            if self.state.validation_due:
                self._validate(stage)
            if saves:
                self._save()
            self.progress(f"train level {stage.level}", step / config.total_steps)
        except Cancelled:
            stopped = True
        # Here, between two steps, all is consistent, and no process is left waiting for another one's gradients.
        if self.ranks.any(stopped, self.device):
            if self.state.validation_due or not saves:
                self._save()
            self._log({"event": "stopped", "step": step})
            raise Cancelled

    def _add(self, loss: LevelLoss, batch: Batch, seconds: float) -> None:
        """Keep the terms that this batch has, so that means are over the steps that knew them."""
        values = {name: float(value.detach()) for name, value in loss._asdict().items()}
        if not batch.compare_images:
            for name in ("similarity", "slices", "core"):
                del values[name]
        if batch.structures is None:
            del values["dice"]
        if batch.velocity is None:
            del values["taught"]
        for name, value in {**values, "seconds": seconds}.items():
            self.state.unlogged.setdefault(name, []).append(value)

    def _log_steps(self, stage: StageConfig, done: int) -> None:
        means = {name: sum(values) / len(values) for name, values in self.state.unlogged.items()}
        self.state = replace(self.state, unlogged={})
        self._log(
            {
                "event": "step",
                "step": self.state.step,
                "level": stage.level,
                **means,
                "learning_rate": learning_rate(stage, done - 1),
                "memory_bytes": peak_memory_bytes(self.device),
                "seconds_left": seconds_left(self.config, self.state.step, means["seconds"]),
            }
        )

    def _validate(self, stage: StageConfig) -> None:
        try:
            if self.ranks.rank == 0:
                self._measure(stage)
        finally:
            self.ranks.wait()
        self.state = replace(self.state, validation_due=False)

    def _measure(self, stage: StageConfig) -> None:
        result = self.validation.measure(self.learning.network, stage.level, self.device, self.progress)
        if not math.isfinite(result.similarity):
            raise self._diverged("The network's result")
        best = self.state.best_score is None or result.score > self.state.best_score
        if best:
            self.state = replace(self.state, best_score=result.score, best_step=self.state.step)
            self._save_best(stage.level)
        entry = {"event": "validation", "step": self.state.step, "level": stage.level, "best": best}
        self._log({**entry, **asdict(result)})

    def _save_best(self, level: int) -> None:
        network = up_to(self.learning.network, level)
        card = replace(self.card, grid_spacing_mm=self.config.level_spacing_mm(level))
        save_checkpoint(self.folder.best, network, card)

    def _save(self) -> None:
        if self.ranks.rank > 0:
            return
        assert self.optimiser is not None
        self.folder.save_checkpoint(
            self.state, self.learning.state_dict(), optimiser_tensors(self.optimiser, self.learning)
        )
        self.folder.write_text(self.folder.curves.name, curves_picture(read_ledger(self.folder.ledger)))

    def _resume(self) -> bool:
        resumed = self.folder.load_checkpoint()
        if self.ranks.rank == 0:
            self.folder.remove_leftovers()
            if self.folder.ledger.exists():
                self.ledger.truncate_after(resumed.state.step if resumed else 0)
        if resumed is None:
            return False
        self.state = resumed.state
        self.learning.load_state_dict(resumed.weights, strict=True)
        stage, _ = stage_at(self.config, self.state.step - 1)
        self.optimiser = self._new_optimiser(stage)
        restore_optimiser(self.optimiser, self.learning, resumed.optimiser)
        return True

    def _log(self, entry: Mapping[str, Any]) -> None:
        if self.ranks.rank == 0:
            self.ledger.append(entry)
            self.report(entry)


def stage_at(config: TrainConfig, step: int) -> tuple[StageConfig, int]:
    """The stage that a step (from 0) belongs to, and its number in it."""
    for stage in config.stages:
        if step < stage.steps:
            return stage, step
        step -= stage.steps
    raise ValueError(f"Step {step} lies beyond the last stage.")


def learning_rate(stage: StageConfig, index: int) -> float:
    """Of a step of the stage (from 0): half a cosine from the first to the final rate."""
    share = 0.5 + 0.5 * math.cos(math.pi * index / stage.steps)
    return stage.final_learning_rate + share * (stage.learning_rate - stage.final_learning_rate)


def seconds_left(config: TrainConfig, step: int, seconds_per_step: float) -> float:
    """Until the last step, if each level costs eight times the one below it, as its voxels do."""
    if step >= config.total_steps:
        return 0.0
    now, index = stage_at(config, step - 1) if step else (config.stages[0], 0)
    left = float(now.steps - index - 1)
    left += sum(stage.steps * 8.0 ** (stage.level - now.level) for stage in config.stages if stage.level > now.level)
    return left * seconds_per_step


def start_from(level: nn.Module, below: nn.Module) -> None:
    """Give a level the weights of the one below: registering what is left is the same task on a finer grid.

    Where shapes differ, at the first convolution, the images' channels are taken over; those of the velocity, which
    the coarsest level does not read, start from zero.
    """
    target, source = level.state_dict(), below.state_dict()
    for name, value in source.items():
        if target[name].shape == value.shape:
            target[name].copy_(value)
        else:
            target[name].zero_()[:, : value.shape[1]].copy_(value)


def up_to(network: MMLN, level: int) -> MMLN:
    """The network that the levels up to one make, sharing their weights."""
    part = MMLN(replace(network.config, levels=level))
    for index in range(level):
        part.levels[index] = network.levels[index]
    return part
