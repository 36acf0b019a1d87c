"""Which processor computes, and how much memory the work took."""

from __future__ import annotations

import sys

import torch

from ..errors import InputError


def choose_device(name: str) -> torch.device:
    """The torch device for auto, cpu, cuda or cuda:N; auto takes a GPU when there is one.

    Raises InputError for an unknown name or a GPU that is not there: a wish is never swapped for something slower.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not (number.isascii() and number.isdigit())):
        raise InputError(f"Unknown device {name!r}; choose auto, cpu, cuda or cuda:N.")
    if not torch.cuda.is_available():
        raise InputError(f"Device {name} was asked for, but torch finds no CUDA GPU here; use --device cpu or auto.")
    if number and int(number) >= torch.cuda.device_count():
        raise InputError(f"Device {name} was asked for, but there are only {torch.cuda.device_count()} CUDA GPUs here.")
    return torch.device(name)


def device_label(device: torch.device) -> str:
    """What reports call the device, such as `cpu, 2 threads` or `cuda:0, NVIDIA H100`."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    return f"cpu, {torch.get_num_threads()} threads"


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory held so far: of the GPU when it did the work, else of this process; None where it is not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
