"""The report of an inspection as one HTML document, in the same dress as that of a registration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import sections, tiles
from .document import report_document
from .figures import Picture, make_figures
from .folds import FoldCluster
from .inspection import Inspection, judgement
from .parts import columns, key_figures, masthead, section, volume_entry
from .structure_pictures import draw_structures, structure_planes, swatches
from .terms import terms_of_inspection
from .verdict import count_text, number_text

SHOWN_FOLDS = 20
"""The page lists so many clusters; all are in the table folds.csv."""


def inspection_html(inspection: Inspection) -> str:
    """One self-contained page: pictures, charts, figures and what they mean. It loads nothing and sends nothing."""
    figures = make_figures(inspection)
    structures = _structures(inspection, figures.pictures)
    judged = judgement(inspection)
    volumes = volume_entry("Fixed", inspection.fixed)
    compared = ""
    if inspection.moving is not None:
        volumes = volume_entry("Moving", inspection.moving) + volumes
        compared = sections.before_and_after(figures, _similarities(inspection)) + sections.agreement(figures)
    body = "".join(
        (
            tiles.picture_definitions(figures.pictures, figures.planes[0].side_mm),
            masthead(f"Inspection of {inspection.name}", *judged, volumes),
            "<main>",
            key_figures(_key_figures(inspection)),
            compared,
            sections.deformation(inspection, figures),
            _folds(inspection.folds),
            structures,
            _landmarks(inspection),
            terms_of_inspection(figures),
            "</main>",
        )
    )
    return report_document(f"{judged.headline}: {inspection.name}", body)


def _key_figures(inspection: Inspection) -> list[tuple[str, str, str]]:
    folding = inspection.folding
    found = [
        ("Folded voxels", count_text(folding.folded_voxels), _fold_remark(inspection)),
        (
            "Jacobian",
            f"{number_text(folding.jacobian_min, 2)} – {number_text(folding.jacobian_max, 2)}",
            "smallest and largest",
        ),
        ("SD of log J", number_text(folding.sd_log_jacobian, 3), "roughness of the map"),
    ]
    before, after = inspection.similarity_before, inspection.similarity_after
    if before and after:
        remark = f"from {number_text(before.local_correlation, 2)}, 1 at best"
        found.append(("Local similarity", number_text(after.local_correlation, 2), remark))
    if any(score.dice == score.dice for score in inspection.structures):
        found.append(("Dice", number_text(inspection.mean_dice, 3), "mean of the structures"))
    first, last = inspection.landmark_distances(after=False), inspection.landmark_distances(after=True)
    if first and last:
        found.append(("Landmarks", f"{last.median_mm:.2f} mm", f"median, from {first.median_mm:.2f} mm"))
    return found


def _fold_remark(inspection: Inspection) -> str:
    count = len(inspection.folds)
    if count == 0:
        return "strict test"
    clusters = "a cluster" if count == 1 else f"{count_text(count)} clusters"
    return f"in {clusters}, {inspection.folding.folded_percent:.2g} %"


def _similarities(inspection: Inspection) -> str:
    before, after = inspection.similarity_before, inspection.similarity_after
    assert before is not None
    assert after is not None
    rows = [
        ("Local similarity", number_text(before.local_correlation, 3), number_text(after.local_correlation, 3)),
        ("Global similarity", number_text(before.correlation, 3), number_text(after.correlation, 3)),
    ]
    return columns("Similarity in the fixed foreground", ("Measure", "Before", "After"), rows)


def _folds(folds: Sequence[FoldCluster]) -> str:
    if not folds:
        return ""
    rows = [
        (
            str(number),
            count_text(fold.voxels),
            number_text(fold.volume_mm3, 1),
            number_text(fold.jacobian_min, 2),
            *(number_text(mm, 1) for mm in (fold.r_mm, fold.a_mm, fold.s_mm)),
        )
        for number, fold in enumerate(folds[:SHOWN_FOLDS], start=1)
    ]
    heads = ("Cluster", "Voxels", "mm³", "Smallest J", "R", "A", "S")
    lead = "Folded voxels that touch each other, the largest cluster first; R, A, S: its worst voxel, in mm."
    if len(folds) > SHOWN_FOLDS:
        lead += f" The first {SHOWN_FOLDS} of {count_text(len(folds))}."
    return section("folds", "Where it folds", lead, columns("Clusters of folded voxels", heads, rows))


def _structures(inspection: Inspection, drawn: dict[str, Picture]) -> str:
    """The section, and its pictures into drawn."""
    if not inspection.structures:
        return ""
    rows = [
        (
            score.name,
            *(_measured(value, 3) for value in (score.dice, score.tc, score.volume_ratio)),
            _measured(score.jacobian_mean, 3),
            _measured(score.sd_log_jacobian, 3),
            count_text(score.folded_voxels),
        )
        for score in inspection.structures
    ]
    heads = ("Structure", "Dice", "TC", "Carried / fixed volume", "Mean J", "SD of log J", "Folded")
    lead = (
        "Dice: overlap of the carried structure with that of the fixed image, 1 at best. TC: volume of the carried "
        "structure over its volume in the moving image, 1 keeps it. J is taken inside the structure."
    )
    table = columns("By structure", heads, rows, swatches(score.label for score in inspection.structures))
    return section("structures", "Structures", lead, _structure_pictures(inspection, drawn) + table)


def _structure_pictures(inspection: Inspection, drawn: dict[str, Picture]) -> str:
    sides = {
        "drawn": ("As drawn", "the structures as drawn on the fixed image", inspection.labels.fixed),
        "carried": ("Carried", "the structures carried over from the moving image", inspection.labels.warped),
    }
    shown = {key: side for key, side in sides.items() if side[2]}
    is_labelled = np.zeros_like(inspection.foreground)
    for *_words, layers in shown.values():
        for layer in layers:
            is_labelled |= layer.array_kji > 0
    planes = structure_planes(inspection.fixed.geometry, inspection.foreground | is_labelled, is_labelled)
    for key, (*_words, layers) in shown.items():
        draw_structures(drawn, key, planes, inspection.fixed, inspection.window(inspection.fixed), layers)
    wall = tiles.wall(planes, [(key, label, text) for key, (label, text, _layers) in shown.items()])
    caption = "Over the fixed image, cut where the most is labelled; the colours are those of the table."
    if len(shown) > 1:
        caption += " Borders of both should lie on the same edges."
    return f'<figure class="beside stages-{len(shown)}">{wall}<figcaption>{caption}</figcaption></figure>'


def _landmarks(inspection: Inspection) -> str:
    if not inspection.landmarks:
        return ""
    rows: list[tuple[str, ...]] = [
        (landmark.name, _measured(landmark.before_mm, 2), _measured(landmark.after_mm, 2))
        for landmark in inspection.landmarks
    ]
    before, after = (inspection.landmark_distances(after=when) for when in (False, True))
    for name, place in (("Median", 0), ("95th percentile", 1)):
        rows.append((name, *(f"{errors[place]:.2f}" if errors else "–" for errors in (before, after))))
    lead = "Distance of each landmark from its place in the moving image, in mm, as the headers and as the map put it."
    return section("landmarks", "Landmarks", lead, columns("Landmarks", ("Landmark", "Before, mm", "After, mm"), rows))


def _measured(value: float, digits: int) -> str:
    return number_text(value, digits) if value == value else "–"
