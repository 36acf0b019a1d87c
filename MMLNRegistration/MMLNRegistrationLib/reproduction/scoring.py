"""How well a trained network registers the test pairs (paper section 4.3), one pair at a time, resumable.

Everything is measured on the common grid of the prepared scans, with the network's own field: no refinement, and folds
stay as they are.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..model.checkpoint import Checkpoint, load_checkpoint
from ..pipeline.device import device_label
from ..pipeline.infer import network_velocity
from ..progress import Progress
from ..quality.metrics import dice, label_counts, mean_ratio
from ..spatial.jacobian import determinants
from ..spatial.velocity import integrate
from ..training.datasets import Scan
from ..training.ledger import Ledger, read_ledger
from ..training.preparation import PreparedData, PreparedScan
from ..training.validation import carried


@dataclass(frozen=True)
class PairScore:
    """What one pair reached; definitions in quality.metrics.

    dice, dice_initial: over the scored structures, with and without the network's field. dice_all, dice_all_initial:
    over all labels of the fixed map. tc: over the scored structures. folded_strict_percent: voxels that fail the
    strict test of spatial.jacobian; folded_central_percent: with a determinant by central differences that is not
    positive, as others measure it. seconds: of the network's pass and the integration. device: its label.
    """

    fixed: str
    moving: str
    dice_initial: float
    dice: float
    dice_all_initial: float
    dice_all: float
    tc: float
    folded_strict_percent: float
    folded_central_percent: float
    seconds: float
    device: str


class Overlap(NamedTuple):
    """What a label map of the moving scan and one of the fixed scan have in common, in the words of PairScore."""

    dice: float
    dice_all: float


class Field(NamedTuple):
    """A displacement (1, 3, K, J, I) in voxels of its grid, and how long it took."""

    displacement: Tensor
    seconds: float


@dataclass(frozen=True)
class AtlasPairs:
    """Atlases, and who is registered to each of them. labels: those that are scored, None for all."""

    data: PreparedData
    atlases: tuple[Scan, ...]
    moving: tuple[Scan, ...]
    labels: frozenset[int] | None

    @property
    def count(self) -> int:
        """Of pairs."""
        return len(self.atlases) * len(self.moving)

    def without(self, done: Collection[tuple[str, str]]) -> Iterator[tuple[PreparedScan, str, PreparedScan, str]]:
        """The pairs that are not done: each loaded when its turn comes, and let go of before the next."""
        for fixed in self.atlases:
            waiting = [scan for scan in self.moving if (fixed.name, scan.name) not in done]
            if waiting:
                atlas = self.data.load(fixed)
                for moving in waiting:
                    yield atlas, fixed.name, self.data.load(moving), moving.name


def score_network(
    network: Path, pairs: AtlasPairs, spacing_mm: float, device: torch.device, table: Path, progress: Progress
) -> list[PairScore]:
    """Score a network's file on every pair. What `table`, a ledger, holds of the same network is not measured again.

    spacing_mm: of the pairs' grid. progress is told "pairs". Raises InputError for files that cannot be read or
    written, and what progress raises; the pairs until then are kept.
    """
    key = hashlib.sha256(network.read_bytes()).hexdigest()
    scores = kept_scores(table, key)
    if not scores:
        with suppress(FileNotFoundError):
            table.unlink()
        Ledger(table).append({"event": "network", "sha256": key})
    done = {(score.fixed, score.moving) for score in scores}

    def at_work(step: str, fraction: float) -> None:
        progress("pairs", (len(scores) + fraction) / pairs.count)

    model = load_checkpoint(network) if len(done) < pairs.count else None
    is_warm = False
    for fixed, fixed_name, moving, moving_name in pairs.without(done):
        assert model is not None
        if not is_warm:  # the first pass also sets up the device's libraries
            registered(model, fixed, moving, spacing_mm, device, lambda step, fraction: at_work(step, 0.0))
            is_warm = True
        field = registered(model, fixed, moving, spacing_mm, device, at_work)
        score = scored(fixed, moving, field, pairs.labels, (fixed_name, moving_name), device_label(device))
        Ledger(table).append({"event": "pair", **asdict(score)})
        scores.append(score)
        at_work("", 0.0)
    return scores


def kept_scores(table: Path, key: str) -> list[PairScore]:
    """The scores of an earlier evaluation of the same network; none of another one's. key: SHA-256 of its file."""
    if not table.exists():
        return []
    head, *entries = read_ledger(table) or [{}]
    if head.get("sha256") != key:
        return []
    try:
        scores = [PairScore(**{name: value for name, value in row.items() if name != "event"}) for row in entries]
    except TypeError as error:
        raise InputError(f"{table} is not a table of scores; remove it to have the pairs measured anew.") from error
    return scores


@torch.no_grad()
def registered(
    model: Checkpoint,
    fixed: PreparedScan,
    moving: PreparedScan,
    spacing_mm: float,
    device: torch.device,
    progress: Progress,
) -> Field:
    """The network's field for a pair, on the common grid. Its seconds leave out how the images come to the device.

    progress is told of each convolution, as a pair takes a while on a processor. Raises what it raises.
    """
    assert fixed.image is not None
    assert moving.image is not None
    images = fixed.image.to(device), moving.image.to(device)
    shape = tuple(fixed.image.shape[2:])
    _finish(device)
    start = time.perf_counter()
    velocity = network_velocity(model, *images, spacing_mm, shape, progress)
    displacement = integrate(velocity)
    _finish(device)
    return Field(displacement, time.perf_counter() - start)


def scored(
    fixed: PreparedScan,
    moving: PreparedScan,
    field: Field,
    labels: Collection[int] | None,
    names: tuple[str, str],
    device: str,
) -> PairScore:
    """Measure a field against the label maps of a pair and against itself. labels: those that are scored, of which
    the fixed map shows one at least."""
    assert fixed.labels is not None
    assert moving.labels is not None
    central, strict = determinants(field.displacement[0])
    moved = carried(moving.labels.to(field.displacement.device), field.displacement).cpu().numpy()
    target, source = fixed.labels.numpy(), moving.labels.numpy()
    before, after = (_overlap(target, labels_map, labels) for labels_map in (source, moved))
    volumes = {label: count for label, count in label_counts(source).items() if labels is None or label in labels}
    return PairScore(
        fixed=names[0],
        moving=names[1],
        dice_initial=before.dice,
        dice=after.dice,
        dice_all_initial=before.dice_all,
        dice_all=after.dice_all,
        tc=mean_ratio(label_counts(moved), volumes),
        folded_strict_percent=100 * float((strict <= 0).float().mean()),
        folded_central_percent=100 * float((central <= 0).float().mean()),
        seconds=field.seconds,
        device=device,
    )


def _overlap(target: NDArray[np.integer], other: NDArray[np.integer], labels: Collection[int] | None) -> Overlap:
    """Over the labels of the fixed map, and over those of them that are scored."""
    by_label = dice(target, other, label_counts(target))
    chosen = [value for label, value in by_label.items() if labels is None or label in labels]
    return Overlap(float(np.mean(chosen)), float(np.mean(list(by_label.values()))))


def _finish(device: torch.device) -> None:
    """Wait for a GPU, which works on while the program goes on."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
