"""The sections of the report's page. Each picture's caption says what to look for."""

from __future__ import annotations

from collections.abc import Mapping

from ..pipeline.result import FoldingRepair, Registration, Similarity
from . import charts, tiles
from .colours import DIVERGING, FOLD_COLOUR, RISING, css_stops
from .figures import AFTER, BEFORE, DIFFERENCE_WHITE, LINEAR, Figures, Mapped
from .parts import facts, section, swatch
from .planes import Plane, deformed_grid
from .verdict import bytes_text, count_text, device_text, folded_text, number_text, seconds_text, total_seconds
from .viewer import viewer

_FOLD_CSS = f"rgb{FOLD_COLOUR}"


def before_and_after(figures: Figures, similarities: str) -> str:
    """The interactive comparison, every view side by side, and the table of similarities."""
    lead = "The same places in both images, as the headers put them and as the map does."
    if BEFORE not in figures.stages:
        share = f"only {100 * figures.overlap:.1g} %" if figures.overlap else "no part"
        lead = (
            f"Where their headers put them, {share} of the fixed foreground lies on the moving volume, so there is "
            "nothing to see before; the linear alignment takes its place."
        )
    compared = viewer(
        figures.planes,
        ("fixed", "Fixed"),
        {stage.key: stage.label for stage in figures.stages},
        AFTER.key,
        "Outlines of the brain, ventricles and sulci should run on unbroken.",
    )
    wall = tiles.wall(figures.planes, [("fixed", "Fixed", "the fixed image"), *figures.stages])
    content = (
        f"{compared}<figure>{wall}<figcaption>Every view side by side. All pictures of the moving image share "
        f"one grey window; the fixed image has its own.</figcaption></figure>{similarities}"
    )
    return section("before-after", "Before and after", lead, content)


def agreement(figures: Figures) -> str:
    """Checkerboard and difference images."""
    checks = tiles.trio(
        figures.planes,
        lambda plane: tiles.checkerboard(f"fixed-{plane.name}", f"after-{plane.name}"),
        "checkerboard of the fixed and the warped moving image",
    )
    differences = tiles.wall(
        figures.planes,
        [
            (f"difference-{stage.key}", stage.label, f"absolute difference of fixed and {stage.description}")
            for stage in figures.stages
        ],
    )
    ticks = [(0.0, "equal"), (0.5, f"{50 * DIFFERENCE_WHITE:.0f} %"), (1.0, f"{100 * DIFFERENCE_WHITE:.0f} % or more")]
    bar = charts.colour_bar(
        "difference-scale",
        css_stops(RISING),
        ticks,
        "Colour scale of the difference, in per cent of the grey range.",
    )
    content = (
        f"<figure>{checks}<figcaption>Squares of the fixed and the warped moving image in turn. Look at the borders "
        "between squares: edges should continue from one into the next.</figcaption></figure>"
        f'<figure class="beside stages-{len(figures.stages)}">{differences}<div><div class="scale">{bar}</div>'
        "<figcaption>Absolute difference of brightness, in per cent of the grey range: the darker the better. Bright "
        "rims mark borders that do not meet. It says something only where both images have the same contrast."
        "</figcaption></div></figure>"
    )
    return section("agreement", "Agreement", "Where fixed and warped moving image still differ.", content)


def deformation(mapped: Mapped, figures: Figures, repair: Mapping[str, str] | None = None) -> str:
    """Deformed grid, Jacobian map with folding, histogram. repair: what the table says of folding removed before."""
    folding = mapped.folding
    grids = tiles.trio(figures.planes, lambda plane: _grid(mapped, figures, plane), "deformed grid")
    jacobians = tiles.trio(
        figures.planes, lambda plane: tiles.use(f"jacobian-{plane.name}"), "map of the Jacobian determinant"
    )
    histogram = charts.log_jacobian_histogram(mapped.jacobian.array_kji, mapped.foreground, figures.jacobian_limit)
    chart = charts.histogram_chart(histogram, folding.sd_log_jacobian, mapped.affine_determinant, css_stops(DIVERGING))
    content = (
        f"<figure>{grids}<figcaption>A grid of {figures.grid_mm:g} mm, carried by the deformable part of the map; the "
        "linear part is taken out. Lines should bend smoothly and never cross.</figcaption></figure>"
        f'<figure>{jacobians}<div class="scale">{_jacobian_bar("jacobian-scale", figures)}</div>'
        "<figcaption>Jacobian determinant J of the "
        "whole map, as delivered. Blue, J &lt; 1: the matching place in the moving image is smaller. Red, J &gt; 1: it "
        f"is larger. {_folding_words(folding.folded_voxels, folding.folded_percent)} Outside the foreground the "
        f"colours are dimmed.</figcaption></figure>{_fold_figure(figures)}"
        f'<figure class="half">{chart}<figcaption>Every foreground voxel, {count_text(histogram.total)} in all; the '
        "outermost bars also hold what lies beyond. The dot is the mean and the line through it one standard deviation "
        "to either side; the dashed line is the linear part alone."
        f"{_without_logarithm(histogram.not_positive)}</figcaption></figure>"
        + facts(
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
        "all.</figcaption></figure>" + facts("Made with", made_with) + "</div>" + facts("Settings", _flat(settings))
    )
    return section("run", "The run", "What was done, with what, and how long it took.", content, "two-columns")


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
    return charts.colour_bar(identifier, css_stops(DIVERGING), ticks, "Colour scale of the Jacobian determinant.")


def _folding_words(count: int, percent: float) -> str:
    return f"{swatch(_FOLD_CSS)} Folding: {folded_text(count)} ({percent:.2g} %)."


def _fold_figure(figures: Figures) -> str:
    fold = figures.fold
    if fold is None:
        return ""
    views = tiles.trio(
        fold.planes,
        lambda plane: tiles.use(f"fold-{plane.name}") + tiles.ring(plane.place_mm(fold.ras), plane),
        "map of the Jacobian determinant through the worst fold",
    )
    return (
        f'<figure class="fold">{views}<figcaption>The same map through the voxel that folds worst, inside the ring.'
        "</figcaption></figure>"
    )


def _without_logarithm(count: int) -> str:
    return f" {count_text(count)} of them, with J ≤ 0, have no logarithm and stand in no bar." if count else ""


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
