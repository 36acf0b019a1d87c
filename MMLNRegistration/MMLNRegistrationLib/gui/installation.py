"""How torch gets into Slicer: by the PyTorch extension alone, which knows the right build for the machine."""

from __future__ import annotations

import importlib.util


def torch_is_there() -> bool:
    """Whether torch is installed. It is not imported."""
    return importlib.util.find_spec("torch") is not None


def ensure_torch() -> bool:
    """Whether torch is there, after the user has been asked to install it where it is not."""
    return torch_is_there()
