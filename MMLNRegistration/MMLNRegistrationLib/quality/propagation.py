"""The report of a propagation: which atlases, how far they agree, and how large the structures came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .. import __version__
from ..pipeline.volume import Volume
from .report import versions
from .structure_volumes import StructureVolume
from .verdict import count_text, device_text, number_text, seconds_text

FUSION_WORDS = {"majority": "majority voting", "local_similarity": "voting weighted by local similarity"}


@dataclass(frozen=True, eq=False)
class Propagation:
    """What carrying atlases to a subject gave.

    labels: on the subject's grid. agreement: float32 on that grid, see pipeline.fusion.Fused. atlases: the facts of
    each in JSON's types: image, labels, and the report of its registration, or None where a transform was given.
    fusion: one of FUSION_WORDS. seconds: by step, with the total.
    """

    subject: Volume
    labels: Volume
    agreement: Volume
    fusion: str
    atlases: tuple[Mapping[str, object], ...]
    volumes: Sequence[StructureVolume]
    seconds: Mapping[str, float]
    device: str

    @property
    def mean_agreement(self) -> float | None:
        """Over the voxels of all structures; None when there are none."""
        inside = self.labels.array_kji > 0
        return float(self.agreement.array_kji[inside].mean()) if inside.any() else None

    @property
    def lost(self) -> tuple[StructureVolume, ...]:
        """Structures of the atlases that no voxel of the subject has got."""
        return tuple(volume for volume in self.volumes if volume.voxels == 0)


def propagation_json(result: Propagation) -> dict[str, object]:
    """Everything for report.json, in JSON's own types. Lengths are in mm, times in seconds, volumes in ml."""
    return {
        "version": __version__,
        "subject": {
            "name": result.subject.name,
            "size": list(result.subject.geometry.size_ijk),
            "spacing": [round(float(mm), 6) for mm in result.subject.geometry.spacing_mm],
        },
        "fusion": result.fusion,
        "atlases": [dict(atlas) for atlas in result.atlases],
        "mean_agreement": result.mean_agreement,
        "volumes": [volume._asdict() for volume in result.volumes],
        "folded_voxels": sum(_registered(atlas, "folded_voxels", 0) for atlas in result.atlases),
        "device": result.device,
        "seconds": dict(result.seconds),
        "notes": list(_notes(result)),
        "versions": versions(),
    }


def propagation_html(result: Propagation) -> str:
    """One self-contained page with the same figures. It loads nothing and sends nothing."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    count, structures = len(result.atlases), len(result.volumes)
    headline = f"{structures} structure{'s' * (structures != 1)} from {count} atlas{'es' * (count != 1)}"
    agreement = result.mean_agreement
    sentences = [f"On the grid of {result.subject.name}, in {seconds_text(result.seconds['total'])}"]
    if count > 1 and agreement is not None:
        sentences.append(
            f"by {FUSION_WORDS[result.fusion]}; the label that was chosen got {100 * agreement:.0f} % of the votes"
        )
    notes = _notes(result)
    tone = "doubt" if notes else "good"
    body = "".join(
        (
            f'<header class="masthead {tone}"><p class="eyebrow">Propagation report</p><h1>{escape(headline)}</h1>'
            f'<p class="lead">{escape(", ".join(sentences))}.</p></header><main>',
            _list_of_notes(notes),
            _section("Volumes", _table(("Label", "Name", "Voxels", "Volume (ml)"), _volume_rows(result))),
            _section("Atlases", _table(("Image", "Labels", "Likeness", "Folded voxels", "Time"), _atlas_rows(result))),
            "</main>",
            f"<footer>Made by MMLNRegistration {escape(__version__)}. Likeness is the squared local correlation with "
            "the subject before and after the registration, 1 at best. This page loads nothing and sends nothing."
            "</footer>",
        )
    )
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(headline)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    return document.encode("utf-8", "replace").decode("utf-8")


def _notes(result: Propagation) -> tuple[str, ...]:
    notes = []
    for atlas in result.atlases:
        registered = atlas["registration"]
        if isinstance(registered, Mapping):
            notes += [f"{atlas['image']}: {note}" for note in registered["notes"]]
    if lost := result.lost:
        words = ", ".join(volume.name or f"label {volume.label}" for volume in lost)
        notes.append(f"No voxel of the subject was given to {words}.")
    return tuple(notes)


def _registered(atlas: Mapping[str, object], name: str, otherwise: int) -> int:
    registered = atlas["registration"]
    return int(registered[name]) if isinstance(registered, Mapping) else otherwise


def _volume_rows(result: Propagation) -> list[tuple[str, ...]]:
    return [
        (str(volume.label), volume.name, count_text(volume.voxels), number_text(volume.ml, 2))
        for volume in result.volumes
    ]


def _atlas_rows(result: Propagation) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for atlas in result.atlases:
        registered = atlas["registration"]
        if isinstance(registered, Mapping):
            before, after = (registered[f"similarity_{when}"]["local_correlation"] for when in ("before", "after"))
            likeness = f"{number_text(before, 2)} → {number_text(after, 2)}"
            folded, seconds = count_text(registered["folded_voxels"]), seconds_text(registered["seconds"]["total"])
            how = f"{seconds} on {device_text(registered['device'])}"
        else:
            likeness, folded, how = "transform given", "", ""
        rows.append((str(atlas["image"]), str(atlas["labels"]), likeness, folded, how))
    return rows


def _list_of_notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notes" aria-labelledby="notes"><h2 id="notes">Please read</h2><ul>{items}</ul></section>'


def _section(heading: str, content: str) -> str:
    name = heading.lower()
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{heading}</h2>'
        f'<div class="content">{content}</div></section>'
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{column}</th>' for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table class="facts"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
