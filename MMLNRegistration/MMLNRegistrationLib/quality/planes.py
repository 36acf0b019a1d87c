"""Flat pictures through the anatomy: planes with square pixels along R, A and S, and what a volume shows there.

Raw array slices would be stretched by anisotropic voxels, tilted by oblique axes and mirrored by left-handed ones.
Here every picture is sampled at world points, so that its letters and its proportions are right for any grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..spatial.geometry import Geometry, Matrix, transform_points
from ..spatial.warp import sample

MARGIN_SHARE = 0.06
"""Room left on either side of the foreground, as a share of its longest extent."""
PIXELS_ALONG_SIDE = 320
"""No picture is finer than this, so that a report stays small; a 1 mm brain keeps its 1 mm pixels."""
_COUNTED_POINTS = 200_000
"""Boxes and shares are taken from about this many foreground voxels: enough for a picture, quick for any size."""


class Letters(NamedTuple):
    """The patient's directions at the four sides of a picture."""

    left: str
    right: str
    top: str
    bottom: str


class _View(NamedTuple):
    name: str
    normal_axis: int
    right_ras: tuple[int, int, int]
    down_ras: tuple[int, int, int]
    letters: Letters


_VIEWS = (
    _View("axial", 2, (-1, 0, 0), (0, -1, 0), Letters("R", "L", "A", "P")),
    _View("coronal", 1, (-1, 0, 0), (0, 0, -1), Letters("R", "L", "S", "I")),
    _View("sagittal", 0, (0, -1, 0), (0, 0, -1), Letters("A", "P", "S", "I")),
)
"""The radiological convention, as in Slicer: axial from below, coronal from the front, sagittal from the left."""
_DIRECTIONS = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True, eq=False)
class Plane:
    """A square picture in the world.

    name: axial, coronal or sagittal. position: where it cuts, such as "S 12 mm".
    right_ras, down_ras: (3,) unit vectors along the picture's rows and columns.
    corner_ras: (3,) outer corner of the first pixel, top left, in mm.
    size_pixels, pixel_mm: number of pixels along either side, and their size.
    """

    name: str
    position: str
    letters: Letters
    right_ras: NDArray[np.float64]
    down_ras: NDArray[np.float64]
    corner_ras: NDArray[np.float64]
    size_pixels: int
    pixel_mm: float

    @property
    def side_mm(self) -> float:
        """Width and height of the picture."""
        return self.size_pixels * self.pixel_mm

    def points_ras(self, across_mm: NDArray[np.floating], down_mm: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 3) world points at places (...) on the picture, in mm from its top left corner."""
        return self.corner_ras + across_mm[..., None] * self.right_ras + down_mm[..., None] * self.down_ras

    def pixel_centres_ras(self) -> NDArray[np.float64]:
        """(rows, columns, 3) world points of the pixel centres."""
        centres_mm = (np.arange(self.size_pixels) + 0.5) * self.pixel_mm
        return self.points_ras(*np.meshgrid(centres_mm, centres_mm))

    def place_mm(self, points_ras: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., 2) where world points (..., 3) fall on the picture, across and down, in mm from its corner."""
        offset = points_ras - self.corner_ras
        return np.stack([offset @ self.right_ras, offset @ self.down_ras], axis=-1)


def foreground_points_ras(geometry: Geometry, foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 3) world points of an even subset of the foreground's voxels.

    Raises ValueError when the foreground is empty.
    """
    step = max(1, int(np.floor((np.count_nonzero(foreground) / _COUNTED_POINTS) ** (1 / 3))))
    found_kji = np.argwhere(foreground[::step, ::step, ::step]) * step
    if len(found_kji) == 0:
        found_kji = np.argwhere(foreground)
    if len(found_kji) == 0:
        raise ValueError("The foreground is empty.")
    return transform_points(geometry.ras_from_ijk, found_kji[:, ::-1].astype(np.float64))


def fullest_ras(points_ras: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """(3,) where planes across R, A and S each hold the most of points_ras (N, 3), to step_mm."""
    place = []
    for along in points_ras.T:
        slab = np.round((along - along.min()) / step_mm).astype(np.intp)
        place.append(along[slab == np.argmax(np.bincount(slab))].mean())
    return np.array(place)


def share_inside(geometry: Geometry, points_ras: NDArray[np.float64]) -> float:
    """Share of points (N, 3) that lie on a volume with this geometry."""
    return float(_inside(geometry, transform_points(geometry.ijk_from_ras, points_ras)).mean())


def anatomical_planes(
    geometry: Geometry, points_ras: NDArray[np.float64], through_ras: NDArray[np.float64]
) -> tuple[Plane, Plane, Plane]:
    """Axial, coronal and sagittal pictures through a world point, all of one size that holds points_ras (N, 3)."""
    lower = np.minimum(points_ras.min(axis=0), through_ras)
    upper = np.maximum(points_ras.max(axis=0), through_ras)
    longest_mm = float((upper - lower).max())
    finest_mm = float(geometry.spacing_mm.min())
    side_mm = (1 + 2 * MARGIN_SHARE) * longest_mm + finest_mm
    pixel_mm = max(finest_mm, side_mm / PIXELS_ALONG_SIDE)
    size_pixels = int(np.ceil(side_mm / pixel_mm))
    axial, coronal, sagittal = (
        _plane(view, (lower + upper) / 2, through_ras, size_pixels, pixel_mm) for view in _VIEWS
    )
    return axial, coronal, sagittal


def _plane(
    view: _View,
    middle_ras: NDArray[np.float64],
    through_ras: NDArray[np.float64],
    size_pixels: int,
    pixel_mm: float,
) -> Plane:
    right, down = np.array(view.right_ras, dtype=np.float64), np.array(view.down_ras, dtype=np.float64)
    centre = middle_ras.copy()
    centre[view.normal_axis] = through_ras[view.normal_axis]
    where = float(through_ras[view.normal_axis])
    letter = _DIRECTIONS[view.normal_axis][0 if where >= 0 else 1]
    return Plane(
        name=view.name,
        position=f"{letter} {abs(where):.0f} mm",
        letters=view.letters,
        right_ras=right,
        down_ras=down,
        corner_ras=centre - (right + down) * size_pixels * pixel_mm / 2,
        size_pixels=size_pixels,
        pixel_mm=pixel_mm,
    )


def image_tensor(array_kji: NDArray) -> Tensor:
    """(1, 1, K, J, I) float32 tensor of an array (K, J, I)."""
    return torch.from_numpy(np.ascontiguousarray(array_kji, dtype=np.float32))[None, None]


def displacement_tensor(displacement_mm: NDArray[np.float32]) -> Tensor:
    """(1, 3, K, J, I) view of a displacement (K, J, I, 3): its channels stay millimetres along R, A, S."""
    return torch.from_numpy(displacement_mm).permute(3, 0, 1, 2)[None]


def sampled(
    image: Tensor, geometry: Geometry, points_ras: NDArray[np.float64], *, nearest: bool = False
) -> NDArray[np.float32]:
    """Values of image (1, C, K, J, I) on geometry at world points (H, W, 3), linear or nearest: (C, H, W).

    Not a number where a point lies off the volume, more than half a voxel beyond its outermost centres.
    """
    ijk = transform_points(geometry.ijk_from_ras, points_ras)
    coordinates = torch.from_numpy(ijk[..., ::-1].astype(np.float32)).permute(2, 0, 1)[None, :, None]
    values = sample(image, coordinates, nearest=nearest)[0, :, 0].numpy()
    values[:, ~_inside(geometry, ijk)] = np.nan
    return values


def _inside(geometry: Geometry, ijk: NDArray[np.float64]) -> NDArray[np.bool_]:
    inside = (ijk >= -0.5) & (ijk <= np.array(geometry.size_ijk) - 0.5)
    return inside[..., 0] & inside[..., 1] & inside[..., 2]


def deformed_grid(
    displacement_mm: NDArray[np.float32],
    geometry: Geometry,
    moving_ras_from_fixed_ras: Matrix,
    plane: Plane,
    spacing_mm: float,
) -> list[NDArray[np.float64]]:
    """Grid lines of the plane, each (N, 2) in mm on the picture, carried by the deformable part of the map.

    The linear part is undone, fixed_from_moving(x + u(x)), so that only the local deformation bends the lines; its
    part out of the plane is not drawn. Lines end where the fixed volume ends.
    """
    side_mm = plane.side_mm
    # Half the rest at either end centres the lines on the picture.
    places = np.arange(0.5 * (side_mm % spacing_mm), side_mm, spacing_mm)
    run = np.append(np.arange(0.0, side_mm, spacing_mm / 4), side_mm)
    along, beside = np.meshgrid(run, places)
    fixed_ras_from_moving_ras: Matrix = np.linalg.inv(moving_ras_from_fixed_ras).astype(np.float64)
    lines = []
    for across, down in ((beside, along), (along, beside)):
        points_ras = plane.points_ras(across, down)
        displacement = np.moveaxis(sampled(displacement_tensor(displacement_mm), geometry, points_ras), 0, -1)
        mapped_ras = transform_points(fixed_ras_from_moving_ras, points_ras + displacement)
        for line in plane.place_mm(mapped_ras):
            lines += _finite_runs(line)
    return lines


def _finite_runs(line: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """The stretches of a line (N, 2) of at least two points without not-a-number."""
    finite = np.isfinite(line).all(axis=1)
    cuts = np.flatnonzero(np.diff(finite.astype(np.int8))) + 1
    runs = np.split(line, cuts)
    return [run for run in runs if len(run) > 1 and np.isfinite(run).all()]
