"""The Propagate panel in the host, with small atlases of which it is known where everything belongs in the subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mrml import slicer
from scene_cases import field_of, grid, label_node, points_ras, rotation
from segment_cases import TERMINOLOGY

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.segments import LABELMAP
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import volume_node
from MMLNRegistrationLib.scene.vtk_arrays import array_from_image, fill_image, vtk_matrix
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

MODULE = Path(__file__).resolve().parents[2] / "MMLNRegistration" / "MMLNRegistration.py"
SECONDS = 120.0

SUBJECT_GRID = grid((28, 30, 32), (1.6, 1.6, 1.6), rotation((4, -6, 8)))
ATLAS_GRIDS = (
    grid((30, 28, 34), (1.5, 1.7, 1.6), np.diag([-1.0, -1.0, 1.0])),
    grid((34, 34, 34), (1.5, 1.5, 1.5), np.eye(3)),
    grid((30, 32, 32), (1.6, 1.5, 1.6), rotation((-5, 3, 10))),
)
NAMES = {1: "Shell", 2: "Left core", 3: "Right core"}


def image(points: np.ndarray) -> np.ndarray:
    """An ellipsoid with unlike cores, nothing outside, at world points (..., 3)."""
    distance = np.linalg.norm(points / (14.0, 17.0, 13.0), axis=-1)
    result = 300.0 / (1.0 + np.exp((distance - 1.0) * 12.0))
    for centre, height, width in (((6, 2, 1), 260, 16), ((-6, 3, -2), -200, 14), ((1, -8, 3), 180, 16)):
        result = result + height * np.exp(-((points - centre) ** 2).sum(-1) / width)
    return np.maximum(result, 0).astype(np.float32)


def labels(points: np.ndarray) -> np.ndarray:
    """The labels of NAMES in that picture."""
    found = np.where(np.linalg.norm(points / (14.0, 17.0, 13.0), axis=-1) < 1, 1, 0)
    found[np.linalg.norm(points - (6, 2, 1), axis=-1) < 5] = 3
    found[np.linalg.norm(points - (-6, 3, -2), axis=-1) < 5] = 2
    return found.astype(np.uint8)


def bend(points: np.ndarray, way: int = 0) -> np.ndarray:
    """A smooth map without folding, x -> x + some millimetres, in RAS; another one for each way."""
    x, y, z = np.moveaxis(points, -1, 0)
    window = np.exp(-(points**2).sum(-1) / 400)[..., None]
    return points + window * np.stack(
        [3.0 * np.cos(y / 9 + way), 2.5 * np.sin(z / 8 + 0.5 + 2 * way), -2.5 * np.cos(x / 10 - way)], -1
    )


def add_subject() -> slicer.vtkMRMLScalarVolumeNode:
    """The picture as it is."""
    voxels = image(points_ras(SUBJECT_GRID))
    return volume_node(slicer.mrmlScene, Volume(voxels, SUBJECT_GRID, "subject"), "subject")


def add_atlas(number: int, as_segments: bool) -> tuple[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLNode]:
    """The picture bent in another way for each number, with its labels as a segmentation or a coloured label map."""
    geometry, scene = ATLAS_GRIDS[number], slicer.mrmlScene
    points = bend(points_ras(geometry), number)
    picture = volume_node(scene, Volume(image(points), geometry, "atlas"), f"atlas {number}")
    drawn = labels(points)
    if as_segments:
        return picture, add_segments(drawn, geometry, f"segments {number}")
    node = label_node(scene, Volume(drawn, geometry, "labels"), f"labels {number}")
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "names")
    table.SetTypeToUser()
    table.SetNumberOfColors(4)
    for label, name in NAMES.items():
        table.SetColor(label, name, 0.2 * label, 0.3, 0.4, 1.0)
    node.GetDisplayNode().SetAndObserveColorNodeID(table.GetID())
    return picture, node


def add_segments(drawn: np.ndarray, geometry: Geometry, name: str) -> slicer.vtkMRMLSegmentationNode:
    """A segment for each label, with a colour and terminology of its own."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    shared = slicer.vtkOrientedImageData()
    fill_image(shared, drawn)
    shared.SetImageToWorldMatrix(vtk_matrix(geometry.ras_from_ijk))
    for label, segment_name in NAMES.items():
        segment = slicer.vtkSegment()
        segment.SetName(segment_name)
        segment.SetColor(0.25 * label, 0.1, 0.8 - 0.2 * label)
        segment.SetTag("TerminologyEntry", TERMINOLOGY)
        segment.SetLabelValue(label)
        segment.AddRepresentation(LABELMAP, shared)
        node.GetSegmentation().AddSegment(segment, f"own-{label}")
    node.CreateDefaultDisplayNodes()
    return node


def open_panel(host):
    """The Propagate panel of the module, just loaded and seen, set to quick registrations on the processor."""
    widget = host.load_module(MODULE).self()
    panel = next(panel for panel in widget.panels if panel.ui_name == "Propagate")
    widget.ui.tabs.setCurrentWidget(panel.widget)
    from MMLNRegistrationLib.gui.register_presets import Preset

    panel.parameters.propagate.preset = Preset.FAST
    panel.parameters.register.device = "cpu"
    host.process_events()
    return panel


def add_transform(number: int, subject: slicer.vtkMRMLNode, picture: slicer.vtkMRMLNode) -> slicer.vtkMRMLTransformNode:
    """The true transform from the subject to an atlas, the inverse of its bend, as a registration leaves it."""
    points = points_ras(SUBJECT_GRID)
    source = points.copy()
    for _ in range(40):
        source -= bend(source, number) - points
    field = (source - points).astype(np.float32)
    return transform_node(slicer.mrmlScene, field, SUBJECT_GRID, f"atlas {number} to subject", subject, picture)


def fill_in(host, panel, subject, *atlases) -> None:
    """Choose the subject and the atlases (image, labels, perhaps transform) as a user would."""
    panel.ui.subject.setCurrentNode(subject)
    for number, atlas in enumerate(atlases):
        if number == len(panel.cards):
            host.click(panel.ui.addAtlas)
        ui = panel.cards[number].ui
        for combo, node in zip((ui.image, ui.labels, ui.transform), atlas, strict=False):
            combo.setCurrentNode(node)
    host.process_events()


def add_known(number: int, subject: slicer.vtkMRMLNode, as_segments: bool = True) -> tuple:
    """An atlas with its transform: nothing needs to be registered."""
    picture, drawn = add_atlas(number, as_segments)
    return picture, drawn, add_transform(number, subject, picture)


def propagate(host, panel, seconds: float = SECONDS) -> None:
    """Click Propagate and wait for its end."""
    host.click(panel.ui.propagateButton)
    assert panel.run is not None, panel.ui.message.text
    host.wait_until(lambda: panel.run is None, seconds)


def result_labels(segmentation: slicer.vtkMRMLSegmentationNode, geometry: Geometry = SUBJECT_GRID) -> np.ndarray:
    """The labels of NAMES as the segments of those names say, by Slicer's own export of each segment."""
    found = np.zeros(geometry.shape_kji, np.uint8)
    target = slicer.vtkOrientedImageData()
    fill_image(target, found)
    target.SetImageToWorldMatrix(vtk_matrix(geometry.ras_from_ijk))
    for label, name in NAMES.items():
        segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        voxels, resampled = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
        segmentation.GetBinaryLabelmapRepresentation(segment_id, voxels)
        slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
            voxels, target, resampled, False, False
        )
        found[array_from_image(resampled) > 0] = label
    return found


def carried(number: int, transform: slicer.vtkMRMLTransformNode) -> np.ndarray:
    """What is drawn on an atlas, looked up for each voxel of the subject, nearest neighbour, in plain numpy."""
    geometry, points = ATLAS_GRIDS[number], points_ras(SUBJECT_GRID)
    drawn = labels(bend(points_ras(geometry), number))
    places = points + field_of(transform, SUBJECT_GRID)
    index = np.rint(transform_points(geometry.ijk_from_ras, places)).astype(int)
    inside = ((index >= 0) & (index < geometry.size_ijk)).all(-1)
    index[~inside] = 0
    return np.where(inside, drawn[index[..., 2], index[..., 1], index[..., 0]], 0)


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the labels of NAMES."""
    return float(
        np.mean([2 * ((found == n) & (truth == n)).sum() / ((found == n).sum() + (truth == n).sum()) for n in NAMES])
    )


TRUTH = labels(points_ras(SUBJECT_GRID))
"""What the labels should be in the subject."""
