"""The sections of the report's page. Each picture's caption says what to look for."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from ..pipeline.result import FoldingRepair, Registration, Similarity
from . import charts, pictures, tiles
from .figures import AFTER, BEFORE, DIFFERENCE_WHITE, LINEAR, Figures, Mapped, Stage
from .planes import Plane, deformed_grid
from .verdict import bytes_text, count_text, device_text, folded_text, number_text, seconds_text, total_seconds

_FOLD_CSS = f"rgb{pictures.FOLD_COLOUR}"


def before_and_after(figures: Figures, similarities: str) -> str:
    """The interactive comparison, every view side by side, and the table of similarities."""
    lead = "The same places in both images, as the headers put them and as the registration does."
    if BEFORE not in figures.stages:
        share = f"only {100 * figures.overlap:.1g} %" if figures.overlap else "no part"
        lead = (
            f"Where their headers put them, {share} of the fixed foreground lies on the moving volume, so there is "
            "nothing to see before; the linear alignment takes its place."
        )
    wall = "".join(
        tiles.tile(plane, tiles.use(f"{key}-{plane.name}"), f"{plane.name.capitalize()} view: {text}.", label)
        for plane in figures.planes
        for key, label, text in (("fixed", "Fixed", "the fixed image"), *figures.stages)
    )
    content = (
        _viewer(figures) + f'<figure><div class="tiles wall across-{1 + len(figures.stages)}">{wall}</div><figcaption>'
        "Every view side by side. All pictures of the moving image share one grey window; the fixed image has its own."
        f"</figcaption></figure>{similarities}"
    )
    return section("before-after", "Before and after", lead, content)


def agreement(figures: Figures) -> str:
    """Checkerboard and difference images."""
    checks = "".join(
        tiles.tile(
            plane,
            tiles.checkerboard(f"fixed-{plane.name}", f"after-{plane.name}"),
            f"{plane.name.capitalize()} checkerboard of the fixed and the warped moving image.",
        )
        for plane in figures.planes
    )
    differences = "".join(
        tiles.tile(
            plane,
            tiles.use(f"difference-{stage.key}-{plane.name}"),
            f"{plane.name.capitalize()} view: absolute difference of fixed and {stage.description}.",
            stage.label,
        )
        for plane in figures.planes
        for stage in figures.stages
    )
    ticks = [(0.0, "equal"), (0.5, f"{50 * DIFFERENCE_WHITE:.0f} %"), (1.0, f"{100 * DIFFERENCE_WHITE:.0f} % or more")]
    bar = charts.colour_bar(
        "difference-scale",
        pictures.rising_stops(),
        ticks,
        "Colour scale of the difference, in per cent of the grey range.",
    )
    count = len(figures.stages)
    content = (
        f'<figure><div class="tiles trio">{checks}</div><figcaption>Squares of the fixed and the warped moving image '
        "in turn. Look at the borders between squares: edges should continue from one into the next.</figcaption>"
        f'</figure><figure class="beside stages-{count}"><div class="tiles wall across-{count}">{differences}</div>'
        f'<div><div class="scale">{bar}</div><figcaption>Absolute difference of brightness, in per cent of the grey '
        "range: the darker the better. Bright rims mark borders that do not meet. It says something only where both "
        "images have the same contrast.</figcaption></div></figure>"
    )
    return section("agreement", "Agreement", "Where fixed and warped moving image still differ.", content)


def deformation(mapped: Mapped, figures: Figures, repair: Mapping[str, str] | None = None) -> str:
    """Deformed grid, Jacobian map with folding, histogram. repair: what the table says of folding removed before."""
    folding = mapped.folding
    grids = "".join(
        tiles.tile(plane, _grid(mapped, figures, plane), f"{plane.name.capitalize()} deformed grid.")
        for plane in figures.planes
    )
    jacobians = "".join(
        tiles.tile(
            plane, tiles.use(f"jacobian-{plane.name}"), f"{plane.name.capitalize()} map of the Jacobian determinant."
        )
        for plane in figures.planes
    )
    histogram = charts.log_jacobian_histogram(mapped.jacobian.array_kji, mapped.foreground, figures.jacobian_limit)
    chart = charts.histogram_chart(
        histogram, folding.sd_log_jacobian, mapped.affine_determinant, pictures.diverging_stops()
    )
    content = (
        f'<figure><div class="tiles trio">{grids}</div><figcaption>A grid of {figures.grid_mm:g} mm, carried by the '
        "deformable part of the map; the linear part is taken out. Lines should bend smoothly and never cross."
        f'</figcaption></figure><figure><div class="tiles trio">{jacobians}</div>'
        f'<div class="scale">{_jacobian_bar("jacobian-scale", figures)}</div><figcaption>Jacobian determinant J of the '
        "whole map, as delivered. Blue, J &lt; 1: the matching place in the moving image is smaller. Red, J &gt; 1: it "
        f"is larger. {_folding_words(folding.folded_voxels, folding.folded_percent)} Outside the foreground the "
        f"colours are dimmed.</figcaption></figure>{_fold_figure(figures)}"
        f'<figure class="half">{chart}<figcaption>Every foreground voxel, {count_text(histogram.total)} in all; the '
        "outermost bars also hold what lies beyond. The dot is the mean and the line through it one standard deviation "
        "to either side; the dashed line is the linear part alone."
        f"{_without_logarithm(histogram.not_positive)}</figcaption></figure>"
        + table(
            "The map in numbers",
            {
                "Mean of log J": number_text(histogram.mean, 3),
                "SD of log J": number_text(folding.sd_log_jacobian, 3),
                "Smallest J": number_text(folding.jacobian_min, 3),
                "Largest J": number_text(folding.jacobian_max, 3),
                "J of the linear part": number_text(mapped.affine_determinant, 3),
                "Folded voxels": f"{count_text(folding.folded_voxels)} ({folding.folded_percent:.2g} %)",
                **(repair or {}),
            },
        )
    )
    lead = "Whether the map is one that tissue could follow: smooth, moderate, and never folded."
    return section("deformation", "Deformation", lead, content, "two-columns")


def repair_rows(repair: FoldingRepair) -> dict[str, str]:
    """What the table of the deformation says of the folding removal."""
    return {
        "Folded before the repair": count_text(repair.folded_voxels_before),
        "Rounds of repair": str(repair.rounds),
        "Smoothed by the repair": f"{repair.smoothed_percent:.2g} % of the network grid",
    }


def run(registration: Registration, settings: Mapping[str, object], versions: Mapping[str, str]) -> str:
    """Timings, settings, versions."""
    total = seconds_text(total_seconds(registration.seconds))
    made_with = {
        "device": device_text(registration.device),
        "model": registration.model,
        "peak memory": bytes_text(registration.peak_memory_bytes),
        **versions,
    }
    content = (
        f'<div class="stack"><figure>{charts.timing_chart(registration.seconds)}<figcaption>Time by step; {total} in '
        "all.</figcaption></figure>" + table("Made with", made_with) + "</div>" + table("Settings", _flat(settings))
    )
    return section("run", "The run", "What was done, with what, and how long it took.", content, "two-columns")


def how_to_read(figures: Figures) -> str:
    """Direction, orientation and the definition of each figure."""
    entries = {
        "Direction": "The field u lives on the fixed image’s grid, in millimetres, linear part included: M(x + u(x)) ≈ "
        "F(x) for every point x of the fixed image. It points from fixed to moving and brings the moving image onto "
        "the fixed one; in 3D Slicer it is the from-parent transform.",
        "Sides": "R, L, A, P, S and I are the patient’s right, left, front, back, top and bottom. Pictures follow the "
        "radiological convention: the patient’s right is on the left of the picture. All are resampled along the "
        "world’s axes with square pixels, whatever the grid of the volume.",
        **_stages_entry(figures),
        "Foreground": "The fixed image’s brain mask or, without one, everything brighter than its background. "
        "Similarities and statistics of log J are taken there.",
        "Local similarity": "Mean over the foreground of the squared correlation coefficient in windows of 5 × 5 × 5 "
        "mm; 1 at best. It asks whether structures meet and forgives differences of contrast.",
        "Global similarity": "Correlation coefficient of the two images over the whole foreground; 1 at best.",
        "Jacobian determinant J": "The volume of a small piece of the moving image over that of the piece of the fixed "
        "image it is matched to. 1 keeps volume, 2 means twice as large in moving, 0.5 half as large.",
        "Linear part": "The affine, rigid or given alignment that comes before the deformation. Its own J is one "
        "number for the whole image.",
        "Folded voxel": "One where any of the eight determinants made of one-sided differences is not positive: the "
        "map turns inside out there. Stricter than the usual test by central differences, which skips the "
        "voxel itself.",
        "SD of log J": "Standard deviation of log J over the foreground. The lower, the smoother the map.",
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in entries.items())
    return section("how-to-read", "How to read this", "", f'<dl class="definitions-list">{items}</dl>')


def _stages_entry(figures: Figures) -> dict[str, str]:
    words = "; ".join(f"{stage.label}: {stage.description}" for stage in figures.stages)
    return {"Stages": f"{words}."} if words else {}


def section(identifier: str, heading: str, lead: str, content: str, layout: str = "") -> str:
    """A section of the page; identifier is unique there."""
    intro = f'<p class="intro">{escape(lead)}</p>' if lead else ""
    return (
        f'<section aria-labelledby="{identifier}"><h2 id="{identifier}">{escape(heading)}</h2>{intro}'
        f'<div class="content {layout}">{content}</div></section>'
    )


def _viewer(figures: Figures) -> str:
    views = "".join(
        tiles.tile(
            plane,
            tiles.wipe(f"fixed-{plane.name}", f"{AFTER.key}-{plane.name}", plane),
            f"{plane.name.capitalize()} comparison of the fixed image with the chosen stage of the moving image.",
        )
        for plane in figures.planes
    )
    return (
        '<figure class="viewer" hidden><div class="controls">'
        f"{_choice('Compare fixed with', 'stage', [_stage_option(stage) for stage in figures.stages], AFTER.key)}"
        f"{_choice('by', 'mode', [('wipe', 'Wipe'), ('fade', 'Fade'), ('blink', 'Blink')], 'wipe')}"
        '<label class="slider"><span>Fixed</span><input type="range" min="0" max="100" value="50" '
        'aria-label="Place of the wipe, or share of the moving image in the fade">'
        f'<span class="second-name">{AFTER.label}</span></label></div><div class="tiles trio">{views}</div>'
        "<figcaption>Drag across a picture, or use the slider. Outlines of the brain, ventricles and sulci should run "
        "on unbroken.</figcaption></figure>"
    )


def _stage_option(stage: Stage) -> tuple[str, str]:
    return stage.key, stage.label


def _choice(legend: str, name: str, options: list[tuple[str, str]], chosen: str) -> str:
    inputs = "".join(
        f'<label><input type="radio" name="{name}" value="{value}" data-label="{label}"'
        f"{' checked' if value == chosen else ''}><span>{label}</span></label>"
        for value, label in options
    )
    return f'<fieldset><legend>{legend}</legend><div class="segments">{inputs}</div></fieldset>'


def similarities(registration: Registration) -> str:
    """The table of similarities at the three moments of a registration."""
    rows = "".join(
        f'<tr><th scope="row">{label}</th>'
        + "".join(f"<td>{number_text(value, 3)}</td>" for value in values)
        + f'<td class="strip">{charts.similarity_strip(*values)}</td></tr>'
        for label, values in (
            ("Local similarity", _values(registration, "local_correlation")),
            ("Global similarity", _values(registration, "correlation")),
        )
    )
    return (
        '<div class="table-scroll"><table class="similarities"><caption>Similarity in the fixed foreground</caption>'
        f'<thead><tr><th scope="col">Measure</th><th scope="col">{BEFORE.label}</th><th scope="col">{LINEAR.label}</th>'
        f'<th scope="col">{AFTER.label}</th><th scope="col" class="strip">Before (hollow) to after (full)</th></tr>'
        f"</thead><tbody>{rows}</tbody></table></div>"
    )


def _values(registration: Registration, measure: str) -> tuple[float, float, float]:
    place = Similarity._fields.index(measure)
    return (
        registration.similarity_before[place],
        registration.similarity_initial[place],
        registration.similarity_after[place],
    )


def _grid(mapped: Mapped, figures: Figures, plane: Plane) -> str:
    lines = deformed_grid(
        mapped.displacement_mm,
        mapped.fixed.geometry,
        mapped.moving_ras_from_fixed_ras,
        plane,
        figures.grid_mm,
    )
    return f'<g class="backdrop">{tiles.use(f"fixed-{plane.name}")}</g>{tiles.grid_lines(lines)}'


def _jacobian_bar(identifier: str, figures: Figures) -> str:
    values = charts.jacobian_ticks(figures.jacobian_limit)
    ticks = [(charts.scale_share(value, figures.jacobian_limit), f"{value:.3g}") for value in values]
    return charts.colour_bar(identifier, pictures.diverging_stops(), ticks, "Colour scale of the Jacobian determinant.")


def _folding_words(count: int, percent: float) -> str:
    swatch = f'<span class="swatch" style="background:{_FOLD_CSS}"></span>'
    return f"{swatch} Folding: {folded_text(count)} ({percent:.2g} %)."


def _fold_figure(figures: Figures) -> str:
    if figures.fold is None:
        return ""
    views = "".join(
        tiles.tile(
            plane,
            tiles.use(f"fold-{plane.name}") + tiles.ring(plane.place_mm(figures.fold.ras), plane),
            f"{plane.name.capitalize()} map of the Jacobian determinant through the worst fold.",
        )
        for plane in figures.fold.planes
    )
    return (
        f'<figure class="fold"><div class="tiles trio">{views}</div><figcaption>The same map through the voxel that '
        "folds worst, inside the ring.</figcaption></figure>"
    )


def _without_logarithm(count: int) -> str:
    return f" {count_text(count)} of them, with J ≤ 0, have no logarithm and stand in no bar." if count else ""


def table(caption: str, rows: Mapping[str, str]) -> str:
    """Names and values."""
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>' for name, text in rows.items()
    )
    return f'<table class="facts"><caption>{caption}</caption><tbody>{body}</tbody></table>'


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names, values in plain words."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}".replace("_", " ")] = _worded(value)
    return flat


def _worded(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(_worded(item) for item in value) or "none"
    return str(value)
