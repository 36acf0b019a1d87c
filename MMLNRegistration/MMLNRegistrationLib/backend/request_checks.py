"""What is checked of a request's fields when it is made."""

from __future__ import annotations

import re

from ..errors import InputError

LARGEST_THREADS = 1024


def require_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError when the value of a field is none of the choices."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {value!r}.")


def require_device(value: str) -> None:
    """Raise InputError for what is not the name of a device."""
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]{1,3})?", value):
        raise InputError(f"Unknown device {value!r}; choose auto, cpu, cuda or cuda:N.")


def require_whole(name: str, value: int | None, lowest: int, highest: int) -> None:
    """Raise InputError when a field's number, where it is given, does not lie between these, themselves included."""
    if value is not None and not lowest <= value <= highest:
        raise InputError(f"{name} must be a whole number from {lowest} to {highest}, not {value}.")
