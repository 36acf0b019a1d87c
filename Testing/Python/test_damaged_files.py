"""Files with a few wrong bytes: read, or refused in one sentence, never anything else. Seeds make each case again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cli_cases import brain, field, linear, lps_from_ijk, write
from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError

SIZE = (10, 11, 12)
GRID = lps_from_ijk(SIZE, (4.0, 4.0, 4.0))
HEADER_BYTES = 600
"""Most of the damage is done here: a wrong voxel is no wrong file."""


def volume(name: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder / name, brain(SIZE, GRID), GRID)


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "nii": (volume("a.nii"), io.read_image),
    "nii.gz": (volume("a.nii.gz"), io.read_image),
    "nrrd": (volume("a.nrrd"), io.read_image),
    "mha": (volume("a.mha"), io.read_image),
    "hdr": (volume("a.hdr"), io.read_image),
    "h5": (lambda folder: field(folder / "a.h5", size=(6, 6, 6)), io.read_transform),
    "tfm": (lambda folder: linear(folder / "a.tfm", np.eye(3), (1, 2, 3)), io.read_transform),
}


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    values: NDArray[np.uint8] = np.frombuffer(content, np.uint8).copy()
    reach = len(values) if random.random() < 0.3 else min(len(values), HEADER_BYTES)
    places = random.integers(reach, size=random.integers(1, 6))
    values[places] = random.integers(256, size=len(places))
    kept = random.integers(len(values)) if random.random() < 0.2 else len(values)
    return values[:kept].tobytes()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("error")
def test_damaged_bytes(kind, tmp_path, capfd):
    make, read = FILES[kind]
    path = make(tmp_path)
    content = path.read_bytes()
    sentences = []
    for seed in range(60):
        path.write_bytes(damaged(content, np.random.default_rng(seed)))
        try:
            read(path)
        except InputError as error:
            sentences.append(str(error))
    assert sentences, "or the damage was none"
    assert [sentence for sentence in sentences if "\n" in sentence or not sentence.endswith(".")] == []
    assert capfd.readouterr() == ("", "")
