"""Which processor computes, and how much memory the work took."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

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
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not (number.isascii() and number.isdigit())):
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


def total_memory_bytes(device: torch.device) -> int | None:
    """All memory of a GPU; None for a processor, whose memory is everybody's."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring the peak anew, where the system allows it: on a GPU and on Linux."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with contextlib.suppress(OSError):  # a locked-down container: the peak is then that of the whole process
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory held since reset_peak_memory: of the GPU when it does the work, else of this process.

    Since the process started where the peak cannot be reset; None where it is not known (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
