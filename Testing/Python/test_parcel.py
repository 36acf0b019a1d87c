"""What a client makes of tables and folders before it sends anything, and of the server's words afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from MMLNRegistrationLib.backend.errand import _Entries
from MMLNRegistrationLib.backend.job_requests import EVENTS_OF_AN_ATTEMPT, JobEvaluate, JobTrain
from MMLNRegistrationLib.backend.messages import Evaluate, Info, Shutdown, Train
from MMLNRegistrationLib.backend.parcel import packed
from MMLNRegistrationLib.backend.parcel_training import rename_model
from MMLNRegistrationLib.backend.remote import RemoteClient
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.model.card import read_card
from MMLNRegistrationLib.model.checkpoint import load_checkpoint, save_checkpoint
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig
from MMLNRegistrationLib.quality.cases import COLUMNS
from training_cases import CARD, SUBJECTS, write_config


def suffix(file: Path) -> str:
    return "".join(file.suffixes)


@pytest.fixture
def table(pair, tmp_path) -> Path:
    """Two pairs that share their fixed brain."""
    path = tmp_path / "cases.csv"
    first = (pair.fixed, pair.moving, pair.fixed_labels, pair.labels)
    rows = [first, (pair.fixed, pair.fixed, pair.labels, pair.labels)]
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in [COLUMNS, *rows]))
    return path


def test_evaluation(table, pair, tmp_path):
    structures = tmp_path / "structures.csv"
    structures.write_text("\ufefflabel,structure,counts_for_fine_dice\n1,Größe,yes\n", encoding="utf-8")
    request = Evaluate(cases=table, output=tmp_path / "out", structures=structures, initial="rigid", refine=3)
    parcel = packed(request)
    job = parcel.request
    assert isinstance(job, JobEvaluate)
    assert [case.moving for case in job.cases] == [pair.moving, pair.fixed]
    assert (job.initial, job.refine) == ("rigid", 3)
    assert job.structures == "label,structure,counts_for_fine_dice\n1,Größe,yes\n"
    assert len(set(parcel.files.values())) == 4
    names = parcel.names(suffix)
    assert names.back("case_1_fixed.nii.gz refine: 1/4 resolution") == "fixed.nii.gz refine: 1/4 resolution"
    assert names.back({"a": ["case_2_fixed_labels.nii.gz is bad.", 3, "case_1_moving_labels.nii.gz."]}) == {
        "a": ["case_2_fixed_labels.nii.gz is bad.", 3, "labels.nii.gz."]  # the first place of a file names it
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fixed,moving\n", "lacks the column fixed_labels"),
        (f"{','.join(COLUMNS)}\na.nii,b.nii,c.nii,d.nii\n", "line 2: .*a.nii does not exist"),
        (f"{','.join(COLUMNS)}\n", "no rows"),
    ],
)
def test_tables_that_are_none(content, words, tmp_path):
    (tmp_path / "cases.csv").write_text(content)
    with pytest.raises(InputError, match=words):
        packed(Evaluate(cases=tmp_path / "cases.csv", output=tmp_path / "out"))


def test_structures_that_are_none(table, tmp_path):
    (tmp_path / "structures.csv").write_text("label,name\n1,a\n")
    with pytest.raises(InputError, match="lacks the column structure"):
        packed(Evaluate(cases=table, output=tmp_path / "out", structures=tmp_path / "structures.csv"))


def test_training(brains, tmp_path):
    config = write_config(tmp_path / "config.json", {"validation_share": 0.34})
    parcel = packed(Train(data=(brains,), output=tmp_path / "run", config=config, threads=1))
    job = parcel.request
    assert isinstance(job, JobTrain)
    assert job.config == {"validation_share": 0.34}
    assert [scan.subject for scan in job.data] == [1, 2, 3, 4, 5, 6]
    assert list(parcel.subjects.values()) == list(SUBJECTS)
    assert len(parcel.files) == 2 * len(SUBJECTS)
    names = parcel.names(suffix)
    assert names.back("scan_2_image.nii.gz of subject_000002.") == "ben_image.nii.gz of ben."
    (tmp_path / "split.json").write_text('{"training": ["subject_000003"], "validation": ["subject_000001", "else"]}')
    parcel.finish(tmp_path, names)
    assert json.loads((tmp_path / "split.json").read_text()) == {"training": ["cleo"], "validation": ["anna", "else"]}


def test_held_out_scans(brains, tmp_path):
    for name in ("images", "more"):
        (tmp_path / name).mkdir()
    for number, folder in ((0, "images"), (1, "images"), (2, "more"), (3, "more")):
        for file in brains.glob(f"{SUBJECTS[number]}_*"):
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    request = Train(data=(tmp_path / "images",), validation_data=(tmp_path / "more",), output=tmp_path / "run")
    job = packed(request).request
    assert isinstance(job, JobTrain)
    assert ([scan.subject for scan in job.data], [scan.subject for scan in job.validation_data]) == ([1, 2], [3, 4])
    (tmp_path / "one").mkdir()
    for file in brains.glob(f"{SUBJECTS[2]}_*"):
        (tmp_path / "one" / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match="Validation needs scans of at least two subjects"):
        packed(replace(request, validation_data=(tmp_path / "one",)))
    with pytest.raises(InputError, match="Subject anna is in both"):
        packed(replace(request, validation_data=(brains,)))


def test_what_a_server_cannot_train_is_told_before_anything_is_sent(brains, tmp_path):
    request = Train(data=(brains,), output=tmp_path / "run")
    config, few = tmp_path / "config.json", tmp_path / "few"
    few.mkdir()
    (few / "anna_image.nii.gz").write_bytes((brains / "anna_image.nii.gz").read_bytes())
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in SUBJECTS:
        (bad / f"{name}_image.nii.gz").write_bytes((brains / f"{name}_image.nii.gz").read_bytes())
    (bad / "zoe_image.nii.gz").write_bytes(b"no volume")
    for wrong, words in (
        (replace(request, resume=True), "leave out --resume"),
        (replace(request, cache=tmp_path), "leave out --cache"),
        (replace(request, data=(tmp_path / "gone",)), "gone does not exist"),
        (replace(request, data=(few,)), "Of 1 subjects"),
        (replace(request, validation_data=(few,), data=(bad,)), "zoe_image.nii.gz"),
        (replace(request, validation_data=(few,), data=(bad,), skip_bad=True), "Subject anna is in both"),
        (replace(request, output=bad), "is not empty; give a new folder"),
        (replace(request, data=(bad,)), "zoe_image.nii.gz"),
        (replace(request, config=tmp_path / "gone.json"), "cannot be read as JSON"),
        (replace(request, config=write_config(config, {"sed": 3})), "no setting 'sed'"),
    ):
        with pytest.raises(InputError, match=words):
            packed(wrong)
    job = packed(replace(request, data=(bad,), skip_bad=True)).request
    assert isinstance(job, JobTrain)
    assert len(job.data) == len(SUBJECTS)


def test_a_model_gets_its_name(tmp_path):
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, MMLN(MMLNConfig(levels=1, width=2, blocks=1)), CARD)
    before = path.read_bytes()
    rename_model(path, "Größe of my own")
    assert read_card(path) == replace(CARD, name="Größe of my own")
    assert load_checkpoint(path).card.name == "Größe of my own"
    rename_model(path, CARD.name)
    assert len(path.read_bytes()) == len(before)
    for content in (b"", b"\0" * 8, b"\x02" + b"\0" * 7 + b"{}", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="server's model is none"):
            rename_model(path, "x")


def test_what_no_server_does():
    with RemoteClient("http://localhost:1", "a token") as client, pytest.raises(InputError, match="own machine"):
        client.submit(Shutdown())  # type: ignore[arg-type]


def test_other_requests_are_sent_as_they_are():
    parcel = packed(Info())
    assert (parcel.request, parcel.files) == (Info(), {})


@pytest.mark.parametrize("again", [False, True])
def test_entries_of_a_job_that_is_begun_anew(again):
    told: list[int] = []
    entries = _Entries(lambda entry: told.append(entry["n"]), again)
    for number, n in ((3, 1), (5, 2), (EVENTS_OF_AN_ATTEMPT + 2, 1), (EVENTS_OF_AN_ATTEMPT + 4, 2)):
        entries.take(number, {"n": n})
    entries.take(EVENTS_OF_AN_ATTEMPT + 7, {"n": 3})
    assert told == ([1, 2, 1, 2, 3] if again else [1, 2, 3])
