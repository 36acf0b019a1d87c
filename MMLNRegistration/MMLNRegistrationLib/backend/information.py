"""What a client may want to know of the worker's machine before it asks for work."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from ..model.registry import available_models
from ..pipeline.device import choose_device, device_label
from ..quality.report import versions


def information() -> dict[str, Any]:
    """Versions, devices, and the cards of the bundled models, as plain values.

    Of each device: its name for requests, its label for people, and free and all bytes of a GPU's memory. What is
    free is told of the GPU that `auto` takes alone: asking another one would set up torch on it, which costs memory.
    """
    automatic = choose_device("auto")
    return {
        "versions": versions(),
        "automatic_device": automatic.type,
        "devices": [_processor(), *(_gpu(number, automatic) for number in range(torch.cuda.device_count()))],
        "models": [asdict(model.card) for model in available_models()],
    }


def _processor() -> dict[str, Any]:
    return {"name": "cpu", "label": device_label(torch.device("cpu")), "free_bytes": None, "total_bytes": None}


def _gpu(number: int, automatic: torch.device) -> dict[str, Any]:
    device = torch.device("cuda", number)
    is_automatic = automatic.type == "cuda" and number == torch.cuda.current_device()
    return {
        "name": str(device),
        "label": device_label(device),
        "free_bytes": torch.cuda.mem_get_info(device)[0] if is_automatic else None,
        "total_bytes": torch.cuda.get_device_properties(device).total_memory,
    }
