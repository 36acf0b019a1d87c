"""What the header of a model's file says, read without torch: also where torch is not installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..tensor_file import TensorFileError, open_tensors

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


def read_card(path: Path) -> ModelCard:
    """The model card alone, without the weights.

    Raises InputError for a file that is missing, no safetensors file, not ours, or of another format version.
    """
    return dataclass_of(ModelCard, read_header(path), "card", path)


def read_header(path: Path) -> dict[str, Any]:
    """All that the header says of the model: format_version, config, card and sha256. Raises InputError likewise."""
    return checked_header(_metadata(path), path)


def checked_header(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    """The header in the metadata of a safetensors file. Raises InputError when there is none of this version."""
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
    return header


def dataclass_of(kind: type[Any], header: Mapping[str, Any], key: str, path: Path) -> Any:
    """The dataclass that the header stores under a key; neither missing nor unknown fields are let pass."""
    values = header.get(key)
    names = {field.name for field in fields(kind)}
    if not isinstance(values, dict) or set(values) != names:
        raise InputError(f"The header of the model {path} lacks fields of its {key}, or has unknown ones.")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _metadata(path: Path) -> Mapping[str, str]:
    if not path.is_file():
        raise InputError(f"There is no model file {path}.")
    try:
        with open_tensors(path) as file:
            return file.metadata
    except (TensorFileError, OSError) as error:
        raise InputError(f"{path} cannot be read as a safetensors file: {error}.") from error
