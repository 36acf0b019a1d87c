"""Whether an upload is a volume, and how many voxels it has, by its header alone and in Python alone.

ITK, which reads it later in the worker, is too trusting for files of strangers: a header may name another file of this
machine for the voxels, or ask for more memory than there is.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import InputError
from .refusals import Refusal

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mgz")
TRANSFORM_SUFFIXES = (".tfm", ".txt", ".mat")
"""No .h5: such a file may refer to other files."""

NETWORK_SUFFIX = ".safetensors"
SUFFIXES = (*VOLUME_SUFFIXES, *TRANSFORM_SUFFIXES, NETWORK_SUFFIX)

_HEADER_BYTES = 1 << 16
_BEYOND_VOXELS_BYTES = 1 << 20
"""What may follow the voxels, or stand before them: extensions and comments."""

_PIECE_BYTES = 1 << 20


def count_voxels(path: Path, suffix: str, most: int) -> int | None:
    """Voxels of an uploaded volume; None for other files, of which nothing is read.

    Raises InputError for what is no volume, and Refusal (413) for one of more than `most` voxels.
    """
    if suffix not in VOLUME_SUFFIXES:
        return None
    is_packed = suffix in (".nii.gz", ".mgz")
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if is_packed:
        start = _unpacked_start(start)
    sizes, voxel_bytes = _READERS[suffix](start)
    if not sizes or min(sizes) < 1:
        raise InputError("The upload is no volume: its header tells no size.")
    voxels = math.prod(sizes)
    if voxels > most:
        raise Refusal(413, f"The volume has {voxels} voxels, more than the {most} that this server takes; resample it.")
    if is_packed:
        _require_at_most(path, int(voxels * voxel_bytes) + _BEYOND_VOXELS_BYTES)
    return voxels


def _nifti(start: bytes) -> tuple[Sequence[int], float]:
    for order in "<>":
        if start[:4] == struct.pack(f"{order}i", 348) and start[344:348] == b"n+1\0":
            dimensions, *sizes = struct.unpack_from(f"{order}8h", start, 40)
            (bits,) = struct.unpack_from(f"{order}h", start, 72)
            return _nifti_sizes(dimensions, sizes), abs(bits) / 8
        if start[:4] == struct.pack(f"{order}i", 540) and start[4:8] == b"n+2\0" and len(start) >= 540:
            (bits,) = struct.unpack_from(f"{order}h", start, 14)
            dimensions, *sizes = struct.unpack_from(f"{order}8q", start, 16)
            return _nifti_sizes(dimensions, sizes), abs(bits) / 8
    raise InputError("The upload is no NIfTI file of one piece; send .nii, .nii.gz, .nrrd, .mha or .mgz.")


def _nifti_sizes(dimensions: int, sizes: Sequence[int]) -> list[int]:
    return [max(size, 1) for size in sizes[:dimensions]] if 1 <= dimensions <= 7 else []


def _freesurfer(start: bytes) -> tuple[Sequence[int], float]:
    if len(start) < 284 or struct.unpack_from(">i", start)[0] != 1:
        raise InputError("The upload is no MGZ file.")
    return struct.unpack_from(">4i", start, 4), 8.0


def _nrrd(start: bytes) -> tuple[Sequence[int], float]:
    header, end, _ = start.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = header.decode("latin-1").split("\n")
    if not (re.fullmatch(r"NRRD000[1-5]", lines[0]) and end):
        raise InputError("The upload is no NRRD file with its voxels in it, or its header is longer than 64 KiB.")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(re.sub(r"\s", "", name).lower(), value)
    if "datafile" in fields:
        raise InputError("The NRRD header names another file for the voxels; save the volume as one file.")
    return _whole_numbers(fields.get("sizes", "")), 8.0


def _meta_image(start: bytes) -> tuple[Sequence[int], float]:
    sizes: Sequence[int] = ()
    for line in start.split(b"\n"):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*([ -~]*?)\s*", line.decode("latin-1"))
        if match is None:
            break
        if match[1].lower() == "dimsize":
            sizes = _whole_numbers(match[2])
        elif match[1].lower() == "elementdatafile":
            if match[2].upper() != "LOCAL":
                raise InputError("The MHA header names another file for the voxels; save the volume as one file.")
            return sizes, 8.0
    raise InputError("The upload is no MHA file with its voxels in it.")


def _whole_numbers(text: str) -> list[int]:
    words = text.split()
    return [int(word) for word in words] if all(re.fullmatch(r"[0-9]{1,9}", word) for word in words) else []


_READERS: dict[str, Callable[[bytes], tuple[Sequence[int], float]]] = {
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".nrrd": _nrrd,
    ".mha": _meta_image,
    ".mgz": _freesurfer,
}
"""Each gives the sizes along the axes, empty when there are none, and at most so many bytes a voxel."""


def _unpacked_start(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, _HEADER_BYTES)
    except zlib.error as error:
        raise InputError("The upload is not packed by gzip, as its name says; send it anew.") from error


def _require_at_most(path: Path, most_bytes: int) -> None:
    """Refuse a small file that unpacks to an endless one."""
    unpacked = 0
    with path.open("rb") as file:
        gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            while piece := file.read(_PIECE_BYTES):
                while piece:
                    unpacked += len(gzip.decompress(piece, _PIECE_BYTES))
                    if unpacked > most_bytes:
                        raise InputError("The upload unpacks to more than its header tells; save the volume anew.")
                    piece = gzip.unconsumed_tail
                    if gzip.eof:
                        if gzip.unused_data and not gzip.unused_data.startswith(b"\x1f"):
                            return  # padding, which readers pass over
                        piece, gzip = gzip.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 16)
        except zlib.error as error:
            raise InputError("The upload is damaged or cut off; send it anew.") from error
