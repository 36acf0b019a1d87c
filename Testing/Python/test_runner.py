"""Requests carried out in this process: networks stay warm, memory that runs out, and what failures are called."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from backend_cases import register
from MMLNRegistrationLib import io
from MMLNRegistrationLib.backend import models, runner
from MMLNRegistrationLib.backend.failures import breaks_the_device, failure_of
from MMLNRegistrationLib.backend.messages import (
    DEFAULT_MODEL,
    NO_MODEL,
    Atlas,
    Evaluate,
    Info,
    Propagate,
    Refine,
    Settings,
    Train,
)
from MMLNRegistrationLib.backend.runner import Runner, default_model
from MMLNRegistrationLib.errors import InputError, RegistrationError
from MMLNRegistrationLib.model.card import ModelCard
from MMLNRegistrationLib.model.checkpoint import save_checkpoint
from MMLNRegistrationLib.model.network import MMLN, MMLNConfig
from MMLNRegistrationLib.pipeline.registration import Options
from MMLNRegistrationLib.pipeline.registration import register as register_volumes
from MMLNRegistrationLib.progress import Cancelled
from MMLNRegistrationLib.quality.cases import COLUMNS

OUT_OF_MEMORY = RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network, untrained, for a grid of 1 mm."""
    torch.manual_seed(1)
    path = tmp_path / "small.safetensors"
    save_checkpoint(path, MMLN(MMLNConfig(width=2, blocks=1)), ModelCard("small", "", "", "", "", ""))
    return path


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """A GPU that is too small for grids of 1 mm. Lists the options of all tries."""
    tries: list[Options] = []

    def choose(name: str) -> torch.device:
        return torch.device("cpu" if name == "cpu" else "cuda")

    def attempt(fixed: Any, moving: Any, options: Options, progress: Any) -> Any:
        tries.append(options)
        if options.device != "cpu" and options.prepare.spacing_mm < 2:
            raise OUT_OF_MEMORY
        return register_volumes(fixed, moving, replace(options, device="cpu"), progress)

    monkeypatch.setattr(runner, "choose_device", choose)
    monkeypatch.setattr(runner, "register_volumes", attempt)
    return tries


def test_memory_that_runs_out_is_told(failing, pair, tmp_path):
    request = register(pair, tmp_path / "out", device="cuda")
    with pytest.raises(RuntimeError) as caught:
        Runner().run(request)
    failure = failure_of(caught.value, request)
    assert (failure.cause, failure.offers) == ("out_of_memory", ("cpu", "coarser"))
    assert "register on the processor, or on a coarser grid" in failure.sentence
    assert len(failing) == 1
    assert not (tmp_path / "out").exists()


def test_processor_takes_over_when_asked(failing, pair, tmp_path):
    outcome = Runner().run(register(pair, tmp_path / "out", device="cuda", on_out_of_memory="cpu"))
    assert [options.device for options in failing] == ["cuda", "cpu"]
    assert outcome.report["notes"] == ["The GPU's memory ran out: the processor did the work."]
    assert outcome.files["transform.h5"].exists()


def test_coarser_grid_takes_over_when_asked(failing, pair, tmp_path):
    outcome = Runner().run(register(pair, tmp_path / "out", device="cuda", on_out_of_memory="coarser"))
    assert [options.prepare.spacing_mm for options in failing] == [1, 2]
    assert outcome.report["settings"]["prepare"]["spacing_mm"] == 2
    assert outcome.report["notes"] == ["Memory ran out: the field was found on a grid of 2 mm."]


def test_coarser_grid_leaves_a_network_out_that_cannot_work_there(failing, pair, model, tmp_path):
    request = register(pair, tmp_path / "out", device="cuda", on_out_of_memory="coarser", model=str(model))
    (note,) = Runner().run(request).report["notes"]
    assert note.endswith("The network does not work there and was left out.")
    assert [options.model is None for options in failing] == [False, True]


def test_processor_that_has_too_little_memory_is_not_tried_twice(pair, tmp_path, monkeypatch):
    tries: list[str] = []

    def attempt(fixed: Any, moving: Any, options: Options, progress: Any) -> Any:
        tries.append(options.device)
        raise MemoryError

    monkeypatch.setattr(runner, "register_volumes", attempt)
    request = register(pair, tmp_path / "out", on_out_of_memory="cpu")
    with pytest.raises(MemoryError) as caught:
        Runner().run(request)
    assert failure_of(caught.value, request).offers == ("coarser",)
    assert tries == ["cpu"]


def test_other_errors_are_no_want_of_memory(pair, tmp_path, monkeypatch):
    def attempt(*arguments: Any) -> Any:
        raise RuntimeError("a fault")

    monkeypatch.setattr(runner, "register_volumes", attempt)
    with pytest.raises(RuntimeError, match="a fault"):
        Runner().run(register(pair, tmp_path / "out", on_out_of_memory="coarser"))


@pytest.mark.parametrize(
    ("error", "request_", "cause", "words"),
    [
        (Cancelled(), Info(), "cancelled", "Cancelled."),
        (InputError("a.nii\nis bad."), Info(), "input", "a.nii is bad."),
        (RegistrationError("It folds."), Info(), "failed", "It folds."),
        (OUT_OF_MEMORY, Train(data=(Path("d"),), output=Path("o")), "out_of_memory", "ask for less"),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), Info(), "out_of_memory", "Memory ran out"),
        (PermissionError(13, "Permission denied", "x.h5"), Info(), "input", "x.h5 cannot be used (Permission denied)"),
        (OSError(28, "No space left on device"), Info(), "input", "cannot be read or written (No space left"),
        (KeyError("velocity"), Info(), "failed", "a fault of the program (KeyError: 'velocity')"),
    ],
)
def test_what_failures_are_called(error, request_, cause, words):
    failure = failure_of(error, request_)
    assert failure.cause == cause
    assert words in failure.sentence


def test_which_errors_break_the_device():
    assert breaks_the_device(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not breaks_the_device(RuntimeError("CUDA error: out of memory"))
    assert not breaks_the_device(InputError("CUDA error"))


def test_network_stays_warm_until_its_file_changes(model, monkeypatch):
    loaded: list[Path] = []
    load: Callable[[Path], Any] = models.load_checkpoint
    monkeypatch.setattr(models, "load_checkpoint", lambda path: (loaded.append(path), load(path))[1])
    warm = models.WarmModels()
    first = warm.get(str(model))
    assert warm.get(str(model)) is first
    os.utime(model, ns=(1, 1))
    assert warm.get(str(model)) is not first
    assert len(loaded) == 2
    with pytest.raises(InputError, match="no model"):
        warm.get("nothing")


def test_threads_are_those_of_each_request(pair, tmp_path):
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    carrying_out = Runner()
    torch.set_grad_enabled(False)  # as an interrupt might leave it
    outcome = carrying_out.run(register(pair, tmp_path / "out", threads=3))
    assert outcome.report["device"] == "cpu, 3 threads"
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3
    carrying_out.run(Info())
    assert (torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()) == before
    assert torch.is_grad_enabled()


def test_evaluation_tells_of_each_pair(pair, tmp_path):
    files = ",".join(map(str, (pair.fixed, pair.moving, pair.fixed_labels, pair.labels)))
    (tmp_path / "cases.csv").write_text(f"{','.join(COLUMNS)}\n{files}\n{files}\n")
    request = Evaluate(
        cases=tmp_path / "cases.csv", output=tmp_path / "out", initial="identity", refine=0, model="none", device="cpu"
    )
    entries: list[Any] = []
    steps: list[str] = []
    outcome = Runner().run(request, lambda step, fraction: steps.append(step), entries.append)
    assert [entry["fixed"] for entry in entries] == ["fixed.nii.gz"] * 2
    assert outcome.report["cases"] == 2
    assert outcome.report["means"]["coarse_dice"] == pytest.approx(entries[0]["coarse_dice"])
    assert all(path.exists() for path in outcome.files.values())
    assert {"fixed.nii.gz read", "fixed.nii.gz refine"} <= set(steps)


@pytest.fixture(scope="module")
def first(pair, tmp_path_factory) -> Path:
    """The folder of a registration that was broken off early."""
    return (
        Runner()
        .run(register(pair, tmp_path_factory.mktemp("first") / "out", initial="rigid"))
        .files["report.json"]
        .parent
    )


def refine(first: Path, pair: Any, output: Path, **changes: Any) -> Refine:
    values = {"fixed": pair.fixed, "moving": pair.moving, "device": "cpu", **changes}
    return Refine(result=first, output=output, **values)


def test_result_is_refined_from_where_it_ended(first, pair, tmp_path):
    """No further iteration gives the same field; some more bring the images closer."""
    again = Runner().run(refine(first, pair, tmp_path / "again", refine=0))
    (before, _), (after, _) = (io.read_displacement(folder / "transform.h5") for folder in (first, tmp_path / "again"))
    np.testing.assert_array_equal(after, before)
    further = Runner().run(refine(first, pair, tmp_path / "further", refine=10, moving_labels=pair.labels))
    assert further.report["model"] == "none: started from zero velocity; refined further"
    assert further.report["folded_voxels"] == 0
    assert further.files["labels.nii.gz"].exists()
    similarity = [outcome.report["similarity_after"]["local_correlation"] for outcome in (again, further)]
    assert similarity[1] > similarity[0] + 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda pair, first, tmp_path: {"fixed": pair.moving}, "is not of moving.nii.gz and moving.nii.gz"),
        (lambda pair, first, tmp_path: {"moving": pair.fixed}, "is not of fixed.nii.gz and fixed.nii.gz"),
        (lambda pair, first, tmp_path: {"first": tmp_path}, "holds no velocity.safetensors"),
        (lambda pair, first, tmp_path: {"first": damaged(first, tmp_path)}, "is damaged"),
    ],
    ids=["other fixed", "other moving", "no result", "damaged"],
)
def test_what_cannot_be_refined(change, words, first, pair, tmp_path):
    arguments = {"first": first, "pair": pair, "output": tmp_path / "out", **change(pair, first, tmp_path)}
    with pytest.raises(InputError, match=words):
        Runner().run(refine(**arguments))
    assert not (tmp_path / "out").exists()


def damaged(first: Path, folder: Path) -> Path:
    content = (first / "velocity.safetensors").read_bytes()
    (folder / "velocity.safetensors").write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize("fault", ["shape", "type", "value", "text"])
def test_field_that_is_not_of_the_subject_carries_nothing(fault, pair, tmp_path):
    """A scene's transform reaches the worker as an array on the subject's grid."""
    array = np.zeros((*io.read_image(pair.fixed).geometry.shape_kji, 3), np.float32)
    if fault == "value":
        array[0, 0, 0] = np.nan
    np.save(tmp_path / "field.npy", {"shape": array[1:], "type": array.astype(np.float64)}.get(fault, array))
    if fault == "text":
        (tmp_path / "field.npy").write_text("no array")
    atlas = Atlas(image=pair.moving, labels=pair.labels, transform=tmp_path / "field.npy")
    request = Propagate(subject=pair.fixed, atlases=(atlas,), output=tmp_path / "out", model=NO_MODEL, device="cpu")
    words = "cannot be read as an array" if fault == "text" else r"holds no displacement on the grid of fixed\.nii\.gz"
    with pytest.raises(InputError, match=words):
        Runner().run(request)
    assert not (tmp_path / "out").exists()


def test_settings_become_options(model):
    request = Settings(similarity="mutual_information", spacing_mm=2.0, refine=7, model=str(model))
    options = Runner().options(request)
    assert (options.refine.similarity, options.refine.iterations) == ("mutual_information", 7)
    assert options.prepare.spacing_mm == 2
    assert options.model.card.name == "small"
    defaults = Runner().options(Settings(model="none"))
    assert (defaults.refine, defaults.prepare) == (Options().refine, Options().prepare)
    with pytest.raises(InputError, match="Unknown similarity"):
        Runner().options(Settings(similarity="magic"))
    with pytest.raises(InputError, match="is no file"):
        Runner().options(Settings(initial="gone.h5"))


def test_the_default_model_is_taken_where_it_fits() -> None:
    assert default_model(Settings()) == DEFAULT_MODEL
    assert default_model(Settings(similarity="mutual_information")) == NO_MODEL
    assert default_model(Settings(spacing_mm=2.0)) == NO_MODEL
