"""Registering the pairs of a table and scoring each by its labels, its folding and its inverse."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import InputError
from ..pipeline.field import inverse_points, linear_displacement, warp_labels
from ..pipeline.propagate import require_labels_of
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from ..tables import read_rows
from .cases import STRUCTURE_COLUMNS, Case
from .metrics import Errors, Structures, errors, label_counts, mean_dice, mean_volume_ratio, merged, voxel_points_ras


@dataclass(frozen=True)
class Score:
    """What one pair reached. Dice by structures (coarse) and by single labels (fine), definitions in metrics."""

    fixed: str
    moving: str
    coarse_dice_initial: float
    fine_dice_initial: float
    coarse_dice: float
    fine_dice: float
    tc: float
    volume_ratio: float
    folded_voxels: int
    jacobian_min: float
    jacobian_max: float
    sd_log_jacobian: float
    folded_before_repair: int
    repair_rounds: int
    inverse_median_mm: float
    inverse_p95_mm: float
    correlation: float
    local_correlation: float
    seconds: float
    peak_memory_bytes: int | None
    seconds_by_step: dict[str, float]
    peak_memory_bytes_by_step: dict[str, int]


def read_structures(table: Path) -> Structures:
    """Which labels form structures and which count alone, from columns label, structure, counts_for_fine_dice (yes)."""
    rows = read_rows(table, STRUCTURE_COLUMNS)
    if not all(row["label"].isascii() and row["label"].isdigit() for row in rows):
        raise InputError(f"{table.name} has labels that are not whole numbers; correct the column label.")
    coarse = {int(row["label"]): row["structure"] for row in rows if row["structure"]}
    fine = tuple(int(row["label"]) for row in rows if row["counts_for_fine_dice"] == "yes")
    if not coarse:
        raise InputError(f"{table.name} names no structure; fill the column structure.")
    return Structures(coarse, fine)


def require_labels(
    fixed: Volume, moving: Volume, fixed_labels: Volume, moving_labels: Volume, structures: Structures | None
) -> None:
    """Raise InputError when a pair cannot be scored by its label maps."""
    if not fixed_labels.geometry.matches(fixed.geometry, tolerance_mm=0.1):
        raise InputError(f"{fixed_labels.name} does not lie on the grid of {fixed.name}; resample it first.")
    require_labels_of(moving, moving_labels)
    for labels in (fixed_labels, moving_labels):
        if not labels.array_kji.any():
            raise InputError(f"{labels.name} holds no label but 0; give a label map that shows structures.")
    if structures and not np.isin(fixed_labels.array_kji, list(structures.coarse)).any():
        raise InputError(f"{fixed_labels.name} holds none of the labels that the structures are made of; check both.")


def score(
    registration: Registration, fixed_labels: Volume, moving_labels: Volume, structures: Structures | None
) -> Score:
    """Measure one registration. Without structures every label of the fixed map counts, coarse and fine alike."""
    require_labels(registration.fixed, registration.moving, fixed_labels, moving_labels, structures)
    fixed = registration.fixed.geometry
    carried = warp_labels(moving_labels, registration.displacement_mm, fixed)
    linear_mm = linear_displacement(fixed, registration.moving_ras_from_fixed_ras)
    carried_linearly = warp_labels(moving_labels, linear_mm, fixed)
    structures = structures or Structures({label: str(label) for label in label_counts(fixed_labels.array_kji)}, ())
    fine = structures.fine or tuple(structures.coarse)
    kept = Volume(_only(moving_labels, fine), moving_labels.geometry, "")
    carried_kept, fixed_kept = (Volume(_only(labels, fine), fixed, "") for labels in (carried, fixed_labels))

    def coarse_dice(labels: Volume) -> float:
        names = range(1, len(set(structures.coarse.values())) + 1)
        return mean_dice(
            merged(fixed_labels.array_kji, structures.coarse), merged(labels.array_kji, structures.coarse), names
        )

    inverse = inverse_errors_mm(registration)
    return Score(
        fixed=registration.fixed.name,
        moving=registration.moving.name,
        coarse_dice_initial=coarse_dice(carried_linearly),
        fine_dice_initial=mean_dice(fixed_labels.array_kji, carried_linearly.array_kji, fine),
        coarse_dice=coarse_dice(carried),
        fine_dice=mean_dice(fixed_labels.array_kji, carried.array_kji, fine),
        tc=mean_volume_ratio(carried_kept, kept),
        volume_ratio=mean_volume_ratio(carried_kept, fixed_kept),
        folded_voxels=registration.folding.folded_voxels,
        jacobian_min=registration.folding.jacobian_min,
        jacobian_max=registration.folding.jacobian_max,
        sd_log_jacobian=registration.folding.sd_log_jacobian,
        folded_before_repair=registration.repair.folded_voxels_before,
        repair_rounds=registration.repair.rounds,
        inverse_median_mm=inverse.median_mm,
        inverse_p95_mm=inverse.p95_mm,
        correlation=registration.similarity_after.correlation,
        local_correlation=registration.similarity_after.local_correlation,
        seconds=sum(registration.seconds.values()),
        peak_memory_bytes=registration.peak_memory_bytes,
        seconds_by_step=registration.seconds,
        peak_memory_bytes_by_step=registration.peak_memory_bytes_by_step,
    )


def inverse_errors_mm(registration: Registration) -> Errors:
    """|inverse(x + u(x)) - x| over the foreground, the inverse by pipeline.field.inverse_points."""
    fixed = registration.fixed.geometry
    points_ras = voxel_points_ras(fixed, registration.foreground)
    mapped_ras = points_ras + registration.displacement_mm[registration.foreground]
    velocity = torch.from_numpy(registration.velocity_voxels)[None]
    linear = registration.moving_ras_from_fixed_ras
    returned_ras = inverse_points(mapped_ras, velocity, registration.net_geometry, linear)
    return errors(np.linalg.norm(returned_ras - points_ras, axis=1))


def evaluate(
    cases: Sequence[Case],
    register_case: Callable[[Case], tuple[Registration, Volume, Volume]],
    structures: Structures | None,
    folder: Path,
    report: Callable[[Score], None] = lambda score: None,
) -> list[Score]:
    """Score every case, writing scores.csv after each and, at the end, summary.json with the means.

    register_case reads and registers one case: the result, the fixed and the moving label map. report is called with
    each score as it is there.
    """
    scores: list[Score] = []
    for case in cases:
        registration, fixed_labels, moving_labels = register_case(case)
        scores.append(score(registration, fixed_labels, moving_labels, structures))
        _write_scores(scores, folder / "scores.csv")
        report(scores[-1])
    (folder / "summary.json").write_text(json.dumps(means(scores), indent=2) + "\n", encoding="utf-8")
    return scores


def means(scores: Sequence[Score]) -> dict[str, float]:
    """Mean of every numeric column over the cases."""
    table = [_row(entry) for entry in scores]
    numeric = [name for name, value in table[0].items() if isinstance(value, int | float)]
    return {name: float(np.mean([float(str(row[name])) for row in table])) for name in numeric}


def _row(entry: Score) -> dict[str, object]:
    """A score as a flat row: the figures by step become columns of their own, such as `seconds refine`."""
    row: dict[str, object] = {}
    for name, value in asdict(entry).items():
        if isinstance(value, dict):
            quantity = name.removesuffix("_by_step")
            row.update({f"{quantity} {step}": figure for step, figure in value.items()})
        else:
            row[name] = value
    return row


def _write_scores(scores: Sequence[Score], path: Path) -> None:
    table = [_row(entry) for entry in scores]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def _only(labels: Volume, kept: Sequence[int]) -> np.ndarray:
    return np.where(np.isin(labels.array_kji, kept), labels.array_kji, 0)
