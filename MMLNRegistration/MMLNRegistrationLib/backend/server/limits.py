"""How much a server takes on, and how long it keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InputError

GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """upload_bytes: of one file. voxels: of one volume, 512^3 by default. storage_bytes: of all that is kept.

    job_files: of one job. training_hours: the most that a training may take, 0 for none at all.
    waiting_jobs: in the queue. keep_seconds: what nobody has fetched goes after so long. grace_seconds: what runs may
    go on for so long when the server is asked to stop.
    """

    upload_bytes: int = 2 * GIB
    voxels: int = 512**3
    storage_bytes: int = 100 * GIB
    job_files: int = 2000
    waiting_jobs: int = 100
    training_hours: float = 168.0
    keep_seconds: float = 3600.0
    grace_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("upload_bytes", "voxels", "storage_bytes", "job_files", "waiting_jobs", "keep_seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be more than 0, not {getattr(self, name)}.")
        for name in ("grace_seconds", "training_hours"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must be 0 or more, not {getattr(self, name)}.")
