"""From a parsed command line to the request that it makes; the same for this machine and for a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .backend.messages import Atlas, Propagate, Register
from .errors import InputError
from .tables import read_rows


def register_request(arguments: argparse.Namespace) -> Register:
    """Of mmln register. Raises InputError."""
    return Register(
        fixed=arguments.fixed,
        moving=arguments.moving,
        output=arguments.output,
        fixed_mask=arguments.fixed_mask,
        moving_mask=arguments.moving_mask,
        moving_labels=arguments.moving_labels,
        overwrite=arguments.overwrite,
        **settings_of(arguments),
    )


def propagate_request(arguments: argparse.Namespace) -> Propagate:
    """Of mmln propagate. Raises InputError."""
    return Propagate(
        subject=arguments.subject,
        atlases=tuple(_atlas(text) for text in arguments.atlas),
        output=arguments.output,
        fusion=arguments.fusion,
        names=_names(arguments.names) if arguments.names else (),
        overwrite=arguments.overwrite,
        **settings_of(arguments),
    )


def _atlas(text: str) -> Atlas:
    """IMAGE=LABELS or IMAGE=LABELS=TRANSFORM; what is a file as a whole may hold such a sign in its name."""
    image, separator, rest = text.partition("=")
    labels, _, transform = (rest, "", "") if Path(rest).is_file() else rest.partition("=")
    if not (image and separator and labels):
        raise InputError(f"--atlas {text} is not IMAGE=LABELS; give the atlas image and its label map.")
    return Atlas(image=Path(image), labels=Path(labels), transform=Path(transform) if transform else None)


def _names(table: Path) -> tuple[str, ...]:
    rows = read_rows(table, ("label", "name"))
    if not all(row["label"].isascii() and row["label"].isdigit() for row in rows):
        raise InputError(f"{table.name} has labels that are not whole numbers; correct the column label.")
    return tuple(f"{row['label']}={row['name']}" for row in rows if row["name"])


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that all commands share that register, by their names in backend.messages.Settings."""
    names = ("model", "initial", "brain", "refine", "device", "threads")
    return {name: getattr(arguments, name) for name in names}
