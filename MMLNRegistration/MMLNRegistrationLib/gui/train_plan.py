"""From the choices of Train to a request, and what is missing for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..backend.detached import RunState
from ..backend.messages import Train
from ..errors import InputError
from .train_presets import settings_of


def hindrance(train: Any, state: RunState) -> str:
    """Why no training can be begun with these choices; empty when one can."""
    if not train.data:
        return _("Choose the folder with the scans to train on.")
    if not train.run_folder:
        return _("Choose a folder for the run: its checkpoints and curves go there.")
    if state.kind == "finished":
        return _("This run is finished; choose another run folder to begin a new one.")
    if state.kind in ("stopped", "interrupted") or (state.kind == "failed" and state.total_steps is not None):
        return _("This folder holds a training: resume it, or choose another run folder.")
    if train.steps_1 + train.steps_2 + train.steps_3 == 0:
        return _("No level has steps to train; give one of them some under Expert.")
    return ""


def can_resume(state: RunState) -> bool:
    """Whether a run has begun and could go on."""
    return state.kind in ("stopped", "interrupted", "failed") and state.total_steps is not None


def train_request(train: Any) -> Train:
    """The request for a new run. Raises InputError where a choice cannot be."""
    return Train(
        data=(Path(train.data),),
        validation_data=(Path(train.validation_data),) if train.validation_data else (),
        output=Path(train.run_folder),
        cache=Path(train.cache) if train.cache else None,
        skip_bad=train.skip_bad,
        device=train.device,
        threads=train.threads or None,
    )


def write_settings(train: Any, folder: Path) -> Path:
    """The settings as a file for the worker, in a folder. Raises InputError when it cannot be written."""
    path = folder / "settings.json"
    try:
        path.write_text(json.dumps(settings_of(train)), encoding="ascii")
    except OSError as error:
        raise InputError(
            _("{path} cannot be written ({reason}); make room.").format(path=path, reason=error.strerror)
        ) from error
    return path
