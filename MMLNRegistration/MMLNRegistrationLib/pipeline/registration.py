"""The whole road from two volumes to one displacement field, one function per step, in the order of the steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from ..model.checkpoint import Model
from ..progress import Progress, silent
from ..spatial.geometry import Geometry, Matrix
from .brain import extract_brain
from .device import choose_device, device_label, peak_memory_bytes
from .field import deformation, warp_volume
from .initial import Initial, register_linear
from .prepare import PrepareConfig, foreground_mask, network_geometry, normalised, on_network_grid, velocity_shape
from .refine import RefineConfig, refine
from .regularise import remove_folding
from .result import Registration
from .summary import folding_summary, similarity
from .volume import Volume


@dataclass(frozen=True, eq=False)
class Options:
    """What a user may choose. The defaults are the accurate preset."""

    model: Model | None = None
    """A trained network; without one the refinement starts from zero velocity."""
    initial: str | Matrix = "affine"
    """affine, rigid, identity, or a linear map moving_ras_from_fixed_ras."""
    fixed_mask: Volume | None = None
    moving_mask: Volume | None = None
    brain: str = "none"
    """auto extracts the brain of both volumes that have no mask; none takes them as they are."""
    device: str = "auto"
    prepare: PrepareConfig = field(default_factory=PrepareConfig)
    refine: RefineConfig = field(default_factory=RefineConfig)


def register(fixed: Volume, moving: Volume, options: Options | None = None, progress: Progress = silent) -> Registration:
    """Find u with M(x + u(x)) ~ F(x).

    fixed, moving: any spacing, orientation, size and position. Nothing is kept between calls.
    Raises InputError when the input cannot be registered, RegistrationError when no fold-free field can be made.
    """
    options = options or Options()
    device = choose_device(options.device)
    clock = _Clock(progress)

    with clock.step("prepare"):
        fixed_mask = _mask_for(fixed, options.fixed_mask, options.brain, device)
        moving_mask = _mask_for(moving, options.moving_mask, options.brain, device)
        fixed_image = normalised(fixed, fixed_mask.inside, options.prepare.upper_percentile, fixed_mask.inferred)
        moving_image = normalised(moving, moving_mask.inside, options.prepare.upper_percentile, moving_mask.inferred)
        net = network_geometry(fixed.geometry, fixed_mask.inside, options.prepare)

    with clock.step("initial"):
        initial = _initial(fixed_image, moving_image, fixed_mask.inside, moving_mask.inside, options.initial, progress)
        to_moving = initial.moving_ras_from_fixed_ras
        fixed_net = on_network_grid(fixed_image, net, np.eye(4)).to(device)
        moving_net = on_network_grid(moving_image, net, to_moving).to(device)

    with clock.step("network"):
        velocity = _network_velocity(options.model, fixed_net, moving_net, velocity_shape(net, options.refine.velocity_factor))

    with clock.step("refine"):
        velocity = refine(fixed_net, moving_net, velocity, options.refine, progress)

    with clock.step("remove folding"):
        unfolded = remove_folding(velocity, net, fixed.geometry, to_moving, progress)

    with clock.step("outputs"):
        ...
