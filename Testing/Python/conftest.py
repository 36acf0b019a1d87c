"""Fixtures of the tests of the command line, of training and of pages."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import torch
from hypothesis import HealthCheck, settings

from cli_cases import BEND_MM, Outcome, Pair, Run, brain, is_progress, regions, register_in_process, write
from MMLNRegistrationLib.cli import main
from MMLNRegistrationLib.progress import silent
from MMLNRegistrationLib.training.datasets import find_scans
from MMLNRegistrationLib.training.preparation import PreparedData, prepare_scans
from training_cases import QUICK, write_balls, write_brains

# On a busy machine any example may take long: that says nothing about the code.
settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any speed")

BROWSER_OPTIONS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A playwright.sync_api.Browser; without one on this machine the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=program, args=BROWSER_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """The command in this process: run("register", fixed, moving, "--output", folder) -> Outcome."""
    terminate, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    itk_threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()

    def command(*arguments: object) -> Outcome:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ending:
            code = int(ending.code or 0)
        captured = capfd.readouterr()
        return Outcome(code, captured.out, [line for line in captured.err.splitlines() if not is_progress(line)])

    yield command
    signal.signal(signal.SIGTERM, terminate)
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(itk_threads)


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two brains as files, with what may come with them; not to be written to."""
    folder = tmp_path_factory.mktemp("pair")
    return Pair(
        fixed=write(folder / "fixed.nii.gz"),
        moving=write(folder / "moving.nii.gz", brain(bend_mm=BEND_MM)),
        labels=write(folder / "labels.nii.gz", regions(BEND_MM)),
        fixed_labels=write(folder / "fixed_labels.nii.gz", regions()),
        mask=write(folder / "mask.nii.gz", (brain() > 0).astype("uint8")),
    )


@pytest.fixture(scope="session")
def registered(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished registration of the pair; not to be written to."""
    folder = tmp_path_factory.mktemp("registered") / "result"
    register_in_process(pair.fixed, pair.moving, folder)
    return folder


@pytest.fixture(scope="session")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small labelled brains; not to be written to."""
    return write_brains(tmp_path_factory.mktemp("brains"))


@pytest.fixture(scope="session")
def prepared(brains: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """They on the common grid, for any run with the quick settings; not to be written to."""
    scans = find_scans([brains]).scans
    cache = tmp_path_factory.mktemp("prepared")
    return prepare_scans(scans, scans[0], cache, QUICK.spacing_mm, workers=1, skip_bad=False, progress=silent)


@pytest.fixture(scope="session")
def balls(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """An easy set of prepared scans; not to be written to."""
    return write_balls(tmp_path_factory.mktemp("balls"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads share them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
