"""Carrying out the request to judge a transform."""

from __future__ import annotations

from .. import io
from ..progress import Progress
from ..quality.inspection import inspect_map
from ..quality.inspection_files import INSPECTION_FILES, read_label_layers, read_label_names, write_inspection
from ..quality.landmarks import read_points
from ..result_folder import output_folder
from .messages import Inspect, Outcome

_TABLES = ("folds", "structures", "landmarks", "histogram")
"""Of quality.json, what the report of the outcome leaves out: the file has them."""


def inspect_files(request: Inspect, progress: Progress, partial_name: str | None) -> Outcome:
    """Read what a request names, judge it, and write the result's files.

    Raises InputError for files that cannot be used.
    """
    progress("read", 0.0)
    fixed = io.read_image(request.fixed)
    displacement_mm = io.read_displacement_on(request.transform, fixed.geometry)
    moving = io.read_image(request.moving) if request.moving else None
    fixed_labels = read_label_layers(request.fixed_labels)
    moving_labels = read_label_layers(request.moving_labels)
    names = read_label_names(request.names) if request.names else {}
    points = read_points(request.landmarks) if request.landmarks else ()
    with output_folder(request.output, request.overwrite, partial_name) as folder:
        inspection = inspect_map(
            request.title or request.transform.name,
            fixed,
            displacement_mm,
            moving,
            fixed_labels,
            moving_labels,
            names,
            points,
            progress,
        )
        figures = write_inspection(inspection, folder, progress)
        files = [name for name in INSPECTION_FILES if (folder / name).exists()]
    report = {name: value for name, value in figures.items() if name not in _TABLES}
    return Outcome({name: request.output / name for name in files}, report)
