"""Carrying out a propagation: every atlas registered or taken with its transform, then one vote of all."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import io
from ..errors import InputError
from ..outputs import write_array
from ..pipeline.device import choose_device, device_label
from ..pipeline.field import warp_volume
from ..pipeline.fusion import Vote, equal_vote, fuse, local_vote
from ..pipeline.propagate import require_labels_of
from ..pipeline.registration import Options
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from ..progress import Progress
from ..quality.propagation import Propagation, propagation_json
from ..quality.propagation_page import propagation_html
from ..quality.report import report_json
from ..quality.structure_volumes import structure_volumes, write_structure_volumes
from ..writing import PROPAGATION_FILES, PROPAGATION_RESULT_FILES
from .messages import Atlas, Outcome, Propagate

Register = Callable[[Volume, Volume, Progress], Registration]
"""Registers the second volume (moving) to the first (fixed)."""


def propagate(request: Propagate, register: Register, options: Options, folder: Path, progress: Progress) -> Outcome:
    """Carry the atlases of a request to its subject and write the result's files to a folder.

    Of the atlases only their votes stay in memory, one byte and four for each voxel of the subject.
    Raises InputError as reading does, and for label maps that do not lie over their images.
    """
    start = time.perf_counter()
    subject = io.read_image(request.subject)
    expected: set[int] = set()
    for number, atlas in enumerate(request.atlases):  # all of them, before the first is worked on
        progress("read", number / len(request.atlases))
        drawn = io.read_labels(atlas.labels)
        require_labels_of(io.read_image(atlas.image), drawn)
        expected.update(np.unique(drawn.array_kji).tolist())
        if atlas.transform is not None:
            _given_displacement(atlas.transform, subject)
    votes: list[Vote] = []
    facts: list[dict[str, object]] = []
    for number, atlas in enumerate(request.atlases, start=1):
        path = folder / f"transform_{number}.h5" if _wants(request, "transform.h5") else None
        vote, report = _cast(request, atlas, subject, register, path, _numbered(progress, number, request))
        votes.append(vote)
        facts.append({"image": atlas.image.name, "labels": atlas.labels.name, "registration": report})
    progress("fuse", 0.0)
    fusing = time.perf_counter()
    fused = fuse(votes)
    labels = Volume(fused.labels_kji, subject.geometry, f"{subject.name} labels")
    end = time.perf_counter()
    result = Propagation(
        subject=subject,
        labels=labels,
        agreement=Volume(fused.agreement_kji, subject.geometry, "agreement"),
        fusion=request.fusion,
        atlases=tuple(facts),
        volumes=structure_volumes(labels, request.name_of_label, expected),
        seconds={"atlases": fusing - start, "fusion": end - fusing, "total": end - start},
        device=device_label(choose_device(options.device)),
    )
    _write(result, request, folder, progress)
    names = sorted(path.name for path in folder.iterdir())
    return Outcome({name: request.output / name for name in names}, propagation_json(result))


def _cast(
    request: Propagate, atlas: Atlas, subject: Volume, register: Register, path: Path | None, progress: Progress
) -> tuple[Vote, dict[str, object] | None]:
    """An atlas's vote, and the report of its registration, whose field is written to path; None where one was given."""
    image, labels = io.read_image(atlas.image), io.read_labels(atlas.labels)
    report: dict[str, object] | None = None
    displacement_mm: NDArray[np.float32]
    if atlas.transform is None:
        registration = register(subject, image, progress)
        displacement_mm, warped = registration.displacement_mm, registration.warped
        report = report_json(registration)
        if path is not None:
            io.write_displacement(displacement_mm, subject.geometry, path)
    else:
        progress("apply the transform", 0.0)
        displacement_mm = _given_displacement(atlas.transform, subject)
        warped = warp_volume(image, displacement_mm, subject.geometry)
    if request.fusion == "majority" or len(request.atlases) == 1:
        return equal_vote(labels, displacement_mm, subject), report
    return local_vote(labels, displacement_mm, subject, warped), report


def _given_displacement(path: Path, subject: Volume) -> NDArray[np.float32]:
    """u (K, J, I, 3) on the subject's grid, mm RAS, from a transform file or an array of just that."""
    if path.suffix != ".npy":
        return io.read_displacement_on(path, subject.geometry)
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array of numpy; give a transform file.") from error
    if array.shape != (*subject.geometry.shape_kji, 3) or array.dtype != np.float32 or not np.isfinite(array).all():
        raise InputError(f"{path.name} holds no displacement on the grid of {subject.name}; give a transform file.")
    return np.asarray(array)


def _write(result: Propagation, request: Propagate, folder: Path, progress: Progress) -> None:
    wanted = [name for name in PROPAGATION_RESULT_FILES if _wants(request, name) and name != "transform.h5"]
    if importlib.util.find_spec("slicer") is None:
        wanted = [name for name in wanted if name != "scene.mrb"]
    for done, name in enumerate(wanted):
        progress("write", done / len(wanted))
        _write_one(name, result, request, folder / name)


def _write_one(name: str, result: Propagation, request: Propagate, path: Path) -> None:
    if name == "volumes.csv":
        write_structure_volumes(result.volumes, path)
    elif name == "report.json":
        text = json.dumps(propagation_json(result), indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")
    elif name == "report.html":
        path.write_text(propagation_html(result), encoding="utf-8")
    elif name == "scene.mrb":
        from ..scene.bundle import write_labels_scene

        write_labels_scene(result.subject, result.labels, result.agreement, request.name_of_label, path)
    else:
        volume = result.labels if name.startswith("labels.") else result.agreement
        if path.suffix == ".npy":
            write_array(volume.array_kji, path)
        else:
            io.write_volume(volume, path)


def _wants(request: Propagate, name: str) -> bool:
    return name in (request.files or PROPAGATION_FILES)


def _numbered(progress: Progress, number: int, request: Propagate) -> Progress:
    """Progress that says which atlas it is about, where there are several."""
    count = len(request.atlases)

    def numbered(step: str, fraction: float) -> None:
        progress(f"atlas {number} of {count}, {step}" if count > 1 else step, fraction)

    return numbered
