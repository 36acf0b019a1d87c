"""Memory of one training step at full size, counted operation by operation without computing or storing anything.

PyTorch's fake tensors have shapes and no contents: the step's operations run on them, forward and backward, and
every memory block that is alive is added up. The table is an estimate for a GPU: the workspaces of its convolutions
and the fragments of its allocator (usually 0.3 to 1 GiB) come on top.

python Testing/Benchmarks/training_memory.py
"""

from __future__ import annotations

import argparse
import itertools
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "MMLNRegistration"))

from MMLNRegistrationLib.model.losses import LossConfig, Structures
from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig

SHAPE = (160, 192, 224)
GIB = 2**30


class LiveBytes(TorchDispatchMode):
    """In its context, the bytes of all memory blocks that operations made and that are still alive, and their peak."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's block, unless it is counted already."""
        storage = tensor.untyped_storage()
        if storage in self._seen:
            return
        self._seen.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, size)

    def _drop(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        results = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return results


def step_bytes(
    config: MMLNConfig, level: int, recomputes: bool, half: bool, similarity: str, structures: int
) -> tuple[int, int]:
    """Bytes alive after the forward pass, and at the peak of forward and backward pass of one step of a level."""
    shape = [size // 2 ** (config.levels - level) for size in SHAPE]
    with FakeTensorMode(), LiveBytes() as live:
        learning = MutualLearning(MMLN(config), LossConfig(similarity=similarity, dice_weight=1.0))
        if recomputes:
            learning.recompute_activations()
        fixed, moving = torch.empty(1, 1, *shape), torch.empty(1, 1, *shape)
        maps = Structures(*(torch.empty(1, structures, *shape) for _ in range(2))) if structures else None
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            loss = learning(level, fixed, moving, maps).total
        forward = live.now
        loss.backward()
        return forward, live.peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 28])
    parser.add_argument("--levels", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--similarity", choices=["correlation", "local_correlation"], default="local_correlation")
    parser.add_argument("--structures", type=int, default=8, help="in the Dice term; 0 for images without label maps")
    settings = parser.parse_args()
    print("| width | level | convolutions in | recomputed | kept for the gradient, GiB | peak, GiB |")
    print("|---|---|---|---|---|---|")
    for width, level, half, recomputes in itertools.product(
        settings.widths, settings.levels, (False, True), (False, True)
    ):
        kept, peak = step_bytes(
            MMLNConfig(width=width), level, recomputes, half, settings.similarity, settings.structures
        )
        words = f"{'bfloat16' if half else 'float32'} | {'yes' if recomputes else 'no'}"
        print(f"| {width} | {level} | {words} | {kept / GIB:.2f} | {peak / GIB:.2f} |", flush=True)


if __name__ == "__main__":
    main()
