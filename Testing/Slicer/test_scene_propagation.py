"""Atlases of the scene to one number a voxel and back, volumes of structures, and any transform as a field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrml import slicer, vtk
from scene_cases import GEOMETRIES, displacement, field_of, grid, label_node, phantom_volume, points_ras, rotation
from segment_cases import IDS, SHAPES, TERMINOLOGY, add_images, added, atlas_segmentation, carried, nearest

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.fusion import Vote, fuse
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.atlases import Codes, atlas_labels
from MMLNRegistrationLib.scene.field_file import FieldFile
from MMLNRegistrationLib.scene.propagation import PropagationNodes, read_propagation
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volume_files import volume_file
from MMLNRegistrationLib.scene.volumes import volume_node
from MMLNRegistrationLib.scene.vtk_arrays import vtk_matrix
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points


def written(node: slicer.vtkMRMLDisplayableNode, image: slicer.vtkMRMLVolumeNode, codes: Codes, path: Path) -> Volume:
    """An atlas's labels as the worker reads them."""
    atlas_labels(node, volume_file(image), codes).write(path)
    return io.read_labels(path)


def delivered(folder: Path, *votes: Vote) -> None:
    fused = fuse(votes)
    np.save(folder / "labels.npy", fused.labels_kji)
    np.save(folder / "agreement.npy", fused.agreement_kji)


def coloured(labels: np.ndarray, scene: slicer.vtkMRMLScene, names: dict[int, str], geometry) -> slicer.vtkMRMLNode:
    """A label map with a colour table that names some of its labels."""
    node = label_node(scene, Volume(labels, geometry, "labels"), "labels")
    table = scene.AddNewNodeByClass("vtkMRMLColorTableNode")
    table.SetTypeToUser()
    table.SetNumberOfColors(max(names) + 1)
    for label, name in names.items():
        table.SetColor(label, name, 0.1 * label, 0.2, 0.3, 1.0)
    node.GetDisplayNode().SetAndObserveColorNodeID(table.GetID())
    return node


@pytest.mark.parametrize(("subject_grid", "atlas_grid"), [("aligned", "oblique"), ("left-handed", "aligned")])
def test_volumes_and_places_of_segments(scene, tmp_path, subject_grid, atlas_grid):
    """Overlaps count for both structures, and a segment without voxels has its row; as counted by hand."""
    geometry = GEOMETRIES[subject_grid]
    subject, image = add_images(scene, subject_grid, atlas_grid)
    result = carried(tmp_path, subject, image, atlas_segmentation(scene, GEOMETRIES[atlas_grid]))
    points = points_ras(geometry)
    voxel_ml = abs(np.linalg.det(geometry.ras_from_ijk[:3, :3])) / 1000
    for row, (name, shape) in zip(result.rows, SHAPES.items(), strict=True):
        inside = nearest(shape, points + displacement(points), GEOMETRIES[atlas_grid])
        assert row.name == name
        assert row.voxels == pytest.approx(inside.sum(), rel=1e-3)  # ties of float32 against float64
        assert row.ml == pytest.approx(row.voxels * voxel_ml)
        assert row.agreement is None
        if row.voxels:
            np.testing.assert_allclose(row.centre_ras, points[inside].mean(axis=0), atol=2e-2)
    assert [structure.segment_id for _, structure in sorted(result.structures.items())] == list(IDS)
    assert (result.rows[3].voxels, result.rows[3].centre_ras) == (0, None)
    assert result.agreement is None
    nodes = added(result, "subject", subject)
    assert nodes.agreement is None
    assert nodes.segmentation.GetSegmentation().GetNumberOfLayers() == 2


def test_structures_are_matched_across_atlases(scene, tmp_path):
    """Label maps by label, all else by name; what has a segment keeps its terminology."""
    geometry = GEOMETRIES["aligned"]
    image = volume_node(scene, phantom_volume(geometry), "atlas")
    codes = Codes()
    segments = written(atlas_segmentation(scene, geometry), image, codes, tmp_path / "segments.nrrd")
    array = np.zeros(geometry.shape_kji, np.uint8)
    array[8:12, 8:12, 8:12], array[14:16, 8:12, 8:12], array[20:22, 8:12, 8:12] = 1, 2, 7
    named = coloured(array, scene, {1: "Whole ", 2: "other"}, geometry)
    first = written(named, image, codes, tmp_path / "first.nrrd")
    plain = label_node(scene, Volume(array, geometry, "plain"), "plain")
    second = written(plain, image, codes, tmp_path / "second.nrrd")
    np.testing.assert_array_equal(first.array_kji, second.array_kji)
    names = codes.names()
    assert [names[number] for number in np.unique(first.array_kji[array > 0])] == ["whole", "other", "Label 7"]
    assert {names[number] for number in np.unique(segments.array_kji) if number} == {
        "whole", "whole and left part", "whole and right part",
    }  # fmt: skip
    whole = next(structure for structure in codes.structures.values() if structure.name == "whole")
    text = vtk.reference("")
    assert whole.metadata.GetTag("TerminologyEntry", text)
    assert str(text) == TERMINOLOGY


def test_several_atlases_fill_the_nodes_that_were_chosen(scene, tmp_path):
    """Agreement and volumes by hand; what the nodes held before is gone, and so is their transform."""
    geometry = grid((8, 9, 10), (2.0, 1.0, 1.0), np.eye(3))
    subject = volume_node(scene, Volume(np.arange(720, dtype=np.float32).reshape(8, 9, 10), geometry, "s"), "s")
    codes, votes = Codes(), []
    for shift in (0, 0, 1):
        array = np.zeros(geometry.shape_kji, np.uint8)
        array[2:4, 3:6, 2 + shift : 6 + shift] = 4
        node = coloured(array, scene, {4: "box"}, geometry)
        labels = written(node, subject, codes, tmp_path / "labels.nrrd")
        votes.append(Vote(labels.array_kji, np.ones(geometry.shape_kji, np.float32)))
    delivered(tmp_path, *votes)
    old = atlas_segmentation(scene, geometry, "old")
    parent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    parent.SetMatrixTransformToParent(vtk_matrix(np.diag([2.0, 1, 1, 1])))
    old.SetAndObserveTransformNodeID(parent.GetID())
    result = read_propagation(tmp_path, geometry, codes, several=True)
    nodes = added(result, "s", subject, PropagationNodes(segmentation=old))
    assert nodes.segmentation is old
    assert old.GetParentTransformNode() is None
    assert old.GetSegmentation().GetNumberOfSegments() == 1
    (row,) = result.rows
    assert (row.voxels, row.ml) == (24, pytest.approx(0.048))
    assert row.agreement == pytest.approx((18 * 1 + 6 * 2 / 3) / 24)
    table = nodes.table
    assert [table.GetColumnName(n) for n in range(4)] == ["Structure", "Voxels", "Volume (ml)", "Agreement (%)"]
    assert [table.GetCellText(0, n) for n in range(4)] == ["box", "24", "0.048", "91.7"]
    again = added(result, "s", subject, nodes, has_gone=True)
    assert vars(again) == vars(nodes)
    assert table.GetNumberOfRows() == 1


@pytest.mark.parametrize("kind", ["own grid", "other grid", "linear", "inverse", "under a parent"])
def test_any_transform_as_a_field(scene, tmp_path, kind):
    """The same as sampling it point by point, and on its own grid without any sampling."""
    geometry = GEOMETRIES["oblique"]
    subject = volume_file(volume_node(scene, phantom_volume(geometry), "subject"))
    atlas = volume_file(volume_node(scene, phantom_volume(GEOMETRIES["aligned"]), "atlas"))
    own = GEOMETRIES["aligned"] if kind == "other grid" else geometry
    node = transform_node(scene, displacement(points_ras(own)), own, "field")
    matrix = np.eye(4)
    matrix[:3, :3] = rotation((3, 4, -5))
    if kind == "linear":
        node = scene.AddNewNodeByClass("vtkMRMLTransformNode")
        node.SetMatrixTransformToParent(vtk_matrix(matrix))
    elif kind == "inverse":
        node.Inverse()
    elif kind == "under a parent":
        parent = scene.AddNewNodeByClass("vtkMRMLTransformNode")
        parent.SetMatrixTransformToParent(vtk_matrix(matrix))
        node.SetAndObserveTransformNodeID(parent.GetID())
    field = FieldFile(node, subject, atlas)
    assert field.fraction == (1 if kind == "own grid" else 0)
    while field.fraction < 1:
        field.sample(0.01)
    field.write(tmp_path / "field.npy")
    expected = field_of(node, geometry)
    np.testing.assert_allclose(np.load(tmp_path / "field.npy"), expected, atol=1e-4)


def test_field_between_volumes_that_are_written_in_their_own_coordinates(scene, tmp_path):
    """Parents that bend right angles stay outside of the files; the field leads from file to file all the same."""
    shear = np.array([[1.04, 0.06, 0.0, 3.0], [0.0, 0.97, 0.05, -2.0], [0.03, 0.0, 1.02, 1.5], [0, 0, 0, 1]])
    above = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    above.SetMatrixTransformToParent(vtk_matrix(shear))
    volumes = [volume_node(scene, phantom_volume(GEOMETRIES[name]), name) for name in ("oblique", "aligned")]
    for volume in volumes:
        volume.SetAndObserveTransformNodeID(above.GetID())
    subject, atlas = (volume_file(volume) for volume in volumes)
    assert not subject.is_in_world
    node = transform_node(scene, displacement(points_ras(GEOMETRIES["aligned"])), GEOMETRIES["aligned"], "field")
    field = FieldFile(node, subject, atlas)
    while field.fraction < 1:
        field.sample(0.01)
    field.write(tmp_path / "field.npy")
    world = Geometry(subject.geometry.shape_kji, shear @ subject.geometry.ras_from_ijk)
    in_world = points_ras(world) + field_of(node, world)
    expected = transform_points(np.linalg.inv(shear), in_world) - points_ras(subject.geometry)
    np.testing.assert_allclose(np.load(tmp_path / "field.npy"), expected, atol=1e-4)


def test_what_cannot_be_used_is_one_sentence(scene, tmp_path):
    geometry = GEOMETRIES["aligned"]
    image = volume_file(volume_node(scene, phantom_volume(geometry), "atlas"))
    intensities = volume_node(scene, phantom_volume(geometry), "intensities")
    with pytest.raises(InputError, match="intensities holds fractional"):
        atlas_labels(intensities, image, Codes()).write(tmp_path / "l.nrrd")
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    with pytest.raises(InputError, match="empty has no segments"):
        atlas_labels(empty, image, Codes())
    warped = atlas_segmentation(scene, geometry, "warped")
    field = transform_node(scene, displacement(points_ras(geometry)), geometry, "field")
    warped.SetAndObserveTransformNodeID(field.GetID())
    with pytest.raises(InputError, match="non-linear transform field"):
        atlas_labels(warped, image, Codes())
    np.save(tmp_path / "labels.npy", np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(InputError, match="does not fit"):
        read_propagation(tmp_path, geometry, Codes(), several=False)
