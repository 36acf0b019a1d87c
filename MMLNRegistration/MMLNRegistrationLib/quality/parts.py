"""Parts that the reports' pages are made of: the top, notes, key figures, sections and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from ..pipeline.volume import Volume
from .verdict import Level

_MARKS = {
    "good": '<path d="M5 12.5l4.5 4.5L19 7.5"/>',
    "doubt": '<path d="M12 5.5v8.5M12 18v.5"/>',
    "bad": '<path d="M6.5 6.5l11 11M17.5 6.5l-11 11"/>',
}


def masthead(eyebrow: str, level: Level, headline: str, sentence: str, volumes: str) -> str:
    """The top of a page: what it is, the verdict, and the volumes, see volume_entry."""
    return (
        f'<header class="masthead {level}"><p class="eyebrow">{escape(eyebrow)}</p>'
        f'<h1><svg class="mark" viewBox="0 0 24 24" aria-hidden="true">{_MARKS[level]}</svg>'
        f"{escape(headline)}</h1>"
        f'<p class="lead">{escape(sentence)}</p><dl class="pair">{volumes}</dl></header>'
    )


def volume_entry(role: str, volume: Volume) -> str:
    """A volume's name, size and spacing."""
    size = " × ".join(str(count) for count in volume.geometry.size_ijk)
    spacing = " × ".join(f"{spacing:.3g}" for spacing in volume.geometry.spacing_mm)
    return (
        f"<div><dt>{role}</dt><dd><strong>{escape(volume.name)}</strong> "
        f"<span>{size} voxels, {spacing} mm</span></dd></div>"
    )


def list_of_notes(notes: Sequence[str]) -> str:
    """What a reader must not miss; nothing where there is nothing."""
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="notes" aria-labelledby="notes"><h2 id="notes">Please read</h2><ul>{items}</ul></section>'


def key_figures(figures: Sequence[tuple[str, str, str]]) -> str:
    """The few numbers at the top: (label, value, remark)."""
    items = "".join(
        f"<div><dt>{label}</dt><dd><strong>{escape(value)}</strong><span>{escape(remark)}</span></dd></div>"
        for label, value, remark in figures
    )
    return f'<dl class="key-figures">{items}</dl>'


def section(identifier: str, heading: str, lead: str, content: str, layout: str = "") -> str:
    """A section of the page; identifier is unique there."""
    intro = f'<p class="intro">{escape(lead)}</p>' if lead else ""
    return (
        f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{escape(heading)}</h2>{intro}'
        f'<div class="content {layout}">{content}</div></section>'
    )


def facts(caption: str, rows: Mapping[str, str]) -> str:
    """A table of names and values."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows.items()
    )
    return f'<table class="facts"><caption>{caption}</caption><tbody>{body}</tbody></table>'


def columns(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str]], colours: Sequence[str] | None = None
) -> str:
    """A table with a row for each thing, its name first. colours: of the things, as CSS has them, in the same order."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    body = ""
    for number, (name, *cells) in enumerate(rows):
        mark = swatch(colours[number]) if colours else ""
        body += f'<tr><th scope="row">{mark}{escape(name)}</th>'
        body += "".join(f"<td>{escape(text)}</td>" for text in cells) + "</tr>"
    return (
        f'<div class="table-scroll"><table class="columns"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def swatch(colour: str) -> str:
    """A small square of a CSS colour."""
    return f'<span class="swatch" style="background:{colour}"></span>'
