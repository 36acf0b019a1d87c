"""Jacobian determinants of known maps on every kind of grid, and the strict test against its definition."""

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from MMLNRegistrationLib.spatial import jacobian
from MMLNRegistrationLib.spatial.geometry import Geometry
from MMLNRegistrationLib.spatial.jacobian import Determinants, determinants, index_displacement
from phantoms import DIRECTIONS, Map, affine_map, determinant_of, displacement_of, grid, matrix_4x4, voxels_ras, wave

INNER = (slice(1, -1),) * 3
STRETCH = matrix_4x4(np.array([[1.2, 0.3, 0.0], [-0.1, 0.9, 0.2], [0.1, 0.0, 1.1]]), (5.0, -8.0, 2.0))


def determinants_of(function: Map, geometry: Geometry) -> Determinants:
    return determinants(index_displacement(displacement_of(function, geometry), geometry))


def random_displacement(shape: tuple[int, int, int], size_voxels: float = 0.4, seed: int = 0) -> torch.Tensor:
    return size_voxels * torch.randn(3, *shape, generator=torch.Generator().manual_seed(seed))


def literal_strict(displacement: torch.Tensor) -> np.ndarray:
    """The smallest of eight determinants for each voxel, by loops; u goes on linearly beyond the faces."""
    u = displacement.double().numpy()
    shape = u.shape[1:]
    smallest = np.empty(shape)
    for place in itertools.product(*[range(n) for n in shape]):
        values = []
        for sides in itertools.product((-1, 1), repeat=3):
            matrix = np.eye(3)
            for axis, side in enumerate(sides):
                if shape[axis] == 1:
                    continue
                # A difference that would leave the grid is the one on the other side: that is what linear means.
                here = list(place)
                if not 0 <= here[axis] + side < shape[axis]:
                    here[axis] -= side
                there = list(here)
                there[axis] += side
                matrix[:, axis] += side * (u[(slice(None), *there)] - u[(slice(None), *here)])
            values.append(np.linalg.det(matrix))
        smallest[place] = min(values)
    return smallest


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.8, 1.1, 2.0)])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_determinant_of_a_wave_on_every_grid(direction: str, spacing_mm: tuple[float, float, float]) -> None:
    """The trap: millimetre vectors differentiated along index axes are right on one of these grids only."""
    geometry = grid(direction, (14, 16, 18), spacing_mm, (11.0, -7.0, 5.0))
    function = wave(2.5, 55.0)
    expected = determinant_of(function, voxels_ras(geometry))
    assert np.ptp(expected) > 1
    central, strict = determinants_of(function, geometry)
    np.testing.assert_allclose(central.numpy()[INNER], expected[INNER], atol=0.015)
    # One-sided differences are as far off as the map bends within a voxel.
    np.testing.assert_allclose(strict.numpy(), expected, atol=0.12)
    assert (strict <= central + 1e-5).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_linear_maps_have_one_determinant_up_to_the_faces(direction: str) -> None:
    geometry = grid(direction, (6, 5, 7), (1.0, 0.5, 2.0))
    expected = np.linalg.det(STRETCH[:3, :3])
    for reading in determinants_of(affine_map(STRETCH), geometry):
        np.testing.assert_allclose(reading.numpy(), expected, atol=1e-4)


def test_a_mirrored_map_is_negative_on_every_grid() -> None:
    mirror = affine_map(np.diag([-1.0, 1.0, 1.0, 1.0]))
    for direction in DIRECTIONS:
        for reading in determinants_of(mirror, grid(direction, (5, 5, 5))):
            np.testing.assert_allclose(reading.numpy(), -1, atol=1e-4)


def test_central_equals_simpleitk_where_simpleitk_is_right() -> None:
    """ITK ignores the direction cosines: on the identity direction, and there alone, it can be the reference."""
    geometry = grid("identity", (9, 10, 11), (0.9, 1.2, 1.7))
    displacement_mm = displacement_of(wave(2.0, 40.0), geometry)
    image = sitk.GetImageFromArray(displacement_mm.astype(np.float64), isVector=True)
    image.SetSpacing([float(mm) for mm in geometry.spacing_mm])
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    central = determinants(index_displacement(displacement_mm, geometry)).central.numpy()
    np.testing.assert_allclose(central[INNER], expected[INNER], atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 4, 5), (4, 3, 5), (5, 4, 3), (7, 3, 4), (8, 4, 3), (9, 2, 3), (2, 2, 1)])
def test_strict_is_the_smallest_of_eight_at_every_voxel(shape: tuple[int, int, int]) -> None:
    """Sizes around multiples of the slab, so that its seams and the faces are seen too."""
    u = random_displacement(shape)
    np.testing.assert_allclose(determinants(u).strict.numpy(), literal_strict(u), atol=1e-5)


@pytest.mark.parametrize("slab", [1, 3, 100])
def test_slabs_leave_no_trace(slab: int, monkeypatch: pytest.MonkeyPatch) -> None:
    u = random_displacement((11, 6, 7))
    expected = determinants(u)
    monkeypatch.setattr(jacobian, "_SLAB", slab)
    found = determinants(u)
    torch.testing.assert_close(found.central, expected.central)
    torch.testing.assert_close(found.strict, expected.strict)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_checkerboard_of_folds_is_caught(axis: int) -> None:
    """Central differences skip the voxel itself: voxels that leap over each other in pairs look smooth to them."""
    index = torch.arange(8.0) % 2
    u = torch.zeros(3, 8, 8, 8)
    u[axis] = 1.2 * index.view([8 if a == axis else 1 for a in range(3)])
    central, strict = determinants(u)
    assert central[INNER].min() > 0.99
    assert (strict[INNER] <= -0.19).all()


def test_index_displacement_turns_millimetres_into_voxels_in_array_order() -> None:
    geometry = grid("rotated_90", (2, 2, 2), (0.5, 2.0, 4.0))
    # One voxel along i, two along j, three along k.
    step_ras = geometry.ras_from_ijk[:3, :3] @ (1, 2, 3)
    displacement_mm = np.broadcast_to(step_ras, (2, 2, 2, 3))
    np.testing.assert_allclose(index_displacement(displacement_mm, geometry)[:, 0, 1, 0], (3, 2, 1), atol=1e-5)
