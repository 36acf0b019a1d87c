"""Networks on disk: one safetensors file with the weights and, in its header, all that is needed to trust them.

The header holds, as JSON under the key `mmln`: format_version, the network's configuration, the model card, and the
SHA-256 digest of the tensors. Nothing in the file is executed when it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import InputError
from ..writing import write_whole
from .network import MMLN, MMLNConfig

FORMAT_VERSION = 1
HEADER_KEY = "mmln"


@dataclass(frozen=True)
class ModelCard:
    """What a reader must know of a trained network before trusting it.

    name: what `--model` takes. description: one sentence on what it is for. training_data: which images, and the
    terms under which they were used. normalisation: the intensities it expects. grid_spacing_mm: of the isotropic
    grid it was trained on. commit: of the code that trained it. date: when, as YYYY-MM-DD.
    """

    name: str
    description: str
    training_data: str
    normalisation: str
    commit: str
    date: str
    grid_spacing_mm: float = 1.0


class Checkpoint(NamedTuple):
    """A network on the CPU, in evaluation mode, and its card."""

    network: MMLN
    card: ModelCard


def save_checkpoint(path: Path, network: MMLN, card: ModelCard, *, half_precision: bool = False) -> None:
    """Write the network to path, whole or not at all. half_precision stores float16: half the size.

    Raises InputError when the file cannot be written.
    """
    dtype = torch.float16 if half_precision else torch.float32
    tensors = {
        name: tensor.detach().to("cpu", dtype).contiguous().clone() for name, tensor in network.state_dict().items()
    }
    header = {
        "format_version": FORMAT_VERSION,
        "config": asdict(network.config),
        "card": asdict(card),
        "sha256": digest(tensors),
    }
    content = save(tensors, metadata={HEADER_KEY: json.dumps(header, sort_keys=True)})
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(f"The model cannot be written to {path}: {error.strerror}.") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a network that save_checkpoint wrote; its weights come back as float32.

    Raises InputError for a file that is missing, no safetensors file, not ours, of another format version, or
    damaged: names, shapes and digest must all fit.
    """
    tensors, header = _read(path, with_tensors=True)
    card = _from_json(ModelCard, header, "card", path)
    network = MMLN(_from_json(MMLNConfig, header, "config", path)).eval()
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


def read_card(path: Path) -> ModelCard:
    """The model card alone, without reading the weights. Raises InputError as load_checkpoint does."""
    _, header = _read(path, with_tensors=False)
    return _from_json(ModelCard, header, "card", path)


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of CPU tensors, in the order of their names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _read(path: Path, *, with_tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise InputError(f"There is no model file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if with_tensors else {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}.") from error
    try:
        header = json.loads(metadata[HEADER_KEY])
        version = header["format_version"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is a safetensors file, but holds no model of this program.") from error
    if version != FORMAT_VERSION:
        raise InputError(
            f"The model {path} has format version {version}; this program reads version {FORMAT_VERSION}. "
            "Update the program or get the model made for it."
        )
    return tensors, header


def _from_json(kind: type[Any], header: Mapping[str, Any], key: str, path: Path) -> Any:
    """The dataclass that the header stores under a key; neither missing nor unknown fields are let pass."""
    values = header.get(key)
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        raise InputError(f"The header of the model {path} lacks fields of its {key}, or has unknown ones.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
