"""The volumes of an inspection: read by any thread, then put into the scene, on the main thread and quickly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..errors import InputError
from ..spatial.geometry import Geometry
from .comparison import Window
from .jacobian import show_as_jacobian
from .jacobian_thresholds import fold_colours
from .volumes import fill_volume_node, show_in_grey
from .vtk_arrays import OwnedArray, owned_array

WINDOWS_ATTRIBUTE = "MMLNRegistration.windows"


@dataclass(frozen=True, eq=False)
class InspectionResult:
    """What was found, as numbers (quality.json) and as volumes on the fixed grid."""

    geometry: Geometry
    figures: dict[str, Any]
    jacobian: OwnedArray
    folded: OwnedArray
    warped: OwnedArray | None


def read_inspection(folder: Path, geometry: Geometry) -> InspectionResult:
    """Read what an inspection has written. geometry: the fixed grid in the world.

    Raises InputError when a file is missing or does not fit.
    """
    try:
        figures = json.loads((folder / "quality.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"The result quality.json cannot be read ({error}); check the transform again.") from error
    warped = folder / "warped.nii"
    return InspectionResult(
        geometry,
        figures,
        _read_voxels(folder / "jacobian.nii", geometry, np.float32),
        _read_voxels(folder / "folded.nii", geometry, np.uint8),
        _read_voxels(warped, geometry, np.float32) if warped.exists() else None,
    )


def show_jacobian(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, result: InspectionResult) -> None:
    """Fill a node with the Jacobian determinant, in its colours."""
    fill_volume_node(node, result.jacobian, result.geometry)
    show_as_jacobian(scene, node)


def show_folds(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLLabelMapVolumeNode, result: InspectionResult) -> None:
    """Fill a label map with the folded voxels, in the colour of folds."""
    fill_volume_node(node, result.folded, result.geometry)
    node.GetDisplayNode().SetAndObserveColorNodeID(fold_colours(scene).GetID())


def show_warped(
    scene: slicer.vtkMRMLScene,
    node: slicer.vtkMRMLScalarVolumeNode,
    result: InspectionResult,
    fixed_display: slicer.vtkMRMLScalarVolumeDisplayNode | None,
) -> None:
    """Fill a node with the warped moving image, as bright as the fixed image is shown.

    fixed_display: of the fixed image; None, or one that shows nothing, leaves it to the image's own brightness.
    """
    assert result.warped is not None
    windows = result.figures["windows"]
    fill_volume_node(node, result.warped, result.geometry)
    node.SetAttribute(WINDOWS_ATTRIBUTE, json.dumps(windows))
    low, high = windows["warped"]
    black, white = windows["fixed"]
    if fixed_display is not None and white > black and fixed_display.GetWindow() > 0:
        scale = (high - low) / (white - black)
        shown = (fixed_display.GetWindowLevelMin(), fixed_display.GetWindowLevelMax())
        low, high = (low + (value - black) * scale for value in shown)
    show_in_grey(scene, node, (low, high))


def windows_of(warped: slicer.vtkMRMLScalarVolumeNode) -> tuple[Window, Window]:
    """The intensities that are black and white, over the foreground, of the fixed image and of a node of show_warped.

    Raises InputError when somebody has made another volume of it.
    """
    try:
        windows = json.loads(warped.GetAttribute(WINDOWS_ATTRIBUTE) or "")
        (fixed_black, fixed_white), (black, white) = windows["fixed"], windows["warped"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{warped.GetName()} is not what was checked; check the transform again.") from error
    return (float(fixed_black), float(fixed_white)), (float(black), float(white))


def _read_voxels(path: Path, geometry: Geometry, dtype: type[np.generic]) -> OwnedArray:
    """The voxels of an uncompressed file, which are its last bytes, straight into memory of VTK's."""
    owned = owned_array(geometry.shape_kji, np.dtype(dtype))
    try:
        with path.open("rb") as file:
            start = path.stat().st_size - owned.array.nbytes
            if start < 0:
                raise InputError(f"The result {path.name} is cut off; check the space left on the disk.")
            file.seek(start)
            file.readinto(owned.array.reshape(-1).view(np.uint8).data)
    except OSError as error:
        raise InputError(f"The result {path.name} cannot be read ({error}); check the transform again.") from error
    return owned
