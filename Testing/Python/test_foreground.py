"""Which voxels count: a mask, all tissue, or the extracted brain; and the message when that is not installed."""

import importlib.util

import numpy as np
import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.foreground import LEAST_VOXELS, foreground, tissue
from MMLNRegistrationLib.pipeline.volume import Volume
from phantoms import brain, grid, image

CPU = torch.device("cpu")
GRID = grid("lps_axes", (24, 26, 24), (5.0, 5.0, 5.0))
BRAIN = image(brain, GRID, "scan")


def mask_of(array: np.ndarray, name: str = "mask") -> Volume:
    return Volume(array.astype(np.uint8), GRID, name)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * np.count_nonzero(first & second) / (first.sum() + second.sum())


def test_a_given_mask_decides_and_the_rest_is_ignored() -> None:
    chosen = BRAIN.array_kji > 0.4
    # Any label above zero belongs to the mask.
    found = foreground(BRAIN, mask_of(chosen * 7), "none", CPU)
    assert found.excludes_rest
    np.testing.assert_array_equal(found.voxels, chosen)


def test_a_mask_on_another_grid_is_refused_by_name() -> None:
    other = Volume(np.ones((24, 26, 24), np.uint8), grid("identity", (24, 26, 24), (5.0, 5.0, 5.0)), "wrong.nii.gz")
    with pytest.raises(InputError, match=r"wrong\.nii\.gz does not lie on the grid of scan"):
        foreground(BRAIN, other, "none", CPU)


def test_an_almost_empty_mask_is_refused() -> None:
    few = np.zeros(GRID.shape_kji)
    few.ravel()[: LEAST_VOXELS - 1] = 1
    with pytest.raises(InputError, match="fewer than"):
        foreground(BRAIN, mask_of(few), "none", CPU)
    few.ravel()[:LEAST_VOXELS] = 1
    assert foreground(BRAIN, mask_of(few), "none", CPU).voxels.sum() == LEAST_VOXELS


def test_an_unknown_brain_option_is_refused_with_the_choices() -> None:
    with pytest.raises(InputError, match="'hd-bet'; choose auto or none"):
        foreground(BRAIN, None, "hd-bet", CPU)


def test_all_but_the_empty_background_of_a_stripped_scan_is_tissue() -> None:
    stripped = Volume(BRAIN.array_kji - 5, GRID, "scan")  # whatever the background's value
    np.testing.assert_array_equal(tissue(stripped), BRAIN.array_kji > 0)
    found = foreground(stripped, None, "none", CPU)
    assert not found.excludes_rest
    np.testing.assert_array_equal(found.voxels, BRAIN.array_kji > 0)


@pytest.mark.parametrize("hot", [0, 20])
def test_a_noisy_background_is_told_from_tissue_in_spite_of_hot_voxels(hot: int) -> None:
    random = np.random.default_rng(0)
    noisy = BRAIN.array_kji + np.abs(random.normal(0, 0.03, GRID.shape_kji)).astype(np.float32)
    noisy.ravel()[random.choice(noisy.size, hot, replace=False)] = 100
    assert overlap(tissue(Volume(noisy, GRID, "scan")), BRAIN.array_kji > 0.3) > 0.9


def test_a_mask_makes_extraction_needless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert foreground(BRAIN, mask_of(BRAIN.array_kji > 0.1), "auto", CPU).voxels.any()


def test_extraction_is_asked_for_by_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    extracted = BRAIN.array_kji > 0.5
    monkeypatch.setattr("MMLNRegistrationLib.pipeline.foreground.extract_brain", lambda scan, device: extracted)
    found = foreground(BRAIN, None, "auto", CPU)
    assert found.excludes_rest
    assert found.voxels is extracted


def test_extraction_without_deepbet_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs deepbet: run pip install 'mmln-registration\[brain\]'"):
        foreground(BRAIN, None, "auto", CPU)
