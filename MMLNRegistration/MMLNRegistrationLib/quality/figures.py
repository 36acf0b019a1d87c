"""The pictures of a report: fixed, moving before and after, their differences, and the Jacobian map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..pipeline.result import FoldingSummary
from ..pipeline.volume import Volume
from ..spatial.geometry import Matrix, transform_points
from ..spatial.jacobian import determinants, index_displacement
from . import pictures
from .planes import Plane, anatomical_planes, foreground_points_ras, image_tensor, sampled, share_inside

NO_OVERLAP_SHARE = 0.02
"""Below this share of the fixed foreground on the moving volume there is nothing to see before the registration."""
DIFFERENCE_WHITE = 0.5
"""The difference, as a share of the grey range, that is shown brightest."""
GRID_LINES = 25
"""About this many lines of the deformed grid along a picture, a power of two apart: 8 mm on a brain."""
JACOBIAN_LIMITS = (1.5, 2.0, 3.0, 4.0, 8.0)
"""The scale of the Jacobian ends at 1 / limit and limit, the first of these that holds 99 % of the foreground."""


class Mapped(Protocol):
    """A map between two images as pictures need it, see pipeline.result.Registration, which is one.

    moving, warped: None where only the map and the fixed image are known.
    """

    @property
    def fixed(self) -> Volume:
        """The image that the map starts from."""

    @property
    def moving(self) -> Volume | None:
        """The image that it leads to."""

    @property
    def displacement_mm(self) -> NDArray[np.float32]:
        """(K, J, I, 3), u on the fixed grid, components R, A, S."""

    @property
    def warped(self) -> Volume | None:
        """The moving image on the fixed grid."""

    @property
    def jacobian(self) -> Volume:
        """Its determinant on the fixed grid, linear part included."""

    @property
    def foreground(self) -> NDArray[np.bool_]:
        """(K, J, I), where the fixed image shows something."""

    @property
    def moving_ras_from_fixed_ras(self) -> Matrix:
        """Its linear part."""

    @property
    def affine_determinant(self) -> float:
        """Volume factor of the linear part alone."""

    @property
    def folding(self) -> FoldingSummary:
        """What the determinants say."""


class Stage(NamedTuple):
    """The moving image at one moment of its way, with words for it."""

    key: str
    label: str
    description: str


BEFORE = Stage("before", "Before", "moving, where its own header puts it")
LINEAR = Stage("linear", "Linear", "moving, after the linear part alone")
AFTER = Stage("after", "After", "moving, warped by the whole map")


class Picture(NamedTuple):
    """One image of the page; its key is its id there, such as fixed-axial."""

    plane: Plane
    data_uri: str


class Fold(NamedTuple):
    """The voxel that folds worst, and pictures through it."""

    ras: NDArray[np.float64]
    planes: tuple[Plane, Plane, Plane]


@dataclass(frozen=True, eq=False)
class Figures:
    """Every picture of a report and what is needed to place it.

    pictures: by key, `<what>-<plane>`; through the worst fold, `fold-<plane>`.
    stages: the moments of the moving image that can be shown; the last one is the result. None without one.
    overlap: share of the fixed foreground that lies on the moving volume before anything is done.
    grid_mm: spacing of the deformed grid. jacobian_limit: the Jacobian's scale runs from its inverse to it.
    fold: the worst fold, where there is any.
    """

    planes: tuple[Plane, Plane, Plane]
    pictures: dict[str, Picture]
    stages: tuple[Stage, ...]
    overlap: float
    grid_mm: float
    jacobian_limit: float
    fold: Fold | None


def make_figures(mapped: Mapped) -> Figures:
    """Sample and colour every picture. Raises ValueError when the foreground is empty."""
    fixed, foreground = mapped.fixed, mapped.foreground
    points_ras = foreground_points_ras(fixed.geometry, foreground)
    planes = anatomical_planes(fixed.geometry, points_ras, points_ras.mean(axis=0))
    overlap = share_inside(mapped.moving.geometry, points_ras) if mapped.moving else 0.0
    stages = _stages(mapped.moving_ras_from_fixed_ras, overlap) if mapped.moving else ()
    limit = jacobian_limit(mapped.jacobian.array_kji, foreground)
    strict = _strict_determinant(mapped)
    fold = _worst_fold(mapped, strict, points_ras)

    drawn: dict[str, Picture] = {}
    fixed_window = pictures.window_of(fixed.array_kji, foreground)
    moving_window = pictures.window_of(mapped.warped.array_kji, foreground) if mapped.warped else fixed_window
    for plane in planes:
        fixed_shown = pictures.brightness(picture_of(fixed, plane), fixed_window)
        draw(drawn, "fixed", plane, pictures.grey_pixels(fixed_shown))
        for stage in stages:
            moving_shown = pictures.brightness(_moving_at(mapped, stage, plane), moving_window)
            draw(drawn, stage.key, plane, pictures.grey_pixels(moving_shown))
            difference = np.abs(fixed_shown - moving_shown) / DIFFERENCE_WHITE
            draw(drawn, f"difference-{stage.key}", plane, pictures.rising_pixels(np.clip(difference, 0, 1)))
    for prefix, some in (("jacobian", planes), ("fold", fold.planes if fold else ())):
        for plane in some:
            draw(drawn, prefix, plane, _jacobian_picture(mapped, strict, plane, limit))

    grid_mm = 2.0 ** round(np.log2(planes[0].side_mm / GRID_LINES))
    return Figures(planes, drawn, stages, overlap, grid_mm, limit, fold)


def jacobian_limit(jacobian_kji: NDArray[np.float32], foreground: NDArray[np.bool_]) -> float:
    """The end of the Jacobian's scale: see JACOBIAN_LIMITS."""
    values = jacobian_kji[foreground]
    for limit in JACOBIAN_LIMITS:
        if np.mean((values >= 1 / limit) & (values <= limit)) >= 0.99:
            return limit
    return JACOBIAN_LIMITS[-1]


def _stages(moving_ras_from_fixed_ras: Matrix, overlap: float) -> tuple[Stage, ...]:
    moved = not np.allclose(moving_ras_from_fixed_ras, np.eye(4), atol=1e-6)
    if overlap < NO_OVERLAP_SHARE:
        return (LINEAR, AFTER)
    return (BEFORE, LINEAR, AFTER) if moved else (BEFORE, AFTER)


def _strict_determinant(mapped: Mapped) -> NDArray[np.float32] | None:
    """The strict test's determinant where the run counted folded voxels; it is not worked out when there are none."""
    if mapped.folding.folded_voxels == 0:
        return None
    geometry = mapped.fixed.geometry
    return determinants(index_displacement(mapped.displacement_mm, geometry)).strict.numpy()


def _worst_fold(mapped: Mapped, strict: NDArray[np.float32] | None, points_ras: NDArray[np.float64]) -> Fold | None:
    if strict is None:
        return None
    geometry = mapped.fixed.geometry
    worst_kji = np.array(np.unravel_index(int(np.argmin(strict)), strict.shape), dtype=np.float64)
    worst_ras = transform_points(geometry.ras_from_ijk, worst_kji[::-1])
    return Fold(worst_ras, anatomical_planes(geometry, points_ras, worst_ras))


def picture_of(volume: Volume, plane: Plane) -> NDArray[np.float32]:
    """The values of a volume on a plane, (rows, columns), linear; not a number off the volume."""
    return sampled(image_tensor(volume.array_kji), volume.geometry, plane.pixel_centres_ras())[0]


def _moving_at(mapped: Mapped, stage: Stage, plane: Plane) -> NDArray[np.float32]:
    """The moving image as it looks on the fixed grid's world at one stage."""
    assert mapped.moving is not None
    assert mapped.warped is not None
    if stage is AFTER:
        return picture_of(mapped.warped, plane)
    points_ras = plane.pixel_centres_ras()
    if stage is LINEAR:
        points_ras = transform_points(mapped.moving_ras_from_fixed_ras, points_ras)
    return sampled(image_tensor(mapped.moving.array_kji), mapped.moving.geometry, points_ras)[0]


def _jacobian_picture(
    mapped: Mapped, strict: NDArray[np.float32] | None, plane: Plane, limit: float
) -> pictures.Pixels:
    geometry, points_ras = mapped.fixed.geometry, plane.pixel_centres_ras()
    shape = points_ras.shape[:2]
    folded = (
        np.zeros(shape, dtype=np.float32)
        if strict is None
        else sampled(image_tensor(strict <= 0), geometry, points_ras)[0]
    )
    return pictures.jacobian_pixels(
        picture_of(mapped.jacobian, plane),
        sampled(image_tensor(mapped.foreground), geometry, points_ras)[0],
        folded,
        limit,
    )


def draw(drawn: dict[str, Picture], prefix: str, plane: Plane, pixels: pictures.Pixels) -> None:
    """Add a picture of a plane; prefix: its key without the plane's name."""
    drawn[f"{prefix}-{plane.name}"] = Picture(plane, pictures.png_data_uri(pixels))
