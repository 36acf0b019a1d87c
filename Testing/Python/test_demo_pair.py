"""The demo's known map does what it promises, seen only through the delivered pair."""

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.field import deformation
from MMLNRegistrationLib.quality import demo_pair
from MMLNRegistrationLib.quality.demo_errors import demo_errors, field_error
from MMLNRegistrationLib.quality.demo_pair import CONTRAST_GAMMA, make_demo_pair
from MMLNRegistrationLib.spatial.geometry import transform_points
from MMLNRegistrationLib.spatial.velocity import compose
from MMLNRegistrationLib.spatial.warp import sample

pytest.importorskip("nilearn", reason="the template comes with nilearn")

COARSENING = 3


@pytest.fixture(scope="module")
def pair():
    return make_demo_pair(seed=0, coarsening=COARSENING)


def grid_points_ras(geometry):
    index_ijk = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_kji], indexing="ij")[::-1], axis=-1)
    return transform_points(geometry.ras_from_ijk, index_ijk)


def deformed_points_ras(pair):
    """phi(x): the true map with its rigid part taken off again."""
    moved_ras = grid_points_ras(pair.fixed.geometry) + pair.true_displacement_mm
    return transform_points(np.linalg.inv(pair.moving_ras_from_fixed_ras), moved_ras)


def value_at(volume, points_ras):
    ijk = transform_points(volume.geometry.ijk_from_ras, points_ras)
    kji = torch.from_numpy(np.moveaxis(ijk[..., ::-1], -1, 0).astype(np.float32).copy())[None]
    return sample(torch.from_numpy(volume.array_kji)[None, None], kji, outside_zero=True)[0, 0].numpy()


def correlation_in_brain(pair, displacement_mm):
    """Of fixed(x) and moving(x + u(x)), the moving contrast undone."""
    carried = value_at(pair.moving, grid_points_ras(pair.fixed.geometry) + displacement_mm)
    carried = np.maximum(carried, 0) ** (1 / CONTRAST_GAMMA)
    return np.corrcoef(carried[pair.brain], pair.fixed.array_kji[pair.brain])[0, 1]


def test_moving_through_the_true_map_is_fixed(monkeypatch):
    monkeypatch.setattr(demo_pair, "NOISE_SHARE", 0.0)
    monkeypatch.setattr(demo_pair, "BIAS_LOG_AMPLITUDE", 0.0)
    clean = make_demo_pair(seed=0, coarsening=COARSENING)
    rigid_ras = transform_points(clean.moving_ras_from_fixed_ras, grid_points_ras(clean.fixed.geometry))
    rigid_mm = rigid_ras - grid_points_ras(clean.fixed.geometry)
    assert correlation_in_brain(clean, clean.true_displacement_mm) > 0.95
    assert correlation_in_brain(clean, rigid_mm) < 0.8
    assert correlation_in_brain(clean, -clean.true_displacement_mm) < 0.5


def test_noise_and_bias_leave_the_structure(pair):
    assert 0.8 < correlation_in_brain(pair, pair.true_displacement_mm) < 0.99


@pytest.mark.parametrize("seed", range(4))
def test_determinant_is_positive_and_the_deformation_is_several_millimetres(seed):
    pair = make_demo_pair(seed=seed, coarsening=4)
    phi_ras = deformed_points_ras(pair)
    jacobian = np.stack(np.gradient(phi_ras, *pair.fixed.geometry.spacing_mm[::-1], axis=(0, 1, 2))[::-1], axis=-1)
    determinant = np.linalg.det(jacobian)
    assert determinant.min() > 0.2
    assert determinant.max() < 4.0
    size_mm = np.linalg.norm(phi_ras - grid_points_ras(pair.fixed.geometry), axis=-1)[pair.brain]
    assert 3.0 < np.median(size_mm) < 7.0


def test_forward_and_inverse_undo_each_other(pair):
    velocity = demo_pair._random_velocity(np.random.default_rng(0), pair.fixed.geometry)
    forward, inverse = (deformation(v, pair.fixed.geometry).displacement_voxels for v in (velocity, -velocity))
    assert forward.abs().max() > 2.0
    error_voxels = compose(inverse, forward).norm(dim=1)
    assert error_voxels.median() < 0.03
    assert error_voxels.max() < 0.3
    assert forward[:, :, [0, -1]].abs().max() < 1e-4, "the map must be the identity on the grid's border"


def test_misplacement_spacing_and_orientation(pair):
    rigid = pair.moving_ras_from_fixed_ras
    angle = np.degrees(np.arccos((np.trace(rigid[:3, :3]) - 1) / 2))
    centre = pair.fixed.geometry.centre_ras
    assert angle == pytest.approx(12.0)
    assert np.linalg.det(rigid[:3, :3]) == pytest.approx(1.0)
    assert np.linalg.norm(transform_points(rigid, centre) - centre) == pytest.approx(30.0)

    geometry = pair.moving.geometry
    np.testing.assert_allclose(geometry.spacing_mm, np.array([1.2, 1.0, 1.4]) * COARSENING)
    assert np.linalg.det(geometry.direction_ras) == pytest.approx(1.0)
    largest = np.abs(geometry.direction_ras).argmax(axis=0)
    assert largest.tolist() == [1, 2, 0], "stored in sagittal slices"
    assert np.abs(geometry.direction_ras).max() < 0.9999, "and oblique"


def test_second_brain_lies_wholly_inside_its_grid(pair):
    tissues = pair.moving_tissues.array_kji
    inner = tissues[1:-1, 1:-1, 1:-1]
    assert np.count_nonzero(tissues) == np.count_nonzero(inner) > 10_000


def test_scans_differ_in_contrast(pair):
    ratios = []
    for image, tissues in ((pair.fixed, pair.fixed_tissues), (pair.moving, pair.moving_tissues)):
        grey, white = (
            np.median(image.array_kji[tissues.array_kji == label]) for label in (demo_pair.GREY, demo_pair.WHITE)
        )
        ratios.append(white / grey)
    assert ratios[1] > 1.2 * ratios[0]
    assert pair.moving.array_kji.min() >= 0
    np.testing.assert_array_equal(pair.moving.array_kji, np.rint(pair.moving.array_kji))


def test_seed_decides(pair):
    again, other = make_demo_pair(0, COARSENING), make_demo_pair(1, COARSENING)
    np.testing.assert_array_equal(again.moving.array_kji, pair.moving.array_kji)
    np.testing.assert_array_equal(again.true_displacement_mm, pair.true_displacement_mm)
    assert np.abs(other.true_displacement_mm - pair.true_displacement_mm).max() > 2.0


def test_coarser_pairs_show_the_same_anatomy_at_the_same_place(pair):
    coarser = make_demo_pair(0, 4)

    def centre_ras(tissues):
        return transform_points(tissues.geometry.ras_from_ijk, np.argwhere(tissues.array_kji)[:, ::-1].mean(axis=0))

    np.testing.assert_allclose(centre_ras(coarser.fixed_tissues), centre_ras(pair.fixed_tissues), atol=0.5)
    np.testing.assert_allclose(centre_ras(coarser.moving_tissues), centre_ras(pair.moving_tissues), atol=1.0)


def test_errors_fall_from_stored_to_registered(pair):
    errors = demo_errors(pair, pair.true_displacement_mm + np.float32([0, 2, 0]))
    assert errors.registered.median_mm == pytest.approx(2.0, abs=1e-3)
    assert errors.registered.p95_mm == pytest.approx(2.0, abs=1e-3)
    medians = [error.median_mm for error in errors]
    assert medians == sorted(medians, reverse=True)
    assert errors.stored.median_mm > 25
    assert errors.centred.median_mm < 15
    assert 3 < errors.rigid.median_mm < 7
    assert errors.limit.median_mm == 0
    for tissue in ("dice_grey", "dice_white"):
        dice = [getattr(error, tissue) for error in errors]
        assert dice == sorted(dice)
        assert dice[0] < 0.5
        assert dice[-1] > 0.85


def test_error_of_a_field_on_another_grid_is_refused(pair):
    with pytest.raises(ValueError, match="Expected a displacement"):
        field_error(pair, pair.true_displacement_mm[:-1])


def test_without_nilearn_the_sentence_names_the_extra(monkeypatch):
    monkeypatch.setattr(demo_pair, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install \"mmln-registration\[demo\]\""):
        make_demo_pair()


def test_nilearn_without_the_template_is_an_input_error(monkeypatch):
    monkeypatch.setitem(demo_pair._TEMPLATE_FILES, "t1", "moved_elsewhere.nii.gz")
    with pytest.raises(InputError, match=r"does not carry moved_elsewhere\.nii\.gz"):
        make_demo_pair()
