"""Slicer's classes for the tests; test modules that import them are skipped where slicer-core is not installed."""

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")
