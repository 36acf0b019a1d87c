"""Grids, images, fields and scenes that the tests of the scene bridge share. Needs slicer-core."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from mrml import slicer, vtk

from MMLNRegistrationLib.pipeline.field import warp_volume
from MMLNRegistrationLib.pipeline.result import FoldingRepair, FoldingSummary, Registration, Similarity
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.volumes import fill_volume_node
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def rotation(degrees_xyz: tuple[float, float, float]) -> np.ndarray:
    """3x3 rotation about x, then y, then z."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees_xyz)):
        step = np.eye(3)
        first, second = [other for other in range(3) if other != axis]
        step[first, first] = step[second, second] = np.cos(angle)
        step[second, first] = np.sin(angle)
        step[first, second] = -np.sin(angle)
        result = step @ result
    return result


def grid(shape_kji: tuple[int, int, int], spacing_mm: tuple[float, float, float], direction: np.ndarray) -> Geometry:
    """A grid around the world's origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = direction @ np.diag(spacing_mm)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape_kji[::-1]) - 1) / 2)
    return Geometry(shape_kji, matrix)


GEOMETRIES = {
    "aligned": grid((36, 40, 44), (1.5, 1.5, 1.5), np.eye(3)),
    "oblique": grid((30, 36, 40), (1.4, 1.7, 2.0), rotation((10, -15, 20))),
    "left-handed": grid((36, 40, 44), (1.5, 1.4, 1.6), np.diag([-1.0, 1.0, 1.0])),
    "left-handed oblique": grid((40, 36, 30), (2.0, 1.5, 1.6), rotation((-12, 8, 25)) @ np.eye(3)[[2, 1, 0]]),
}
"""All of them cover at least the ball with a radius of 24 mm around the origin."""


def points_ras(geometry: Geometry) -> np.ndarray:
    """(K, J, I, 3) world positions of all voxels."""
    kji = np.stack(np.meshgrid(*[np.arange(size) for size in geometry.shape_kji], indexing="ij"), axis=-1)
    return transform_points(geometry.ras_from_ijk, kji[..., ::-1])


def phantom(points: np.ndarray) -> np.ndarray:
    """A smooth image without any symmetry, from 0 (outside 24 mm) to about 1000, at world points (..., 3)."""
    image = 700 * np.exp(-((points - (2, -1, 3)) ** 2 / (90, 60, 75)).sum(-1))
    image += 400 * np.exp(-((points - (-8, 5, -6)) ** 2).sum(-1) / 30)
    image += 300 * np.exp(-((points - (6, 9, 4)) ** 2).sum(-1) / 20)
    return image.astype(np.float32)


def displacement(points: np.ndarray) -> np.ndarray:
    """A smooth displacement of up to 6 mm without any symmetry, in RAS mm, at world points (..., 3)."""
    x, y, z = np.moveaxis(points, -1, 0)
    window = np.exp(-(points**2).sum(-1) / 350)
    field = [4.5 * np.cos(x / 13 + y / 17), 3.0 * np.sin(z / 11 + 0.8), -4.0 * np.cos(y / 15 - x / 19 + 0.3)]
    return (window[..., None] * np.stack(field, axis=-1)).astype(np.float32)


def phantom_volume(geometry: Geometry, name: str = "phantom") -> Volume:
    return Volume(phantom(points_ras(geometry)), geometry, name)


def label_node(scene: slicer.vtkMRMLScene, labels: Volume, name: str) -> slicer.vtkMRMLLabelMapVolumeNode:
    """A new label map volume node, in Slicer's usual label colours."""
    node = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
    fill_volume_node(node, labels.array_kji, labels.geometry)
    return node


def field_of(node: slicer.vtkMRMLTransformNode, geometry: Geometry) -> np.ndarray:
    """u (K, J, I, 3) in mm of a transform node, parents included, as Slicer itself takes each voxel's place along."""
    own_from_world = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node, own_from_world)
    points = points_ras(geometry)
    moved = [own_from_world.TransformPoint(point) for point in points.reshape(-1, 3).tolist()]
    return np.array(moved).reshape(points.shape) - points


def warped(moving: Volume, displacement_mm: np.ndarray, geometry: Geometry) -> np.ndarray:
    """moving(x + u(x)) on the fixed grid by the package's own sampling."""
    return warp_volume(moving, displacement_mm, geometry).array_kji


def itk_image(array: np.ndarray, geometry: Geometry) -> sitk.Image:
    """(K, J, I) or (K, J, I, 3) as an ITK image; vector components are taken as they are."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(geometry.spacing_mm.tolist())
    image.SetOrigin((LPS_FROM_RAS @ geometry.ras_from_ijk[:3, 3]).tolist())
    image.SetDirection((LPS_FROM_RAS @ geometry.direction_ras).ravel().tolist())
    return image


def itk_transform(displacement_mm: np.ndarray, geometry: Geometry) -> sitk.DisplacementFieldTransform:
    """The field as ITK has it: LPS vectors, from fixed to moving."""
    return sitk.DisplacementFieldTransform(itk_image((displacement_mm @ LPS_FROM_RAS).astype(np.float64), geometry))


def itk_resampled(moving: Volume, transform: sitk.Transform, geometry: Geometry) -> np.ndarray:
    """moving(T(x)) on a grid by SimpleITK, linear."""
    reference = itk_image(np.zeros(geometry.shape_kji, np.float32), geometry)
    image = itk_image(moving.array_kji, moving.geometry)
    return sitk.GetArrayFromImage(sitk.Resample(image, reference, transform, sitk.sitkLinear, 0.0))


def registration(fixed_geometry: Geometry, moving_geometry: Geometry) -> Registration:
    """A result as register() delivers it, from the analytic field; its Jacobian has a folded voxel in the middle."""
    fixed = phantom_volume(fixed_geometry, "subject")
    moving = phantom_volume(moving_geometry, "atlas")
    field = displacement(points_ras(fixed_geometry))
    jacobian = np.linspace(0.4, 1.8, fixed.array_kji.size, dtype=np.float32).reshape(fixed_geometry.shape_kji)
    jacobian[tuple(size // 2 for size in fixed_geometry.shape_kji)] = -0.25
    return Registration(
        fixed=fixed,
        moving=moving,
        displacement_mm=field,
        warped=Volume(warped(moving, field, fixed_geometry), fixed_geometry, "atlas warped"),
        jacobian=Volume(jacobian, fixed_geometry, "jacobian"),
        foreground=fixed.array_kji > 20,
        velocity_voxels=np.zeros((3, *fixed_geometry.shape_kji), np.float32),
        net_geometry=fixed_geometry,
        moving_ras_from_fixed_ras=np.eye(4),
        seconds={},
        device="cpu",
        model="none",
        similarity_before=Similarity(0.5, 0.5),
        similarity_initial=Similarity(0.5, 0.5),
        similarity_after=Similarity(0.9, 0.9),
        folding=FoldingSummary(1, 0.001, -0.25, 1.8, 0.2),
        repair=FoldingRepair(0, 0, 0.0),
        peak_memory_bytes=0,
        settings={},
        notes=(),
    )


def surfaces(
    scene: slicer.vtkMRMLScene, name: str, balls: dict[str, tuple[tuple[float, float, float], float]]
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation that has only surfaces: balls by name, each a centre (R, A, S) and a radius, in mm."""
    converters = slicer.vtkSlicerSegmentationsModuleLogic()  # makes the ways between representations known to all
    converters.SetMRMLScene(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    for ball, (centre, radius_mm) in balls.items():
        sphere = vtk.vtkSphereSource()
        sphere.SetCenter(*centre)
        sphere.SetRadius(radius_mm)
        sphere.SetThetaResolution(40)
        sphere.SetPhiResolution(40)
        sphere.Update()
        node.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), ball, (1, 0, 0), ball)
    return node


def read_bundle(path: Path, cache: Path) -> slicer.vtkMRMLScene:
    """A new scene with what a .mrb file holds; cache is where Slicer unpacks it."""
    cache.mkdir(exist_ok=True)
    cache_manager = slicer.vtkCacheManager()
    cache_manager.SetRemoteCacheDirectory(str(cache))
    data_manager = slicer.vtkDataIOManager()
    data_manager.SetCacheManager(cache_manager)
    scene = slicer.vtkMRMLScene()
    scene.SetDataIOManager(data_manager)
    messages = slicer.vtkMRMLMessageCollection()
    assert scene.ReadFromMRB(str(path), False, messages), messages.GetAllMessagesAsString()
    return scene


def node_ids(scene: slicer.vtkMRMLScene) -> list[str]:
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]
