"""What a propagation gave, as plain values: which atlases, how far they agree, and how large the structures are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .. import __version__
from ..pipeline.volume import Volume
from .report import versions
from .structure_volumes import StructureVolume
from .verdict import folded_text


@dataclass(frozen=True, eq=False)
class Propagation:
    """What carrying atlases to a subject gave.

    labels: on the subject's grid. agreement: float32 on that grid, see pipeline.fusion.Fused. atlases: the facts of
    each in JSON's types: image, labels, and the report of its registration, or None where a transform was given.
    fusion: of a request, see backend.messages. seconds: by step, with the total.
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

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must not miss: notes of the registrations, folds, and lost structures."""
        notes = []
        for atlas in self.atlases:
            registered = atlas["registration"]
            if isinstance(registered, Mapping):
                notes += [f"{atlas['image']}: {note}" for note in registered["notes"]]
                if folded := registered["folded_voxels"]:
                    notes.append(f"{atlas['image']}: the map has {folded_text(folded)}; do not trust labels there.")
        if lost := self.lost:
            words = ", ".join(volume.name or f"label {volume.label}" for volume in lost)
            notes.append(f"No voxel of the subject was given to {words}.")
        return tuple(notes)

    @property
    def folded_voxels(self) -> int:
        """Of all registrations together."""
        reports = [atlas["registration"] for atlas in self.atlases]
        return sum(int(report["folded_voxels"]) for report in reports if isinstance(report, Mapping))


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
        "folded_voxels": result.folded_voxels,
        "device": result.device,
        "seconds": dict(result.seconds),
        "notes": list(result.notes),
        "versions": versions(),
    }
