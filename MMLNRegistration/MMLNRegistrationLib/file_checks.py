"""What ITK's readers let pass in silence, found before or after they read: a wrong volume that looks like a right one.

They fill what is missing of a cut-off NIfTI file with zeros, put 0 where it holds NaN, make up a voxel size where its
header has none, close the gap of a missing DICOM slice, and straighten the slices of a tilted gantry.
"""

from __future__ import annotations

import errno
import gzip
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import InputError

_NIFTI_SUFFIXES = (".nii", ".hdr", ".img")
_NIFTI_MAGIC = (b"n+1\0", b"ni1\0")
_HEADER_BYTES = 348
_VOXELS_AT = 352
_FLOAT_TYPES = {16: "f4", 64: "f8"}
"""NIfTI's codes of the types that know NaN, and numpy's names for them."""

_SPACING_TOLERANCE = 0.01
"""Share by which the two voxel sizes that a header may hold can differ: rounding, no more."""

_SLICE_TOLERANCE = 0.1
"""Distance of a slice from its place, as a share of the spacing. Where one is missing it reaches half a spacing."""


def check_nifti(path: Path) -> NDArray[np.bool_] | None:
    """Check a NIfTI or Analyze file, and say which of its voxels are not finite (K, J, I); None where all are.

    Other files are let pass. Raises InputError for a file that is cut off or whose header contradicts itself.
    """
    name = path.name.lower().removesuffix(".gz")
    if not name.endswith(_NIFTI_SUFFIXES):
        return None
    header = _content(path, ".hdr")
    order = _byte_order(header)
    if order is None:
        return None  # not NIfTI, whatever the name says: the reader will complain
    if header[344:348] in _NIFTI_MAGIC:
        _check_voxel_size(header, order, path)
    dimensions, *sizes = struct.unpack_from(f"{order}8h", header, 40)
    sizes = [max(size, 1) for size in sizes[: max(dimensions, 0)]]
    datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
    if datatype in _FLOAT_TYPES:
        bits = 8 * np.dtype(_FLOAT_TYPES[datatype]).itemsize
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    start = max(int(offset), 0) if np.isfinite(offset) else 0
    voxels = header if name.endswith(".nii") else _content(path, ".img")
    count = int(np.prod(sizes, dtype=object))
    if len(voxels) < start + count * bits // 8:
        raise _cut_off(path)
    if datatype not in _FLOAT_TYPES:
        return None
    values = np.frombuffer(voxels, f"{order}{_FLOAT_TYPES[datatype]}", count, start)
    unusable = ~np.isfinite(values)
    return unusable.reshape(sizes[::-1])[(0,) * (len(sizes) - 3)] if unusable.any() and len(sizes) >= 3 else None


def check_nifti_header(path: Path) -> None:
    """Raise InputError for a NIfTI or Analyze file whose header contradicts itself. Voxels are not read."""
    name = path.name.lower().removesuffix(".gz")
    header = _content(path, ".hdr", _HEADER_BYTES) if name.endswith(_NIFTI_SUFFIXES) else b""
    order = _byte_order(header)
    if order is not None and header[344:348] in _NIFTI_MAGIC:
        _check_voxel_size(header, order, path)


def check_dicom_series(image: sitk.Image, files: Sequence[str], folder: Path) -> None:
    """Raise InputError when the slices that ITK made an image of do not lie where it puts them."""
    spacing_mm = image.GetSpacing()[2]
    reader = sitk.ImageFileReader()
    for number, file in enumerate(files):
        reader.SetFileName(file)
        reader.ReadImageInformation()
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        if np.linalg.norm(np.subtract(position, reader.GetOrigin())) > _SLICE_TOLERANCE * spacing_mm:
            raise InputError(
                f"The DICOM series in {folder} is no regular volume: a slice is missing or damaged, or the gantry was "
                "tilted; export it again, or resample it first."
            )


def check_written(path: Path, voxel_bytes: int) -> None:
    """Raise OSError when a NIfTI file that ITK wrote lacks some of its voxels, as on a full disk."""
    name, written = path.name.lower(), path.stat().st_size
    if name.endswith(".gz") and written >= 4:
        with path.open("rb") as file:
            file.seek(-4, 2)
            (written,) = struct.unpack("<I", file.read())  # the last word of a whole gzip stream, modulo 2**32
    if name.endswith((".nii", ".nii.gz")) and written != (voxel_bytes + _VOXELS_AT) % 2**32:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _byte_order(header: bytes) -> str | None:
    """struct's sign for the order of bytes; None where this is no header of NIfTI or Analyze."""
    if len(header) < _HEADER_BYTES:
        return None
    return next((order for order in "<>" if header[:4] == struct.pack(f"{order}i", _HEADER_BYTES)), None)


def _check_voxel_size(header: bytes, order: str, path: Path) -> None:
    """ITK takes the voxel size from pixdim alone, and 1 mm where it makes no sense there."""
    spacing = np.array(struct.unpack_from(f"{order}3f", header, 80))
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(
            f"{path.name} has an unusable geometry: a voxel size in its header is no positive number; correct it."
        )
    qform_code, sform_code = struct.unpack_from(f"{order}2h", header, 252)
    if sform_code > 0 and qform_code <= 0:
        rows = np.reshape(struct.unpack_from(f"{order}12f", header, 280), (3, 4))
        lengths = np.linalg.norm(rows[:, :3], axis=0)
        if not np.isfinite(rows).all() or (np.abs(lengths / spacing - 1) > _SPACING_TOLERANCE).any():
            raise InputError(
                f"{path.name} has an unusable geometry: the sform and the voxel sizes in its header disagree; "
                "correct one of them."
            )


def _content(path: Path, part: str, count: int = -1) -> bytes:
    """The bytes of a file, unpacked, or the first `count`; of a pair of .hdr and .img the part asked for.

    Empty where it is missing. Either part may be packed, whatever the other is.
    """
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    if name.lower().endswith((".hdr", ".img")):
        plain = path.with_name(name[: -len(part)] + part)
        path = plain if plain.is_file() else plain.with_name(f"{plain.name}.gz")
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return gzip.GzipFile(fileobj=file).read(count) if is_packed else file.read(count)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _cut_off(path) from error


def _cut_off(path: Path) -> InputError:
    return InputError(f"{path.name} is damaged or cut off; copy or export it again.")
