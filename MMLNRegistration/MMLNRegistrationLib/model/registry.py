"""The models that come with the program, and how `--model NAME|FILE` finds one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .card import ModelCard, read_card

BUNDLED_FOLDER = Path(__file__).resolve().parent.parent / "models"
"""Each bundled model is the file <name>.safetensors in this folder."""

SUFFIX = ".safetensors"

NO_MODEL = "none"
"""Asked for instead of a model: the refinement starts from zero."""

DEFAULT_MODEL = NO_MODEL
"""What registers where nothing is asked for. No network has come out better than none yet: see BENCHMARKS.md."""


class AvailableModel(NamedTuple):
    """A model that can be asked for by its card's name."""

    card: ModelCard
    path: Path


def available_models(folder: Path = BUNDLED_FOLDER) -> list[AvailableModel]:
    """The models in a folder, by name; empty when there are none.

    Raises InputError for a file that is no model, or does not bear its card's name.
    """
    models = [AvailableModel(read_card(path), path) for path in sorted(folder.glob(f"*{SUFFIX}"))]
    for card, path in models:
        if card.name != path.stem:
            raise InputError(f"The model {path} calls itself {card.name!r}: rename the file to {card.name}{SUFFIX}.")
    return models


def find_model(name_or_file: str, folder: Path = BUNDLED_FOLDER) -> Path:
    """The file of a bundled model by its name, or the given file itself.

    A name wins over a file of the same name in the working directory. Raises InputError with the choices.
    """
    bundled = folder / f"{name_or_file}{SUFFIX}"
    if Path(name_or_file).name == name_or_file and bundled.is_file():
        return bundled
    if Path(name_or_file).is_file():
        return Path(name_or_file)
    names = [path.stem for path in sorted(folder.glob(f"*{SUFFIX}"))]
    choices = f"bundled are {', '.join(names)}" if names else "no model is bundled"
    raise InputError(f"There is no model {name_or_file!r}: give the path of a {SUFFIX} file ({choices}).")
