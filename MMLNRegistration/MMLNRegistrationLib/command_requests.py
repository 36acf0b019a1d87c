"""From a parsed command line to the request that it makes; the same for this machine and for a server."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .backend.messages import Evaluate, Propagate, Register, Train
from .errors import InputError


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
    image_path, separator, labels_path = arguments.atlas.partition("=")
    if not (image_path and separator and labels_path):
        raise InputError(f"--atlas {arguments.atlas} is not IMAGE=LABELS; give the atlas image and its label map.")
    return Propagate(
        subject=arguments.subject,
        atlas=Path(image_path),
        labels=Path(labels_path),
        output=arguments.output,
        overwrite=arguments.overwrite,
        **settings_of(arguments),
    )


def evaluate_request(arguments: argparse.Namespace) -> Evaluate:
    """Of mmln evaluate. Raises InputError."""
    return Evaluate(
        cases=arguments.cases,
        output=arguments.output,
        structures=arguments.structures,
        overwrite=arguments.overwrite,
        **settings_of(arguments),
    )


def train_request(arguments: argparse.Namespace) -> Train:
    """Of mmln train. Raises InputError."""
    return Train(
        data=tuple(arguments.data),
        output=arguments.output,
        config=arguments.config,
        validation_data=tuple(arguments.validation_data),
        structures=arguments.structures,
        cache=arguments.cache,
        skip_bad=arguments.skip_bad,
        resume=arguments.resume,
        device=arguments.device,
        threads=arguments.threads,
    )


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options that all commands share that register, by their names in backend.messages.Settings."""
    names = ("model", "initial", "brain", "refine", "device", "threads")
    return {name: getattr(arguments, name) for name in names}
