"""The report as one HTML document: head, verdict, key figures, and the sections in reading order."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from .. import __version__
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from . import sections
from .figures import make_figures
from .tiles import picture_definitions
from .verdict import (
    Level,
    Verdict,
    bytes_text,
    count_text,
    device_text,
    number_text,
    seconds_text,
    total_seconds,
    verdict,
)

_MARKS = {
    "good": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "doubt": '<path d="M12 5.5v8.5M12 18v.5"/>',
    "bad": '<path d="M6.5 6.5l11 11M17.5 6.5l-11 11"/>',
}


def page(registration: Registration, settings: Mapping[str, object], versions: Mapping[str, str]) -> str:
    """The whole document. settings and versions, in JSON's own types, fill the tables."""
    figures = make_figures(registration)
    judged = verdict(registration)
    body = "".join(
        (
            picture_definitions(figures),
            _masthead(registration, judged),
            "<main>",
            _notes(registration.notes),
            _key_figures(registration),
            sections.before_and_after(figures, sections.similarities(registration)),
            sections.agreement(figures),
            sections.deformation(registration, figures, sections.repair_rows(registration.repair)),
            sections.run(registration, settings, versions),
            sections.how_to_read(figures),
            "</main>",
        )
    )
    return document(f"{judged.headline}: {registration.moving.name} to {registration.fixed.name}", body)


def document(title: str, body: str) -> str:
    """A page around its body, which is HTML.

    A content security policy forbids every request and every script but the page's own, whatever a name may hold.
    """
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    script = Path(__file__).with_name("report.js").read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{script_hash}'"
    )
    footer = (
        f"<footer>Made by MMLNRegistration {escape(__version__)}. This page holds everything it shows: it loads "
        "nothing and sends nothing.</footer>"
    )
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n{body}{footer}\n<script>{script}</script>\n</body>\n</html>\n"
    )
    # A file name that is not valid text reaches us with surrogates, which no encoding can write.
    return text.encode("utf-8", "replace").decode("utf-8")


def masthead(eyebrow: str, level: Level, headline: str, sentence: str, volumes: str) -> str:
    """The top of a page: what it is, the verdict, and the volumes, see volume_entry."""
    return (
        f'<header class="masthead {level}"><p class="eyebrow">{escape(eyebrow)}</p>'
        f'<h1><svg class="mark" viewBox="0 0 24 24" aria-hidden="true">{_MARKS[level]}</svg>'
        f"{escape(headline)}</h1>"
        f'<p class="lead">{escape(sentence)}</p><dl class="pair">{volumes}</dl></header>'
    )


def _masthead(registration: Registration, judged: Verdict) -> str:
    volumes = volume_entry("Moving", registration.moving) + volume_entry("Fixed", registration.fixed)
    return masthead("Registration report", *judged, volumes)


def volume_entry(role: str, volume: Volume) -> str:
    """A volume's name, size and spacing."""
    size = " × ".join(str(count) for count in volume.geometry.size_ijk)
    spacing = " × ".join(f"{spacing:.3g}" for spacing in volume.geometry.spacing_mm)
    return (
        f"<div><dt>{role}</dt><dd><strong>{escape(volume.name)}</strong> "
        f"<span>{size} voxels, {spacing} mm</span></dd></div>"
    )


def _notes(notes: tuple[str, ...]) -> str:
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notes" aria-labelledby="notes"><h2 id="notes">Please read</h2><ul>{items}</ul></section>'


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


def key_figures(figures: Sequence[tuple[str, str, str]]) -> str:
    """The few numbers at the top: (label, value, remark)."""
    items = "".join(
        f"<div><dt>{label}</dt><dd><strong>{escape(value)}</strong><span>{escape(remark)}</span></dd></div>"
        for label, value, remark in figures
    )
    return f'<dl class="key-figures">{items}</dl>'
