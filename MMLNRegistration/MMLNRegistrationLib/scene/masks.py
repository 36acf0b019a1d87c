"""Masks of the scene, label maps or segmentations, as the worker wants them: on the very grid of their image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicer
from numpy.typing import NDArray

from ..spatial.geometry import Geometry, Matrix, transform_points
from .parents import world_from_node
from .segments import labelmaps
from .volume_files import VolumeFile
from .volumes import geometry_of_node, scalars_of_node


@dataclass(frozen=True, eq=False)
class MaskFile:
    """A mask that can be written for an image. layers: views of voxels that mark where they are above 0, each with
    the world's place of its grid; a voxel of the image is inside where its centre is in a marked voxel of a layer."""

    layers: tuple[tuple[NDArray, Geometry], ...]
    image: VolumeFile

    def write(self, path: Path) -> None:
        """Write it on the image's grid. Any thread may do it. Raises OSError when that cannot be done."""
        inside = np.zeros(self.image.geometry.shape_kji, np.uint8)
        for voxels_kji, geometry in self.layers:
            _mark(inside, voxels_kji, geometry.ijk_from_ras @ self.image.world_from_ijk)
        VolumeFile(inside, self.image.geometry, self.image.world_from_file).write(path)


def mask_file(node: slicer.vtkMRMLDisplayableNode, image: VolumeFile) -> MaskFile:
    """What there is to write of a label map, a scalar volume or a segmentation, all of its segments together.

    Raises InputError when it has no voxels or segments, or lies under a non-linear transform.
    """
    if not node.IsA("vtkMRMLSegmentationNode"):
        return MaskFile(((scalars_of_node(node), geometry_of_node(node)),), image)
    _, layers = labelmaps(node, world_from_node(node), image.world_from_ijk)
    return MaskFile(tuple(layers.values()), image)


def _mark(inside_kji: NDArray[np.uint8], voxels_kji: NDArray, mask_from_ijk: Matrix) -> None:
    """Set to 1 what lies in a voxel above 0. mask_from_ijk: from the image's voxels to those of the mask."""
    if voxels_kji.shape == inside_kji.shape and np.abs(mask_from_ijk - np.eye(4)).max() < 1e-3:
        inside_kji |= voxels_kji > 0
        return
    size_k, size_j, size_i = inside_kji.shape
    plane_ijk = np.stack(np.meshgrid(0, np.arange(size_j), np.arange(size_i), indexing="ij")[::-1], axis=-1)[0]
    last_kji = np.array(voxels_kji.shape) - 1
    for k in range(size_k):
        index_kji = np.rint(transform_points(mask_from_ijk, plane_ijk + np.array((0, 0, k)))).astype(np.intp)[..., ::-1]
        is_there = ((index_kji >= 0) & (index_kji <= last_kji)).all(axis=-1)
        found = voxels_kji[tuple(np.moveaxis(np.clip(index_kji, 0, last_kji), -1, 0))] > 0
        inside_kji[k] |= found & is_there
