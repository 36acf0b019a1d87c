"""Tests that need what not every machine has are skipped there, with the reason said."""

import os
import signal

import pytest


def pytest_configure():
    """A shell starts a job in the background with Ctrl-C ignored; the tests send it, and their commands must see it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val, argname):
    """Bytes are named by their argument: packed ones hold the second they were made in, and processes must agree."""
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items):
    """Skip `gpu` without a CUDA device, and `real_data` where MMLN_REAL_DATA names no folder."""
    if any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            _skip(items, "gpu", "needs a CUDA device")
    if not os.path.isdir(os.environ.get("MMLN_REAL_DATA", "")):
        _skip(items, "real_data", "needs MMLN_REAL_DATA to name the folder of brain images")


def _skip(items, marker, reason):
    for item in items:
        if item.get_closest_marker(marker):
            item.add_marker(pytest.mark.skip(reason=reason))
