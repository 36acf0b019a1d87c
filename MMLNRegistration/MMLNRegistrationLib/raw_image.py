"""Uncompressed volumes and fields, written piece by piece: MetaImage files (.mha), which ITK and all here read.

A program with a window writes them in slices of time, or in a thread: no piece holds it up, and nothing is compressed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import io
from .errors import InputError
from .spatial.geometry import Geometry
from .writing import PARTIAL_PREFIX

_WORDS = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "int64": "MET_LONG_LONG",
    "uint64": "MET_ULONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
_PIECE_VALUES = 1 << 18
"""Values written at a time: a fraction of a millisecond's work."""


class RawImage:
    """A file on its way; it gets its name when it is complete."""

    def __init__(self, path: Path, geometry: Geometry, dtype: np.dtype[Any], components: int = 1) -> None:
        """components: 1 for a volume, 3 for a displacement, whose values are R, A, S.

        Raises InputError when the file cannot be made, or MetaImage has no word for its type.
        """
        if dtype.name not in _WORDS:
            raise InputError(f"Voxels of the type {dtype.name} cannot be written; cast the volume to numbers first.")
        self._path, self._partial = path, path.with_name(f"{PARTIAL_PREFIX}{path.name}")
        self._dtype, self._components = dtype, components
        self._missing = components * int(np.prod(geometry.shape_kji))
        try:
            self._file = self._partial.open("wb")
            self._file.write(_header(geometry, dtype, components))
        except OSError as error:
            raise self._failed(error) from error

    def append(self, values: NDArray[Any]) -> None:
        """The next values in array order: (N,) voxels, or (N, 3) vectors in mm RAS. Raises InputError."""
        if self._components == 3:
            values = values * np.array(io.VECTOR_SIGNS, dtype=self._dtype)
        piece = np.ascontiguousarray(values, dtype=self._dtype)
        self._missing -= piece.size
        try:
            self._file.write(piece.data)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error

    def close(self) -> Path:
        """Finish, and return the path. Raises InputError when it cannot be written; all values must be there."""
        assert self._missing == 0, f"{self._missing} values are missing."
        try:
            self._file.close()
            self._partial.replace(self._path)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error
        return self._path

    def discard(self) -> None:
        """Give up, and remove what there is. After close it does nothing."""
        try:
            self._file.close()
        finally:
            self._partial.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> InputError:
        return InputError(f"{self._path} cannot be written ({error.strerror}); check the space left on the disk.")


def write_raw(
    path: Path, array_kji: NDArray[Any], geometry: Geometry, is_unwanted: Callable[[], bool] = lambda: False
) -> Path | None:
    """Write a volume; made for a thread, for it leaves the interpreter often. None when it was not wanted any more.

    Raises InputError when it cannot be written.
    """
    image = RawImage(path, geometry, array_kji.dtype)
    flat = array_kji.reshape(-1)
    for start in range(0, flat.size, _PIECE_VALUES):
        if is_unwanted():
            image.discard()
            return None
        image.append(flat[start : start + _PIECE_VALUES])
    return image.close()


def read_tail(path: Path, shape_kji: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The voxels of an uncompressed volume whose size and type are known: the last bytes of its file.

    Raises InputError when the file is missing or too short.
    """
    count = int(np.prod(shape_kji))
    try:
        offset = path.stat().st_size - count * dtype.itemsize
        if offset < 0:
            raise InputError(f"{path.name} is too short; make it again.")
        return np.fromfile(path, dtype=dtype, count=count, offset=offset).reshape(shape_kji)
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}); make it again.") from error


def _header(geometry: Geometry, dtype: np.dtype[Any], components: int) -> bytes:
    matrix = io.file_matrix(geometry)
    # MetaImage lists the directions axis by axis, which are the columns.
    directions = (matrix[:3, :3] / geometry.spacing_mm).T
    lines = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(sys.byteorder == "big"),
        "CompressedData": "False",
        "TransformMatrix": _numbers(directions.ravel().tolist()),
        "Offset": _numbers(matrix[:3, 3].tolist()),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(geometry.spacing_mm.tolist()),
        "DimSize": " ".join(str(size) for size in geometry.size_ijk),
        **({"ElementNumberOfChannels": str(components)} if components > 1 else {}),
        "ElementType": _WORDS[dtype.name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items()).encode("ascii")


def _numbers(values: list[float]) -> str:
    return " ".join(repr(value) for value in values)
