"""Volumes of the scene written for the worker, without the window waiting for the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import slicer

from ..errors import InputError
from ..scene.volume_files import volume_file
from .session import Session


class Writable(Protocol):
    """What knows its contents, and can be written by any thread: see scene.volume_files and scene.masks."""

    def write(self, path: Path) -> None:
        """Write it. Raises OSError when that cannot be done."""


def write_volume(node: slicer.vtkMRMLVolumeNode, path: Path) -> None:
    """Write a volume at its place in the world, path ending in .nrrd, and wait for it.

    Raises InputError when it is no scalar volume, has no right angles in the world, or lies under a non-linear
    transform, and OSError when the disk is full.
    """
    file = volume_file(node)
    if not file.is_in_world:
        raise InputError(
            f"The parent transform of {node.GetName()} bends its right angles; harden it and resample the volume "
            "first, for example with the module Crop Volume."
        )
    file.write(path)


def write_files(
    session: Session,
    files: Mapping[Path, Writable],
    on_done: Callable[[], None],
    on_error: Callable[[Exception], None],
) -> None:
    """Write files in a thread, one after the other; on_done or on_error is called on the main thread.

    They lie in a session's new folder or in one that is made in it.
    """

    def write() -> None:
        for path, file in files.items():
            path.parent.mkdir(exist_ok=True)  # alone: the session's folder must not come back after its end
            file.write(path)

    session.in_thread(write, lambda nothing: on_done(), on_error)
