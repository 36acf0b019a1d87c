"""Jobs in the words of the interface: what their clients may know, and what everybody may."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ..messages import ErrorEvent, ResultEvent
from ..protocol import encode_event
from .orders import INPUT
from .records import DONE, Record

_SHOWN_DIGITS = 8


def shown_key(key: str) -> str:
    """As much of a job's key as logs and tables show: not enough to fetch anything with."""
    return key[:_SHOWN_DIGITS]


def job_view(record: Record, last: dict[str, Any], before: int | None) -> dict[str, Any]:
    """A job as its client sees it. last: its newest event. before: how many jobs come before it."""
    return {
        "job": record.key,
        "kind": record.kind,
        "state": record.state,
        "before": before,
        "step": last.get("step"),
        "fraction": last.get("fraction"),
        "event": record.event,
    }


def table_row(record: Record, last: dict[str, Any]) -> dict[str, Any]:
    """A job as everybody sees it."""
    now = time.time()
    seconds = (record.ended_at or now) - record.begun_at if record.begun_at else None
    return {
        "job": shown_key(record.key),
        "kind": record.kind,
        "state": record.state if record.event is None or record.state == DONE else record.event["cause"],
        "step": last.get("step"),
        "fraction": last.get("fraction"),
        "seconds": None if seconds is None else max(seconds, 0.0),
        "age_seconds": max(now - record.accepted_at, 0.0),
    }


def told(event: ResultEvent | ErrorEvent, folder: Path) -> dict[str, Any]:
    """How a job ended, as a message without paths of this machine. folder: of the job."""
    if isinstance(event, ResultEvent):
        event = ResultEvent(id=event.id, files={name: Path(name) for name in event.files}, report=event.report)
    message: dict[str, Any] = json.loads(encode_event(event))
    if isinstance(event, ErrorEvent):
        message["sentence"] = event.sentence.replace(f"{folder / INPUT}/", "").replace(f"{folder}/", "")
    return message
