"""The window stays alive during a propagation: the longest time in which the event loop stands still."""

from __future__ import annotations

import numpy as np
import propagate_cases
import pytest
from mrml import slicer
from propagate_cases import SECONDS, add_atlas, add_known, add_segments, add_subject, fill_in, open_panel
from register_cases import WarmWorker
from scene_cases import grid, label_node

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import volume_node

pytest.importorskip("PySide6")
pytest.importorskip("torch")

MOST_SECONDS = 0.1
GEOMETRY = grid((160, 192, 224), (1.0, 1.0, 1.0), np.eye(3))
STRUCTURES = 64
TRIES = 3
"""Other programs on the machine stop us too, so that the best try counts."""


def gaps_of_clicks(host, panel) -> tuple[list[float], list[float]]:
    """Propagate some times; each time the longest gap, and the longest computing of the main thread, in seconds."""
    gaps, busy = [], []
    for _ in range(TRIES):
        host.gaps.begin()
        host.click(panel.ui.propagateButton)
        host.wait_until(lambda: panel.run is None, SECONDS)
        host.process_events(0.2)
        assert panel.ui.message.text == ""
        gaps.append(host.longest_gap())
        busy.append(host.gaps.longest_busy_seconds)
    print(f"longest gaps {[round(1000 * gap) for gap in gaps]} ms, busy {[round(1000 * gap) for gap in busy]} ms")
    return gaps, busy


def test_a_propagation_with_the_real_worker(host, monkeypatch):
    """One atlas is registered, the transform of the other one is sampled."""
    worker = WarmWorker()
    worker.lend(monkeypatch)
    try:
        panel = open_panel(host)
        subject = add_subject()
        fill_in(host, panel, subject, add_atlas(0, as_segments=True), add_known(1, subject))
        gaps, _busy = gaps_of_clicks(host, panel)
        assert panel.parameters.propagate.segmentation.GetSegmentation().GetNumberOfSegments() == 3
        assert min(gaps) < MOST_SECONDS, host.gaps.blocked_by
    finally:
        worker.really_close()


@pytest.mark.slow
def test_files_and_results_of_real_size(host, monkeypatch):
    """The worker's answer is made up: what is measured is sampling, writing, reading the result and showing it."""
    from MMLNRegistrationLib.backend.jobs import Job
    from MMLNRegistrationLib.backend.messages import Outcome

    scene, shape = slicer.mrmlScene, GEOMETRY.shape_kji
    monkeypatch.setattr(propagate_cases, "NAMES", {n: f"Structure {n}" for n in range(1, STRUCTURES + 1)})
    panel = open_panel(host)
    picture = np.random.default_rng(0).random(shape, dtype=np.float32)
    k, j, i = np.ogrid[tuple(slice(size) for size in shape)]
    drawn = (k * 4 // shape[0] * 16 + j * 4 // shape[1] * 4 + i * 4 // shape[2] + 1).astype(np.uint8)
    subject, first, second = (volume_node(scene, Volume(picture, GEOMETRY, n), n) for n in ("subject", "one", "two"))
    first_labels = label_node(scene, Volume(drawn, GEOMETRY, "labels"), "labels one")
    second_labels = add_segments(drawn, GEOMETRY, "segments two")
    field = np.full((*shape, 3), 1.5, np.float32)
    transform = transform_node(scene, field, GEOMETRY, "two to subject", subject, second)
    fill_in(host, panel, subject, (first, first_labels, None), (second, second_labels, transform))
    host.process_events(0.5)
    report = {
        "atlases": [{}, {}],
        "mean_agreement": 0.9,
        "folded_voxels": 0,
        "seconds": {"total": 2.0},
        "device": "cpu",
        "notes": [],
    }

    def answer(request, on_progress, on_result, on_error):
        def make() -> None:
            request.output.mkdir(parents=True)
            np.save(request.output / "labels.npy", drawn)
            np.save(request.output / "agreement.npy", picture)

        panel.session.in_thread(make, lambda nothing: on_result(Outcome({}, report)), on_error)
        return Job("made up", request, on_progress, None, on_result, on_error, lambda job: None)

    monkeypatch.setattr(panel.session, "submit", answer)
    gaps, busy = gaps_of_clicks(host, panel)
    assert panel.parameters.propagate.segmentation.GetSegmentation().GetNumberOfSegments() == 2 * STRUCTURES
    assert min(gaps) < MOST_SECONDS, host.gaps.blocked_by
    assert max(busy) < MOST_SECONDS, "the first time, when all is new, is no exception"
