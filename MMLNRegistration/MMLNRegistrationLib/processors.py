"""Sharing the processors with other programs: how long threads of OpenMP, which torch computes with, wait busily."""

from __future__ import annotations

import os

_SPINS = 10_000
"""Some hundredths of a millisecond. The library's own choice is thirty times that: with more threads than free
processors each then burns what the other needs (twice the time beside two other programs, and far more at times). None
at all costs two thirds more where the processors are free."""


def share_processors() -> None:
    """Set it for this process and those that it starts, unless the user has; it is read when torch is loaded."""
    os.environ.setdefault("GOMP_SPINCOUNT", str(_SPINS))  # GNU's library, on Linux, where it comes before the policy
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the others know no such number
