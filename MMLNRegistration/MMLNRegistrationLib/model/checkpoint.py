"""Networks on disk: one safetensors file with the weights and, in its header, all that is needed to trust them.

The header holds, as JSON under the key `mmln`: format_version, the network's configuration, the model card, and the
SHA-256 digest of the tensors. Nothing in the file is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..tensor_file import TensorFileError, open_tensors, tensor_bytes
from ..writing import write_whole
from .card import FORMAT_VERSION, HEADER_KEY, ModelCard, checked_header, dataclass_of
from .network import MMLN, MMLNConfig


class Checkpoint(NamedTuple):
    """A network on the CPU, in evaluation mode, and its card."""

    network: MMLN
    card: ModelCard


def save_checkpoint(path: Path, network: MMLN, card: ModelCard, *, half_precision: bool = False) -> None:
    """Write the network to path, whole or not at all. half_precision stores float16: half the size.

    Raises InputError when the file cannot be written.
    """
    dtype = torch.float16 if half_precision else torch.float32
    tensors = {name: tensor.detach().to("cpu", dtype) for name, tensor in network.state_dict().items()}
    header = {
        "format_version": FORMAT_VERSION,
        "config": asdict(network.config),
        "card": asdict(card),
        "sha256": digest(tensors),
    }
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    content = tensor_bytes(arrays, {HEADER_KEY: json.dumps(header, sort_keys=True)})
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"The model cannot be written to {path}: {error.strerror}.") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a network that save_checkpoint wrote; its weights come back as float32.

    Raises InputError for a file that is missing, no safetensors file, not ours, of another format version, or
    damaged: names, shapes and digest must all fit.
    """
    tensors, header = _read(path)
    card = dataclass_of(ModelCard, header, "card", path)
    network = MMLN(dataclass_of(MMLNConfig, header, "config", path)).eval()
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        names = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise InputError(
            f"The weights in {path} do not fit the network that the file describes, "
            f"first at {names[0]!r} ({len(names)} differ): it is not a model of this program."
        )
    if digest(tensors) != header.get("sha256"):
        raise InputError(f"The weights in {path} are damaged: their SHA-256 differs from the header's. Get it again.")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, strict=True)
    return Checkpoint(network, card)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of CPU tensors, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"There is no model file {path}.")
    try:
        with open_tensors(path) as file:
            tensors = {name: torch.from_numpy(file.read(name)) for name in file.names}
    except (TensorFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}.") from error
    return tensors, checked_header(file.metadata, path)
