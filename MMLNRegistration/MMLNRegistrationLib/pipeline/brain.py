"""Brain extraction by deepbet (MIT licence, weights inside its package), an optional extra."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from .volume import Volume


def extract_brain(image: Volume, device: torch.device) -> NDArray[np.bool_]:
    """(K, J, I) brain mask of a whole-head T1-weighted image.

    Raises InputError when deepbet is not installed or finds no brain.
    """
    if importlib.util.find_spec("deepbet") is None:
        raise InputError(
            "Brain extraction needs deepbet: run pip install 'mmln-registration[brain]', give a mask, "
            "or use --brain none."
        )
    import nibabel
    from deepbet.bet import BrainExtraction

    array_ijk = np.ascontiguousarray(image.array_kji.transpose(2, 1, 0))
    nifti = nibabel.nifti1.Nifti1Image(array_ijk, image.geometry.ras_from_ijk)
    try:
        _, mask, _ = BrainExtraction(no_gpu=device.type == "cpu").run(nifti)
    except (AssertionError, ValueError) as error:  # deepbet's words for an empty mask, at two places
        raise InputError(f"No brain was found in {image.name}; give a mask or use --brain none.") from error
    # deepbet works in the closest canonical orientation and may answer in it: turn the mask back.
    to_image = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(mask.affine), nibabel.orientations.io_orientation(nifti.affine)
    )
    brain_ijk = nibabel.orientations.apply_orientation(np.asarray(mask.dataobj), to_image) > 0
    brain: NDArray[np.bool_] = brain_ijk.transpose(2, 1, 0)
    if not brain.any():
        raise InputError(f"No brain was found in {image.name}; give a mask or use --brain none.")
    return brain
