"""Trained networks that stay in memory between requests."""

from __future__ import annotations

from pathlib import Path

from ..model.checkpoint import Checkpoint, load_checkpoint
from ..model.registry import find_model


class WarmModels:
    """Networks by their files, read again when the file has changed."""

    def __init__(self) -> None:
        self._loaded: dict[Path, tuple[tuple[int, int], Checkpoint]] = {}

    def get(self, name_or_file: str) -> Checkpoint:
        """The network of a name or file. Raises InputError as find_model and load_checkpoint do."""
        path = find_model(name_or_file).resolve()
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
        kept = self._loaded.get(path)
        if kept is None or kept[0] != state:
            self._loaded.clear()  # one at a time: a network may lie in a GPU's memory
            self._loaded[path] = kept = (state, load_checkpoint(path))
        return kept[1]
