"""The table of pairs and the table of results, without registering anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from MMLNRegistrationLib.backend.batch_folder import batch_folder
from MMLNRegistrationLib.backend.batch_results import PairEnd, ResultsTable, row_of
from MMLNRegistrationLib.backend.batch_table import BatchPair, read_pairs
from MMLNRegistrationLib.backend.messages import Settings
from MMLNRegistrationLib.errors import InputError
from MMLNRegistrationLib.tables import read_rows

REPORT = {
    "similarity_before": {"correlation": 0.5, "local_correlation": 0.25},
    "similarity_after": {"correlation": 0.75, "local_correlation": None},
    "seconds": {"refine": 1.0, "total": 2.5},
    "device": "cpu, 1 thread",
    "folded_voxels": 0,
    "jacobian_min": 0.125,
}


def read(folder: Path, content: str, settings: Settings | None = None) -> list[BatchPair]:
    table = folder / "cases.csv"
    table.write_text(content)
    return read_pairs(table, folder / "out", settings or Settings())


def test_paths_start_at_the_table_and_options_hold_for_all_rows(tmp_path):
    content = (
        "fixed,moving,fixed_mask,moving_mask,moving_labels,fixed_labels,name,initial,age\n"
        "a.nii.gz,sub/b.nii.gz,m.nii.gz,,l.nii.gz,k.nii.gz,first,start.tfm,70\n"
        "a.nii.gz,c.nii.gz,,n.nii.gz,,,,rigid,71\n"
    )
    first, second = read(tmp_path, content, Settings(refine=0, brain="auto", initial="identity"))
    assert first.name == "first"
    assert first.request.output == tmp_path / "out" / "first"
    assert first.request.moving == tmp_path / "sub" / "b.nii.gz"
    assert first.request.fixed_mask == tmp_path / "m.nii.gz"
    assert first.request.moving_mask is None
    assert first.request.moving_labels == tmp_path / "l.nii.gz"
    assert first.fixed_labels == tmp_path / "k.nii.gz"
    assert first.request.initial == str(tmp_path / "start.tfm")
    assert (first.request.refine, first.request.brain) == (0, "auto")
    assert second.name == "c_to_a"
    assert second.request.initial == "rigid"
    assert second.request.moving_mask == tmp_path / "n.nii.gz"
    assert second.request.moving_labels is second.fixed_labels is None


def test_option_initial_holds_where_the_row_names_none(tmp_path):
    (pair,) = read(tmp_path, "fixed,moving,initial\na,b,\n", Settings(initial="identity"))
    assert pair.request.initial == "identity"


def test_made_up_names_are_safe_and_unlike(tmp_path):
    rows = "s1/T1.nii.gz,s2/T1.nii.gz\ns1/T1.nii.gz,s3/t1.nii.gz\na b.mha,..\nresults.nii,c:x;y.nii\n"
    names = [pair.name for pair in read(tmp_path, f"fixed,moving\n{rows}")]
    assert names == ["T1_to_T1", "t1_to_T1_2", "volume_to_a_b", "c_x_y_to_results"]


def test_given_names_go_before_made_up_ones(tmp_path):
    names = [pair.name for pair in read(tmp_path, "fixed,moving,name\na.nii,b.nii,\na.nii,b.nii,b_to_a\n")]
    assert names == ["b_to_a_2", "b_to_a"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("fixed\na\n", "lacks the column moving"),
        ("fixed,moving\na,\n", "line 2: a field is empty"),
        ("fixed,moving,name\na,b,../up\n", "line 2: '../up' cannot name a folder"),
        ("fixed,moving,name\na,b,.hidden\n", "cannot name a folder"),
        ("fixed,moving,name\na,b,ends.\n", "cannot name a folder"),
        ("fixed,moving,name\na,b,x/y\n", "cannot name a folder"),
        ("fixed,moving,name\na,b,results.csv\n", "the name results.csv is taken"),
        ("fixed,moving,name\na,b,x\na,c,X\n", "line 3: the name X is taken"),
        ("fixed,moving,fixed_labels\na,b,c\n", "fixed_labels needs moving_labels"),
    ],
)
def test_bad_tables_are_refused(tmp_path, content, words):
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        read(tmp_path, content)


def test_results_are_in_the_order_of_the_table_and_replace_earlier_ones(tmp_path):
    pairs = read(tmp_path, "fixed,moving,name\na,b,x\na,c,y\n")
    path = tmp_path / "results.csv"
    table = ResultsTable(path, pairs)
    table.put(row_of(pairs[1], PairEnd(None, sentence="One\nsentence.")))
    table.put(row_of(pairs[0], PairEnd(REPORT, 0.875)))
    first, second = read_rows(path, ("name",))
    assert (first["name"], first["status"], first["seconds"], first["dice"]) == ("x", "done", "2.5", "0.875")
    assert (first["correlation_after"], first["local_correlation_after"], first["sentence"]) == ("0.75", "", "")
    assert (second["name"], second["status"], second["sentence"]) == ("y", "failed", "One sentence.")

    ResultsTable(path, pairs[::-1][:1]).put(row_of(pairs[1], PairEnd(REPORT)))
    assert [(row["name"], row["status"]) for row in read_rows(path, ("name",))] == [("y", "done"), ("x", "done")]


def test_results_of_other_volumes_are_refused(tmp_path):
    (pair,) = read(tmp_path, "fixed,moving,name\na,b,x\n")
    ResultsTable(tmp_path / "results.csv", [pair]).put(row_of(pair, PairEnd(REPORT)))
    (other,) = read(tmp_path, "fixed,moving,name\na,c,x\n")
    with pytest.raises(InputError, match="other volumes"):
        ResultsTable(tmp_path / "results.csv", [other])


def test_done_needs_the_result_too(tmp_path):
    (pair,) = read(tmp_path, "fixed,moving,name\na,b,x\n")
    table = ResultsTable(tmp_path / "results.csv", [pair])
    table.put(row_of(pair, PairEnd(REPORT)))
    assert not table.is_done(pair)
    pair.request.output.mkdir(parents=True)
    (pair.request.output / "report.json").write_text(json.dumps(REPORT))
    assert not table.is_done(pair)
    (pair.request.output / "transform.h5").touch()
    assert table.is_done(pair)


def test_folder_is_for_one_run_at_a_time_and_for_the_same_settings(tmp_path):
    folder = tmp_path / "new" / "out"
    with batch_folder(folder, Settings(refine=0), resume=False):
        (folder / ".partial-1").mkdir()
        with pytest.raises(InputError, match="Another run"), batch_folder(folder, Settings(refine=0), resume=True):
            pass
    assert [entry.name for entry in folder.iterdir()] == ["batch.json"]
    with pytest.raises(InputError, match="add --resume"), batch_folder(folder, Settings(refine=0), resume=False):
        pass
    with pytest.raises(InputError, match="refine 0, not 1"), batch_folder(folder, Settings(refine=1), resume=True):
        pass
    with batch_folder(folder, Settings(refine=0, device="cpu", threads=2), resume=True):
        pass


def test_a_folder_of_something_else_is_no_batch(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="holds no batch"), batch_folder(tmp_path, Settings(), resume=True):
        pass
    with pytest.raises(InputError, match="is a file"), batch_folder(tmp_path / "file", Settings(), resume=True):
        pass
