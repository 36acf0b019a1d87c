"""The safetensors format without its package: each reads what the other writes, and damage is told."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from numpy.typing import NDArray

from MMLNRegistrationLib.tensor_file import TensorFile, TensorFileError, open_tensors, tensor_bytes

DTYPES = ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
METADATA = {"key": "Grüße, “quotes” \\ and \n lines"}


def samples() -> dict[str, NDArray]:
    """Every type, sizes that leave odd ends, no axis, no element; names out of order."""
    arrays = {f"{'zyx'[index % 3]}.{dtype}": np.arange(5).astype(dtype) for index, dtype in enumerate(DTYPES)}
    arrays["step"] = np.array(7, dtype=np.float32)
    arrays["empty"] = np.zeros((2, 0, 3), dtype=np.int16)
    arrays["names ü may be texts"] = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    return arrays


def read_all(content: bytes) -> dict[str, NDArray]:
    file = TensorFile(io.BytesIO(content))
    return {name: file.read(name) for name in file.names}


def assert_same(found: dict[str, NDArray], expected: dict[str, NDArray]) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()  # not-a-number too


def file_of(header: object, content: bytes = b"") -> bytes:
    """A file with a header of our own making: an object, or a text as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content


any_array = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
any_arrays = st.dictionaries(any_text.filter(lambda name: name != "__metadata__"), any_array, max_size=5)


@given(any_arrays, st.dictionaries(any_text, any_text, max_size=3))
@example(samples(), METADATA)
@example({}, {})
def test_both_programs_read_what_we_write(arrays: dict[str, NDArray], metadata: dict[str, str]) -> None:
    content = tensor_bytes(arrays, metadata)
    file = TensorFile(io.BytesIO(content))
    assert file.metadata == metadata
    assert_same(read_all(content), arrays)
    assert_same(safetensors.numpy.load(content), arrays)


@given(any_arrays, st.dictionaries(any_text, any_text, max_size=1))
@example(samples(), METADATA)
def test_ours_are_the_bytes_of_the_package(arrays: dict[str, NDArray], metadata: dict[str, str]) -> None:
    assert tensor_bytes(arrays, metadata) == safetensors.numpy.save(arrays, metadata=metadata or None)


def test_the_package_reads_our_texts_and_single_arrays(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    path.write_bytes(tensor_bytes(samples(), METADATA))
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata() == METADATA
        np.testing.assert_array_equal(file.get_tensor("z.int64"), np.arange(5))
        assert file.get_tensor("step").shape == ()


def test_layout_of_a_small_file() -> None:
    content = tensor_bytes({"b": np.array([1, 256], dtype=">i2"), "a": np.array([True])}, {})
    header = (
        b'{"b":{"dtype":"I16","shape":[2],"data_offsets":[0,4]},"a":{"dtype":"BOOL","shape":[1],"data_offsets":[4,5]}}'
    )
    assert len(header) == 108
    assert content == (112).to_bytes(8, "little") + header + b"    " + b"\1\0\0\1" + b"\1"


def test_the_order_of_what_is_given_does_not_matter() -> None:
    arrays, metadata = samples(), {"b": "1", "a": "2"}
    turned = dict(reversed(arrays.items())), dict(reversed(metadata.items()))
    assert tensor_bytes(arrays, metadata) == tensor_bytes(*turned)
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    assert tensor_bytes({"a": columns}, {}) == tensor_bytes({"a": columns.copy("C")}, {})


def test_one_array_is_read_without_the_rest() -> None:
    """Each reading touches the header or the array that is asked for."""

    class Counted(io.BytesIO):
        asked_bytes = 0

        def readinto(self, buffer):
            self.asked_bytes += len(buffer)
            return super().readinto(buffer)

        def read(self, size=-1):
            assert size >= 0
            self.asked_bytes += size
            return super().read(size)

    content = tensor_bytes({"large": np.zeros(100_000), "small": np.arange(3)}, {})
    file = Counted(content)
    np.testing.assert_array_equal(TensorFile(file).read("small"), [0, 1, 2])
    assert file.asked_bytes < 300


def test_arrays_are_writable_and_outlive_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(tensor_bytes({"a": np.zeros(3)}, {}))
    with open_tensors(path) as file:
        array = file.read("a")
    path.unlink()
    array += 1
    assert array.tolist() == [1, 1, 1]
    with pytest.raises(FileNotFoundError), open_tensors(path):
        pass


ONE = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}
TWO = {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no header"),
        (b"\x02\0\0", "no header"),
        (b"a text, not arrays", "no header"),
        (file_of(b""), "no header"),
        ((100_000_001).to_bytes(8, "little") + b"{}", "no header"),
        ((100_000_000).to_bytes(8, "little") + b"{}", "cut off in its header"),
        (file_of({})[:-1], "cut off in its header"),
        (file_of([]), "header is damaged"),
        (file_of(b"  {}"), "header is damaged"),
        (file_of(b"{}}"), "header is damaged"),
        (file_of(b'{"\xff": 1}'), "header is damaged"),
        (file_of(b'{"\\ud800": 1}'), "header is damaged"),
        (file_of(b'{"a":' * 100_000), "header is damaged"),
        (file_of(b'{"__metadata__": {}, "__metadata__": {}}'), "header is damaged"),
        (file_of({"__metadata__": None}), "texts in its header"),
        (file_of({"__metadata__": {"a": 1}}), "texts in its header"),
        (file_of({"a": 1}), "does not say what 'a' is"),
        (file_of({"a": {"dtype": "U8", "shape": [0]}}), "does not say what 'a' is"),
        (file_of({"a": {**ONE, "more": 1}}, b"12"), "does not say what 'a' is"),
        (file_of({"a": {**ONE, "shape": 2}}, b"12"), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "shape": [2.0]}}, b"12"), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "shape": [True, 2]}}, b"12"), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "shape": [-1, -2]}}, b"12"), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "shape": [2**63, 0]}}), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "data_offsets": [2]}}, b"12"), "does not say where 'a' lies"),
        (file_of({"a": {**ONE, "dtype": "BF16"}}, b"12"), "type 'BF16', which this program does not read"),
        (file_of({"a": {**ONE, "dtype": ["U8"]}}, b"12"), "does not read"),
        (file_of({"a": {**ONE, "dtype": "F32"}}, b"12"), "does not fit its shape"),
        (file_of({"a": {**ONE, "shape": []}}, b"12"), "does not fit its shape"),
        (file_of({"a": {**ONE, "data_offsets": [2, 0]}}, b"12"), "does not fit its shape"),
        (file_of({"a": ONE, "b": ONE}, b"12"), "overlap or leave a gap"),
        (file_of({"a": TWO}, b"1234"), "overlap or leave a gap"),
        (file_of({"a": ONE, "b": TWO}, b"123"), "cut off$"),
        (file_of({"a": ONE}, b"123"), "behind its last array"),
        (file_of({}, b"1"), "behind its last array"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(TensorFileError, match=sentence):
        TensorFile(io.BytesIO(content))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (file_of({"a": {**ONE, "dtype": "BOOL"}}, b"\1\2"), "neither true nor false"),
        (file_of({"a": {**ONE, "shape": [0, 2**62, 2**62], "data_offsets": [0, 0]}}), "none that an array can have"),
        (file_of({"a": {**ONE, "shape": [1] * 100, "data_offsets": [0, 1]}}, b"1"), "none that an array can have"),
        (file_of({"b": ONE}, b"12"), "holds no array 'a'"),
    ],
)
def test_what_is_no_array_is_refused_when_it_is_read(content: bytes, sentence: str) -> None:
    file = TensorFile(io.BytesIO(content))
    with pytest.raises(TensorFileError, match=sentence):
        file.read("a")


def test_a_file_that_shrinks_while_it_is_open_is_told() -> None:
    content = io.BytesIO(tensor_bytes({"a": np.zeros(3)}, {}))
    file = TensorFile(content)
    content.truncate(len(content.getvalue()) - 8)
    with pytest.raises(TensorFileError, match="cut off"):
        file.read("a")


@pytest.mark.parametrize("array", [np.zeros(2, dtype=complex), np.array(["text"]), np.array([None])])
def test_what_cannot_be_stored_is_refused(array: NDArray) -> None:
    with pytest.raises(TensorFileError, match=r"'a' of the type .* cannot be stored"):
        tensor_bytes({"a": array}, {})
    with pytest.raises(TensorFileError, match="__metadata__"):
        tensor_bytes({"__metadata__": np.zeros(1)}, {})


WHOLE = tensor_bytes(samples(), METADATA)
HEADER_END = 8 + int.from_bytes(WHOLE[:8], "little")
place_and_byte = st.tuples(
    st.one_of(st.integers(0, HEADER_END - 1), st.integers(0, len(WHOLE) - 1)), st.integers(0, 255)
)


@given(st.lists(place_and_byte, min_size=1, max_size=3), st.integers(0, len(WHOLE)) | st.just(len(WHOLE)))
def test_damage_is_told_or_harmless(changes: list[tuple[int, int]], length: int) -> None:
    """Whatever is still read is what the package reads too, and behind a whole header the very bytes of the file."""
    damaged = bytearray(WHOLE)
    for place, byte in changes:
        damaged[place] = byte
    content = bytes(damaged[:length])
    try:
        found = read_all(content)
    except TensorFileError:
        return
    assert_same(found, safetensors.numpy.load(content))
    if content[:HEADER_END] == WHOLE[:HEADER_END]:
        assert tensor_bytes(found, METADATA) == content
