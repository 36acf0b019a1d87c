"""Brain extraction: the mask lies on the image's own voxels, whatever orientation deepbet answers in."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import nibabel
import numpy as np
import pytest
import torch

from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.pipeline.brain import extract_brain
from MMLNRegistrationLib.pipeline.volume import Volume
from phantoms import DIRECTIONS, brain, grid, image, voxels_ras

CPU = torch.device("cpu")


class Thresholding:
    """In deepbet's place: the brain is what is brighter than 0.4, answered in the closest canonical orientation."""

    canonical_answer = True

    def __init__(self, no_gpu: bool) -> None:
        assert no_gpu

    def run(self, scan: nibabel.Nifti1Image) -> tuple[None, nibabel.Nifti1Image, float]:
        answer = nibabel.as_closest_canonical(scan) if self.canonical_answer else scan
        mask = (np.asarray(answer.dataobj) > 0.4).astype(np.uint8)
        return None, nibabel.Nifti1Image(mask, answer.affine), 0.0


def install(extraction: type, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = ModuleType("deepbet"), ModuleType("deepbet.bet")
    package.__spec__ = ModuleSpec("deepbet", None)
    module.BrainExtraction = extraction  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deepbet", package)
    monkeypatch.setitem(sys.modules, "deepbet.bet", module)


@pytest.mark.parametrize("canonical_answer", [True, False])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_mask_is_turned_back_to_the_image(
    direction: str, canonical_answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Thresholding, "canonical_answer", canonical_answer)
    install(Thresholding, monkeypatch)
    scan = image(brain, grid(direction, (20, 26, 24), (5.5, 5.0, 6.0)), "scan")
    found = extract_brain(scan, CPU)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, scan.array_kji > 0.4)


class Failing(Thresholding):
    error: Exception

    def run(self, scan: nibabel.Nifti1Image) -> tuple[None, nibabel.Nifti1Image, float]:
        raise self.error


class Blind(Thresholding):
    def run(self, scan: nibabel.Nifti1Image) -> tuple[None, nibabel.Nifti1Image, float]:
        return None, nibabel.Nifti1Image(np.zeros(scan.shape, np.uint8), scan.affine), 0.0


@pytest.mark.parametrize(
    ("extraction", "error"),
    [(Failing, AssertionError("Not enough foreground")), (Failing, ValueError("argmax of nothing")), (Blind, None)],
)
def test_no_brain_is_a_sentence(extraction: type, error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if error is not None:
        monkeypatch.setattr(extraction, "error", error, raising=False)
    install(extraction, monkeypatch)
    scan = Volume(np.random.default_rng(0).random((8, 9, 10)).astype(np.float32), grid("oblique", (8, 9, 10)), "chair")
    with pytest.raises(InputError, match="No brain was found in chair; give a mask"):
        extract_brain(scan, CPU)


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["lps_axes", "oblique_left_handed"])
def test_deepbet_itself_marks_the_brain_in_the_voxels_of_the_image(direction: str) -> None:
    pytest.importorskip("deepbet")
    geometry = grid(direction, (80, 88, 84), (2.0, 2.0, 2.0))

    def head(points: np.ndarray) -> np.ndarray:
        r, a, s = np.moveaxis(points, -1, 0)
        skull = np.sqrt((r / 64) ** 2 + (a / 76) ** 2 + ((s - 2) / 60) ** 2)
        return brain(points) + 0.9 * np.exp(-(((skull - 1) / 0.05) ** 2))

    found = extract_brain(image(head, geometry, "head"), CPU)
    expected = brain(voxels_ras(geometry)) > 0.1
    assert 2 * np.count_nonzero(found & expected) / (found.sum() + expected.sum()) > 0.8
