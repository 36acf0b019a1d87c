"""The window stays alive during a check: the longest time in which the event loop stands still, at real size."""

from __future__ import annotations

import numpy as np
import pytest
from mrml import slicer
from quality_cases import choose, open_panel
from register_cases import SECONDS, WarmWorker
from scene_cases import grid

from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.transforms import transform_node
from MMLNRegistrationLib.scene.volumes import volume_node

pytest.importorskip("PySide6")
pytest.importorskip("torch")

MOST_SECONDS = 0.1
GEOMETRY = grid((160, 192, 224), (1.0, 1.0, 1.0), np.eye(3))
TRIES = 2
"""Other programs on the machine stop us too, so that the best try counts."""


@pytest.mark.slow
def test_a_check_with_the_real_worker(host, monkeypatch):
    worker = WarmWorker()
    worker.lend(monkeypatch)
    try:
        panel = open_panel(host)
        picture = np.random.default_rng(0).random(GEOMETRY.shape_kji, dtype=np.float32)
        fixed, moving = (volume_node(slicer.mrmlScene, Volume(picture, GEOMETRY, n), n) for n in ("subject", "atlas"))
        field = np.full((*GEOMETRY.shape_kji, 3), 1.5, np.float32)
        field[60:64, 80:84, 100:104] += 4.0
        choose(panel, transform_node(slicer.mrmlScene, field, GEOMETRY, "folded", fixed, moving), fixed, moving)
        host.process_events(0.5)
        gaps, busy = [], []
        for _ in range(TRIES):
            host.gaps.begin()
            host.click(panel.ui.checkButton)
            host.wait_until(lambda: panel.run is None, SECONDS)
            host.process_events(0.2)
            assert panel.ui.message.text == ""
            gaps.append(host.longest_gap())
            busy.append(host.gaps.longest_busy_seconds)
        print(f"longest gaps {[round(1000 * gap) for gap in gaps]} ms, busy {[round(1000 * gap) for gap in busy]} ms")
        assert panel.parameters.quality.folds_table.GetNumberOfRows() >= 1
        assert min(gaps) < MOST_SECONDS, host.gaps.blocked_by
        assert max(busy) < MOST_SECONDS, "the first time, when all is new, is no exception"
    finally:
        worker.really_close()
