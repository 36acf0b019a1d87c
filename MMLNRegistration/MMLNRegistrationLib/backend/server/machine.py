"""What the status page shows of the machine itself."""

from __future__ import annotations

import os
import re
from pathlib import Path


def memory() -> dict[str, int | None]:
    """Free and all bytes of the machine's memory; None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found = {name: int(number) * 1024 for name, number in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        return {"free_bytes": found["MemAvailable"], "total_bytes": found["MemTotal"]}
    except (OSError, KeyError):
        pass
    try:
        return {"free_bytes": None, "total_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")}
    except (AttributeError, OSError, ValueError):
        return {"free_bytes": None, "total_bytes": None}
