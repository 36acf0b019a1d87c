"""How a long step tells where it is, and how it learns that nobody wants its result any more."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called often with (step name, fraction done of that step). It may raise Cancelled: the step then unwinds."""


class Cancelled(Exception):
    """Raised by a Progress callback to stop the work that calls it."""


def silent(step: str, fraction: float) -> None:
    """A Progress that tells nobody."""
