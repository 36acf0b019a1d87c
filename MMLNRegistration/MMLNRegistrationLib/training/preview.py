"""A picture of where a training stands: one of its validation pairs, registered by its newest network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..model.losses import correlation_coefficient
from ..model.network import MMLN, pyramid
from ..pipeline.volume import Volume
from ..progress import Progress
from ..quality.metrics import mean_dice
from ..spatial.folding import folded
from ..spatial.geometry import Geometry
from ..spatial.velocity import integrate
from ..spatial.warp import resize_displacement, warp
from .preparation import PreparedScan, load_prepared
from .run_files import read_object
from .run_folder import RunFolder
from .trainer import stage_at
from .validation import carried


@dataclass(frozen=True)
class Preview:
    """A pair and what the network makes of it, on the run's common grid around the origin of the world.

    step, level: the state of the training. dice_before, dice_after: None without label maps. correlation: of the
    voxels of both images. folded_percent: of the displacement's voxels on the level's grid.
    """

    fixed: Volume
    moving: Volume
    warped: Volume
    step: int
    level: int
    dice_before: float | None
    dice_after: float | None
    correlation_before: float
    correlation_after: float
    folded_percent: float


@torch.no_grad()
def preview(folder: RunFolder, index: int, device: torch.device, progress: Progress) -> Preview:
    """Register validation pair `index` (modulo their number) by the newest checkpoint.

    Raises InputError while there is no checkpoint, and where the prepared scans are gone.
    """
    progress("read", 0.0)
    if not folder.exists():
        raise InputError(f"There is no run in {folder.path}; choose the folder of a training.")
    prepared, fixed_name, moving_name = _pair_of(folder, index)
    fixed, moving = (load_prepared(prepared, name) for name in (fixed_name, moving_name))
    assert fixed.image is not None
    assert moving.image is not None
    config = folder.read_config()
    state, network = folder.load_network()
    level = stage_at(config, state.step - 1)[0].level
    progress(f"register by the network of step {state.step}", 0.2)
    displacement = _displacement(network.to(device), fixed.image.to(device), moving.image.to(device), level).cpu()
    progress("warp", 0.8)
    warped = warp(moving.image, resize_displacement(displacement, tuple(fixed.image.shape[2:])))
    grid = _grid(tuple(fixed.image.shape[2:]), config.spacing_mm)
    before, after = _dice(fixed, moving, displacement)
    return Preview(
        fixed=_volume(fixed.image, grid, fixed_name),
        moving=_volume(moving.image, grid, moving_name),
        warped=_volume(warped, grid, f"{moving_name} warped"),
        step=state.step,
        level=level,
        dice_before=before,
        dice_after=after,
        correlation_before=float(correlation_coefficient(fixed.image, moving.image)),
        correlation_after=float(correlation_coefficient(fixed.image, warped)),
        folded_percent=100 * float(folded(displacement[0]).float().mean()),
    )


def _pair_of(folder: RunFolder, index: int) -> tuple[Path, str, str]:
    values = read_object(folder.validation)
    try:
        pairs = values["pairs"]
        fixed, moving = pairs[index % len(pairs)]
        return Path(values["prepared"]), str(fixed), str(moving)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InputError(
            f"The run in {folder.path} has not come to its validation pairs yet; wait until its data is prepared."
        ) from error


def _displacement(network: MMLN, fixed: Tensor, moving: Tensor, level: int) -> Tensor:
    """(1, 3, k, j, i) of the level's grid, in its voxels."""
    times = network.config.levels - level + 1
    velocity = network(pyramid(fixed, times)[0], pyramid(moving, times)[0], level).velocity
    return integrate(velocity)


def _dice(fixed: PreparedScan, moving: PreparedScan, displacement: Tensor) -> tuple[float | None, float | None]:
    if fixed.labels is None or moving.labels is None:
        return None, None
    labels = [label for label in np.unique(fixed.labels.numpy()).tolist() if label != 0]
    target = fixed.labels.numpy()
    before = mean_dice(target, moving.labels.numpy(), labels)
    return before, mean_dice(target, carried(moving.labels, displacement).numpy(), labels)


def _grid(shape_kji: tuple[int, ...], spacing_mm: float) -> Geometry:
    ras_from_ijk = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    ras_from_ijk[:3, 3] = [-spacing_mm * (size - 1) / 2 for size in shape_kji[::-1]]
    return Geometry((shape_kji[0], shape_kji[1], shape_kji[2]), ras_from_ijk)


def _volume(image: Tensor, grid: Geometry, name: str) -> Volume:
    return Volume(image[0, 0].float().numpy(), grid, name)
