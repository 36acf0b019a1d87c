"""What a request's end by an exception is called, and the sentence that its sender reads."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import InputError, RegistrationError, is_out_of_memory
from ..progress import Cancelled
from .messages import Search, Settings, Work


class Failure(NamedTuple):
    """The contents of an error event."""

    cause: str
    sentence: str
    offers: tuple[str, ...] = ()


CANCELLED = Failure("cancelled", "Cancelled.")


def failure_of(error: BaseException, request: Work) -> Failure:
    """The failure that an exception stands for."""
    if isinstance(error, Cancelled):
        return CANCELLED
    if isinstance(error, InputError):
        return Failure("input", _line(str(error)))
    if isinstance(error, RegistrationError):
        return Failure("failed", _line(str(error)))
    if is_out_of_memory(error):
        return _out_of_memory(request)
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename} cannot be used" if error.filename else "A file cannot be read or written"
        return Failure("input", _line(f"{what} ({error.strerror}); check the path, its rights and the space left."))
    return Failure(
        "failed", _line(f"The work failed by a fault of the program ({type(error).__name__}: {error}); see the log.")
    )


def breaks_the_device(error: BaseException) -> bool:
    """Whether this process can use its GPU no more: after such an error of CUDA all others fail too."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error) and not is_out_of_memory(error)


def _out_of_memory(request: Work) -> Failure:
    offers = {"cpu": "on the processor", "coarser": "on a coarser grid"}
    if not isinstance(request, Search) or request.device == "cpu":
        del offers["cpu"]
    if not isinstance(request, Settings):
        del offers["coarser"]
    way = f"register {', or '.join(offers.values())}" if offers else "ask for less"
    return Failure("out_of_memory", f"Memory ran out; close other programs, or {way}.", tuple(offers))


def _line(text: str) -> str:
    return " ".join(text.split())
