"""The module's self test, in Slicer and everywhere else where its scene is: a registration that takes seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from ..pipeline.volume import Volume
from ..scene.transforms import displacement_from_node
from ..scene.volumes import volume_node
from ..spatial.geometry import Geometry

_SIZE, _RADIUS_MM, _SHIFT_MM = 32, 9.0, 3.0


def run(logic: Any) -> None:
    """Register a blob to one that lies elsewhere. logic: the module's. Raises AssertionError for a wrong result."""
    scene = slicer.mrmlScene
    fixed = volume_node(scene, _blob(0.0), "Blob")
    moving = volume_node(scene, _blob(_SHIFT_MM), "Blob to the right")
    nodes = logic.register(fixed, moving, refine=3, initial="identity", device="cpu")
    displacement_mm, _geometry = displacement_from_node(nodes.transform)
    middle = displacement_mm[tuple(size // 2 for size in displacement_mm.shape[:3])]
    assert np.abs(middle - (_SHIFT_MM, 0, 0)).max() < 1.0, f"The middle moves by {middle} mm."
    warped, goal, before = (
        slicer.util.arrayFromVolume(node).astype(np.float64) for node in (nodes.warped, fixed, moving)
    )
    assert np.abs(warped - goal).mean() < 0.25 * np.abs(before - goal).mean(), "The volumes do not match."
    assert slicer.util.arrayFromVolume(nodes.jacobian).min() > 0, "The transform folds."


def _blob(shift_mm: float) -> Volume:
    """A smooth ellipsoid with a core, shifted to the right."""
    matrix = np.eye(4)
    matrix[:3, 3] = -(_SIZE - 1) / 2
    geometry = Geometry((_SIZE, _SIZE, _SIZE), matrix)
    points_ras = geometry.points_ras().reshape(*geometry.shape_kji, 3) - (shift_mm, 0.0, 0.0)
    distance = np.linalg.norm(points_ras / (1.0, 1.2, 0.9), axis=-1)
    image = 100 / (1 + np.exp(distance - _RADIUS_MM)) + 80 * np.exp(-((distance / 4) ** 2))
    return Volume(image.astype(np.float32), geometry, "blob")
