"""Step 2: intensities to [0, 1], the network grid around the fixed foreground, and sampling onto it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..spatial.geometry import Geometry, Matrix, axis_aligned_geometry, kji_matrix
from ..spatial.separable import gaussian_smooth
from ..spatial.warp import identity_grid, sample
from .foreground import Foreground
from .volume import Volume


@dataclass(frozen=True)
class PrepareConfig:
    """How volumes are brought onto the network grid."""

    spacing_mm: float = 1.0
    """Voxel size of the network grid, isotropic."""
    margin_mm: float = 10.0
    """Space left around the fixed foreground: what the velocity fades out in."""
    largest_mm: float = 256.0
    """A foreground longer than this is cut to its middle (a scan with neck and shoulders)."""
    upper_percentile: float = 99.5
    """Foreground percentile that becomes 1. Never the maximum: one bright voxel must not dim a brain."""


def normalised(image: Volume, foreground: Foreground, upper_percentile: float) -> Volume:
    """The image scaled so that its background is 0 and the upper percentile of its foreground is 1, clipped."""
    lower = float(np.percentile(image.array_kji, 0.1))
    upper = float(np.percentile(image.array_kji[foreground.voxels], upper_percentile))
    if upper <= lower:
        raise InputError(f"{image.name} has hardly any contrast in its foreground; check the image or its mask.")
    scaled = np.clip((image.array_kji - lower) / (upper - lower), 0, 1)
    if foreground.excludes_rest:
        scaled = np.where(foreground.voxels, scaled, np.float32(0))
    return Volume(scaled, image.geometry, image.name)


def network_geometry(fixed: Geometry, mask: NDArray[np.bool_], config: PrepareConfig, stride: int) -> Geometry:
    """The network grid: axes along R, A, S around the fixed mask with a margin, sizes a multiple of the stride.

    Its voxel centres meet those of a fixed grid that has the same spacing and axes along the world's, so that
    such a grid needs no interpolation of the field.
    """
    occupied_ijk = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != 2 - axis))) for axis in range(3)]
    box_ijk = np.array([(indices[0] - 0.5, indices[-1] + 0.5) for indices in occupied_ijk])
    corners_ijk = np.stack(np.meshgrid(*box_ijk, indexing="ij"), axis=-1).reshape(-1, 3)
    corners_ras = corners_ijk @ fixed.ras_from_ijk[:3, :3].T + fixed.ras_from_ijk[:3, 3]
    lower_ras, upper_ras = corners_ras.min(axis=0) - config.margin_mm, corners_ras.max(axis=0) + config.margin_mm
    centre_ras = (lower_ras + upper_ras) / 2
    extent_mm = np.minimum(upper_ras - lower_ras, config.largest_mm)
    size_ijk = np.maximum(np.ceil(extent_mm / config.spacing_mm / stride - 1e-6).astype(int) * stride, 2 * stride)
    lower_ras = centre_ras - (size_ijk - 1) / 2 * config.spacing_mm
    lattice_ras = fixed.ras_from_ijk[:3, 3]
    lower_ras = lattice_ras + np.rint((lower_ras - lattice_ras) / config.spacing_mm) * config.spacing_mm
    size_i, size_j, size_k = size_ijk.tolist()
    return axis_aligned_geometry(lower_ras, (size_k, size_j, size_i), config.spacing_mm)


def points_on(geometry: Geometry, other_ijk_from_ijk: Matrix, device: torch.device | str = "cpu") -> Tensor:
    """(1, 3, K, J, I) where geometry's voxels lie in another grid, in voxels of it, channels k, j, i."""
    matrix = torch.from_numpy(kji_matrix(other_ijk_from_ijk)).float().to(device)
    index_kji = identity_grid(geometry.shape_kji, device)
    moved = matrix[:3, :3] @ index_kji.view(3, -1) + matrix[:3, 3:]
    return moved.view_as(index_kji)


def sample_volume(image: Volume, coordinates_kji: Tensor) -> Tensor:
    """The image at voxel coordinates (1, 3, ...) of its own grid as (1, 1, ...); zero outside it."""
    array = torch.from_numpy(np.ascontiguousarray(image.array_kji, dtype=np.float32))[None, None]
    values = sample(array, coordinates_kji)
    for axis, size in enumerate(image.geometry.shape_kji):
        position = coordinates_kji[:, axis : axis + 1]
        values.masked_fill_((position < -0.5) | (position > size - 0.5), 0)
    return values


def on_network_grid(image: Volume, net: Geometry, image_ras_from_net_ras: Matrix) -> Tensor:
    """A normalised image (1, 1, K, J, I) on the network grid, through a linear map of the world.

    An image finer than the network grid is smoothed first to what that grid can carry.
    """
    net_spacing_mm = float(net.spacing_mm[0])
    sigma_ijk = 0.4 * np.sqrt(np.maximum((net_spacing_mm / image.geometry.spacing_mm) ** 2 - 1, 0))
    if sigma_ijk.max() > 0.2:
        array = torch.from_numpy(image.array_kji)[None, None]
        smooth = gaussian_smooth(array, [float(sigma) for sigma in sigma_ijk[::-1]])[0, 0].numpy()
        image = Volume(smooth, image.geometry, image.name)
    image_ijk_from_net_ijk = image.geometry.ijk_from_ras @ image_ras_from_net_ras @ net.ras_from_ijk
    return sample_volume(image, points_on(net, image_ijk_from_net_ijk))


def velocity_shape(net_shape_kji: tuple[int, ...], factor: int) -> tuple[int, ...]:
    """Sizes of the corner-aligned grid that the velocity lives on: the network grid's, divided by the factor."""
    return tuple(max(2, size // factor) for size in net_shape_kji)
