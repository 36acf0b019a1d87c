"""Silence for libraries in C++ that write complaints where they like: an error is told once, in a sentence of ours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_STDOUT, _STDERR = 1, 2


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing that is written to the process's standard output and error meanwhile appears anywhere."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    with ExitStack() as stack:
        for number in (_STDOUT, _STDERR):
            stack.enter_context(_silenced(number))
        yield


@contextmanager
def _silenced(number: int) -> Iterator[None]:
    try:
        kept = os.dup(number)
    except OSError:  # a program with windows only: there is nothing to silence
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
