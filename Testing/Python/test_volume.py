"""What is let in as an image or as a label map, and what is turned away with a sentence."""

import numpy as np
import pytest

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.volume import Volume, checked_image, checked_labels
from MMLNRegistrationLib.spatial.geometry import Geometry
from phantoms import grid

GRID = grid("oblique", (8, 9, 10))


def ramp(dtype: type) -> np.ndarray:
    return (np.arange(GRID.shape_kji[0] * 90).reshape(GRID.shape_kji) % 120).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
def test_every_scalar_type_becomes_float32_with_its_values(dtype: type) -> None:
    image = checked_image(ramp(dtype), GRID, "scan")
    assert image.array_kji.dtype == np.float32
    np.testing.assert_array_equal(image.array_kji, ramp(np.float32))
    assert image.geometry is GRID
    assert image.name == "scan"


def test_a_binary_image_is_an_image() -> None:
    assert checked_image(ramp(np.uint8) > 50, GRID, "mask").array_kji.max() == 1


def test_what_is_not_finite_becomes_the_lowest_value_and_the_input_stays() -> None:
    array = ramp(np.float64) - 7.0
    array[0, 0, 0], array[1, 2, 3], array[2, 2, 2] = np.nan, np.inf, -np.inf
    kept = array.copy()
    image = checked_image(array, GRID, "scan").array_kji
    assert image[0, 0, 0] == image[1, 2, 3] == image[2, 2, 2] == -7
    assert np.isfinite(image).all()
    np.testing.assert_array_equal(array, kept)


def test_a_value_too_big_for_float32_counts_as_infinite() -> None:
    array = ramp(np.float64)
    array[3, 3, 3] = 1e300
    assert checked_image(array, GRID, "scan").array_kji[3, 3, 3] == 0


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full(GRID.shape_kji, 3.0), "scan is constant"),
        (np.full(GRID.shape_kji, np.nan), "no finite voxel"),
        (ramp(np.complex64), "complex"),
    ],
)
def test_images_without_anatomy_are_refused(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_image(array, GRID, "scan")


def test_one_odd_voxel_that_is_not_finite_leaves_a_constant_image_constant() -> None:
    array = np.full(GRID.shape_kji, 3.0)
    array[0, 0, 0] = np.inf
    with pytest.raises(InputError, match="constant"):
        checked_image(array, GRID, "scan")


@pytest.mark.parametrize("shape", [(1, 20, 20), (20, 7, 20), (20, 20, 2)])
def test_slices_and_scraps_are_refused_in_file_order(shape: tuple[int, int, int]) -> None:
    size = " x ".join(str(n) for n in reversed(shape))
    with pytest.raises(InputError, match=f"scan has {size} voxels"):
        checked_image(np.arange(np.prod(shape)).reshape(shape), Geometry(shape, np.eye(4)), "scan")


@pytest.mark.parametrize(
    ("highest", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65535, np.uint16), (65536, np.uint32)]
)
@pytest.mark.parametrize("given", [np.int32, np.float64, np.uint32, np.int64])
def test_labels_are_kept_in_the_smallest_type_that_holds_them(highest: int, dtype: type, given: type) -> None:
    array = np.zeros(GRID.shape_kji, given)
    array[2, 3, 4] = highest
    labels = checked_labels(array, GRID, "labels").array_kji
    assert labels.dtype == dtype
    assert labels[2, 3, 4] == highest
    assert labels.sum() == highest


def test_a_binary_mask_is_a_label_map_of_one() -> None:
    labels = checked_labels(ramp(np.uint8) > 50, GRID, "mask").array_kji
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1}


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (0.5, np.float32, "fractional"),
        (np.nan, np.float64, "non-finite"),
        (np.inf, np.float64, "non-finite"),
        (-1, np.int16, "negative"),
        (-1.0, np.float32, "negative"),
        (2**31, np.int64, "very large"),
        (2**31, np.uint32, "very large"),
        (1j, np.complex64, "complex64"),
    ],
)
def test_what_labels_cannot_be_is_refused(value: complex, dtype: type, message: str) -> None:
    array = np.zeros(GRID.shape_kji, dtype)
    array[1, 1, 1] = value
    with pytest.raises(InputError, match=message):
        checked_labels(array, GRID, "labels")


def test_a_volume_whose_array_does_not_fit_its_grid_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="scan"):
        Volume(np.zeros((8, 9, 11)), GRID, "scan")
