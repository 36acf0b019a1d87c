"""Volumes of FreeSurfer, which ITK cannot read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import InputError
from .spatial.geometry import Matrix

SUFFIXES = (".mgz", ".mgh")


def read_freesurfer(path: Path) -> tuple[NDArray, Matrix]:
    """The voxels (K, J, I) of a scalar 3D volume and ras_from_ijk.

    Raises InputError when nibabel is missing, or the file is damaged or of more dimensions.
    """
    try:
        import nibabel
    except ImportError as error:
        raise InputError(
            f"{path.name}: reading MGZ needs nibabel; pip install nibabel, or convert it to NIfTI."
        ) from error
    try:
        image = nibabel.freesurfer.mghformat.load(path)
        array_ijk = np.asarray(image.dataobj)
    except Exception as error:
        raise InputError(f"{path.name} cannot be read as a FreeSurfer volume; it may be damaged or cut off.") from error
    while array_ijk.ndim > 3 and array_ijk.shape[-1] == 1:
        array_ijk = array_ijk[..., 0]
    if array_ijk.ndim != 3:
        raise InputError(f"{path.name} is {array_ijk.ndim}D; choose one 3D volume of it.")
    native = array_ijk.astype(array_ijk.dtype.newbyteorder("="))
    return np.ascontiguousarray(native.transpose(2, 1, 0)), np.asarray(image.affine, dtype=np.float64)
