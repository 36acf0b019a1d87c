"""Several processes under torchrun: one run, equal weights, the gradient of all their pairs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from MMLNRegistrationLib.model.mutual import MutualLearning
from MMLNRegistrationLib.model.network import MMLN
from MMLNRegistrationLib.training.config import as_json
from MMLNRegistrationLib.training.distributed import Ranks, device_of_rank, joined_ranks
from MMLNRegistrationLib.training.pairs import PairSource
from MMLNRegistrationLib.training.preparation import PreparedData
from MMLNRegistrationLib.training.run_folder import RunFolder
from training_cases import checkpoint_bytes, command, events, losses, quick, write_config

CONFIG = quick((3, 2, 2), checkpoint_every=1)

WORKER = """
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from MMLNRegistrationLib.training.run import RunSettings, train
from MMLNRegistrationLib.training.run_folder import RunFolder
from MMLNRegistrationLib.training.trainer import Trainer
from test_distributed import CONFIG, batch_gradients

torch.set_num_threads(1)
data, cache, output, own = map(Path, sys.argv[1:])
write, run, wrote = RunFolder.write_bytes, Trainer.run, []


def write_and_tell(self, path, content):
    wrote.append(path.name)
    write(self, path, content)


def run_and_tell(self, resume):
    state, rank = run(self, resume), self.ranks.rank
    weights = {name: value.contiguous() for name, value in self.learning.state_dict().items()}
    save_file(weights, own / f"weights-{rank}")
    save_file(batch_gradients(self.source, [rank], self.ranks), own / f"gradients-{rank}")
    votes = [self.ranks.any(wish, torch.device("cpu")) for wish in (False, rank == 1, True)]
    (own / f"votes-{rank}").write_text(str(votes))
    (own / f"wrote-{rank}").write_text(" ".join(wrote))
    return state


RunFolder.write_bytes, Trainer.run = write_and_tell, run_and_tell
train(RunSettings((data,), output, CONFIG, cache=cache, device="cpu"), lambda step, fraction: None, lambda entry: None)
"""


def batch_gradients(source: PairSource, parts: list[int], ranks: Ranks) -> dict[str, torch.Tensor]:
    """Of the first step's loss, for the pairs of some processes as one batch, averaged over processes."""
    torch.manual_seed(1)
    learning = MutualLearning(MMLN(CONFIG.network), CONFIG.loss)
    batches = [source.batch(0, 1, taught=False, part=part) for part in parts]
    fixed, moving = (torch.cat([getattr(batch, name) for batch in batches]) for name in ("fixed", "moving"))
    learning(1, fixed, moving).total.backward()
    ranks.average_gradients(learning)
    return {name: each.grad.contiguous() for name, each in learning.named_parameters() if each.grad is not None}


def torchrun(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Two processes on this machine's processors, which end with the test."""
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    try:
        output, errors = process.communicate(timeout=150)
    finally:
        process.terminate()  # torchrun passes it on
        process.wait()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture(scope="module")
def two_processes(brains: Path, prepared: PreparedData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two processes, and what each of them has to say; not to be written to."""
    folder = tmp_path_factory.mktemp("two_processes")
    (folder / "worker.py").write_text(WORKER)
    arguments = (folder / "worker.py", brains, prepared.folder.parent, folder / "run", folder)
    done = torchrun([str(argument) for argument in arguments])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_both_end_with_the_same_weights_and_one_writes(two_processes: Path) -> None:
    weights = [(two_processes / f"weights-{rank}").read_bytes() for rank in (0, 1)]
    assert weights[0] == weights[1]
    assert checkpoint_bytes(two_processes / "run")["weights.safetensors"] == weights[0]
    assert "state.json" in (two_processes / "wrote-0").read_text()
    assert (two_processes / "wrote-1").read_text() == ""
    assert events(two_processes / "run") == ["start", "end"]
    assert [entry["step"] for entry in losses(two_processes / "run") if entry["event"] == "step"] == list(range(1, 8))


def test_the_gradient_is_that_of_a_batch_of_both_pairs(two_processes: Path, prepared: PreparedData) -> None:
    split = RunFolder(two_processes / "run").read_split()
    source = PairSource(prepared, tuple(scan for scan in prepared.scans if scan.subject in split.training), CONFIG)
    found = [load_file(two_processes / f"gradients-{rank}") for rank in (0, 1)]
    both, alone = batch_gradients(source, [0, 1], Ranks()), batch_gradients(source, [0], Ranks())
    assert found[0].keys() == found[1].keys() == both.keys()
    for name, expected in both.items():
        assert torch.equal(found[0][name], found[1][name])
        torch.testing.assert_close(found[0][name], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    assert any(not torch.allclose(both[name], alone[name], rtol=0.05) for name in both)


def test_a_wish_of_one_is_the_wish_of_all(two_processes: Path) -> None:
    assert [(two_processes / f"votes-{rank}").read_text() for rank in (0, 1)] == ["[False, True, True]"] * 2


@pytest.mark.slow
def test_the_command_runs_under_torchrun_and_resumes(brains: Path, prepared: PreparedData, tmp_path: Path) -> None:
    settings = write_config(tmp_path / "config.json", as_json(quick((2, 1, 1))))
    arguments = command(brains, prepared.folder.parent, tmp_path / "run", "--config", settings)
    done = torchrun(["-m", "MMLNRegistrationLib", *arguments])
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Best validation score") == 1
    assert done.stdout.count("Step ") == 3
    assert "Traceback" not in done.stderr
    assert events(tmp_path / "run") == ["start", "end"]


def test_one_process_alone_needs_no_company() -> None:
    learning = MutualLearning(MMLN(CONFIG.network), CONFIG.loss)
    with joined_ranks(torch.device("cpu")) as ranks:
        assert ranks == Ranks(0, 1)
        ranks.average_gradients(learning)
        ranks.wait()
        assert [ranks.any(wish, torch.device("cpu")) for wish in (True, False)] == [True, False]
    assert all(parameter.grad is None for parameter in learning.parameters())
    assert device_of_rank(torch.device("cpu")) == torch.device("cpu")
