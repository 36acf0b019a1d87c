"""The time left, foretold from the worker's steps; it needs neither Slicer nor a window, but the package of both."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer")


@pytest.fixture
def clock(host):
    class Clock:
        now = 100.0

        def __call__(self) -> float:
            return self.now

    return Clock()


def time_left(clock, weights=None):
    from MMLNRegistrationLib.gui.time_left import WEIGHTS, TimeLeft

    return TimeLeft(WEIGHTS if weights is None else weights, clock)


def test_nothing_is_said_before_there_is_something_to_say(clock):
    left = time_left(clock)
    assert left.seconds is None
    left.progress("begin", 0.0)
    left.progress("prepare", 0.0)
    clock.now += 1.0
    left.progress("prepare", 0.5)
    assert left.seconds is None


def test_a_run_like_the_measured_one_is_foretold(clock):
    from MMLNRegistrationLib.gui.time_left import WEIGHTS

    left, total, passed = time_left(clock), sum(WEIGHTS.values()), 0.0
    for step, seconds in WEIGHTS.items():
        left.progress(step, 0.0)
        if passed > 1.5:
            assert left.seconds == pytest.approx(total - passed, rel=0.05)
        clock.now += seconds
        passed += seconds
        left.progress(step, 1.0)
    left.progress("write", 1.0)
    assert left.share == pytest.approx(1.0)
    assert left.seconds == pytest.approx(0.0, abs=1e-6)


def test_without_a_network_the_refinement_is_most_of_the_time(clock):
    from MMLNRegistrationLib.gui.time_left import WEIGHTS

    left = time_left(clock)
    for step in ("prepare", "initial"):
        left.progress(step, 0.0)
        clock.now += WEIGHTS[step]
    left.progress("network", 0.0)
    left.progress("refine: 1/4 resolution", 0.0)
    rest = sum(WEIGHTS[step] for step in ("network", "refine", "remove folding", "outputs", "write"))
    assert left.seconds == pytest.approx(rest, rel=0.05)


def test_it_never_goes_back_and_passes_over_what_it_does_not_know(clock):
    left = time_left(clock)
    left.progress("refine: full resolution", 0.9)
    share = left.share
    left.progress("initial: search", 0.1)
    left.progress("dance", 0.5)
    left.progress("waiting for the device", 0.0)
    assert left.share == share


def test_an_earlier_run_is_the_measure_of_the_next(clock):
    left = time_left(clock, {"prepare": 1.0, "initial": 8.0, "refine": 1.0, "total": 10.0})
    left.progress("prepare", 0.0)
    clock.now += 9.0
    left.progress("refine", 0.0)
    assert left.seconds == pytest.approx(1.2, abs=0.5)
