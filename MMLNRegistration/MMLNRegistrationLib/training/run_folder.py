"""The folder of one training run: settings, ledger, checkpoints. Each file in it is whole, whenever the run ends.

config.json, split.json, environment.json    what was asked for, on which subjects, on which machine
validation.json                              where the prepared scans lie, and the pairs that validate
ledger.jsonl, curves.svg                     what happened
checkpoints/step-00000200/                   weights, optimiser and state, to go on from
best.safetensors                             the network with the best validation score, for `--model`

What is there only while a process trains is told in run_files.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import InputError
from ..model.network import MMLN
from ..tensor_file import open_tensors, tensor_bytes
from ..writing import PARTIAL_PREFIX, partial_name, write_whole
from .config import TrainConfig, as_json, from_json
from .run_files import RunFiles
from .split import Split

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class State:
    """Where a run stands after so many steps."""

    step: int
    best_score: float | None
    best_step: int | None
    validation_due: bool = False
    """The step asks for a validation that was broken off."""
    unlogged: dict[str, list[float]] = field(default_factory=dict)
    """Losses and seconds of the steps since the ledger's last entry of them."""


class Resumed(NamedTuple):
    """What a checkpoint holds."""

    state: State
    weights: dict[str, Tensor]
    optimiser: dict[str, Tensor]


class RunFolder(RunFiles):
    """Paths of a run and the only code that writes them, the ledger aside."""

    def begin(self, config: TrainConfig, split: Split, device: str) -> None:
        """Write what the run is. Raises InputError when it cannot be written."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"The run folder {self.path} cannot be made: {error.strerror}.") from error
        self.write_text("split.json", json.dumps(asdict(split), indent=2) + "\n")
        self.write_text("environment.json", json.dumps(_environment(device), indent=2) + "\n")
        self.write_text(self.config.name, json.dumps(as_json(config), indent=2) + "\n")

    def read_config(self) -> TrainConfig:
        """The configuration that the run began with."""
        return from_json(self._read_json("config.json"), "config.json")

    def write_pairs(self, prepared: Path, pairs: Sequence[tuple[str, str]]) -> None:
        """Note where the prepared scans lie, and the names of the fixed and moving ones that validate."""
        values = {"prepared": str(prepared.absolute()), "pairs": pairs}
        self.write_text(self.validation.name, json.dumps(values, indent=2) + "\n")

    def read_split(self) -> Split:
        """The subjects that the run began with."""
        values = self._read_json("split.json")
        return Split(tuple(values["training"]), tuple(values["validation"]))

    def write_text(self, name: str, text: str) -> None:
        """A file of the run, whole or not at all."""
        self.write_bytes(self.path / name, text.encode())

    def write_bytes(self, path: Path, content: bytes) -> None:
        """The same for bytes. Raises InputError when it cannot be written."""
        try:
            write_whole(path, content)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror}); make room and go on with --resume."
            ) from error

    def save_checkpoint(self, state: State, weights: Mapping[str, Tensor], optimiser: Mapping[str, Tensor]) -> None:
        """Write a checkpoint under a temporary name, rename it, and let go of the oldest."""
        temporary = self.checkpoints / partial_name()
        try:
            temporary.mkdir()
            for name, tensors in (("weights", weights), ("optimiser", optimiser)):
                arrays = {key: tensor.detach().cpu().numpy() for key, tensor in tensors.items()}
                self.write_bytes(temporary / f"{name}.safetensors", tensor_bytes(arrays, {}))
            self.write_bytes(temporary / "state.json", json.dumps(asdict(state)).encode())
            final = self.checkpoints / f"step-{state.step:08d}"
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
        except OSError as error:
            raise InputError(
                f"A checkpoint cannot be written to {self.checkpoints} ({error.strerror}); make room and go on with "
                "--resume."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self._complete()[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Let go of what a killed process had not finished to write."""
        partial = f"{PARTIAL_PREFIX}*"
        for leftover in (*self.path.glob(partial), *self.checkpoints.glob(partial)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def load_network(self) -> tuple[State, MMLN]:
        """The network of the newest checkpoint, on the CPU, and where the run stood. Raises InputError without one."""
        complete = self._complete()
        if not complete:
            raise InputError(f"The run in {self.path} has no checkpoint yet; wait for the first one.")
        try:
            state = State(**json.loads((complete[-1] / "state.json").read_text(encoding="utf-8")))
            weights = _read_tensors(complete[-1] / "weights.safetensors")
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"The checkpoint {complete[-1]} is damaged, or was just replaced; try again.") from error
        network = MMLN(self.read_config().network)
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)},
            strict=True,
        )
        return state, network.eval()

    def load_checkpoint(self) -> Resumed | None:
        """The newest checkpoint; None before the first. Raises InputError when it is damaged."""
        complete = self._complete()
        if not complete:
            return None
        newest = complete[-1]
        try:
            state = State(**json.loads((newest / "state.json").read_text(encoding="utf-8")))
            weights, optimiser = (_read_tensors(newest / f"{name}.safetensors") for name in ("weights", "optimiser"))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"The checkpoint {newest} is damaged; remove it to go on from the one before.") from error
        return Resumed(state, weights, optimiser)

    def _complete(self) -> list[Path]:
        return sorted(self.checkpoints.glob("step-*"))

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path / name} cannot be read; is {self.path} the folder of a run?") from error
        return values


def optimiser_tensors(optimiser: torch.optim.Adam, module: nn.Module) -> dict[str, Tensor]:
    """Adam's state by the names of the parameters it belongs to."""
    return {
        f"{name}/{key}": value
        for name, parameter in module.named_parameters()
        for key, value in optimiser.state.get(parameter, {}).items()
    }


def restore_optimiser(optimiser: torch.optim.Adam, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """The reverse. Adam counts steps in a CPU tensor; its moments lie where the parameter does."""
    parameters = dict(module.named_parameters())
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        parameter = parameters[name]
        if entry != "step":
            value = value.to(parameter.device).contiguous(memory_format=_format_of(parameter))
        optimiser.state[parameter][entry] = value


def _read_tensors(path: Path) -> dict[str, Tensor]:
    with open_tensors(path) as file:
        return {name: torch.from_numpy(file.read(name)) for name in file.names}


def _format_of(parameter: Tensor) -> torch.memory_format:
    channels_last = parameter.dim() == 5 and parameter.is_contiguous(memory_format=torch.channels_last_3d)
    return torch.channels_last_3d if channels_last else torch.contiguous_format


def _environment(device: str) -> dict[str, str]:
    return {
        "mmln": __version__,
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "system": platform.platform(),
        "device": device,
    }
