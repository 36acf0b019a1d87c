"""A validation pair of a training in the scene: the same three volumes, filled anew each time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..errors import InputError
from ..spatial.geometry import Geometry
from .volumes import fill_volume_node, show_in_grey
from .vtk_arrays import OwnedArray, owned_array

MARK = "MMLNRegistration.Preview"
ROLES = ("fixed", "moving", "warped")
_WINDOW = (0.0, 1.0)
"""Intensities are normalised to it."""


@dataclass(frozen=True, eq=False)
class PreviewArrays:
    """The voxels of the three volumes by role, (K, J, I) on one grid, and their names."""

    geometry: Geometry
    voxels: Mapping[str, OwnedArray]
    names: Mapping[str, str]


def read_preview(files: Mapping[str, Path], report: Mapping[str, Any]) -> PreviewArrays:
    """Read what a Preview request has given; any thread may do it. Raises InputError when a file is missing."""
    shape = tuple(report["shape_kji"])
    geometry = Geometry((shape[0], shape[1], shape[2]), np.array(report["ras_from_ijk"], dtype=np.float64))
    voxels = {}
    for role in ROLES:
        try:
            array = np.load(files[f"{role}.npy"], allow_pickle=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"The preview's {role} image cannot be read ({error}); ask for it again.") from error
        owned = owned_array(geometry.shape_kji, np.dtype(np.float32))
        owned.array[...] = array
        voxels[role] = owned
    return PreviewArrays(geometry, voxels, {role: str(report[role]) for role in ROLES})


def show_preview(scene: slicer.vtkMRMLScene, preview: PreviewArrays) -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """Put the volumes into the scene, into those of the preview before where they are still there."""
    nodes = {}
    for role in ROLES:
        node = _found(scene, role)
        if node is None:
            node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
            node.SetAttribute(MARK, role)
        node.SetName(f"Training {role}: {preview.names[role]}")
        fill_volume_node(node, preview.voxels[role], preview.geometry)
        show_in_grey(scene, node, _WINDOW)
        nodes[role] = node
    return nodes


def _found(scene: slicer.vtkMRMLScene, role: str) -> slicer.vtkMRMLScalarVolumeNode | None:
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode") for index in range(count)]
    return next((node for node in nodes if node.GetAttribute(MARK) == role), None)
