"""Files with a few wrong bytes: read, or refused in one sentence, never anything else. Seeds make each case again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cli_cases import brain, field, linear, lps_from_ijk, write
from MMLNRegistrationLib import io
from MMLNRegistrationLib.errors import InputError
from repository import SOURCE_ROOT

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


def complaints(kind: str, folder: Path) -> list[str]:
    """Why damaged files of a kind were refused."""
    make, read = FILES[kind]
    path = make(folder)
    content = path.read_bytes()
    sentences = []
    for seed in range(60):
        path.write_bytes(damaged(content, np.random.default_rng(seed)))
        try:
            read(path)
        except InputError as error:
            sentences.append(str(error))
    return sentences


def check(sentences: list[str]) -> None:
    assert sentences, "or the damage was none"
    assert [sentence for sentence in sentences if "\n" in sentence or not sentence.endswith(".")] == []


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"h5"}))
@pytest.mark.filterwarnings("error")
def test_damaged_bytes(kind, tmp_path, capfd):
    check(complaints(kind, tmp_path))
    assert capfd.readouterr() == ("", "")


def test_damaged_bytes_of_hdf5(tmp_path):
    """In a process of its own, which ends as the command does: HDF5 does not forget a damaged file it has seen."""
    code = (
        "import json, os, pathlib, sys, test_damaged_files; "
        "print(json.dumps(test_damaged_files.complaints('h5', pathlib.Path(sys.argv[1]))), flush=True); os._exit(0)"
    )
    paths = os.pathsep.join([str(SOURCE_ROOT), str(Path(__file__).parent)])
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    check(json.loads(process.stdout))
