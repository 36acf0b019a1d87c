"""Interrupted runs: one line, exit code 130, and nothing left, whatever the command was doing."""

from __future__ import annotations

import signal

import pytest

from cli_cases import tree
from MMLNRegistrationLib import console

STEPS = (
    "prepare",
    "initial",
    "initial: search",
    "initial: rigid",
    "initial: affine",
    "refine",
    "remove folding",
    "outputs",
)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_interrupted_step_leaves_nothing(step, number, run, pair, tmp_path, monkeypatch):
    """The signal comes while the step is at work, also from inside ITK's optimiser."""

    def interrupted(now: str, fraction: float) -> None:
        if now.startswith(step):
            signal.raise_signal(number)

    monkeypatch.setattr(console.ConsoleProgress, "__call__", lambda self, now, fraction: interrupted(now, fraction))
    outcome = run("register", pair.fixed, pair.moving, "--output", tmp_path / "new" / "out", "--refine", "1")
    assert outcome.complaints == ["mmln: Interrupted; nothing was written."]
    assert outcome.code == 130
    assert tree(tmp_path) == {}
