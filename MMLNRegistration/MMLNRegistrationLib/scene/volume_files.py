"""Volumes of the scene as files for the worker, at their place in the world.

What is there is looked at at once, without copying it; the writing touches no node, so that a thread can do it.
NRRD, because it may be uncompressed and says its space in words: RAS here as everywhere.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix
from .parents import world_from_node
from .volumes import geometry_of_node, scalars_of_node

SUFFIX = ".nrrd"

_SHEAR_TOLERANCE = 1e-4
"""Cosine of the angle between two axes that still counts as a right one; files cannot hold others."""


@dataclass(frozen=True, eq=False)
class VolumeFile:
    """A volume that can be written: a view of its voxels, (K, J, I), and its grid in the file.

    world_from_file: the identity, but for a volume whose linear parents bend its right angles. Such a one is written
    as it lies in its own coordinates, and this matrix, the parents', takes the file's millimetres to the world's.
    """

    array_kji: NDArray
    geometry: Geometry
    world_from_file: Matrix

    @property
    def is_in_world(self) -> bool:
        """Whether the file's millimetres are the world's."""
        return bool((self.world_from_file == np.eye(4)).all())

    @property
    def world_from_ijk(self) -> Matrix:
        """The world's place of its voxels."""
        return self.world_from_file @ self.geometry.ras_from_ijk

    def write(self, path: Path) -> None:
        """Write it, uncompressed. Any thread may do it. Raises OSError when the disk is full or may not be written."""
        array = np.ascontiguousarray(self.array_kji)
        with path.open("wb") as file:
            file.write(_header(array, self.geometry))
            file.write(array.reshape(-1).view(np.uint8).data)


def volume_file(node: slicer.vtkMRMLVolumeNode) -> VolumeFile:
    """What there is to write of a scalar volume or label map.

    Raises InputError for an empty, colour, vector or 4D node, one under a non-linear transform, and one that has no
    right angles by itself.
    """
    array_kji = scalars_of_node(node)
    geometry = geometry_of_node(node)
    if has_right_angles(geometry):
        return VolumeFile(array_kji, geometry, np.eye(4))
    world_from_file = world_from_node(node)
    own = Geometry(geometry.shape_kji, np.linalg.inv(world_from_file) @ geometry.ras_from_ijk)
    if not has_right_angles(own):
        raise InputError(
            f"The axes of {node.GetName()} are sheared; resample it to a grid with right angles first, for example "
            "with the module Crop Volume."
        )
    return VolumeFile(array_kji, own, world_from_file)


def has_right_angles(geometry: Geometry) -> bool:
    """Whether the axes of a grid stand upright on each other, as those of files must."""
    cosines = geometry.direction_ras.T @ geometry.direction_ras
    return bool(np.abs(cosines - np.eye(3)).max() <= _SHEAR_TOLERANCE)


def file_name(node: slicer.vtkMRMLNode) -> str:
    """A name for a node's file: messages and reports call the volume so."""
    kept = "".join(letter if letter.isalnum() or letter in " ._-" else "_" for letter in node.GetName() or "")
    return f"{kept.strip(' .')[:60] or 'volume'}{SUFFIX}"


def _header(array: NDArray, geometry: Geometry) -> bytes:
    kind, size_bytes = array.dtype.kind, array.dtype.itemsize
    word = {4: "float", 8: "double"}[size_bytes] if kind == "f" else f"{'u' if kind == 'u' else ''}int{8 * size_bytes}"
    columns = geometry.ras_from_ijk[:3].T.tolist()
    vectors = [f"({','.join(repr(value) for value in column)})" for column in columns]
    lines = (
        "NRRD0004",
        f"type: {word}",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(str(size) for size in geometry.size_ijk)}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        f"endian: {sys.byteorder}",
        "encoding: raw",
        f"space origin: {vectors[3]}",
        "",
        "",
    )
    return "\n".join(lines).encode("ascii")
