"""The velocity of a finished registration as a file, from which the same pair can be refined further.

One safetensors file: the velocity, and in its header, as JSON under the key `mmln_velocity`, the grid, the linear map
and what tells whether two volumes are the pair that it belongs to.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import InputError
from .pipeline.registration import Start
from .pipeline.result import Registration
from .pipeline.volume import Volume
from .spatial.geometry import Geometry, Matrix
from .tensor_file import open_tensors, tensor_bytes
from .writing import write_whole

NAME = "velocity.safetensors"
"""In the folder of a registration."""

FORMAT_VERSION = 1
_KEY = "mmln_velocity"


class Stored(NamedTuple):
    """What a registration can go on from."""

    start: Start
    moving_ras_from_fixed_ras: Matrix


def write_velocity(registration: Registration, path: Path) -> None:
    """Write the velocity of a registration, whole or not at all. Raises OSError when it cannot be written."""
    header = {
        "format_version": FORMAT_VERSION,
        "net_shape_kji": registration.net_geometry.shape_kji,
        "ras_from_net": registration.net_geometry.ras_from_ijk.tolist(),
        "moving_ras_from_fixed_ras": np.asarray(registration.moving_ras_from_fixed_ras).tolist(),
        "model": registration.model,
        "pair": _fingerprint(registration.fixed, registration.moving),
    }
    velocity = np.asarray(registration.velocity_voxels, dtype=np.float32)
    write_whole(path, tensor_bytes({"velocity": velocity}, {_KEY: json.dumps(header)}))


def read_velocity(path: Path, fixed: Volume, moving: Volume) -> Stored:
    """What was found for this pair. Raises InputError when the file is missing, damaged, or another pair's."""
    if not path.is_file():
        raise InputError(f"{path.parent} holds no {path.name}; give the folder of a registration by this program.")
    try:
        with open_tensors(path) as file:
            header = json.loads(file.metadata[_KEY])
            velocity = file.read("velocity")
        if header["format_version"] != FORMAT_VERSION:
            raise InputError(f"{path} is of another version of this program; register the pair again.")
        net = Geometry(tuple(header["net_shape_kji"]), np.array(header["ras_from_net"], dtype=np.float64))
        matrix = np.array(header["moving_ras_from_fixed_ras"], dtype=np.float64)
        start, pair = Start(velocity, net, header["model"]), header["pair"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged; register the pair again.") from error
    if pair != _fingerprint(fixed, moving):
        raise InputError(f"The result in {path.parent} is not of {fixed.name} and {moving.name}; give its own volumes.")
    return Stored(start, matrix)


def _fingerprint(fixed: Volume, moving: Volume) -> list[int]:
    """Changes when voxels or grids of the pair do."""
    sums = []
    for volume in (fixed, moving):
        place = zlib.crc32(volume.geometry.ras_from_ijk.tobytes())
        sums.append(zlib.crc32(volume.array_kji.tobytes(), place))
    return sums
