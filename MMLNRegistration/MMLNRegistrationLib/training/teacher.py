"""What the instance optimisation finds for a fixed set of training pairs, for the network to learn first.

The similarity of two images says little about where a far-off voxel belongs; a network needs many steps to find out.
The optimiser of pipeline.refine finds it for one pair in seconds, and the pair's velocity, once computed, teaches every
level with a plain squared error. The images' own loss then takes over. The velocities are cached like the scans.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError
from ..model.network import pyramid
from ..pipeline.prepare import velocity_shape
from ..pipeline.refine import FROM_ZERO, RefineConfig, refine
from ..progress import Progress, silent
from ..tensor_file import TensorFileError, open_tensors, tensor_bytes
from ..writing import write_whole
from .datasets import Scan
from .preparation import PreparedData, stored_key
from .workers import in_parallel

FORMAT = 1
_REFINE = RefineConfig(schedule=replace(FROM_ZERO, iterations=10, factors=((2, 2), (1, 1))), velocity_factor=1)
"""Two resolutions, that of the images it is given and half of it; velocities as fine as the images, like a level's."""


@dataclass(frozen=True)
class TaughtPair:
    """Two scans of the prepared data, and the file that holds the velocity from the first to the second."""

    fixed: Scan
    moving: Scan
    path: Path

    def velocity(self) -> Tensor:
        """(1, 3, k, j, i) float32 in voxels of its own grid, corner-aligned with the common grid.

        Raises InputError when the file has vanished.
        """
        try:
            with open_tensors(self.path) as file:
                return torch.from_numpy(file.read("velocity")).float()
        except (TensorFileError, OSError) as error:
            raise InputError(f"The taught pair {self.path} cannot be read; start the training again.") from error


def draw_pairs(scans: tuple[Scan, ...], count: int, seed: int) -> list[tuple[Scan, Scan]]:
    """Ordered pairs of scans of two subjects, each pair once; all there are when they are fewer than asked for."""
    usable = [scan for scan in scans if scan.image]
    pairs = [(a, b) for a in usable for b in usable if a.subject != b.subject]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
    return [pairs[index] for index in order[:count]]


def taught_pairs(
    data: PreparedData, pairs: list[tuple[Scan, Scan]], halvings: int, *, workers: int, progress: Progress
) -> tuple[TaughtPair, ...]:
    """Optimise every pair that is not in the cache yet, on images of the common grid halved so often."""
    folder = data.folder / "taught"
    folder.mkdir(exist_ok=True)
    taught = tuple(TaughtPair(a, b, folder / f"{a.name}--{b.name}.safetensors") for a, b in pairs)
    keys = [f"{FORMAT} {halvings} {_REFINE} {data.key(pair.fixed)} {data.key(pair.moving)}" for pair in taught]
    jobs = [(data, pair, halvings, key) for pair, key in zip(taught, keys, strict=True) if stored_key(pair.path) != key]
    for done, _ in enumerate(in_parallel(_teach, jobs, workers), start=len(taught) - len(jobs) + 1):
        progress("optimise pairs to learn from", done / len(taught))
    return taught


Job = tuple[PreparedData, TaughtPair, int, str]


def _teach(job: Job) -> None:
    data, pair, halvings, key = job
    fixed, moving = (_image(data, scan, halvings) for scan in (pair.fixed, pair.moving))
    start = torch.zeros(1, 3, *velocity_shape(tuple(fixed.shape[2:]), _REFINE.velocity_factor))
    velocity = refine(fixed, moving, start, _REFINE, silent)
    write_whole(pair.path, tensor_bytes({"velocity": velocity.half().numpy()}, {"key": key}))


def _image(data: PreparedData, scan: Scan, halvings: int) -> Tensor:
    image = data.load(scan).image
    assert image is not None
    return pyramid(image, halvings + 1)[0]
