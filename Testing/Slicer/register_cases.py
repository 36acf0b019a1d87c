"""The Register panel in the host with volumes whose registration is known."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from mrml import slicer
from scene_cases import grid, rotation

from MMLNRegistrationLib.backend.local import LocalClient
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.transforms import displacement_from_node
from MMLNRegistrationLib.scene.volumes import volume_node
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

MODULE = Path(__file__).resolve().parents[2] / "MMLNRegistration" / "MMLNRegistration.py"
SECONDS = 120.0

FIXED_GRID = grid((30, 32, 34), (1.5, 1.5, 1.5), rotation((4, -6, 8)))
MOVING_GRID = grid((32, 30, 36), (1.4, 1.6, 1.5), np.diag([-1.0, -1.0, 1.0]))
"""Oblique one, mirrored in its axes the other, as files of scanners are."""


RIGID_PLACE = np.eye(4)
RIGID_PLACE[:3, :3], RIGID_PLACE[:3, 3] = rotation((9, -7, 12)), (6.0, -4.0, 5.0)


def image(points: np.ndarray) -> np.ndarray:
    """An ellipsoid with three unlike cores, nothing outside, at world points (..., 3)."""
    distance = np.linalg.norm(points / (14.0, 17.0, 13.0), axis=-1)
    result = 300.0 / (1.0 + np.exp((distance - 1.0) * 12.0))
    for centre, height, width in (((5, 3, 2), 260, 20), ((-5, 6, -3), 200, 14), ((1, -8, 3), -180, 16)):
        result = result + height * np.exp(-((points - centre) ** 2).sum(-1) / width)
    return np.maximum(result, 0).astype(np.float32)


def bend(points: np.ndarray) -> np.ndarray:
    """A smooth map without folding, x -> x + up to 2.5 mm, in RAS mm."""
    x, y, z = np.moveaxis(points, -1, 0)
    window = np.exp(-(points**2).sum(-1) / 300)[..., None]
    return points + window * np.stack([2.2 * np.cos(y / 9), 1.8 * np.sin(z / 8 + 0.5), -2.0 * np.cos(x / 10)], -1)


def world_points(geometry: Geometry) -> np.ndarray:
    """(K, J, I, 3) places of the voxels."""
    return geometry.points_ras().reshape(*geometry.shape_kji, 3)


def add_pair(parent: np.ndarray | None = None, fixed_parent: np.ndarray | None = None) -> tuple:
    """A fixed volume that is image(bend(x)) at world points x, and a moving one that is image(y).

    parent: world from the moving volume's own coordinates, which then lies under a transform node of that matrix;
    fixed_parent likewise.
    """
    scene = slicer.mrmlScene
    nodes = []
    for name, geometry, matrix, picture in (
        ("subject", FIXED_GRID, fixed_parent, lambda points: image(bend(points))),
        ("atlas", MOVING_GRID, parent, image),
    ):
        matrix = np.eye(4) if matrix is None else matrix
        voxels = picture(transform_points(matrix, world_points(geometry)))
        node = volume_node(scene, Volume(voxels, geometry, name), name)
        if (matrix != np.eye(4)).any():
            above = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", f"placement of {name}")
            above.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
            node.SetAndObserveTransformNodeID(above.GetID())
        nodes.append(node)
    return tuple(nodes)


def open_panel(host):
    """The Register panel of the module, just loaded, set to a registration of about a second."""
    widget = host.load_module(MODULE).self()
    return widget.panels[0]


def be_quick(panel, iterations: int = 10) -> None:
    """A registration that takes a second: from the volumes as they lie, few iterations, on the processor."""
    from MMLNRegistrationLib.gui.register_presets import Start

    panel.parameters.register.start = Start.AS_PLACED
    panel.parameters.register.iterations = iterations
    panel.parameters.register.device = "cpu"


def register(host, panel) -> None:
    """Click Register and wait for its end."""
    host.click(panel.ui.registerButton)
    assert panel.run is not None, panel.ui.message.text
    host.wait_until(lambda: panel.run is None, SECONDS)


def assert_contract(panel, tolerance: float = 0.25) -> None:
    """M(x + u(x)) ~ F(x) in world coordinates, by the nodes alone: the mean difference is a share of the one before."""
    parameters = panel.parameters.register
    displacement_mm, geometry = displacement_from_node(parameters.transform)
    points = world_points(geometry)
    goal = image(bend(points))
    found = image(points + displacement_mm)
    inside = goal > 50
    before, after = np.abs(image(points) - goal)[inside].mean(), np.abs(found - goal)[inside].mean()
    assert after < tolerance * before, (before, after)
    warped = slicer.util.arrayFromVolume(parameters.warped)
    assert np.abs(warped - found)[inside].mean() < 6.0, "the warped volume is not the moving one under the transform"
    jacobian = slicer.util.arrayFromVolume(parameters.jacobian)
    assert jacobian.shape == goal.shape
    assert jacobian.min() > 0
    assert np.abs(jacobian - determinants(displacement_mm, geometry))[2:-2, 2:-2, 2:-2].max() < 0.05


def determinants(displacement_mm: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Of x -> x + u(x) by central differences, (K, J, I)."""
    ras_from_ijk = geometry.ras_from_ijk[:3, :3]
    gradients = np.stack(np.gradient(displacement_mm, axis=(2, 1, 0)), axis=-1)
    return np.linalg.det(np.eye(3) + gradients @ np.linalg.inv(ras_from_ijk))


class WarmWorker(LocalClient):
    """A worker that stays warm from test to test: closing it only stops what it does. `really_close` ends it."""

    def close(self, seconds: float = 3.0) -> None:
        """Cancel all that is under way."""
        for job in [*([self._current] if self._current else []), *self._waiting]:
            job.cancel()
        end = time.monotonic() + 30
        while self.busy and time.monotonic() < end:
            self.poll(0.05)

    def leave(self) -> None:
        """The next test uses it at once."""
        self.close()

    def really_close(self) -> None:
        """End the worker."""
        super().close()

    def lend(self, monkeypatch) -> None:
        """Let the sessions of a test use it in the place of one of their own."""

        def lent(python, on_log=None):
            self._on_log = on_log
            return self

        monkeypatch.setattr("MMLNRegistrationLib.gui.session.LocalClient", lent)


def faulty_python(folder: Path, code: str) -> str:
    """A launcher of Python that runs some code in the worker's process before the worker."""
    (folder / "fault.py").write_text(
        f"import os, sys, time\n{code}\nfrom MMLNRegistrationLib.backend import worker\nworker.main()\n"
    )
    launcher = folder / "launcher"
    launcher.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" "{folder}/fault.py" "$@"\n')
    launcher.chmod(0o755)
    return str(launcher)
