"""The window stays alive: the longest time in which the event loop stands still, with volumes of real size."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer
from register_cases import SECONDS, WarmWorker, add_pair, be_quick, open_panel

pytest.importorskip("PySide6")
pytest.importorskip("torch")

MOST_SECONDS = 0.1
SHAPE_KJI = (160, 192, 224)
TRIES = 3
"""Other programs on the machine stop us too, so that the best try counts."""


def test_a_registration_with_the_real_worker(host, monkeypatch):
    worker = WarmWorker()
    worker.lend(monkeypatch)
    try:
        panel = open_panel(host)
        add_pair()
        host.process_events(0.1)
        be_quick(panel, 2)
        gaps = []
        for _ in range(TRIES):
            host.gaps.begin()
            host.click(panel.ui.registerButton)
            host.wait_until(lambda: panel.run is None, SECONDS)
            gaps.append(host.longest_gap())
        print(f"longest gaps {[round(1000 * gap) for gap in gaps]} ms")
        assert panel.ui.message.text == ""
        assert min(gaps) < MOST_SECONDS, host.gaps.blocked_by
    finally:
        worker.really_close()


@pytest.mark.slow
def test_files_and_results_of_real_size(host, monkeypatch):
    """The worker's answer is made up: what is measured is writing the volumes, reading the result and showing it."""
    from MMLNRegistrationLib.backend.jobs import Job
    from MMLNRegistrationLib.backend.messages import Outcome
    from MMLNRegistrationLib.scene.transforms import displacement_from_node

    panel = open_panel(host)
    image = np.random.default_rng(0).random(SHAPE_KJI, dtype=np.float32)
    for name in ("subject", "atlas"):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.CreateDefaultDisplayNodes()
        slicer.util.updateVolumeFromArray(node, image)
    host.process_events(0.3)
    report = {
        "similarity_before": {"local_correlation": 0.2},
        "similarity_after": {"local_correlation": 0.7},
        "folded_voxels": 0,
        "seconds": {"total": 2.0},
        "device": "cpu",
    }

    def answer(request, on_progress, on_result, on_error):
        def make() -> None:
            request.output.mkdir(parents=True)
            np.save(request.output / "displacement.npy", np.full((*SHAPE_KJI, 3), 2.0, np.float32))
            np.save(request.output / "warped.npy", image)
            np.save(request.output / "jacobian.npy", np.ones(SHAPE_KJI, np.float32))

        panel.session.in_thread(make, lambda nothing: on_result(Outcome({}, report)), on_error)
        return Job("made up", request, on_progress, None, on_result, on_error, lambda job: None)

    monkeypatch.setattr(panel.session, "submit", answer)
    gaps, busy = [], []
    for _ in range(TRIES):
        host.gaps.begin()
        host.click(panel.ui.registerButton)
        host.wait_until(lambda: panel.run is None, SECONDS)
        host.process_events(0.2)
        gaps.append(host.longest_gap())
        busy.append(host.gaps.longest_busy_seconds)
    print(f"longest gaps {[round(1000 * gap) for gap in gaps]} ms, busy {[round(1000 * gap) for gap in busy]} ms")
    assert (displacement_from_node(panel.parameters.register.transform)[0] == 2.0).all()
    assert min(gaps) < MOST_SECONDS, host.gaps.blocked_by
    assert max(busy) < MOST_SECONDS, "the first time, when all is new, is no exception"
