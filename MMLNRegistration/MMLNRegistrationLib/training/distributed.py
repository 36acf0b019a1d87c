"""Several processes that train one network, each with its own pairs: their gradients are averaged (torchrun)."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import distributed, nn

Result = TypeVar("Result")


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run, counted from 0."""

    rank: int = 0
    count: int = 1

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over the processes. All must have them for the same parameters.

        The gradients travel in one flat tensor: the network has few parameters, and one message is fastest.
        """
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        for gradient, part in zip(gradients, flat.split([each.numel() for each in gradients]), strict=True):
            gradient.copy_(part.view(gradient.shape))

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether one of the processes at least wishes so. All must ask at the same place."""
        if self.count == 1:
            return wish
        wishes = torch.tensor(float(wish), device=device)
        distributed.all_reduce(wishes)
        return bool(wishes > 0)

    def first_then_all(self, work: Callable[[], Result]) -> Result:
        """work() of the first process, then of the others, which find done what it leaves on the disk."""
        done = [work()] if self.rank == 0 else []
        self.wait()
        return done[0] if done else work()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()


def device_of_rank(device: torch.device) -> torch.device:
    """The device of this process: under torchrun, `cuda` is a GPU of its own for each process of a machine."""
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(own)
    return own


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone when it was started without."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    # The others wait while the first one prepares the data or validates; the usual ten minutes are too short for that.
    patience = datetime.timedelta(days=2)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
