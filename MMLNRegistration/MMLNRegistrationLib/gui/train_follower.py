"""Following a training from its folder, by a thread that reads and a timer that brings the news to the main thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qt

from ..backend.detached import RunState, log_text, state_of
from ..training.curve_table import CurveTables, curve_tables
from ..training.ledger_tail import LedgerTail
from ..training.run_files import RunFiles

_SECONDS_BETWEEN_READINGS = 0.4
_MILLISECONDS_BETWEEN_LOOKS = 100
_READINGS_BETWEEN_OTHERS = 5
"""The states of the runs that the panel does not show are read less often."""


@dataclass(frozen=True)
class RunNews:
    """How a run stands. curves: None when they are as they were. last_step, best: entries of the ledger, None when
    there is none yet. has_model: there is a best network. others: the states of all known runs, None likewise."""

    folder: Path | None
    state: RunState
    curves: CurveTables | None
    last_step: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    has_model: bool
    log: str
    others: Mapping[str, RunState] | None


class RunFollower:
    """Reads the folder of one run, and how the others stand, for as long as the panel lives."""

    def __init__(self, on_news: Callable[[RunNews], None]) -> None:
        """on_news: called on the main thread."""
        self._on_news = on_news
        self._inbox: queue.SimpleQueue[RunNews] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._others: tuple[str, ...] = ()
        self._wake, self._ended = threading.Event(), threading.Event()
        self._timer = qt.QTimer()
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._deliver)
        self._timer.start()
        threading.Thread(target=self._read, name="MMLNRegistration training", daemon=True).start()

    def follow(self, folder: Path | None, others: Sequence[str]) -> None:
        """From now on the news are of this run, and of these others."""
        with self._lock:
            self._folder, self._others = folder, tuple(others)
        self._wake.set()

    def look(self) -> None:
        """Read at once, as something has just been done."""
        self._wake.set()

    def close(self) -> None:
        """No more news."""
        self._ended.set()
        self._wake.set()
        self._timer.stop()

    def _deliver(self) -> None:
        news = None
        with suppress(queue.Empty):
            while True:
                earlier, news = news, self._inbox.get_nowait()
                if earlier is not None and earlier.folder == news.folder:
                    news = _merged(earlier, news)
        if news is not None:
            self._on_news(news)

    def _read(self) -> None:
        """In a thread of its own; it touches neither the scene nor a widget."""
        tail: LedgerTail | None = None
        followed: Path | None = None
        readings = 0
        while not self._ended.is_set():
            with self._lock:
                folder, others = self._folder, self._others
            is_new = folder != followed or tail is None
            if is_new:
                followed, tail = folder, LedgerTail(folder / "ledger.jsonl") if folder is not None else None
            states = None
            if is_new or readings % _READINGS_BETWEEN_OTHERS == 0:
                states = {path: state_of(Path(path)) for path in others}
            readings += 1
            self._inbox.put(_news(folder, tail, is_new, states))
            self._wake.wait(_SECONDS_BETWEEN_READINGS)
            self._wake.clear()


def _news(folder: Path | None, tail: LedgerTail | None, is_new: bool, others: Mapping[str, RunState] | None) -> RunNews:
    if folder is None or tail is None:
        return RunNews(None, RunState("none"), None, None, None, False, "", others)
    changed = is_new
    while tail.read():
        changed = True
    steps = [entry for entry in tail.entries if entry.get("event") == "step"]
    best = [entry for entry in tail.entries if entry.get("best") is True]
    return RunNews(
        folder,
        state_of(folder),
        curve_tables(tail.entries) if changed else None,
        steps[-1] if steps else None,
        best[-1] if best else None,
        RunFiles(folder).best.is_file(),
        log_text(folder),
        others,
    )


def _merged(earlier: RunNews, later: RunNews) -> RunNews:
    """The later news, with what they leave out because the earlier ones have told it."""
    return RunNews(
        later.folder,
        later.state,
        later.curves if later.curves is not None else earlier.curves,
        later.last_step,
        later.best,
        later.has_model,
        later.log,
        later.others if later.others is not None else earlier.others,
    )
