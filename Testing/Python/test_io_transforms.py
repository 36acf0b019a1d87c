"""Transforms through files, against SimpleITK's own reading of them: points, frames, kinds, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.spatial.geometry import Geometry, Matrix
from phantoms import (
    DIRECTIONS,
    affine_map,
    displacement_of,
    grid,
    image,
    matrix_4x4,
    rotation,
    transform_points,
    voxels_ras,
    wave,
)

FLIP = np.diag([-1.0, -1.0, 1.0])
MOVED = matrix_4x4(rotation((10.0, -15.0, 20.0)) @ np.diag([1.1, 0.9, 1.05]), (4.0, -7.0, 25.0))


def field_grid(direction: str = "oblique") -> Geometry:
    return grid(direction, (8, 9, 10), (2.0, 1.5, 3.0), (3.0, -2.0, 4.0))


def through(transform: sitk.Transform, points_ras: np.ndarray) -> np.ndarray:
    """Points (N, 3) in RAS through a transform, which lives in LPS."""
    return np.array([transform.TransformPoint((FLIP @ p).tolist()) for p in points_ras]) @ FLIP


def itk_affine(moving_from_fixed: Matrix) -> sitk.AffineTransform:
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    lps = flip @ moving_from_fixed @ flip
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_field_file_gives_simpleitk_the_same_points(direction: str, tmp_path: Path) -> None:
    geometry = field_grid(direction)
    u = displacement_of(lambda points: transform_points(MOVED, wave(2.0, 30.0)(points)), geometry)
    io.write_displacement(u, geometry, tmp_path / "transform.h5")
    transform = sitk.ReadTransform(str(tmp_path / "transform.h5"))
    # A point on the very face may count as outside: the inner voxels, and places between them.
    inner = voxels_ras(geometry)[1:-1, 1:-1, 1:-1].reshape(-1, 3)
    expected = inner + u[1:-1, 1:-1, 1:-1].reshape(-1, 3)
    np.testing.assert_allclose(through(transform, inner), expected, atol=1e-4)
    between = (voxels_ras(geometry)[3, 4, 5] + voxels_ras(geometry)[3, 4, 6]) / 2
    halves = (u[3, 4, 5] + u[3, 4, 6]) / 2
    np.testing.assert_allclose(through(transform, between[None])[0], between + halves, atol=1e-4)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_field_comes_back_as_it_was(direction: str, tmp_path: Path) -> None:
    geometry = field_grid(direction)
    u = displacement_of(wave(2.0, 30.0), geometry)
    io.write_displacement(u, geometry, tmp_path / "transform.h5")
    found, found_geometry = io.read_displacement(tmp_path / "transform.h5")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, u, atol=1e-6)
    assert found_geometry.matches(geometry)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_displacement_images_and_wrapped_fields_are_read_too(suffix: str, tmp_path: Path) -> None:
    geometry = field_grid("oblique_left_handed")
    u = displacement_of(wave(2.0, 30.0), geometry)
    transform = sitk.DisplacementFieldTransform(io.displacement_transform(u, geometry))
    sitk.WriteImage(transform.GetDisplacementField(), str(tmp_path / f"field{suffix}"))
    sitk.WriteTransform(sitk.CompositeTransform([transform]), str(tmp_path / "wrapped.h5"))
    for name in (f"field{suffix}", "wrapped.h5"):
        found, found_geometry = io.read_displacement(tmp_path / name)
        np.testing.assert_allclose(found, u, atol=1e-5)
        assert found_geometry.matches(geometry)


def test_resampling_by_a_file_shows_moving_at_x_plus_u(tmp_path: Path) -> None:
    fixed = grid("oblique", (12, 13, 14), (2.0, 2.0, 2.0))

    def ramp(points: np.ndarray) -> np.ndarray:
        return points @ (1.0, -2.0, 0.5) + 300

    moving = image(ramp, grid("left_handed", (60, 60, 60), (1.5, 1.5, 1.5)))
    bend = wave(2.0, 30.0)
    io.write_displacement(displacement_of(bend, fixed), fixed, tmp_path / "transform.h5")
    shown = io.resample(moving, io.read_transform(tmp_path / "transform.h5"), fixed, nearest=False)
    expected = ramp(bend(voxels_ras(fixed)))
    np.testing.assert_allclose(shown.array_kji[1:-1, 1:-1, 1:-1], expected[1:-1, 1:-1, 1:-1], atol=1e-2)
    assert shown.geometry is fixed


def linear_transforms() -> dict[str, sitk.Transform]:
    euler = sitk.Euler3DTransform((10.0, -20.0, 30.0), 0.2, -0.3, 0.4, (5.0, 6.0, -7.0))
    versor = sitk.VersorRigid3DTransform((0.0, 0.6, 0.8), 0.5, (1.0, 2.0, 3.0), (-4.0, 5.0, 6.0))
    similarity = sitk.Similarity3DTransform(1.2, (1.0, 0.0, 0.0), 0.3, (9.0, 8.0, 7.0), (3.0, 2.0, 1.0))
    composite = sitk.CompositeTransform([euler, itk_affine(MOVED), versor])
    return {
        "euler": euler,
        "versor": versor,
        "similarity": similarity,
        "affine": itk_affine(MOVED),
        "translation": sitk.TranslationTransform(3, (7.0, -8.0, 9.0)),
        "scale": sitk.ScaleTransform(3, (1.1, 0.9, 1.3)),
        "identity": sitk.Transform(3, sitk.sitkIdentity),
        "composite": composite,
    }


@pytest.mark.parametrize("suffix", [".h5", ".tfm", ".txt"])
@pytest.mark.parametrize("kind", linear_transforms())
def test_a_linear_file_is_the_matrix_that_does_the_same(kind: str, suffix: str, tmp_path: Path) -> None:
    transform = linear_transforms()[kind]
    sitk.WriteTransform(transform, str(tmp_path / f"linear{suffix}"))
    matrix = io.read_linear(tmp_path / f"linear{suffix}")
    points = np.random.default_rng(0).normal(0, 100, (20, 3))
    np.testing.assert_allclose(transform_points(matrix, points), through(transform, points), atol=1e-4)


def test_a_matrix_read_is_the_map_of_ras_points(tmp_path: Path) -> None:
    sitk.WriteTransform(itk_affine(MOVED), str(tmp_path / "affine.tfm"))
    np.testing.assert_allclose(io.read_linear(tmp_path / "affine.tfm"), MOVED, atol=1e-6)


def bspline() -> sitk.Transform:
    transform = sitk.BSplineTransformInitializer(sitk.Image([20] * 3, sitk.sitkUInt8), [3] * 3)
    transform.SetParameters(np.random.default_rng(0).normal(size=len(transform.GetParameters())).tolist())
    return transform


def far_field() -> sitk.Transform:
    """A field around a place far from the origin of the world: around the origin it is the identity."""
    geometry = grid("identity", (8, 8, 8), (1.0, 1.0, 1.0), (400.0, 400.0, 400.0))
    return io.displacement_transform(displacement_of(wave(1.0, 9.0), geometry), geometry)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (bspline, "is not linear"),
        (far_field, "is not linear"),
        (lambda: sitk.CompositeTransform([itk_affine(MOVED), far_field()]), "is not linear"),
        (lambda: itk_affine(np.diag([-1.0, 1.0, 1.0, 1.0])), "mirrors the anatomy"),
        (lambda: sitk.ScaleTransform(3, (1.0, 1e-9, 1.0)), "cannot be inverted"),
        (lambda: sitk.AffineTransform(2), "2D transform"),
    ],
    ids=["bspline", "field", "composite with a field", "mirror", "flat", "two dimensions"],
)
def test_what_is_no_linear_start_is_refused(make: object, message: str, tmp_path: Path) -> None:
    sitk.WriteTransform(make(), str(tmp_path / "start.h5"))  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        io.read_linear(tmp_path / "start.h5")


def test_a_linear_file_holds_no_field(tmp_path: Path) -> None:
    sitk.WriteTransform(itk_affine(MOVED), str(tmp_path / "affine.h5"))
    with pytest.raises(InputError, match=r"affine\.h5 holds no displacement field"):
        io.read_displacement(tmp_path / "affine.h5")


def test_a_composite_of_two_is_no_single_field(tmp_path: Path) -> None:
    sitk.WriteTransform(sitk.CompositeTransform([far_field(), itk_affine(MOVED)]), str(tmp_path / "two.h5"))
    with pytest.raises(InputError, match="holds no displacement field"):
        io.read_displacement(tmp_path / "two.h5")


def test_a_failing_write_leaves_no_transform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_way(transform: sitk.Transform, name: str) -> None:
        Path(name).write_bytes(b"half of it")
        raise RuntimeError("HDF5")

    monkeypatch.setattr(sitk, "WriteTransform", half_way)
    geometry = field_grid()
    with pytest.raises(InputError, match="cannot be written"):
        io.write_displacement(displacement_of(affine_map(MOVED), geometry), geometry, tmp_path / "transform.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["linear.tfm", "linear.h5"])
def test_linear_transform_comes_back(tmp_path, name):
    matrix = np.array([[1.1, 0.2, -0.1, 5.0], [-0.1, 0.9, 0.3, -7.0], [0.05, -0.2, 1.2, 11.0], [0, 0, 0, 1]])
    io.write_linear(matrix, tmp_path / name)
    np.testing.assert_allclose(io.read_linear(tmp_path / name), matrix, atol=1e-9)
