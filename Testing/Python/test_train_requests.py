"""What a worker answers about training: what the data holds, where a run stands, and the ledger as it grows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cli_cases import cut
from MMLNRegistrationLib.backend.messages import CheckData, Preview
from MMLNRegistrationLib.backend.runner import Runner
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.progress import Cancelled
from MMLNRegistrationLib.training.config import as_json
from MMLNRegistrationLib.training.ledger import Ledger
from MMLNRegistrationLib.training.ledger_tail import LedgerTail
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_folder import RunFolder
from training_cases import LABELS, losses, quick, run_training, write_brains, write_config

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_a_folder_holds(brains: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    config = write_config(tmp_path / "config.json", as_json(quick()))
    request = CheckData(data=(brains,), config=config, read_voxels=True)
    outcome = Runner().run(request, lambda step, fraction: steps.append(step))
    assert outcome.report == {
        "layouts": ("folder",),
        "subjects": 6,
        "labelled_subjects": 6,
        "images": 6,
        "label_maps": 6,
        "structures": len(LABELS),
        "training_subjects": 4,
        "validation_subjects": 2,
        "bad_files": 0,
        "problems": [],
        "obstacles": (),
    }
    assert {"find scans", "check scans"} <= set(steps)


def test_what_is_wrong_with_it(tmp_path: Path) -> None:
    folder = write_brains(tmp_path / "brains", ("anna", "ben", "cleo", "dina", "emil"))
    cut(folder / "ben_image.nii.gz", 0.6)
    (folder / "cleo_labels.nii.gz").write_bytes(b"no volume")
    quickly = Runner().run(CheckData(data=(folder,))).report
    assert [Path(problem["file"]).name for problem in quickly["problems"]] == ["cleo_labels.nii.gz"]
    assert quickly["structures"] is None
    assert quickly["obstacles"] == ()  # four are left
    whole = Runner().run(CheckData(data=(folder,), read_voxels=True)).report
    assert {Path(problem["file"]).name for problem in whole["problems"]} == {"ben_image.nii.gz", "cleo_labels.nii.gz"}
    assert whole["bad_files"] == 2
    assert "none can be spared for validation" in whole["obstacles"][0]
    assert (whole["training_subjects"], whole["subjects"]) == (0, 5)


def test_data_to_validate_on(brains: Path, tmp_path: Path) -> None:
    both = Runner().run(CheckData(data=(brains,), validation_data=(brains,))).report
    assert "is in both the training and the validation data" in both["obstacles"][0]
    held_out = write_brains(tmp_path / "held_out", ("xaver", "yvonne"), labels=False)
    report = Runner().run(CheckData(data=(brains,), validation_data=(held_out,))).report
    assert report["obstacles"] == ()
    assert (report["training_subjects"], report["validation_subjects"], report["labelled_subjects"]) == (6, 2, 6)
    one = write_brains(tmp_path / "one", ("zoe",))
    lonely = Runner().run(CheckData(data=(one,), validation_data=(one.parent / "held_out",))).report
    assert "at least two subjects" in lonely["obstacles"][0]


def test_data_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Runner().run(CheckData(data=(tmp_path / "nowhere",)))
    with pytest.raises(InputError, match="holds no volume"):
        Runner().run(CheckData(data=(tmp_path,)))
    with pytest.raises(InputError, match="names nothing to train on"):
        CheckData(data=())


def test_a_check_can_be_cancelled(brains: Path) -> None:
    def stop(step: str, fraction: float) -> None:
        if fraction > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        Runner().run(CheckData(data=(brains,)), stop)


def test_a_preview_shows_what_the_validation_measured(brains: Path, prepared: PreparedData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(InputError, match="no run"):
        Runner().run(Preview(run=run, output=tmp_path / "preview"))
    config = quick((2, 2), validation_pairs=2)
    run_training(brains, prepared.folder.parent, run, config)
    outcome = Runner().run(Preview(run=run, output=tmp_path / "preview"))
    other = Runner().run(Preview(run=run, output=tmp_path / "preview", pair=1, overwrite=True))
    around = Runner().run(Preview(run=run, output=tmp_path / "preview", pair=2, overwrite=True))
    assert around.report == outcome.report != other.report
    validated = [entry for entry in losses(run) if entry["event"] == "validation"][-1]
    for before_or_after, name in (("after", "dice"), ("before", "dice_initial")):
        both = [report[f"dice_{before_or_after}"] for report in (outcome.report, other.report)]
        assert np.mean(both) == pytest.approx(validated[name], abs=1e-6)
    assert (outcome.report["step"], outcome.report["level"]) == (4, 2)
    arrays = {name: np.load(path) for name, path in around.files.items()}
    assert set(arrays) == {"fixed.npy", "moving.npy", "warped.npy"}
    shape = tuple(around.report["shape_kji"])
    assert all(array.shape == shape and array.dtype == np.float32 for array in arrays.values())
    assert arrays["warped.npy"].std() > 0.05
    ras_from_ijk = np.array(around.report["ras_from_ijk"])
    centre = ras_from_ijk @ [*((np.array(shape[::-1]) - 1) / 2), 1]
    assert np.allclose(centre, [0, 0, 0, 1])
    json.dumps(around.report)


def test_a_run_without_a_checkpoint_has_no_preview(brains: Path, prepared: PreparedData, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")

    def stop(step: str, fraction: float) -> None:
        if run.exists():
            raise Cancelled

    with pytest.raises(Cancelled):
        run_training(brains, tmp_path / "cache", run.path, quick(), progress=stop)
    with pytest.raises(InputError, match="wait until its data is prepared"):
        Runner().run(Preview(run=run.path, output=tmp_path / "preview"))
    first, second, *_ = (scan.name for scan in prepared.scans)
    run.write_pairs(prepared.folder, [(first, second)])
    with pytest.raises(InputError, match="no checkpoint yet"):
        Runner().run(Preview(run=run.path, output=tmp_path / "preview"))


def test_a_ledger_is_followed_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    tail, ledger = LedgerTail(path), Ledger(path)
    assert not tail.read()
    ledger.append({"event": "start", "step": 0})
    ledger.append({"event": "step", "step": 10})
    assert tail.read()
    assert not tail.read()
    with path.open("ab") as file:
        file.write(b'{"event": "st')
    assert not tail.read()
    with path.open("ab") as file:
        file.write(b'ep", "step": 20}\nnonsense\n[1]\n')
    assert tail.read()
    assert [entry["step"] for entry in tail.entries] == [0, 10, 20]
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert tail.read()
    assert [entry["step"] for entry in tail.entries] == [0]


def test_a_ledger_that_was_cut_back_is_read_anew(tmp_path: Path) -> None:
    """As a resumption does, even when it has grown beyond what was read by then."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    tail = LedgerTail(ledger.path)
    for step in range(5):
        ledger.append({"event": "step", "step": step})
    tail.read()
    ledger.truncate_after(2)
    for step in range(3, 9):
        ledger.append({"event": "step", "step": step, "again": True})
    assert tail.read()
    assert [entry["step"] for entry in tail.entries] == list(range(9))
    assert [entry["step"] for entry in tail.entries if entry.get("again")] == list(range(3, 9))
    ledger.path.unlink()
    assert tail.read()
    assert tail.entries == []


def test_a_long_ledger_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps({"step": step, "filler": "x" * 90}) + "\n" for step in range(4000)))
    tail = LedgerTail(path)
    pieces = 0
    while tail.read():
        pieces += 1
    assert pieces > 2
    assert [entry["step"] for entry in tail.entries] == list(range(4000))
