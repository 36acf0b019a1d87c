"""Named arrays in one file of the safetensors format, written and read with numpy alone.

The format's own package is not part of Slicer, and offline it cannot be installed. A file is: the length of the header
in eight bytes; the header, a JSON object with the type, shape and place of every array and with free texts; and the
arrays, one behind the other, in C order. All numbers are little endian. Nothing in a file is executed.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "I32": np.dtype("<i4"),
    "F16": np.dtype("<f2"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""In the order in which the arrays of a file are written, so that each begins at a multiple of its type's size."""

_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_METADATA = "__metadata__"
_LARGEST_HEADER_BYTES = 100_000_000
"""The limit of the format itself."""
_ALIGNMENT_BYTES = 8


class TensorFileError(ValueError):
    """What is wrong with a file, as the second half of a sentence: "... cannot be read: it is cut off"."""


class _Place(NamedTuple):
    """Where an array lies: bytes from the header's end."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


class TensorFile:
    """An open file: its texts, the names of its arrays, and each array, which is read when it is asked for."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        """Read and check the header. Raises TensorFileError when the file is not wholly what the format says."""
        self._file = file
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        header = _read_header(file, size_bytes)
        self._start = file.tell()
        self.metadata: Mapping[str, str] = _checked_metadata(header.pop(_METADATA, {}))
        self._places = {name: _place(name, values) for name, values in header.items()}
        _check_order(self._places, size_bytes - self._start)

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays' names, as the header lists them."""
        return tuple(self._places)

    def read(self, name: str) -> NDArray[Any]:
        """One array, in memory of its own. Raises TensorFileError when there is none of this name."""
        place = self._places.get(name)
        if place is None:
            raise TensorFileError(f"it holds no array {name!r}")
        content = np.empty(place.end - place.begin, dtype=np.uint8)
        self._file.seek(self._start + place.begin)
        if self._file.readinto(content.data) != content.size:
            raise TensorFileError("it is cut off")
        if place.dtype == np.bool_ and content.max(initial=0) > 1:
            raise TensorFileError(f"{name!r} holds bytes that are neither true nor false")
        array = content.view(place.dtype)
        try:
            return array.astype(place.dtype.newbyteorder("="), copy=False).reshape(place.shape)
        except ValueError as error:  # an empty array of 2^62 columns, or one with a hundred axes
            raise TensorFileError(f"the shape of {name!r} is none that an array can have") from error


@contextmanager
def open_tensors(path: Path) -> Iterator[TensorFile]:
    """The file at a path, open for reading. Raises TensorFileError as TensorFile does, and OSError."""
    with path.open("rb") as file:
        yield TensorFile(file)


def tensor_bytes(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The content of a file with these arrays and texts: the same bytes for the same values, in whatever order.

    Raises TensorFileError for an array of a type that the format or this program does not know.
    """
    codes: dict[str, str] = {}
    for name, array in arrays.items():
        code = _CODES.get(array.dtype.newbyteorder("<"))
        if code is None or name == _METADATA:
            raise TensorFileError(f"an array {name!r} of the type {array.dtype} cannot be stored")
        codes[name] = code
    order = list(_DTYPES)
    header: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    contents: list[bytes] = []
    begin = 0
    for name in sorted(codes, key=lambda name: (order.index(codes[name]), name)):
        code, array = codes[name], arrays[name]
        contents.append(array.astype(_DTYPES[code], copy=False).tobytes())
        end = begin + len(contents[-1])
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return b"".join([len(text).to_bytes(8, "little"), text, *contents])


def _read_header(file: io.BufferedIOBase, size_bytes: int) -> dict[str, Any]:
    length_bytes = int.from_bytes(file.read(8), "little")
    if size_bytes < 8 or not 2 <= length_bytes <= _LARGEST_HEADER_BYTES:
        raise TensorFileError("it has no header")
    if length_bytes > size_bytes - 8:
        raise TensorFileError("it is cut off in its header")
    try:
        text = file.read(length_bytes).decode()
        header = json.loads(text, object_pairs_hook=_checked_object)
    except (ValueError, RecursionError) as error:
        raise TensorFileError("its header is damaged") from error
    if not isinstance(header, dict) or not text.startswith("{"):
        raise TensorFileError("its header is damaged")
    return header


def _checked_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated names and without half characters, which JSON can escape but text cannot hold."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    for part in (part for pair in pairs for part in pair if isinstance(part, str)):
        part.encode()
    return found


def _checked_metadata(values: Any) -> dict[str, str]:
    if not isinstance(values, dict) or not all(isinstance(text, str) for text in values.values()):
        raise TensorFileError("the texts in its header are damaged")
    return values


def _place(name: str, values: Any) -> _Place:
    if not isinstance(values, dict) or set(values) != {"dtype", "shape", "data_offsets"}:
        raise TensorFileError(f"its header does not say what {name!r} is")
    code, shape, offsets = values["dtype"], values["shape"], values["data_offsets"]
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise TensorFileError(f"its header does not say where {name!r} lies")
    if not isinstance(code, str) or code not in _DTYPES:
        raise TensorFileError(f"{name!r} is of the type {code!r}, which this program does not read")
    begin, end = offsets
    if math.prod(shape) * _DTYPES[code].itemsize != end - begin:
        raise TensorFileError(f"the size of {name!r} does not fit its shape")
    return _Place(_DTYPES[code], tuple(shape), begin, end)


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_order(places: Mapping[str, _Place], size_bytes: int) -> None:
    """Whether the arrays fill the file behind the header, each byte once."""
    end = 0
    for place in sorted(places.values(), key=lambda place: (place.begin, place.end)):
        if place.begin != end:
            raise TensorFileError("its arrays overlap or leave a gap")
        end = place.end
    if end > size_bytes:
        raise TensorFileError("it is cut off")
    if end < size_bytes:
        raise TensorFileError("it goes on behind its last array")
