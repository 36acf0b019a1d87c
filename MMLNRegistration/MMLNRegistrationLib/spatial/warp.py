"""Sampling images and fields at voxel coordinates: the only file that calls grid_sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ALIGN_CORNERS = True
"""One convention for grid_sample and interpolate: -1 and +1 are the centres of the first and last voxel.

Voxel index x of an axis with n voxels is then 2 x / (n - 1) - 1, and a grid resized from n to m voxels
keeps its corner voxels, so that displacements in voxels scale by (m - 1) / (n - 1). With the other
convention the scale and the place of the voxels would differ between files; mixing the two shifts
fields by half a voxel, silently.
"""


def identity_grid(shape_kji: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """(1, D, *shape) voxel coordinates of each voxel, channels in the order of the axes, float32. D is 2 or 3."""
    axes = [torch.arange(size, device=device, dtype=torch.float32) for size in shape_kji]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def sample(image: Tensor, coordinates: Tensor, *, nearest: bool = False, outside_zero: bool = False) -> Tensor:
    """Values of image (B, C, *shape) at voxel coordinates (B, D, *out), as (B, C, *out).

    Coordinates have their channels in axis order (k, j, i), in voxels of the image. Linear interpolation unless
    nearest. Outside the image: zero if outside_zero (linear over the last voxel), otherwise the border value.
    """
    spans = [max(size - 1, 1) for size in image.shape[2:]]
    # grid_sample wants the fastest axis first, in the last dimension.
    normalised = torch.stack(
        [coordinates[:, axis] * (2.0 / spans[axis]) - 1.0 for axis in reversed(range(len(spans)))], dim=-1
    )
    return functional.grid_sample(
        image,
        normalised,
        mode="nearest" if nearest else "bilinear",
        padding_mode="zeros" if outside_zero else "border",
        align_corners=ALIGN_CORNERS,
    )


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """image(x + u(x)) for image (B, C, *shape) and u (B, D, *shape) in voxels, linear, border value outside."""
    return sample(image, identity_grid(displacement.shape[2:], displacement.device) + displacement)


def resize(image: Tensor, shape: tuple[int, ...]) -> Tensor:
    """image (B, C, *old) on the corner-aligned grid of another shape, by linear interpolation."""
    if tuple(image.shape[2:]) == tuple(shape):
        return image
    mode = "trilinear" if len(shape) == 3 else "bilinear"
    return functional.interpolate(image, size=tuple(shape), mode=mode, align_corners=ALIGN_CORNERS)


def resize_displacement(displacement: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A displacement or velocity (B, D, *old) in voxels on another corner-aligned grid, in voxels of that grid."""
    if tuple(displacement.shape[2:]) == tuple(shape):
        return displacement
    scale = [
        (new - 1) / max(old - 1, 1) for new, old in zip(shape, displacement.shape[2:], strict=True)
    ]
    factor = displacement.new_tensor(scale).view(1, -1, *[1] * len(shape))
    return resize(displacement, shape) * factor
