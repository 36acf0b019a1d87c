"""How many bytes autograd keeps for the gradient."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SavedTensors(torch.autograd.graph.saved_tensors_hooks):
    """In its context, counts the memory of what operations save: each memory block once, those of parameters not."""

    def __init__(self) -> None:
        self._kept: dict[int, Tensor] = {}
        super().__init__(self._pack, lambda tensor: tensor)

    def __enter__(self) -> SavedTensors:
        super().__enter__()
        return self

    @property
    def bytes(self) -> int:
        """Of all blocks that were saved so far."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._kept.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            # A detached view holds the block, so that no other gets its address while we count.
            self._kept[tensor.untyped_storage().data_ptr()] = tensor.detach()
        return tensor
