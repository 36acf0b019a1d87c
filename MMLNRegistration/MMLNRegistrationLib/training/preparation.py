"""Scans brought onto one common grid, once: each affinely aligned to a reference, normalised, and cached.

One folder per grid in the cache, so that runs share one whatever their grids. In it one file per scan: the image as
float16 and the labels as int16, with a key in its header that tells whether it still fits its sources. So a broken-off
preparation goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import io
from ..errors import InputError
from ..pipeline.foreground import foreground
from ..pipeline.initial import register_linear
from ..pipeline.prepare import PrepareConfig, network_geometry, normalised, on_network_grid, points_on
from ..pipeline.volume import Volume
from ..progress import Progress, silent
from ..spatial.geometry import Geometry, Matrix
from ..spatial.warp import sample
from ..tensor_file import TensorFileError, open_tensors, tensor_bytes
from ..writing import write_whole
from .datasets import Problem, Scan
from .tissues import TISSUES, tissues_of
from .workers import in_parallel

FORMAT = 1
GRID_STRIDE = 16
"""Sizes of the common grid are multiples of it, enough for a pyramid of four levels."""


class Reference(NamedTuple):
    """What all scans are aligned to, and the common grid around it."""

    volume: Volume
    mask: NDArray[np.bool_]
    grid: Geometry


class PreparedScan(NamedTuple):
    """One scan on the common grid, as torch tensors (1, 1, K, J, I); what the scan lacks is None."""

    image: Tensor | None
    """float32 in [0, 1]."""
    labels: Tensor | None
    """int16."""


@dataclass(frozen=True)
class PreparedData:
    """Where the prepared scans lie."""

    folder: Path
    scans: tuple[Scan, ...]
    shape_kji: tuple[int, int, int]
    problems: tuple[Problem, ...]

    def load(self, scan: Scan) -> PreparedScan:
        """One scan. Raises InputError, with the file's name, when it has vanished or is damaged."""
        return load_prepared(self.folder, scan.name)

    def key(self, scan: Scan) -> str | None:
        """Changes when the prepared scan does; None when it has vanished."""
        return stored_key(prepared_file(self.folder, scan))


def prepared_file(folder: Path, scan: Scan) -> Path:
    """Where a scan is kept in the folder of the prepared ones."""
    return _file_of(folder, scan.name)


def load_prepared(folder: Path, name: str) -> PreparedScan:
    """The prepared scan of this name. Raises InputError when it has vanished or is damaged."""
    path = _file_of(folder, name)
    try:
        with open_tensors(path) as file:
            image, labels = (
                torch.from_numpy(file.read(name))[None, None] if name in file.names else None
                for name in ("image", "labels")
            )
    except (TensorFileError, OSError) as error:
        raise InputError(f"The prepared scan {path} cannot be read; start the training again.") from error
    return PreparedScan(None if image is None else image.float(), labels)


def reference_of(scans: Iterable[Scan]) -> Scan:
    """The scan that the others are aligned to: the first one with an image, by name. Raises InputError without one."""
    reference = min((scan for scan in scans if scan.image), key=lambda scan: scan.name, default=None)
    if reference is None:
        raise InputError("There is no image among the data to align the others to; give at least one.")
    return reference


def prepare_scans(
    scans: Iterable[Scan],
    reference: Scan,
    cache: Path,
    spacing_mm: float,
    *,
    workers: int,
    skip_bad: bool,
    progress: Progress,
) -> PreparedData:
    """Bring scans onto the grid around the reference; what its folder in the cache holds, and still fits, is kept.

    A scan that cannot be used raises InputError with its file's name; with skip_bad it is left out and listed.
    """
    scans = tuple(scans)
    target = _reference(reference, spacing_mm)
    grid_key = _grid_key(target)
    folder = cache / f"{spacing_mm:g}mm-{grid_key[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    keys = {scan.name: _key(scan, grid_key) for scan in scans}
    waiting = [scan for scan in scans if stored_key(prepared_file(folder, scan)) != keys[scan.name]]
    problems: list[Problem] = []
    done = len(scans) - len(waiting)
    progress("prepare data", done / max(len(scans), 1))
    jobs = [(scan, target, folder, keys[scan.name]) for scan in waiting]
    for result in in_parallel(_prepare, jobs, workers):
        if result is not None:
            if not skip_bad:
                raise InputError(f"{result.sentence} Mend or remove the file, or skip bad files.")
            problems.append(result)
        done += 1
        progress("prepare data", done / len(scans))
    bad = {problem.path for problem in problems}
    good = tuple(scan for scan in scans if not {scan.image, scan.labels} & bad)
    return PreparedData(folder, good, target.grid.shape_kji, tuple(problems))


def _reference(scan: Scan, spacing_mm: float) -> Reference:
    assert scan.image is not None
    try:
        image = io.read_image(scan.image)
        shown = foreground(image, None, "none", torch.device("cpu"))
    except InputError as error:
        raise InputError(f"{scan.image}: {error}") from error
    config = PrepareConfig(spacing_mm=spacing_mm)
    grid = network_geometry(image.geometry, shown.voxels, config, GRID_STRIDE)
    return Reference(normalised(image, shown, config.upper_percentile), shown.voxels, grid)


def _prepare(job: tuple[Scan, Reference, Path, str]) -> Problem | None:
    """Prepare one scan, or say what is wrong with it. Runs in a process of its own."""
    scan, reference, folder, key = job
    source = scan.image or scan.labels
    assert source is not None
    try:
        arrays = _on_common_grid(scan, reference)
    except InputError as error:
        return Problem(source, f"{source}: {error}")
    write_whole(prepared_file(folder, scan), tensor_bytes(arrays, {"key": key}))
    return None


def _on_common_grid(scan: Scan, reference: Reference) -> dict[str, NDArray]:
    labels = io.read_labels(scan.labels) if scan.labels else None
    if scan.image:
        image = io.read_image(scan.image)
        if labels and not labels.geometry.matches(image.geometry, tolerance_mm=0.1):
            raise InputError(f"{labels.name} does not lie on the grid of {image.name}.")
    else:
        assert labels is not None
        # A label map alone is aligned by the T1 image that its tissues would give, brain only like the reference.
        image = Volume(_t1_brain(labels), labels.geometry, labels.name)
    shown = foreground(image, None, "none", torch.device("cpu"))
    image = normalised(image, shown, PrepareConfig().upper_percentile)
    initial = register_linear(reference.volume, image, reference.mask, shown.voxels, rigid_only=False, progress=silent)
    source_ras_from_grid_ras = initial.moving_ras_from_fixed_ras
    arrays: dict[str, NDArray] = {}
    if scan.image:
        tensor = on_network_grid(image, reference.grid, source_ras_from_grid_ras)
        arrays["image"] = tensor[0, 0].numpy().astype(np.float16)
    if labels:
        arrays["labels"] = _labels_on_grid(labels, reference.grid, source_ras_from_grid_ras)
    return arrays


def _t1_brain(labels: Volume) -> NDArray[np.float32]:
    """What a T1 scan of the labelled brain would show, on black."""
    means = np.array([tissue.t1_mean if tissue.is_brain else 0.0 for tissue in TISSUES], dtype=np.float32)
    return means[tissues_of(torch.from_numpy(labels.array_kji.astype(np.int32))).numpy()]


def _labels_on_grid(labels: Volume, grid: Geometry, labels_ras_from_grid_ras: Matrix) -> NDArray[np.int16]:
    if labels.array_kji.max() > np.iinfo(np.int16).max:
        raise InputError(f"{labels.name} holds labels above {np.iinfo(np.int16).max}; renumber them.")
    labels_ijk_from_grid_ijk = labels.geometry.ijk_from_ras @ labels_ras_from_grid_ras @ grid.ras_from_ijk
    tensor = torch.from_numpy(labels.array_kji.astype(np.float32))[None, None]
    values = sample(tensor, points_on(grid, labels_ijk_from_grid_ijk), nearest=True, outside_zero=True)
    return values[0, 0].numpy().astype(np.int16)


def _grid_key(reference: Reference) -> str:
    """Changes when the reference or the common grid does."""
    sha = hashlib.sha256(f"{FORMAT} {reference.volume.name} {reference.grid.shape_kji}".encode())
    sha.update(reference.grid.ras_from_ijk.tobytes())
    sha.update(np.ascontiguousarray(reference.volume.array_kji[::4, ::4, ::4]).tobytes())
    return sha.hexdigest()


def _key(scan: Scan, grid_key: str) -> str:
    """Changes when a source file does, or what the grid's key stands for."""
    sha = hashlib.sha256(grid_key.encode())
    for path in (scan.image, scan.labels):
        if path is not None and path.exists():  # what has vanished is named when it is read
            status = path.stat()
            sha.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}\n".encode())
    return sha.hexdigest()


def _file_of(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def stored_key(path: Path) -> str | None:
    """The key in the header of a cached file; None for a file that is missing or damaged."""
    try:
        with open_tensors(path) as file:
            return file.metadata.get("key")
    except (TensorFileError, OSError):
        return None
