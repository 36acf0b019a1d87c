"""Preparing scans: one grid for all, done once, gone on with, and bad files by name."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from cli_cases import cut, tree, write
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.progress import Cancelled, Progress, silent
from MMLNRegistrationLib.quality.metrics import mean_dice
from MMLNRegistrationLib.training.datasets import Scan, find_scans
from MMLNRegistrationLib.training.preparation import PreparedData, prepare_scans
from training_cases import GRID, LABELS, SUBJECTS, image_of, labels_of, write_brains

COARSE_MM = 8.0


def prepare(
    scans: tuple[Scan, ...],
    folder: Path,
    *,
    workers: int = 1,
    skip_bad: bool = False,
    progress: Progress = silent,
    reference: Scan | None = None,
) -> PreparedData:
    return prepare_scans(
        scans, reference or scans[0], folder, COARSE_MM, workers=workers, skip_bad=skip_bad, progress=progress
    )


def grid_folder(cache: Path) -> Path:
    """The only one in the cache."""
    (folder,) = cache.iterdir()
    return folder


def times(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in grid_folder(cache).iterdir()}


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A folder of two scans that a test may change."""
    return write_brains(tmp_path / "two", SUBJECTS[:2])


def test_prepared_scans_share_a_grid_and_lie_on_top_of_each_other(prepared: PreparedData) -> None:
    assert [scan.subject for scan in prepared.scans] == list(SUBJECTS)
    assert prepared.problems == ()
    assert all(size % 16 == 0 for size in prepared.shape_kji)
    first = prepared.load(prepared.scans[0])
    for scan in prepared.scans:
        image, labels = prepared.load(scan)
        assert image is not None
        assert labels is not None
        assert tuple(image.shape) == tuple(labels.shape) == (1, 1, *prepared.shape_kji)
        assert image.dtype == torch.float32
        assert labels.dtype == torch.int16
        assert image.min() == 0
        assert 0.9 < image.max() <= 1
        assert set(labels.unique().tolist()) == {0, *LABELS}
        # The brain is where the label map is, and not cut off by the grid.
        assert ((image > 0.1) == (labels > 0)).float().mean() > 0.95
        assert labels[..., 0].max() == labels[..., -1].max() == 0
        overlap = mean_dice(first.labels.numpy() > 0, labels.numpy() > 0, [1])
        assert overlap > 0.9, scan.name


def test_a_second_call_does_nothing(two: Path, tmp_path: Path) -> None:
    scans, cache, heard = find_scans([two]).scans, tmp_path / "cache", []
    prepare(scans, cache, progress=lambda step, fraction: heard.append((step, fraction)))
    assert heard == [("prepare data", done / 2) for done in range(3)]
    before = times(cache)
    assert set(before) == {f"{scan.name}.safetensors" for scan in scans}
    heard.clear()
    again = prepare(scans, cache, progress=lambda step, fraction: heard.append((step, fraction)))
    assert heard == [("prepare data", 1.0)]
    assert times(cache) == before
    assert again.scans == scans


def test_a_changed_source_is_prepared_again_and_no_other(two: Path, tmp_path: Path) -> None:
    scans, cache = find_scans([two]).scans, tmp_path / "cache"
    before = tree(prepare(scans, cache).folder)
    write(two / "ben_image.nii.gz", image_of(77), GRID)
    after = tree(prepare(scans, cache).folder)
    assert {name for name in after if after[name] != before[name]} == {"ben_image.safetensors"}


def test_grids_share_a_cache(two: Path, tmp_path: Path) -> None:
    """A run goes on reading its scans while another prepares the same ones for another grid."""
    scans, cache = find_scans([two]).scans, tmp_path / "cache"
    first = prepare(scans[:1], cache)
    before = tree(first.folder)
    others = [
        prepare(scans[:1], cache, reference=scans[1]),
        prepare_scans(scans[:1], scans[0], cache, 20.0, workers=1, skip_bad=False, progress=silent),
    ]
    assert len({first.folder, *(data.folder for data in others)}) == 3
    assert others[1].folder.name.startswith("20mm-")
    assert tree(first.folder) == before


def test_a_stopped_preparation_goes_on_where_it_was(two: Path, tmp_path: Path) -> None:
    scans, cache = find_scans([two]).scans, tmp_path / "cache"

    def stop(step: str, fraction: float) -> None:
        if fraction > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        prepare(scans, cache, progress=stop)
    (first,) = before = times(cache)
    # What a killed process leaves: a half-written file under a temporary name, and one that is cut off.
    folder = grid_folder(cache)
    (folder / ".partial-killed.safetensors").write_bytes(b"half")
    (folder / f"{scans[1].name}.safetensors").write_bytes((folder / first).read_bytes()[:1000])
    data = prepare(scans, cache)
    assert times(cache)[first] == before[first]
    whole = prepare(scans, tmp_path / "whole")
    for scan in scans:
        name = f"{scan.name}.safetensors"
        assert (data.folder / name).read_bytes() == (whole.folder / name).read_bytes()


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(two: Path, tmp_path: Path) -> None:
    scans = find_scans([two]).scans
    with_two, with_one = prepare(scans, tmp_path / "with_two", workers=2), prepare(scans, tmp_path / "with_one")
    assert tree(with_two.folder) == tree(with_one.folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_end_when_the_one_that_started_them_is_killed(two: Path, tmp_path: Path) -> None:
    script = tmp_path / "prepare.py"
    script.write_text(
        "from pathlib import Path\n"
        "from test_preparation import find_scans, prepare\n"
        "if __name__ == '__main__':\n"
        f"    prepare(find_scans([Path({str(two)!r})]).scans, Path({str(tmp_path / 'cache')!r}), workers=2)\n"
    )
    process = subprocess.Popen([sys.executable, script], cwd=Path(__file__).parent, env=with_tests_on_path())
    children: list[int] = []
    while len(children) < 3 and process.poll() is None:  # two that prepare, and the tracker of their resources
        children = children_of(process.pid)
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(children) >= 3
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{child}").exists() for child in children)


def with_tests_on_path() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def children_of(process: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == process and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


BAD = {
    "cut off": lambda path: cut(path, 0.5),
    "empty of tissue": lambda path: write(path, np.zeros((26, 26, 26), np.float32), GRID),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_file_is_named_and_left_out_only_when_asked(kind: str, two: Path, tmp_path: Path) -> None:
    scans, cache = find_scans([two]).scans, tmp_path / "cache"
    BAD[kind](two / "ben_image.nii.gz")
    with pytest.raises(InputError, match=r"ben_image\.nii\.gz") as caught:
        prepare(scans, cache)
    assert str(caught.value).endswith("Mend or remove the file, or skip bad files.")
    data = prepare(scans, cache, skip_bad=True)
    assert [scan.subject for scan in data.scans] == ["anna"]
    assert [problem.path.name for problem in data.problems] == ["ben_image.nii.gz"]
    assert not list(cache.rglob("*ben*")) + list(cache.rglob(".*"))


def test_a_bad_label_map_is_named_itself(two: Path, tmp_path: Path) -> None:
    scans = find_scans([two]).scans
    cut(two / "ben_labels.nii.gz", 0.5)
    with pytest.raises(InputError, match=r"ben_labels\.nii\.gz"):
        prepare(scans, tmp_path / "cache")
    write(two / "ben_labels.nii.gz", labels_of(1).astype(np.int32) * 1000, GRID)
    with pytest.raises(InputError, match=r"ben_labels\.nii\.gz holds labels above 32767"):
        prepare(scans, tmp_path / "cache")


def test_a_vanished_prepared_file_is_one_sentence(two: Path, tmp_path: Path) -> None:
    data = prepare(find_scans([two]).scans[:1], tmp_path / "cache")
    (file,) = data.folder.iterdir()
    cut(file, 0.5)
    with pytest.raises(InputError, match=r"anna_image\.safetensors cannot be read"):
        data.load(data.scans[0])
    shutil.rmtree(data.folder)
    with pytest.raises(InputError, match=r"anna_image\.safetensors cannot be read; start the training again\."):
        data.load(data.scans[0])


def test_label_maps_alone_are_aligned_like_images(tmp_path: Path) -> None:
    """The same person, once as an image with labels and once as labels alone, misplaced by 20 mm."""
    folder = write_brains(tmp_path / "one", SUBJECTS[:1])
    number = sum(SUBJECTS[0].encode())
    moved = GRID.copy()
    moved[:3, 3] += (20, -10, 15)
    write(folder / "zoe_labels.nii.gz", labels_of(number), moved)
    scans = find_scans([folder]).scans
    assert [scan.image is None for scan in scans] == [False, True]
    data = prepare(scans, tmp_path / "cache")
    with_image, alone = (data.load(scan) for scan in data.scans)
    assert alone.image is None
    assert alone.labels is not None
    assert with_image.labels is not None
    assert mean_dice(with_image.labels.numpy(), alone.labels.numpy(), sorted(LABELS)) > 0.85
