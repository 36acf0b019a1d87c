"""From the panel's choices to a request: what is asked for, which files it takes, and what stands in the way."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from ..backend.messages import Inspect
from ..errors import InputError
from ..quality.landmarks import Points, write_points
from ..scene.label_layers import label_layers, segment_labels
from ..scene.landmarks import landmark_points
from ..scene.parents import world_from_node
from ..scene.spaces import is_under, moving_geometry, moving_space_from_node, require_not_under
from ..scene.volume_files import VolumeFile, file_name, has_right_angles, volume_file
from ..scene.volumes import scalars_of_node
from ..spatial.geometry import Geometry
from .volume_files import Writable


@dataclass(frozen=True)
class NameFile:
    """The names of labels as a table."""

    labels: Mapping[str, int]

    def write(self, path: Path) -> None:
        """Write it. Raises OSError."""
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(("label", "name"))
            writer.writerows((label, name) for name, label in self.labels.items())


@dataclass(frozen=True)
class PointFile:
    """Landmarks as a table."""

    points: tuple[Points, ...]

    def write(self, path: Path) -> None:
        """Write it. Raises OSError."""
        write_points(self.points, path)


@dataclass(frozen=True, eq=False)
class Plan:
    """A check to be done. The field is still to be sampled, on geometry, the fixed grid in the world.

    inputs: what to write, by the paths in request.
    """

    request: Inspect
    inputs: Mapping[Path, Writable]
    geometry: Geometry


def hindrance(parameters: Any, is_remote: bool) -> str:
    """Why nothing can be checked, as a sentence; empty when it can. parameters: a QualityParameters."""
    transform, fixed, moving = parameters.transform, parameters.fixed, parameters.moving
    if transform is None:
        return _("Choose a transform to check.")
    if fixed is None:
        return _("Choose the fixed volume: the image that the transform leads to.")
    if fixed is moving:
        return _("Fixed and moving are the same volume; choose two, or none for moving.")
    for node in (fixed, parameters.fixed_segments, parameters.fixed_points):
        if node is not None and is_under(node, transform):
            return _("{name} lies under {transform}, so it is on the moving side; choose another, or swap.").format(
                name=node.GetName(), transform=transform.GetName()
            )
    for segments in (parameters.fixed_segments, parameters.moving_segments):
        if segments is not None and segments.GetSegmentation().GetNumberOfSegments() == 0:
            return _("{name} has no segments; choose another segmentation, or none.").format(name=segments.GetName())
    if (parameters.fixed_points is None) != (parameters.moving_points is None):
        return _("Landmarks need two lists, one in each image; choose both or none.")
    if is_remote:
        return _("A server does not check transforms; clear its address under Register to work on this computer.")
    return ""


def plan(parameters: Any, folder: Path) -> Plan:
    """The check that is asked for, its files to lie in `folder`. parameters: a QualityParameters.

    Raises InputError for volumes, segmentations and landmarks that cannot be used.
    """
    transform, fixed, moving = parameters.transform, parameters.fixed, parameters.moving
    require_not_under(fixed, transform)
    fixed_file = volume_file(fixed)
    if not fixed_file.is_in_world:
        raise InputError(
            f"The parent transform of {fixed.GetName()} bends its right angles; harden it and resample the volume "
            "first, for example with the module Crop Volume."
        )
    inputs: dict[Path, Writable] = {}

    def placed(role: str, name: str, file: Writable) -> Path:
        path = folder / role / name
        inputs[path] = file
        return path

    fixed_path = placed("fixed", file_name(fixed), fixed_file)
    moving_path, moving_grid = None, fixed_file.geometry
    if moving is not None:
        moving_file = _moving_file(moving, transform)
        moving_path, moving_grid = placed("moving", file_name(moving), moving_file), moving_file.geometry
    segmentations = {"fixed": parameters.fixed_segments, "moving": parameters.moving_segments}
    chosen = {side: node for side, node in segmentations.items() if node is not None}
    labels = segment_labels(list(chosen.values()))
    layers: dict[str, tuple[Path, ...]] = {"fixed": (), "moving": ()}
    for side, node in chosen.items():
        space = moving_space_from_node(node, transform) if side == "moving" else world_from_node(node)
        grid = moving_grid if side == "moving" else fixed_file.geometry
        layers[side] = tuple(
            placed(f"{side}_labels", f"{number}.nrrd", layer)
            for number, layer in enumerate(label_layers(node, labels, space, grid.ras_from_ijk))
        )
    names = placed("names", "names.csv", NameFile(labels)) if labels else None
    landmarks = None
    if parameters.fixed_points is not None:
        points = landmark_points(parameters.fixed_points, parameters.moving_points, transform)
        landmarks = placed("landmarks", "landmarks.csv", PointFile(points))
    request = Inspect(
        transform=folder / "field.mha",
        fixed=fixed_path,
        moving=moving_path,
        fixed_labels=layers["fixed"],
        moving_labels=layers["moving"],
        names=names,
        landmarks=landmarks,
        title=transform.GetName(),
        output=folder / "result",
    )
    return Plan(request, inputs, fixed_file.geometry)


def _moving_file(node: Any, transform: Any) -> VolumeFile:
    """The moving volume in the transform's own space."""
    geometry = moving_geometry(node, transform)
    if not has_right_angles(geometry):
        raise InputError(
            f"The axes of {node.GetName()} are not at right angles; harden its parent transform and resample it first, "
            "for example with the module Crop Volume."
        )
    return VolumeFile(scalars_of_node(node), geometry, np.eye(4))
