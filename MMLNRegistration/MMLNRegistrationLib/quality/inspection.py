"""Judging any map between two images, whoever made it: folding, volumes, structures, landmarks.

The map is x -> x + u(x) from the fixed to the moving image, u in millimetres on the fixed grid, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..pipeline.field import warp_volume
from ..pipeline.foreground import tissue
from ..pipeline.result import FoldingSummary, Similarity
from ..pipeline.summary import similarity
from ..pipeline.volume import Volume
from ..progress import Progress, silent
from ..spatial.geometry import Geometry, Matrix
from ..spatial.jacobian import determinants, index_displacement
from .figures import jacobian_limit
from .folds import FoldCluster, fold_clusters
from .landmarks import Landmark, Points, landmark_errors
from .metrics import Errors, errors
from .pictures import Window, brightness, window_of
from .planes import image_tensor
from .structures import Labels, StructureScore, labels_on_grid, structure_scores
from .verdict import Verdict, count_text, folded_text, number_text

LARGE_CHANGE = 3.0
"""A volume that grows or shrinks by more than this factor somewhere in the foreground deserves a look."""

_FITTED_POINTS = 20_000


@dataclass(frozen=True, eq=False)
class Inspection:
    """What is known of a map.

    displacement_mm: float32 (K, J, I, 3), u on the fixed grid, components R, A, S.
    warped: the moving image on the fixed grid; it and the similarities are there when there is a moving image.
    jacobian: float32 on the fixed grid, central differences, linear part included.
    folded: uint8 on the fixed grid, 1 where the strict test fails. folds: its clusters.
    foreground: bool (K, J, I), where the fixed image shows tissue; statistics are taken there.
    moving_ras_from_fixed_ras: the linear map that fits best in the foreground.
    labels: the structures on the fixed grid, see structures.
    """

    name: str
    fixed: Volume
    moving: Volume | None
    displacement_mm: NDArray[np.float32]
    warped: Volume | None
    jacobian: Volume
    folded: Volume
    foreground: NDArray[np.bool_]
    moving_ras_from_fixed_ras: Matrix
    folding: FoldingSummary
    folds: tuple[FoldCluster, ...]
    similarity_before: Similarity | None
    similarity_after: Similarity | None
    labels: Labels
    structures: tuple[StructureScore, ...]
    landmarks: tuple[Landmark, ...]

    @property
    def affine_determinant(self) -> float:
        """Volume factor of the linear part alone."""
        return float(np.linalg.det(self.moving_ras_from_fixed_ras[:3, :3]))

    @property
    def scale_limit(self) -> float:
        """The scale of J ends at its inverse and at it."""
        return jacobian_limit(self.jacobian.array_kji, self.foreground)

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the structures that both images have; not a number when there are none."""
        return _mean([score.dice for score in self.structures])

    @property
    def mean_tc(self) -> float:
        """Mean TC of the structures that the moving image has."""
        return _mean([score.tc for score in self.structures])

    def landmark_distances(self, *, after: bool) -> Errors | None:
        """Median and 95th percentile of the landmarks' errors; None without landmarks on the fixed image."""
        distances_mm = np.array([landmark.after_mm if after else landmark.before_mm for landmark in self.landmarks])
        known = distances_mm[np.isfinite(distances_mm)]
        return errors(known) if len(known) else None

    def window(self, volume: Volume) -> Window:
        """The grey window of the fixed or the warped image, over the foreground."""
        return window_of(volume.array_kji, self.foreground)


def inspect_map(
    name: str,
    fixed: Volume,
    displacement_mm: NDArray[np.float32],
    moving: Volume | None = None,
    fixed_labels: Sequence[Volume] = (),
    moving_labels: Sequence[Volume] = (),
    names: Mapping[int, str] | None = None,
    points: Sequence[Points] = (),
    progress: Progress = silent,
) -> Inspection:
    """Measure a map. name: of the map, for reports. names: of the labels. points: landmarks of both images.

    Raises InputError when displacement_mm is not on the fixed grid or not finite.
    """
    geometry = fixed.geometry
    if displacement_mm.shape != (*geometry.shape_kji, 3):
        raise InputError(f"{name} is not on the grid of {fixed.name}; sample it there.")
    if not np.isfinite(displacement_mm).all():
        raise InputError(f"{name} holds values that are not finite; make the transform again.")
    progress("folding", 0.0)
    foreground = tissue(fixed)
    central, strict = (part.numpy() for part in determinants(index_displacement(displacement_mm, geometry)))
    folded = strict <= 0
    folds = fold_clusters(strict, geometry)
    linear = fitted_linear(displacement_mm, geometry, foreground)

    progress("warp", 0.0)
    warped, before, after = _compared(fixed, moving, displacement_mm, foreground)

    progress("structures", 0.0)
    labels = labels_on_grid(fixed_labels, moving_labels, displacement_mm, geometry)
    structures = structure_scores(labels, names or {}, central, folded)
    return Inspection(
        name=name,
        fixed=fixed,
        moving=moving,
        displacement_mm=displacement_mm,
        warped=warped,
        jacobian=Volume(central, geometry, "jacobian"),
        folded=Volume(folded.astype(np.uint8), geometry, "folded"),
        foreground=foreground,
        moving_ras_from_fixed_ras=linear,
        folding=_summary(central, folded, foreground),
        folds=folds,
        similarity_before=before,
        similarity_after=after,
        labels=labels,
        structures=structures,
        landmarks=landmark_errors(points, displacement_mm, geometry),
    )


def fitted_linear(displacement_mm: NDArray[np.float32], geometry: Geometry, foreground: NDArray[np.bool_]) -> Matrix:
    """moving_ras_from_fixed_ras: the affine map nearest to x + u(x) over the foreground, by least squares."""
    places = np.flatnonzero(foreground)
    places = places[:: max(1, len(places) // _FITTED_POINTS)]
    index_kji = np.stack(np.unravel_index(places, geometry.shape_kji), axis=-1)
    fixed_ras = index_kji[:, ::-1] @ geometry.ras_from_ijk[:3, :3].T + geometry.ras_from_ijk[:3, 3]
    moving_ras = fixed_ras + displacement_mm.reshape(-1, 3)[places]
    middle = fixed_ras.mean(axis=0)
    slopes = np.linalg.lstsq(np.c_[fixed_ras - middle, np.ones(len(places))], moving_ras, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3, :3] = slopes[:3].T
    matrix[:3, 3] = slopes[3] - slopes[:3].T @ middle
    return matrix


def judgement(inspection: Inspection) -> Verdict:
    """The map in plain words: folding first, then how much volumes change, then whether the images became alike."""
    folding = inspection.folding
    figures = f"{_sentence(folded_text(folding.folded_voxels))} of {count_text(inspection.foreground.size)}; " + (
        f"J from {number_text(folding.jacobian_min, 2)} to {number_text(folding.jacobian_max, 2)} by central "
        f"differences, SD of log J {number_text(folding.sd_log_jacobian, 3)}."
    )
    if folding.folded_voxels:
        return Verdict("bad", "Folded", f"The map is not one to one where it folds. {figures}")
    before, after = inspection.similarity_before, inspection.similarity_after
    if before and after and after.local_correlation < before.local_correlation:
        return Verdict("doubt", "Less alike", f"No fold, but the images were more alike without the map. {figures}")
    inside = inspection.jacobian.array_kji[inspection.foreground] / max(inspection.affine_determinant, 1e-9)
    share = float(np.mean((inside > LARGE_CHANGE) | (inside < 1 / LARGE_CHANGE)))
    if share > 0:
        return Verdict(
            "doubt",
            "Strong local changes",
            f"No fold, but {100 * share:.2g} % of the foreground changes its volume more than {LARGE_CHANGE:g} times. "
            f"{figures}",
        )
    return Verdict("good", "No fold", figures)


def _compared(
    fixed: Volume, moving: Volume | None, displacement_mm: NDArray[np.float32], foreground: NDArray[np.bool_]
) -> tuple[Volume | None, Similarity | None, Similarity | None]:
    """The warped image, and how alike the images are without and with the map."""
    if moving is None:
        return None, None, None
    warped = warp_volume(moving, displacement_mm, fixed.geometry)
    unmoved = warp_volume(moving, np.zeros_like(displacement_mm), fixed.geometry)
    mask = torch.from_numpy(foreground)[None, None]
    target, first, last = (
        image_tensor(brightness(image.array_kji, window_of(image.array_kji, foreground)))
        for image in (fixed, unmoved, warped)
    )
    return warped, similarity(target, first, mask), similarity(target, last, mask)


def _summary(central: NDArray[np.float32], folded: NDArray[np.bool_], foreground: NDArray[np.bool_]) -> FoldingSummary:
    count = int(folded.sum())
    inside = np.log(np.clip(central[foreground].astype(np.float64), 1e-9, 1e9))
    return FoldingSummary(
        count, 100.0 * count / folded.size, float(central.min()), float(central.max()), float(inside.std())
    )


def _mean(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
