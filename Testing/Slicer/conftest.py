"""What all tests on the real slicer-core share."""

from __future__ import annotations

import os

import pytest

# A screen would only make the pictures depend on the machine.
os.environ.pop("DISPLAY", None)


@pytest.fixture
def scene():
    from mrml import slicer

    return slicer.vtkMRMLScene()
