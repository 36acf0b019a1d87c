"""The whole road from two volumes to one displacement field, one function per step, in the order of the steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..model.checkpoint import Checkpoint
from ..progress import Progress, silent
from ..spatial.geometry import Geometry, Matrix
from ..spatial.velocity import border_taper
from ..spatial.warp import warp
from .device import choose_device, device_label, peak_memory_bytes, reset_peak_memory
from .field import warp_volume
from .foreground import LEAST_VOXELS, Foreground, foreground
from .infer import brings_closer, halvings, network_velocity
from .initial import Initial, register_linear
from .prepare import PrepareConfig, network_geometry, normalised, on_network_grid, velocity_shape
from .refine import RefineConfig, refine
from .regularise import remove_folding
from .result import Registration
from .summary import jacobian_summary, similarity
from .volume import Volume


@dataclass(frozen=True, eq=False)
class Start:
    """What an earlier registration of the same pair has found, to go on from.

    velocity_voxels, net_geometry, model: as in Registration. Its linear map goes into Options.initial.
    """

    velocity_voxels: NDArray[np.float32]
    net_geometry: Geometry
    model: str


@dataclass(frozen=True, eq=False)
class Options:
    """What a user may choose. The defaults are the accurate preset."""

    model: Checkpoint | None = None
    """A trained network; without one the refinement starts from zero velocity."""
    start: Start | None = None
    """Instead of a network."""
    initial: str | Matrix = "affine"
    """affine, rigid, identity, or a linear map moving_ras_from_fixed_ras."""
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    brain: str = "none"
    """auto extracts the brain of each volume that has no mask; none takes them as they are."""
    device: str = "auto"
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


@torch.no_grad()
def register(
    fixed: Volume, moving: Volume, options: Options | None = None, progress: Progress = silent
) -> Registration:
    """Find u with M(x + u(x)) ~ F(x).

    fixed, moving: any spacing, orientation, size and position. Nothing is kept between calls.
    Raises InputError when the input cannot be registered, RegistrationError when no fold-free field can be made.
    """
    options = options or Options()
    device = choose_device(options.device)
    clock = _Clock(progress, device)

    with clock.step("prepare"):
        fixed_foreground = foreground(fixed, options.fixed_mask, options.brain, device)
        moving_foreground = foreground(moving, options.moving_mask, options.brain, device)
        for image, shown in ((fixed, fixed_foreground), (moving, moving_foreground)):
            _require_size(image, shown, options.prepare.spacing_mm)
        fixed_image = normalised(fixed, fixed_foreground, options.prepare.upper_percentile)
        moving_image = normalised(moving, moving_foreground, options.prepare.upper_percentile)
        net = _network_geometry(fixed.geometry, fixed_foreground, options)
        fixed_net = on_network_grid(fixed_image, net, np.eye(4)).to(device)

    with clock.step("initial"):
        initial = _initial(fixed_image, moving_image, fixed_foreground, moving_foreground, options.initial, progress)
        moving_ras_from_fixed_ras = initial.moving_ras_from_fixed_ras
        moving_net = on_network_grid(moving_image, net, moving_ras_from_fixed_ras).to(device)
        _require_overlap(moving_net, fixed, moving)

    with clock.step("network"):
        velocity, network_notes = _network_velocity(options, fixed_net, moving_net, progress)

    with clock.step("refine"):
        refinement = replace(options.refine, schedule=options.refine.schedule_from(velocity))
        velocity = refine(fixed_net, moving_net, velocity, refinement, progress)

    with clock.step("remove folding"):
        unfolded = remove_folding(velocity, net, fixed.geometry, moving_ras_from_fixed_ras, progress)

    with clock.step("outputs"):
        warped = warp_volume(moving, unfolded.displacement_mm, fixed.geometry)
        jacobian = jacobian_summary(
            unfolded.displacement_mm,
            fixed.geometry,
            fixed_foreground.voxels,
            float(np.linalg.det(moving_ras_from_fixed_ras[:3, :3])),
        )
        inside = _on_network_grid_mask(fixed_foreground, fixed.geometry, net).to(device)
        moving_before = on_network_grid(moving_image, net, np.eye(4)).to(device)
        moving_after = warp(moving_net, unfolded.deformation.displacement_voxels)

    return Registration(
        fixed=fixed,
        moving=moving,
        displacement_mm=unfolded.displacement_mm,
        warped=warped,
        jacobian=Volume(jacobian.determinant, fixed.geometry, "jacobian"),
        foreground=fixed_foreground.voxels,
        velocity_voxels=unfolded.velocity[0].cpu().numpy(),
        net_geometry=net,
        moving_ras_from_fixed_ras=moving_ras_from_fixed_ras,
        seconds=clock.seconds,
        device=device_label(device),
        model=_model_name(options),
        similarity_before=similarity(fixed_net, moving_before, inside),
        similarity_initial=similarity(fixed_net, moving_net, inside),
        similarity_after=similarity(fixed_net, moving_after, inside),
        folding=jacobian.folding,
        repair=unfolded.repair,
        peak_memory_bytes=max(clock.peak_memory_bytes.values(), default=None),
        peak_memory_bytes_by_step=clock.peak_memory_bytes,
        settings=_settings(options, refinement),
        notes=initial.notes + network_notes + _notes(fixed, fixed_foreground, moving, moving_foreground),
    )


def _network_geometry(fixed: Geometry, shown: Foreground, options: Options) -> Geometry:
    """The grid that the velocity is found on: that of the start, or one around the fixed foreground."""
    if options.start is not None:
        return options.start.net_geometry
    return network_geometry(fixed, shown.voxels, options.prepare, _stride(options))


def _stride(options: Options) -> int:
    """What the network grid's sizes must be multiples of; 8 without a model, so that grids do not change with one."""
    if options.model is None:
        return 8
    return options.model.network.config.total_stride * 2 ** halvings(options.model.card, options.prepare.spacing_mm)


def _initial(
    fixed: Volume,
    moving: Volume,
    fixed_foreground: Foreground,
    moving_foreground: Foreground,
    wish: str | Matrix,
    progress: Progress,
) -> Initial:
    """The linear map that was asked for: found, given, or none at all."""
    if not isinstance(wish, str):
        return Initial(wish, ())
    if wish == "identity":
        return Initial(np.eye(4), ())
    if wish not in ("affine", "rigid"):
        raise InputError(f"Unknown initial transform {wish!r}; choose affine, rigid, identity or a file.")
    masks = fixed_foreground.voxels, moving_foreground.voxels
    return register_linear(fixed, moving, *masks, rigid_only=wish == "rigid", progress=progress)


def _require_size(image: Volume, shown: Foreground, spacing_mm: float) -> None:
    """Raise InputError when a foreground would be next to nothing on a grid of this spacing."""
    volume_mm3 = _volume_mm3(image, shown)
    if volume_mm3 < LEAST_VOXELS * spacing_mm**3:
        raise InputError(
            f"{image.name} shows only {volume_mm3:.3g} cubic millimetres of tissue, too little for a grid of "
            f"{spacing_mm:g} mm; check the voxel size in its header."
        )


def _volume_mm3(image: Volume, shown: Foreground) -> float:
    return float(shown.voxels.sum()) * float(abs(np.linalg.det(image.geometry.ras_from_ijk[:3, :3])))


def _require_overlap(moving_net: Tensor, fixed: Volume, moving: Volume) -> None:
    """Raise InputError when nothing of the moving image lies on the network grid."""
    if not moving_net.any():
        raise InputError(
            f"{fixed.name} and {moving.name} do not overlap where the initial transform puts them; "
            "use an affine or rigid start, or correct the transform."
        )


def _on_network_grid_mask(mask: Foreground, geometry: Geometry, net: Geometry) -> Tensor:
    """bool (1, 1, K, J, I): the foreground on the network grid."""
    voxels = Volume(mask.voxels.astype(np.float32), geometry, "foreground")
    return on_network_grid(voxels, net, np.eye(4)) > 0.5


def _network_velocity(
    options: Options, fixed: Tensor, moving: Tensor, progress: Progress
) -> tuple[Tensor, tuple[str, ...]]:
    """The network's velocity on the velocity grid, in its voxels, fading to zero at the border, and notes on it.

    Outside its grid the map is the linear one: without the fading it would jump there. Zero without a model, and
    where the network would draw the images apart, as it might where they agree already or are no brains.
    """
    if options.start is not None:
        return torch.from_numpy(options.start.velocity_voxels)[None].to(fixed.device), ()
    shape = velocity_shape(tuple(fixed.shape[2:]), options.refine.velocity_factor)
    nothing = torch.zeros(1, 3, *shape, device=fixed.device)
    if options.model is None:
        return nothing, ()
    velocity = network_velocity(options.model, fixed, moving, options.prepare.spacing_mm, shape, progress)
    velocity = velocity * border_taper(shape, options.refine.taper_voxels, fixed.device)
    if brings_closer(velocity, fixed, moving):
        return velocity, ()
    return nothing, ("The network brought the images no closer than the initial alignment: its field was left out.",)


def _model_name(options: Options) -> str:
    """What the report says that the refinement started from."""
    if options.start is not None:
        return f"{options.start.model}; refined further"
    return options.model.card.name if options.model else "none: started from zero velocity"


def _settings(options: Options, refinement: RefineConfig) -> dict[str, object]:
    """The options as plain values for the report. refinement: with its schedule."""
    refine_settings = asdict(refinement)
    schedule = refine_settings.pop("schedule")
    return {
        "initial": options.initial if isinstance(options.initial, str) else "given",
        "fixed_mask": options.fixed_mask.name if options.fixed_mask else "none",
        "moving_mask": options.moving_mask.name if options.moving_mask else "none",
        "brain": options.brain,
        "prepare": asdict(options.prepare),
        "refine": refine_settings | schedule,
    }


def _notes(
    fixed: Volume, fixed_foreground: Foreground, moving: Volume, moving_foreground: Foreground
) -> tuple[str, ...]:
    """What the user should know beyond the figures."""
    volumes_mm3 = [_volume_mm3(fixed, fixed_foreground), _volume_mm3(moving, moving_foreground)]
    ratio = max(volumes_mm3) / min(volumes_mm3)
    if ratio < 2:
        return ()
    return (
        f"The foregrounds differ {ratio:.1f}-fold in volume: if one shows a whole head and the other a brain alone, "
        "use brain extraction or masks.",
    )


class _Clock:
    """Seconds and peak memory by step, in order, and a progress call at each step's start."""

    def __init__(self, progress: Progress, device: torch.device) -> None:
        self._progress = progress
        self._device = device
        self.seconds: dict[str, float] = {}
        self.peak_memory_bytes: dict[str, int] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._progress(name, 0.0)
        reset_peak_memory(self._device)
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] = time.perf_counter() - start
        if (peak := peak_memory_bytes(self._device)) is not None:
            self.peak_memory_bytes[name] = peak
