"""Several processes that train one network, each with its own pairs: their gradients are averaged (torchrun)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run, counted from 0."""

    rank: int = 0
    count: int = 1

    def average_gradients(self, module: nn.Module) -> None:
        """Replace every gradient by its mean over the processes; a parameter without one counts as zero.

        The gradients travel in one flat tensor: the network has few parameters, and one message is fastest.
        """
        if self.count == 1:
            return
        learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
        for parameter in learning:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.flatten() for parameter in learning if parameter.grad is not None])
        distributed.all_reduce(flat)
        flat /= self.count
        start = 0
        for parameter in learning:
            assert parameter.grad is not None
            part = flat[start : start + parameter.numel()]
            parameter.grad.copy_(part.view(parameter.shape))
            start += parameter.numel()

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The processes that torchrun started, or this one alone when it was started without."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()
