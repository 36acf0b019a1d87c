"""The report as one HTML document: head, verdict, key figures, and the sections in reading order."""

from __future__ import annotations

from collections.abc import Mapping

from ..pipeline.result import Registration
from . import sections
from .document import report_document
from .figures import make_figures
from .parts import key_figures, list_of_notes, masthead, volume_entry
from .terms import terms_of_registration
from .tiles import picture_definitions
from .verdict import (
    Verdict,
    bytes_text,
    count_text,
    device_text,
    number_text,
    seconds_text,
    total_seconds,
    verdict,
)


def page(registration: Registration, settings: Mapping[str, object], versions: Mapping[str, str]) -> str:
    """The whole document. settings and versions, in JSON's own types, fill the tables."""
    figures = make_figures(registration)
    judged = verdict(registration)
    body = "".join(
        (
            picture_definitions(figures.pictures, figures.planes[0].side_mm),
            _masthead(registration, judged),
            "<main>",
            list_of_notes(registration.notes),
            _key_figures(registration),
            sections.before_and_after(figures, sections.similarities(registration)),
            sections.agreement(figures),
            sections.deformation(registration, figures, sections.repair_rows(registration.repair)),
            sections.run(registration, settings, versions),
            terms_of_registration(figures),
            "</main>",
        )
    )
    return report_document(f"{judged.headline}: {registration.moving.name} to {registration.fixed.name}", body)


def _masthead(registration: Registration, judged: Verdict) -> str:
    volumes = volume_entry("Moving", registration.moving) + volume_entry("Fixed", registration.fixed)
    return masthead("Registration report", *judged, volumes)


def _key_figures(registration: Registration) -> str:
    folding = registration.folding
    figures = (
        (
            "Local similarity",
            number_text(registration.similarity_after.local_correlation, 2),
            f"from {number_text(registration.similarity_before.local_correlation, 2)}, 1 at best",
        ),
        ("Folded voxels", count_text(folding.folded_voxels), f"{folding.folded_percent:.2g} %, strict test"),
        (
            "Jacobian",
            f"{number_text(folding.jacobian_min, 2)} – {number_text(folding.jacobian_max, 2)}",
            "smallest and largest",
        ),
        ("SD of log J", number_text(folding.sd_log_jacobian, 3), "roughness of the map"),
        ("Time", seconds_text(total_seconds(registration.seconds)), f"on {device_text(registration.device)}"),
        ("Peak memory", bytes_text(registration.peak_memory_bytes), "of the whole run"),
    )
    return key_figures(figures)
