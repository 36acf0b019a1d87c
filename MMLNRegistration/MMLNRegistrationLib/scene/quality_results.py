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
from .jacobian import show_as_jacobian
from .jacobian_thresholds import fold_colours
from .volumes import fill_volume_node, show_in_grey
from .vtk_arrays import OwnedArray, owned_array


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


def show_warped(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLScalarVolumeNode, result: InspectionResult) -> None:
    """Fill a node with the warped moving image."""
    assert result.warped is not None
    fill_volume_node(node, result.warped, result.geometry)
    show_in_grey(scene, node, tuple(result.figures["windows"]["warped"]))


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
