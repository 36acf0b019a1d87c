"""Label maps of several atlases, carried to one subject, made one: every voxel takes the label with the most votes.

In majority voting every atlas has one vote. In locally weighted voting its vote counts by how well its image, carried
over with the same field, looks like the subject around that voxel: weight = (FLOOR + cc) ** GAIN, with the squared
local correlation cc of local_correlation. Source: Artaechevarria, Munoz-Barrutia, Ortiz-de-Solorzano 2009, "Combination
strategies in multi-atlas image segmentation" (local weighted voting, the similarity raised to a power).

An atlas has no vote outside of its own label map's grid. Where labels have the same votes the lower one is taken, so
that the result does not depend on the order of the atlases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..errors import InputError
from ..model.local_correlation import RADIUS_VOXELS, LocalCorrelation
from .field import warp_labels
from .volume import Volume

GAIN = 4
"""How much a good likeness outdoes a poor one: at 4, cc of 0.8 against 0.6 counts three times as much."""

FLOOR = 0.05
"""Likeness that every atlas is granted: where the subject is flat all of them count alike."""

_CHUNK_VOXELS = 1 << 19
"""Voted on at a time: what that takes does not grow with the image, and stays in the processor's caches."""


class Vote(NamedTuple):
    """One atlas's word on each voxel of the subject's grid.

    labels_kji: (K, J, I) unsigned integers. weights_kji: (K, J, I) float32 from 0 up, 0 where it has no vote.
    """

    labels_kji: NDArray[np.unsignedinteger]
    weights_kji: NDArray[np.float32]


class Fused(NamedTuple):
    """The outcome of a vote on the subject's grid.

    agreement_kji: (K, J, I) float32 from 0 to 1, the share of all votes that the chosen label got; 0 without votes.
    """

    labels_kji: NDArray[np.unsignedinteger]
    agreement_kji: NDArray[np.float32]


def equal_vote(labels: Volume, displacement_mm: NDArray[np.floating], subject: Volume) -> Vote:
    """An atlas's vote for majority voting.

    labels: the atlas's label map on a grid of its own. displacement_mm: (K, J, I, 3), u on the subject's grid, R, A, S,
    from the registration of the atlas image (moving) to the subject (fixed).
    """
    everywhere = Volume(np.ones(labels.array_kji.shape, dtype=np.uint8), labels.geometry, labels.name)
    covered = warp_labels(everywhere, displacement_mm, subject.geometry).array_kji
    carried = warp_labels(labels, displacement_mm, subject.geometry).array_kji
    return Vote(carried, covered.astype(np.float32))


def local_vote(labels: Volume, displacement_mm: NDArray[np.floating], subject: Volume, warped: Volume) -> Vote:
    """An atlas's vote for locally weighted voting. warped: the atlas image on the subject's grid; the rest as above."""
    vote = equal_vote(labels, displacement_mm, subject)
    return Vote(vote.labels_kji, vote.weights_kji * local_weights(subject, warped))


@torch.no_grad()
def local_weights(subject: Volume, warped: Volume) -> NDArray[np.float32]:
    """(K, J, I) how much an atlas counts at each voxel, (FLOOR + cc) ** GAIN; both images lie on the same grid.

    The correlation's sign does not count, so that an atlas may have another contrast than the subject.
    """
    correlation = LocalCorrelation(_scaled(subject)).coefficients(_scaled(warped))
    inside = (slice(RADIUS_VOXELS, -RADIUS_VOXELS),) * 3
    weights: NDArray[np.float32] = correlation.add_(FLOOR).pow_(GAIN)[0, 0][inside].numpy()
    return weights


def fuse(votes: Sequence[Vote]) -> Fused:
    """Count the votes of one or more atlases, all on the same grid.

    Needs little memory beyond the votes: a few arrays of _CHUNK_VOXELS, and none of the size of all labels.

    Raises InputError without votes, ValueError when their shapes differ.
    """
    if not votes:
        raise InputError("There is no atlas to take labels from; give at least one.")
    shape = votes[0].labels_kji.shape
    if any(array.shape != shape for vote in votes for array in vote):
        raise ValueError("The votes of all atlases must lie on the same grid.")
    kind = np.result_type(*[vote.labels_kji.dtype for vote in votes])
    labels, agreement = np.empty(shape, kind), np.empty(shape, np.float32)
    flat = [(vote.labels_kji.reshape(-1), vote.weights_kji.reshape(-1)) for vote in votes]
    flat_labels, flat_agreement = labels.reshape(-1), agreement.reshape(-1)
    for start in range(0, labels.size, _CHUNK_VOXELS):
        part = slice(start, start + _CHUNK_VOXELS)
        chunk = np.stack([voted[part] for voted, _ in flat]).astype(kind, copy=False)
        weights = np.stack([weight[part] for _, weight in flat])
        flat_labels[part], flat_agreement[part] = _count(chunk, weights)
    return Fused(labels, agreement)


def _count(
    labels: NDArray[np.unsignedinteger], weights: NDArray[np.float32]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float32]]:
    """The outcome for voxels in a row; labels and weights are (atlases, voxels)."""
    total = weights.sum(axis=0, dtype=np.float64)
    chosen = labels[0].copy()
    agreement = (total > 0).astype(np.float32)
    disputed = np.flatnonzero((labels != labels[0]).any(axis=0))  # in most voxels all say the same
    labels, votes = labels[:, disputed], weights[:, disputed].astype(np.float64)
    best = np.full(disputed.size, -1.0)
    winner = np.zeros(disputed.size, labels.dtype)
    for candidate in labels:
        # The same label gets the very same sum whoever proposes it: the order of the terms is the same.
        score = np.where(labels == candidate, votes, 0.0).sum(axis=0)
        better = (score > best) | ((score == best) & (candidate < winner))
        best[better], winner[better] = score[better], candidate[better]
    chosen[disputed] = winner
    total = total[disputed]
    agreement[disputed] = np.divide(best, total, out=np.zeros_like(best), where=total > 0)
    return chosen, agreement


def _scaled(image: Volume) -> torch.Tensor:
    """(1, 1, K, J, I), from 0 to 1 between the percentiles 0.5 and 99.5, as local_correlation's noise floor needs it.

    Continued beyond its border by RADIUS_VOXELS: the zeros out there would look like an edge that both images share.
    """
    lower, upper = np.percentile(image.array_kji, (0.5, 99.5))
    scaled = (image.array_kji - np.float32(lower)) / np.float32(max(upper - lower, 1e-12))
    tensor = torch.from_numpy(np.clip(scaled, 0, 1).astype(np.float32, copy=False))[None, None]
    return functional.pad(tensor, [RADIUS_VOXELS] * 6, mode="replicate")
