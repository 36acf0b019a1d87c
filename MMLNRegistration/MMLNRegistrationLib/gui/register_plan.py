"""From the panel's choices to a request: what is asked for, which files it takes, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from ..backend.messages import Register
from ..errors import InputError
from ..scene.masks import mask_file
from ..scene.parents import world_from_transform
from ..scene.results import RESULT_FILES
from ..scene.volume_files import VolumeFile, file_name, volume_file
from ..spatial.geometry import Matrix
from .register_parameters import AS_PRESET
from .register_presets import PRESETS, Similarity, Start, bundled_networks
from .volume_files import Writable

FILES = (*RESULT_FILES, "velocity.safetensors", "report.json")
"""What the worker is to write."""


@dataclass(frozen=True, eq=False)
class MatrixFile:
    """A linear transform as a file: moving_ras_from_fixed_ras."""

    matrix: Matrix

    def write(self, path: Path) -> None:
        """Write it. Raises InputError when that cannot be done."""
        from .. import io  # it loads SimpleITK, for which the window need not wait

        io.write_linear(self.matrix, path)


@dataclass(frozen=True, eq=False)
class Plan:
    """A registration to be done. The scene is not needed any more, until there is a result.

    inputs: what to write, by the paths in request. fixed, moving: as they are written.
    """

    request: Register
    inputs: Mapping[Path, Writable]
    fixed: VolumeFile
    moving: VolumeFile


def hindrance(parameters: Any) -> str:
    """Why Register cannot be pressed, as a sentence; empty when it can. parameters: a RegisterParameters."""
    if parameters.fixed is None and parameters.moving is None:
        return _("Choose a fixed and a moving volume.")
    if parameters.fixed is None:
        return _("Choose a fixed volume.")
    if parameters.moving is None:
        return _("Choose a moving volume.")
    if parameters.fixed is parameters.moving:
        return _("Fixed and moving are the same volume; choose two.")
    for result in (parameters.warped, parameters.jacobian):
        if result is not None and result in (parameters.fixed, parameters.moving):
            return _("{name} cannot be overwritten by a result; choose another node for it.").format(
                name=result.GetName()
            )
    if parameters.warped is not None and parameters.warped is parameters.jacobian:
        return _("Warped volume and Jacobian map need a node each.")
    if parameters.transform is not None and parameters.transform is parameters.initial_transform:
        return _("The initial transform cannot be overwritten by the result; choose another node for it.")
    for volume in (parameters.fixed, parameters.moving):
        parent = _parent(volume)
        if parent is not None and not parent.IsTransformToWorldLinear():
            return _("{name} lies under the non-linear transform {parent}; take it out or harden it first.").format(
                name=volume.GetName(), parent=parent.GetName()
            )
    if PRESETS[parameters.preset].needs_network and not (parameters.model or bundled_networks()):
        return _("This preset needs a network: choose a file under Expert, or train one.")
    return ""


def plan(parameters: Any, folder: Path, on_out_of_memory: str = "fail") -> Plan:
    """The registration that is asked for, its files to lie in `folder`. parameters: a RegisterParameters.

    Raises InputError for volumes, masks and transforms that cannot be used.
    """
    settings = PRESETS[parameters.preset]
    similarity = settings.similarity if parameters.similarity is Similarity.AS_PRESET else parameters.similarity
    fixed, moving = volume_file(parameters.fixed), volume_file(parameters.moving)
    if not fixed.is_in_world:
        raise InputError(
            f"The parent transform of {parameters.fixed.GetName()} bends its right angles; harden it and resample the "
            "volume first, for example with the module Crop Volume."
        )
    inputs: dict[Path, Writable] = {}
    places: dict[str, Any] = {}
    for role, file, node in (("fixed", fixed, parameters.fixed), ("moving", moving, parameters.moving)):
        places[role] = folder / role / file_name(node)
        inputs[places[role]] = file
    for role, image, mask in (
        ("fixed_mask", fixed, parameters.fixed_mask),
        ("moving_mask", moving, parameters.moving_mask),
    ):
        if mask is not None:
            places[role] = folder / role / file_name(mask)
            inputs[places[role]] = mask_file(mask, image)
    initial = _initial(parameters, moving)
    if not isinstance(initial, str):
        path = folder / "initial.tfm"
        inputs[path] = MatrixFile(initial)
        initial = str(path)
    network = parameters.model or None
    if network is None and settings.needs_network:
        network = bundled_networks()[0]
    request = Register(
        output=folder / "result",
        files=FILES,
        initial=initial,
        model=network,
        refine=_iterations(parameters),
        similarity=similarity.name.lower(),
        brain="auto" if parameters.extract_brains else "none",
        device=parameters.device,
        on_out_of_memory=on_out_of_memory,
        **places,
    )
    return Plan(request, inputs, fixed, moving)


def _iterations(parameters: Any) -> int:
    """Of the refinement. The expert's number does not count where the preset is to do without one."""
    settings = PRESETS[parameters.preset]
    is_fixed = settings.needs_network or parameters.iterations == AS_PRESET
    return settings.iterations if is_fixed else parameters.iterations


def _initial(parameters: Any, moving: VolumeFile) -> str | Matrix:
    """What the request's `initial` is to be: a word, or moving_ras_from_fixed_ras with the moving image's file."""
    chosen = parameters.initial_transform
    start = parameters.start
    if start is Start.AUTOMATIC:
        is_placed = _parent(parameters.moving) not in (None, _parent(parameters.fixed))
        start = Start.AS_PLACED if is_placed else Start.AFFINE
    if chosen is None and start is not Start.AS_PLACED:
        return start.name.lower()
    if chosen is None and moving.is_in_world:
        return "identity"
    world_from_chosen = np.eye(4) if chosen is None else world_from_transform(chosen)
    matrix: Matrix = np.linalg.inv(world_from_chosen @ moving.world_from_file).astype(np.float64)
    if np.linalg.det(matrix[:3, :3]) <= 0:
        raise InputError("The initial transform mirrors the moving image; choose one that keeps left and right.")
    return matrix


def _parent(node: slicer.vtkMRMLTransformableNode) -> slicer.vtkMRMLTransformNode | None:
    return node.GetParentTransformNode()
