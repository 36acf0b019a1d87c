"""The pairs a network learns from: which, in what order, in what pose. All of it follows from the seed and the step.

So a resumed run sees the pairs that an uninterrupted one would have seen, and each device of many its own.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..model.losses import Structures
from ..model.network import pyramid
from ..spatial.warp import displacement_scale, identity_grid, sample
from .augment import affine_coordinates, random_intensity, random_pair_pose, read_at
from .config import TrainConfig
from .datasets import Scan
from .preparation import PreparedData, PreparedScan
from .synthesis import synthetic_pair
from .teacher import TaughtPair

_KEPT_SCANS = 512
"""Scans kept in memory at a lower level's resolution, where they are small."""


class Batch(NamedTuple):
    """Pairs (B, 1, K, J, I) on the grid of one level."""

    fixed: Tensor
    moving: Tensor
    structures: Structures | None
    velocity: Tensor | None
    """(B, 3, K, J, I) of taught pairs, in voxels of the level."""
    compare_images: bool
    """False for synthetic pairs, whose two images may be of two contrasts, and for taught ones."""


def require_pairs(scans: tuple[Scan, ...], config: TrainConfig) -> None:
    """Raise InputError when there are too few scans for the pairs that the configuration asks for."""
    subjects = {scan.subject for scan in scans if scan.image}
    if (config.synthetic_share < 1 or config.taught_pairs) and len(subjects) < 2:
        raise InputError("Training on images needs scans of at least two subjects; give more data.")
    if config.synthetic_share > 0 and not any(scan.labels for scan in scans):
        raise InputError("Training on synthetic images needs label maps; give some, or set synthetic_share to 0.")
    if config.synthetic_share < 1 and config.atlases >= len(subjects):
        raise InputError(f"{config.atlases} atlases leave none of {len(subjects)} subjects to register to them.")


class PairSource:
    """Draws training pairs from prepared scans. Raises InputError as require_pairs does."""

    def __init__(
        self, data: PreparedData, scans: tuple[Scan, ...], config: TrainConfig, taught: tuple[TaughtPair, ...] = ()
    ) -> None:
        require_pairs(scans, config)
        self.taught = taught
        self.data = data
        self.config = config
        self.real = [scan for scan in scans if scan.image]
        self.labelled = [scan for scan in scans if scan.labels]
        subjects = sorted({scan.subject for scan in self.real})
        order = torch.randperm(len(subjects), generator=_generator(config.seed, 0, 0)).tolist()
        self.atlases = {subjects[index] for index in order[: config.atlases]}
        self._kept: OrderedDict[tuple[str, int], PreparedScan] = OrderedDict()

    def batch(self, step: int, level: int, *, taught: bool, part: int) -> Batch:
        """The pairs of one step, on the CPU; with several devices, those of device `part`.

        taught: draw from the pairs whose velocity is known.
        """
        count = self.config.batch_size
        kind = float(torch.rand((), generator=_generator(self.config.seed, step, 0)))
        make = self._taught if taught else self._synthetic if kind < self.config.synthetic_share else self._real
        first = 1 + part * count
        batches = [make(_generator(self.config.seed, step, first + index), level) for index in range(count)]
        structures = [batch.structures for batch in batches if batch.structures is not None]
        velocities = [batch.velocity for batch in batches if batch.velocity is not None]
        return Batch(
            torch.cat([batch.fixed for batch in batches]),
            torch.cat([batch.moving for batch in batches]),
            Structures(*(torch.cat(maps) for maps in zip(*structures, strict=True)))
            if len(structures) == count
            else None,
            torch.cat(velocities) if velocities else None,
            batches[0].compare_images,
        )

    def _taught(self, generator: torch.Generator, level: int) -> Batch:
        """Both images and their velocity in one random pose: v' = A^-1 v(A x) is the velocity between the moved images,
        since exp(A^-1 v A) = A^-1 exp(v) A."""
        pair = self.taught[int(torch.randint(len(self.taught), (), generator=generator))]
        spacing_mm = self.config.level_spacing_mm(level)
        source_from_output = random_pair_pose(generator, self.config.augment, spacing_mm).fixed_source_from_output
        images = []
        for scan in (pair.fixed, pair.moving):
            image = self._at_level(scan, level).image
            assert image is not None
            shape = tuple(image.shape[2:])
            coordinates = affine_coordinates(identity_grid(shape), source_from_output, shape)
            image = read_at(image.float(), coordinates)
            images.append(random_intensity(image, spacing_mm, self.config.augment, generator))
        stored = pair.velocity()
        stored_from_level = displacement_scale(shape, tuple(stored.shape[2:]), stored)
        velocity = read_at(stored, coordinates * stored_from_level) / stored_from_level
        inverse = torch.linalg.inv(source_from_output[:3, :3])
        velocity = torch.einsum("ab,nbkji->nakji", inverse, velocity)
        return Batch(images[0], images[1], None, velocity, compare_images=False)

    def _real(self, generator: torch.Generator, level: int) -> Batch:
        fixed_scan, moving_scan = self._draw_pair(generator)
        spacing_mm = self.config.level_spacing_mm(level)
        pose = random_pair_pose(generator, self.config.augment, spacing_mm)
        images, maps = [], []
        for scan, source_from_output in zip((fixed_scan, moving_scan), pose, strict=True):
            prepared = self._at_level(scan, level)
            assert prepared.image is not None
            image = prepared.image.float()
            coordinates = affine_coordinates(identity_grid(tuple(image.shape[2:])), source_from_output, image.shape[2:])
            image = read_at(image, coordinates)
            images.append(random_intensity(image, spacing_mm, self.config.augment, generator))
            if prepared.labels is not None:
                maps.append(read_at(prepared.labels, coordinates, nearest=True))
        wanted = self.config.loss.dice_weight > 0 and len(maps) == 2
        structures = self._structures(maps[0], maps[1], generator) if wanted else None
        return Batch(images[0], images[1], structures, None, compare_images=True)

    def _synthetic(self, generator: torch.Generator, level: int) -> Batch:
        first, second = (
            self.labelled[int(torch.randint(len(self.labelled), (), generator=generator))] for _ in range(2)
        )
        spacing_mm = self.config.level_spacing_mm(level)
        maps = [self._at_level(scan, level).labels for scan in (first, second)]
        assert maps[0] is not None
        assert maps[1] is not None
        pose = random_pair_pose(generator, self.config.augment, spacing_mm)
        pair = synthetic_pair(maps[0], maps[1], spacing_mm, self.config.synthesis, generator, pose)
        structures = self._structures(pair.fixed_labels, pair.moving_labels, generator)
        return Batch(pair.fixed, pair.moving, structures, None, compare_images=False)

    def _draw_pair(self, generator: torch.Generator) -> tuple[Scan, Scan]:
        """A fixed and a moving scan of two subjects."""
        fixed_choice = [scan for scan in self.real if not self.atlases or scan.subject in self.atlases]
        fixed = fixed_choice[int(torch.randint(len(fixed_choice), (), generator=generator))]
        moving_choice = [
            scan for scan in self.real if scan.subject != fixed.subject and scan.subject not in self.atlases
        ]
        return fixed, moving_choice[int(torch.randint(len(moving_choice), (), generator=generator))]

    def _structures(self, fixed: Tensor, moving: Tensor, generator: torch.Generator) -> Structures | None:
        """A few structures that both maps show, as (1, S, K, J, I); S is the same in every step of a run."""
        shared = sorted(set(fixed.unique().tolist()) & set(moving.unique().tolist()) - {0})
        if not shared:
            return None
        order = torch.randperm(len(shared), generator=generator).tolist()
        count = self.config.dice_structures
        chosen = fixed.new_tensor([shared[order[index % len(order)]] for index in range(count)]).view(1, -1, 1, 1, 1)
        return Structures((fixed == chosen).float(), (moving == chosen).float())

    def _at_level(self, scan: Scan, level: int) -> PreparedScan:
        """A prepared scan on a level's grid; the image as float16, to keep many."""
        if (kept := self._kept.get((scan.name, level))) is not None:
            self._kept.move_to_end((scan.name, level))
            return kept
        prepared = at_level(self.data.load(scan), self.config.network.levels - level)
        if level < self.config.network.levels:
            self._kept[scan.name, level] = prepared
            if len(self._kept) > _KEPT_SCANS:
                self._kept.popitem(last=False)
        return prepared


def at_level(prepared: PreparedScan, halvings: int) -> PreparedScan:
    """The scan on a coarser grid of the pyramid, images by the pyramid's own rule, labels by the nearest voxel."""
    image, labels = prepared
    if image is not None:
        image = pyramid(image, halvings + 1)[0].half()
    if labels is not None and halvings:
        shape = tuple(size // 2**halvings for size in labels.shape[2:])
        scale = [(old - 1) / (new - 1) for old, new in zip(labels.shape[2:], shape, strict=True)]
        coordinates = identity_grid(shape) * torch.tensor(scale).view(1, 3, 1, 1, 1)
        labels = sample(labels.float(), coordinates, nearest=True).to(labels.dtype)
    return PreparedScan(image, labels)


def _generator(seed: int, step: int, index: int) -> torch.Generator:
    """Random numbers of one pair of one step, independent of all others."""
    generator = torch.Generator()
    generator.manual_seed(_mixed(_mixed(_mixed(seed) ^ step) ^ index))
    return generator


def _mixed(number: int) -> int:
    """SplitMix64's finisher (Steele et al. 2014): neighbouring numbers become unrelated ones."""
    number = (number + 0x9E3779B97F4A7C15) % 2**64
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB % 2**64
    return number ^ (number >> 31)
