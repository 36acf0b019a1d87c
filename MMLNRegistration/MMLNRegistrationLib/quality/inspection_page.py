"""The report of an inspection as one HTML document, in the same dress as that of a registration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from ..pipeline.result import Similarity
from . import sections
from .figures import Figures, make_figures
from .folds import FoldCluster
from .inspection import Inspection, judgement
from .page import document, key_figures, masthead, volume_entry
from .tiles import picture_definitions
from .verdict import count_text, number_text

SHOWN_FOLDS = 20
"""The page lists so many clusters; all are in the table folds.csv."""


def inspection_html(inspection: Inspection) -> str:
    """One self-contained page: pictures, charts, figures and what they mean. It loads nothing and sends nothing."""
    figures = make_figures(inspection)
    judged = judgement(inspection)
    volumes = volume_entry("Fixed", inspection.fixed)
    compared = ""
    if inspection.moving is not None:
        volumes = volume_entry("Moving", inspection.moving) + volumes
        compared = sections.before_and_after(figures, _similarities(inspection)) + sections.agreement(figures)
    body = "".join(
        (
            picture_definitions(figures),
            masthead(f"Inspection of {inspection.name}", *judged, volumes),
            "<main>",
            key_figures(_key_figures(inspection)),
            compared,
            sections.deformation(inspection, figures),
            _folds(inspection.folds),
            _structures(inspection, figures),
            _landmarks(inspection),
            sections.how_to_read(figures),
            "</main>",
        )
    )
    return document(f"{judged.headline}: {inspection.name}", body)


def _key_figures(inspection: Inspection) -> list[tuple[str, str, str]]:
    folding = inspection.folding
    found = [
        ("Folded voxels", count_text(folding.folded_voxels), f"{folding.folded_percent:.2g} %, strict test"),
        ("Clusters", count_text(len(inspection.folds)), "of folded voxels that touch"),
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


def _similarities(inspection: Inspection) -> str:
    before, after = inspection.similarity_before, inspection.similarity_after
    assert before is not None
    assert after is not None
    names = ("Global similarity", "Local similarity")
    rows = [
        (name, number_text(before[place], 3), number_text(after[place], 3))
        for place, name in enumerate(names[: len(Similarity._fields)])
    ]
    return _table("Similarity in the fixed foreground", ("Measure", "Before", "After"), rows)


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
    return sections.section("folds", "Where it folds", lead, _table("Clusters of folded voxels", heads, rows))


def _structures(inspection: Inspection, figures: Figures) -> str:
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
    return sections.section("structures", "Structures", lead, _table("By structure", heads, rows))


def _landmarks(inspection: Inspection) -> str:
    if not inspection.landmarks:
        return ""
    rows = [
        (landmark.name, _measured(landmark.before_mm, 2), _measured(landmark.after_mm, 2))
        for landmark in inspection.landmarks
    ]
    for after, words in ((False, "Before"), (True, "After")):
        distances = inspection.landmark_distances(after=after)
        if distances:
            rows.append((f"{words}: median, 95 %", f"{distances.median_mm:.2f}", f"{distances.p95_mm:.2f}"))
    lead = "Distance of each landmark from its place in the moving image, in mm, as the headers and as the map put it."
    return sections.section(
        "landmarks", "Landmarks", lead, _table("Landmarks", ("Landmark", "Before, mm", "After, mm"), rows)
    )


def _measured(value: float, digits: int) -> str:
    return number_text(value, digits) if value == value else "–"


def _table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(text)}</td>" for text in row[1:]) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="table-scroll"><table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
