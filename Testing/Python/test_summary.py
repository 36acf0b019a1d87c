"""Similarity inside the foreground and the figures of the Jacobian, against small cases worked out by hand."""

import math

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.pipeline.summary import jacobian_summary, similarity
from MMLNRegistrationLib.spatial.jacobian import determinants, index_displacement
from phantoms import affine_map, displacement_of, grid, matrix_4x4, wave

GRID = grid("oblique_left_handed", (10, 11, 12), (1.0, 1.5, 2.0))
EVERYWHERE = np.ones(GRID.shape_kji, bool)


def noise(seed: int, size: int = 14) -> torch.Tensor:
    return torch.rand(1, 1, size, size, size, generator=torch.Generator().manual_seed(seed))


def cube(size: int = 14, margin: int = 4) -> torch.Tensor:
    inside = torch.zeros(1, 1, size, size, size, dtype=torch.bool)
    inside[..., margin:-margin, margin:-margin, margin:-margin] = True
    return inside


def literal_similarity(fixed: torch.Tensor, moving: torch.Tensor, inside: torch.Tensor) -> tuple[float, float]:
    """Pearson's correlation, and the mean over the voxels inside of cc in windows of 5 voxels, zeros outside."""
    f, m = (np.pad((image * inside)[0, 0].double().numpy(), 2) for image in (fixed, moving))
    values = []
    for k, j, i in np.argwhere(inside[0, 0].numpy()):
        window = np.s_[k : k + 5, j : j + 5, i : i + 5]
        covariance = np.mean((f[window] - f[window].mean()) * (m[window] - m[window].mean()))
        values.append(covariance**2 / ((f[window].var() + 1e-4) * (m[window].var() + 1e-4)))
    one, two = fixed[inside].double().numpy(), moving[inside].double().numpy()
    return float(np.corrcoef(one, two)[0, 1]), float(np.mean(values))


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_both_similarities_are_means_over_the_foreground_alone(share: float) -> None:
    fixed, inside = noise(1), cube()
    moving = share * fixed + (1 - share) * noise(2)
    found = similarity(fixed, moving, inside)
    correlation, local = literal_similarity(fixed, moving, inside)
    assert found.correlation == pytest.approx(correlation, abs=1e-4)
    assert found.local_correlation == pytest.approx(local, abs=1e-4)


def test_what_lies_outside_the_foreground_does_not_count() -> None:
    fixed, inside = noise(1), cube()
    moving = torch.where(inside, fixed, noise(2))
    elsewhere = torch.where(inside, fixed, 5 * noise(3))
    assert similarity(fixed, moving, inside) == similarity(elsewhere, moving, inside)
    assert similarity(fixed, moving, inside).correlation == pytest.approx(1, abs=1e-5)
    assert 0.99 < similarity(fixed, moving, inside).local_correlation <= 1


def test_an_empty_moving_image_has_no_similarity() -> None:
    assert similarity(noise(1), torch.zeros(1, 1, 14, 14, 14), cube()) == (0, 0)


def test_a_linear_map_has_one_determinant_and_no_spread() -> None:
    stretch = matrix_4x4(np.diag([1.25, 0.8, 1.5]))
    determinant, folding = jacobian_summary(displacement_of(affine_map(stretch), GRID), GRID, EVERYWHERE, 1.5)
    np.testing.assert_allclose(determinant, 1.5, atol=1e-4)
    assert determinant.dtype == np.float32
    assert (folding.folded_voxels, folding.folded_percent) == (0, 0)
    assert folding.jacobian_min == pytest.approx(1.5, abs=1e-4)
    assert folding.jacobian_max == pytest.approx(1.5, abs=1e-4)
    assert folding.sd_log_jacobian == pytest.approx(0, abs=1e-4)


def test_spread_is_taken_in_the_foreground_and_extremes_everywhere() -> None:
    u = displacement_of(wave(2.0, 35.0), GRID)
    foreground = np.zeros(GRID.shape_kji, bool)
    foreground[3:6, 2:9, 4:10] = True
    determinant, folding = jacobian_summary(u, GRID, foreground, 1.3)
    expected = determinants(index_displacement(u, GRID)).central.numpy()
    np.testing.assert_array_equal(determinant, expected)
    assert folding.jacobian_min == expected.min()
    assert folding.jacobian_max == expected.max()
    assert folding.sd_log_jacobian == pytest.approx(np.log(expected[foreground]).std(), rel=5e-3)
    # The linear part is a constant factor: it moves log J and does not spread it.
    assert folding.sd_log_jacobian == pytest.approx(
        jacobian_summary(u, GRID, foreground).folding.sd_log_jacobian, abs=1e-5
    )


def test_folded_voxels_are_those_of_the_strict_test() -> None:
    geometry = grid("rotated_90", (10, 10, 10))
    u = np.zeros((10, 10, 10, 3), np.float32)
    u[5, 5, 5] = geometry.ras_from_ijk[:3, 0] * 1.5  # leaps over its neighbour along i
    determinant, folding = jacobian_summary(u, geometry, np.ones(geometry.shape_kji, bool))
    assert determinant[5, 5, 5] == pytest.approx(1)  # central differences do not see it there
    assert folding.folded_voxels == int((determinants(index_displacement(u, geometry)).strict <= 0).sum())
    assert folding.folded_voxels >= 2
    assert folding.folded_percent == pytest.approx(folding.folded_voxels / 10)


def test_folding_does_not_make_the_spread_infinite() -> None:
    mirror = displacement_of(affine_map(np.diag([-1.0, 1.0, 1.0, 1.0])), GRID)
    mirror[:5] = 0
    folding = jacobian_summary(mirror, GRID, EVERYWHERE).folding
    assert folding.folded_voxels > 0
    assert math.isfinite(folding.sd_log_jacobian)
