"""A displacement field written piece by piece, as it is sampled: an uncompressed MetaImage (.mha), which ITK reads.

A program with a window samples a field in slices of time, and holds none of it in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import io
from .errors import InputError
from .spatial.geometry import Geometry
from .writing import PARTIAL_PREFIX


class DisplacementFile:
    """A file on its way; it gets its name when it is complete."""

    def __init__(self, path: Path, geometry: Geometry) -> None:
        """path: ends in .mha, in a folder that exists. geometry: of the grid, which must have right angles.

        Raises InputError when the file cannot be made.
        """
        self._path, self._partial = path, path.with_name(f"{PARTIAL_PREFIX}{path.name}")
        self._missing = int(np.prod(geometry.shape_kji))
        try:
            self._file = self._partial.open("wb")
            self._file.write(_header(geometry))
        except OSError as error:
            raise self._failed(error) from error

    def append(self, displacement_mm: NDArray[np.floating]) -> None:
        """The next vectors (N, 3) in array order, mm, components R, A, S. Raises InputError when the disk is full."""
        vectors = np.ascontiguousarray(np.multiply(displacement_mm, io.VECTOR_SIGNS, dtype=np.float32))
        self._missing -= len(vectors)
        try:
            self._file.write(vectors.data)
        except OSError as error:
            self.discard()
            raise self._failed(error) from error

    def close(self) -> Path:
        """Finish, and return the path; all vectors must be there. Raises InputError when it cannot be written."""
        assert self._missing == 0, f"{self._missing} vectors are missing."
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


def _header(geometry: Geometry) -> bytes:
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
        "ElementNumberOfChannels": "3",
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in lines.items()).encode("ascii")


def _numbers(values: list[float]) -> str:
    return " ".join(repr(value) for value in values)
