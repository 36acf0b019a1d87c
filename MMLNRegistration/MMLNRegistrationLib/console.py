"""Progress on the terminal: a bar where someone watches, plain lines where the output goes to a file."""

from __future__ import annotations

import sys
import time

_BAR_WIDTH = 28
_SECONDS_BETWEEN_DRAWINGS = 0.1


class ConsoleProgress:
    """A progress callback (see progress.Progress) that writes to the standard error."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._on_terminal = sys.stderr.isatty()
        self._step = ""
        self._drawn_at = 0.0

    def __call__(self, step: str, fraction: float) -> None:
        """Show that `step` has come to `fraction` of its work."""
        new_step = step.partition(":")[0] != self._step.partition(":")[0]
        if self._on_terminal:
            now = time.monotonic()
            if new_step or now - self._drawn_at > _SECONDS_BETWEEN_DRAWINGS:
                self._drawn_at = now
                filled = round(_BAR_WIDTH * min(max(fraction, 0.0), 1.0))
                bar = "#" * filled + "." * (_BAR_WIDTH - filled)
                sys.stderr.write(f"\r\x1b[K{self._prefix}[{bar}] {step}")
                sys.stderr.flush()
        elif new_step:
            print(f"{self._prefix}{step.partition(':')[0]}", file=sys.stderr, flush=True)
        self._step = step

    def close(self) -> None:
        """Clear the bar."""
        if self._on_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
