"""3D convolution that stays fast on a processor for one small volume.

For a batch of one, PyTorch asks its fast CPU library (oneDNN) only if channels x K x J exceeds a threshold made for
images; small volumes fall below it, and then both directions take three to ten times as long. Here such a volume is
cut into two slabs that make a batch of two.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

ONEDNN_MIN_VALUES = 20480
"""PyTorch's threshold (`use_mkldnn` in ATen's Convolution.cpp), for the first four sizes of the input together."""


class Convolution3d(nn.Conv3d):
    """nn.Conv3d with kernels of 3 voxels, zero padding and stride 1; same weights, same results up to rounding."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, kernel_size=3, padding=1, bias=bias)

    def forward(self, volume: Tensor) -> Tensor:
        """volume: (B, inputs, K, J, I) gives (B, outputs, K, J, I)."""
        return self._in_slabs(volume) if _is_small(volume) else super().forward(volume)

    def _in_slabs(self, volume: Tensor) -> Tensor:
        size = volume.shape[2]
        half = (size + 1) // 2
        padded = functional.pad(volume, (0, 0, 0, 0, 1, 2 * half - size + 1))
        slabs = torch.cat([padded[:, :, : half + 2], padded[:, :, half:]])
        both = functional.conv3d(slabs, self.weight, self.bias, padding=(0, 1, 1))
        return torch.cat(both.split(1), dim=2)[:, :, :size]


def _is_small(volume: Tensor) -> bool:
    return (
        volume.device.type == "cpu"
        and volume.dtype == torch.float32
        and volume.shape[0] == 1
        and volume.shape[1:4].numel() <= ONEDNN_MIN_VALUES
    )
