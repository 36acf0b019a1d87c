"""What the panel says of a training, in the user's words."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..backend.detached import Kind, RunState
from ..model.card import ModelCard
from ..quality.verdict import bytes_text


def kind_text(kind: Kind) -> str:
    """How a run stands, in a word."""
    return {
        "none": _("not found"),
        "starting": _("starting"),
        "running": _("running"),
        "stopping": _("stopping"),
        "stopped": _("stopped"),
        "finished": _("finished"),
        "failed": _("failed"),
        "interrupted": _("interrupted"),
    }[kind]


def run_text(folder: str, state: RunState | None) -> str:
    """A run in a list: the folder's name, and how it stands."""
    name = Path(folder).name
    if state is None:
        return name
    if state.is_at_work and state.total_steps:
        share = round(100 * (state.step or 0) / state.total_steps)
        return _("{name} ({state}, {share} %)").format(name=name, state=kind_text(state.kind), share=share)
    return _("{name} ({state})").format(name=name, state=kind_text(state.kind))


def state_text(state: RunState, last_step: Mapping[str, Any] | None) -> str:
    """Where a training stands, how long it will go on, on what, and what memory it takes: one line."""
    if state.kind == "none":
        return ""
    if state.kind == "starting":
        return _("Starting: PyTorch is being loaded.")
    parts = []
    if state.is_at_work and not state.activity.startswith(("train", "validate")):
        parts.append(_activity(state))
    if state.step is not None and state.total_steps:
        place = _("step {step:,} of {total:,}").format(step=state.step, total=state.total_steps)
        level = last_step.get("level") if last_step else None
        parts.append(_("Level {level}, {place}").format(level=level, place=place) if level else place.capitalize())
    if not state.is_at_work:
        return ": ".join([kind_text(state.kind).capitalize(), *parts]) + "."
    if last_step and state.activity.startswith(("train", "validate")):
        parts.append(_("about {time} left").format(time=time_text(float(last_step.get("seconds_left") or 0.0))))
    if last_step and last_step.get("memory_bytes"):
        parts.append(_memory(int(last_step["memory_bytes"]), state.device_memory_bytes))
    if state.device:
        parts.append(state.device)
    return "; ".join(parts) + "."


def time_text(seconds: float) -> str:
    """A duration, as exactly as one cares."""
    if seconds < 90:
        return _("{count} s").format(count=round(seconds))
    if seconds < 90 * 60:
        return _("{count} min").format(count=round(seconds / 60))
    if seconds < 48 * 3600:
        return _("{count:.1f} h").format(count=seconds / 3600)
    return _("{count:.1f} days").format(count=seconds / 86400)


def best_text(best: Mapping[str, Any] | None) -> str:
    """The best validation so far, empty before the first."""
    if best is None:
        return ""
    folded = _("{percent:.3f} % folded").format(percent=best["folded_percent"])
    if best.get("dice") is None:
        return _("Best validation, at step {step:,}: correlation {value:.4f}, {folded}.").format(
            step=best["step"], value=best["similarity"], folded=folded
        )
    return _("Best validation, at step {step:,}: Dice {before:.3f} → {after:.3f}, {folded}.").format(
        step=best["step"], before=best["dice_initial"], after=best["dice"], folded=folded
    )


def findings_text(report: Mapping[str, Any]) -> str:
    """What a check of the data has found, as rich text, a line each; the last one says whether it will do."""
    lines = [
        _("<b>{subjects} subjects</b>: {images} images, {maps} label maps ({layout}).").format(
            subjects=report["subjects"],
            images=report["images"],
            maps=report["label_maps"],
            layout=", ".join(_layout(name) for name in dict.fromkeys(report["layouts"])),
        )
    ]
    if report["structures"] is not None and report["label_maps"]:
        lines.append(_("{count} structures in the label maps.").format(count=report["structures"]))
    if report["training_subjects"]:
        lines.append(
            _("{training} subjects train, {validation} validate; {labelled} have both image and label map.").format(
                training=report["training_subjects"],
                validation=report["validation_subjects"],
                labelled=report["labelled_subjects"],
            )
        )
    if report["bad_files"]:
        lines.append(
            _("One file cannot be used. Mend or remove it, or leave bad files out:")
            if report["bad_files"] == 1
            else _("{count} files cannot be used. Mend or remove them, or leave bad files out:").format(
                count=report["bad_files"]
            )
        )
    if report["obstacles"]:
        lines += [f"<span style='color:#b02020'>✗</span> {sentence}" for sentence in report["obstacles"]]
    elif not report["bad_files"]:
        lines.append("<span style='color:#1d7a3a'>✓</span> " + _("Ready to train."))
    return "<br>".join(lines)


def preview_text(report: Mapping[str, Any]) -> str:
    """The figures of a validation pair."""
    parts = []
    if report["dice_after"] is not None:
        parts.append(
            _("Dice {before:.3f} → {after:.3f}").format(before=report["dice_before"], after=report["dice_after"])
        )
    parts.append(
        _("correlation {before:.3f} → {after:.3f}").format(
            before=report["correlation_before"], after=report["correlation_after"]
        )
    )
    parts.append(_("{percent:.3f} % folded").format(percent=report["folded_percent"]))
    return _("Level {level}, step {step:,}: {figures}.").format(
        level=report["level"], step=report["step"], figures=", ".join(parts)
    )


def card_text(card: ModelCard, config: Mapping[str, Any]) -> str:
    """A model's card, a line for each thing that one should know."""
    switches = {
        "branch_2d": _("2D branch"),
        "branch_core": _("core branch"),
        "feature_feedback": _("feature feedback"),
    }
    used = [name for key, name in switches.items() if config.get(key)]
    return "\n".join(
        (
            _("Name: {text}").format(text=card.name),
            _("For: {text}").format(text=card.description),
            _("Learnt from: {text}").format(text=card.training_data),
            _("Grid: {spacing:g} mm").format(spacing=card.grid_spacing_mm),
            _("Intensities: {text}").format(text=card.normalisation),
            _("Network: levels {levels}, channels {width}; {used}").format(
                levels=config.get("levels"), width=config.get("width"), used=", ".join(used) or _("3D subnets alone")
            ),
            _("Made: {date}, {commit}").format(date=card.date, commit=card.commit),
        )
    )


def _activity(state: RunState) -> str:
    names = {
        "prepare data": _("Preparing the scans"),
        "optimise pairs to learn from": _("Registering pairs to learn from"),
        "begin": _("Looking through the data"),
    }
    name = names.get(state.activity, state.activity)
    return _("{activity}, {percent} %").format(activity=name, percent=round(100 * state.fraction))


def _memory(used_bytes: int, total_bytes: int | None) -> str:
    if total_bytes:
        return _("{used} of {total} GPU memory").format(used=bytes_text(used_bytes), total=bytes_text(total_bytes))
    return _("{used} of memory").format(used=bytes_text(used_bytes))


def _layout(name: str) -> str:
    return {"folder": _("plain folder"), "table": _("table")}.get(name, name)
