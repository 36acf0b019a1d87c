"""Two images of the same places, one over the other, with the controls that report.js listens to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from . import tiles
from .planes import Plane

_MODES = {"wipe": "Wipe", "fade": "Fade", "blink": "Blink"}


def viewer(planes: Iterable[Plane], first: tuple[str, str], others: Mapping[str, str], chosen: str, advice: str) -> str:
    """A comparison, one on a page, hidden until the script shows it. advice: what to look for.

    first: the key of its pictures without the plane's name, and its label. others: the same, to choose from; chosen:
    the key of the one that is shown at first.
    """
    views = tiles.trio(
        planes,
        lambda plane: _wipe(f"{first[0]}-{plane.name}", f"{chosen}-{plane.name}", plane),
        f"comparison of {first[1]} with the picture that is chosen",
    )
    has_choice = len(others) > 1
    stages = _choice(f"Compare {first[1].lower()} with", "stage", others, chosen, "" if has_choice else " hidden")
    modes = _choice("by" if has_choice else "Compare by", "mode", _MODES, "wipe")
    return (
        f'<figure class="viewer" hidden><div class="controls">{stages}{modes}'
        f'<label class="slider"><span>{first[1]}</span><input type="range" min="0" max="100" value="50" '
        'aria-label="Place of the wipe, or share of the second picture in the fade">'
        f'<span class="second-name">{others[chosen]}</span></label></div>{views}'
        f"<figcaption>Drag across a picture, or use the slider. {advice}</figcaption></figure>"
    )


def _choice(legend: str, name: str, options: Mapping[str, str], chosen: str, hidden: str = "") -> str:
    inputs = "".join(
        f'<label><input type="radio" name="{name}" value="{value}" data-label="{label}"'
        f"{' checked' if value == chosen else ''}><span>{label}</span></label>"
        for value, label in options.items()
    )
    return f'<fieldset{hidden}><legend>{legend}</legend><div class="segments">{inputs}</div></fieldset>'


def _wipe(first_key: str, second_key: str, plane: Plane) -> str:
    """Two images, the first left and the second right of a line that the page's script moves."""
    side = plane.side_mm
    return (
        f'<clipPath id="wipe-{plane.name}"><rect x="{side / 2:.2f}" width="{side:.2f}" height="{side:.2f}"/></clipPath>'
        f'{tiles.use(first_key)}<g class="second" data-plane="{plane.name}" clip-path="url(#wipe-{plane.name})">'
        f'{tiles.use(second_key)}</g><line class="divider" x1="{side / 2:.2f}" x2="{side / 2:.2f}" y2="{side:.2f}"/>'
    )
