"""How well a network registers people it has not learnt from: fixed pairs, Dice, similarity and folding."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..model.losses import correlation_coefficient
from ..model.network import MMLN, pyramid
from ..progress import Progress
from ..quality.metrics import mean_dice, merged
from ..spatial.folding import folded
from ..spatial.velocity import integrate
from ..spatial.warp import identity_grid, resize_displacement, sample, warp
from .datasets import Scan
from .preparation import PreparedData, PreparedScan


@dataclass(frozen=True)
class ValidationResult:
    """Means over the pairs; Dice over those with label maps, None where there is none."""

    dice: float | None
    dice_initial: float | None
    similarity: float
    folded_percent: float
    seconds: float

    @property
    def score(self) -> float:
        """What the best checkpoint is chosen by: Dice where labels are, else the images' correlation."""
        return self.similarity if self.dice is None else self.dice


def require_validation_pairs(scans: tuple[Scan, ...]) -> None:
    """Raise InputError when there are not two subjects with images."""
    if len({scan.subject for scan in scans if scan.image}) < 2:
        raise InputError("Validation needs scans of at least two subjects; keep more of them, or give a folder.")


class _Pair(NamedTuple):
    fixed: PreparedScan
    moving: PreparedScan
    labels: list[int]
    """Those of the fixed scan."""
    dice_initial: float
    """Not a number without labels."""


class ValidationSet:
    """Fixed ordered pairs of scans of two subjects each, kept in memory on the common grid."""

    def __init__(
        self,
        data: PreparedData,
        scans: tuple[Scan, ...],
        count: int,
        seed: int,
        structure_of_label: Mapping[int, str] | None = None,
    ) -> None:
        """structure_of_label: labels that share a structure are scored as one; without it each label counts.

        Raises InputError as require_validation_pairs does.
        """
        require_validation_pairs(scans)
        usable = [scan for scan in scans if scan.image]
        pairs = [pair for pair in itertools.permutations(usable, 2) if pair[0].subject != pair[1].subject]
        order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()
        # Pairs with label maps come first: they alone give a Dice.
        order.sort(key=lambda index: not all(scan.labels for scan in pairs[index]))
        chosen = [pairs[index] for index in order[:count]]
        self.names = [(fixed.name, moving.name) for fixed, moving in chosen]
        loaded = {scan.name: _scored(data.load(scan), structure_of_label) for pair in chosen for scan in pair}
        self._pairs = [_pair(loaded[fixed], loaded[moving]) for fixed, moving in self.names]

    @torch.no_grad()
    def measure(self, network: MMLN, level: int, device: torch.device, progress: Progress) -> ValidationResult:
        """Run the network up to a level on every pair."""
        start = time.perf_counter()
        network.eval()
        values: list[tuple[float, float, float, float]] = []
        for index, pair in enumerate(self._pairs):
            progress("validate", index / len(self._pairs))
            values.append(_measure(network, level, pair, device))
        network.train()
        _, _, similarity, folding = np.mean(values, axis=0).tolist()
        labelled = [value[:2] for value in values if np.isfinite(value[0])]
        dice, initial = np.mean(labelled, axis=0).tolist() if labelled else (None, None)
        return ValidationResult(dice, initial, similarity, folding, time.perf_counter() - start)


def _scored(prepared: PreparedScan, structure_of_label: Mapping[int, str] | None) -> PreparedScan:
    image, labels = prepared
    assert image is not None
    if labels is not None and structure_of_label:
        labels = torch.from_numpy(merged(labels.numpy(), structure_of_label).astype(np.int16))
    return PreparedScan(image.half(), labels)


def _pair(fixed: PreparedScan, moving: PreparedScan) -> _Pair:
    if fixed.labels is None or moving.labels is None:
        return _Pair(fixed, moving, [], float("nan"))
    labels = [label for label in np.unique(fixed.labels.numpy()).tolist() if label != 0]
    return _Pair(fixed, moving, labels, mean_dice(fixed.labels.numpy(), moving.labels.numpy(), labels))


def _measure(network: MMLN, level: int, pair: _Pair, device: torch.device) -> tuple[float, float, float, float]:
    """Dice after, Dice before, correlation after, percent folded of one pair; Dice is not a number without labels."""
    assert pair.fixed.image is not None
    assert pair.moving.image is not None
    halvings = network.config.levels - level
    fixed, moving = (
        pyramid(image.to(device).float(), halvings + 1)[0] for image in (pair.fixed.image, pair.moving.image)
    )
    displacement = integrate(network(fixed, moving, level).velocity)
    similarity = float(correlation_coefficient(fixed, warp(moving, displacement)))
    folded_percent = 100 * float(folded(displacement[0]).float().mean())
    if pair.fixed.labels is None or pair.moving.labels is None:
        return float("nan"), pair.dice_initial, similarity, folded_percent
    moved = carried(pair.moving.labels.to(device), displacement)
    dice = mean_dice(pair.fixed.labels.numpy(), moved.cpu().numpy(), pair.labels)
    return dice, pair.dice_initial, similarity, folded_percent


def carried(labels: Tensor, displacement: Tensor) -> Tensor:
    """A label map of the common grid through a displacement of a coarser one."""
    shape = tuple(labels.shape[2:])
    coordinates = identity_grid(shape, labels.device) + resize_displacement(displacement, shape)
    return sample(labels.float(), coordinates, nearest=True).to(labels.dtype)
