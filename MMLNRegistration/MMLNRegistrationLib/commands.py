"""What each command of the command line does: read, call the pipeline, write. One function per command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from . import io
from .backend.messages import Evaluate, Outcome, Settings, Train, Work
from .backend.runner import Report, Runner, nobody
from .command_requests import propagate_request, register_request, settings_of
from .console import TrainingLines, console, print_propagation, print_verdict, stopping_between_steps
from .doctor import findings
from .errors import InputError, RegistrationError
from .model.registry import available_models
from .outputs import write_registration
from .pipeline.propagate import carry_labels
from .pipeline.summary import jacobian_summary
from .pipeline.volume import Volume
from .progress import Cancelled
from .quality.demo_errors import demo_errors
from .quality.demo_pair import make_demo_pair
from .quality.report import report_json
from .result_folder import output_folder
from .spatial.geometry import Geometry
from .spatial.inverse import invert_points
from .training.run_folder import RunFolder


def register(arguments: argparse.Namespace) -> None:
    """mmln register FIXED MOVING --output DIR."""
    request = register_request(arguments)
    print_verdict(_run(request).report, arguments.output)


def propagate(arguments: argparse.Namespace) -> None:
    """mmln propagate SUBJECT --atlas IMAGE=LABELS [--atlas ...] --output DIR."""
    request = propagate_request(arguments)
    print_propagation(_run(request).report, arguments.output)


def apply(arguments: argparse.Namespace) -> None:
    """mmln apply TRANSFORM INPUT --reference FILE --output FILE."""
    image = io.read_labels(arguments.input) if arguments.labels else io.read_image(arguments.input)
    reference = io.read_geometry(arguments.reference)
    transform = io.read_transform(arguments.transform)
    if arguments.inverse:
        transform = _inverse(transform, arguments.transform, reference)
    io.write_volume(io.resample(image, transform, reference, nearest=arguments.labels), arguments.output)


def jacobian(arguments: argparse.Namespace) -> None:
    """mmln jacobian TRANSFORM --output FILE."""
    displacement_mm, geometry = io.read_displacement(arguments.transform)
    summary = jacobian_summary(displacement_mm, geometry, np.ones(geometry.shape_kji, dtype=bool))
    io.write_volume(Volume(summary.determinant, geometry, "jacobian"), arguments.output)
    folding = summary.folding
    print(
        f"Determinant {folding.jacobian_min:.3f} to {folding.jacobian_max:.3f}; "
        f"{folding.folded_voxels} folded voxels ({folding.folded_percent:.4f} %, strict test)."
    )


def evaluate(arguments: argparse.Namespace) -> None:
    """mmln evaluate CASES.csv --output DIR."""
    request = Evaluate(
        cases=arguments.cases,
        output=arguments.output,
        structures=arguments.structures,
        overwrite=arguments.overwrite,
        **settings_of(arguments),
    )
    scores: list[Mapping[str, Any]] = []
    mean = _run(request, scores.append).report["means"]
    for entry in scores:
        print(
            "{fixed} <- {moving}: Dice coarse {coarse_dice_initial:.3f} -> {coarse_dice:.3f}, "
            "fine {fine_dice_initial:.3f} -> {fine_dice:.3f}, folded {folded_voxels}, "
            "inverse {inverse_median_mm:.4f} mm, {seconds:.1f} s".format(**entry)
        )
    print(
        f"Mean of {len(scores)}: Dice coarse {mean['coarse_dice']:.3f}, fine {mean['fine_dice']:.3f}; "
        f"all figures: {arguments.output}"
    )


def demo(arguments: argparse.Namespace) -> None:
    """mmln demo: the MNI152 template against a deformed, misplaced, differently scanned copy of itself."""
    settings, runner = Settings(**settings_of(arguments)), Runner()
    runner.set_threads(settings.threads)
    options = runner.options(settings)
    with output_folder(arguments.output, arguments.overwrite) as folder, console() as progress:
        pair = make_demo_pair()
        io.write_volume(pair.fixed, folder / "fixed.nii.gz")
        io.write_volume(pair.moving, folder / "moving.nii.gz")
        io.write_volume(pair.moving_tissues, folder / "moving_tissues.nii.gz")
        registration = runner.registered(pair.fixed, pair.moving, options, settings, progress)
        write_registration(registration, folder, carry_labels(registration, pair.moving_tissues))
        result = demo_errors(pair, registration.displacement_mm)
        figures = {name: error._asdict() for name, error in result._asdict().items()}
        (folder / "demo.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print("Error of the field inside the brain, and Dice of the tissues carried over; the true field is known:")
    for name, error in (
        ("as stored", result.stored),
        ("centres aligned", result.centred),
        ("true rigid part", result.rigid),
        ("registered", result.registered),
        ("true field", result.limit),
    ):
        print(
            f"  {name:<16} median {error.median_mm:7.3f} mm   95 % {error.p95_mm:7.3f} mm   "
            f"Dice grey {error.dice_grey:.3f}  white {error.dice_white:.3f}"
        )
    print_verdict(report_json(registration), arguments.output)


def train(arguments: argparse.Namespace) -> None:
    """mmln train --data DIR --output RUN."""
    request = Train(
        data=tuple(arguments.data),
        output=arguments.output,
        config=arguments.config,
        validation_data=tuple(arguments.validation_data),
        structures=arguments.structures,
        cache=arguments.cache,
        skip_bad=arguments.skip_bad,
        resume=arguments.resume,
        device=arguments.device,
        threads=arguments.threads,
    )
    folder = RunFolder(arguments.output)
    try:
        with console() as progress, stopping_between_steps(progress) as stoppable:
            report = Runner().run(request, stoppable, TrainingLines(progress)).report
    except (Cancelled, KeyboardInterrupt):
        if folder.exists():
            raise KeyboardInterrupt(f"Stopped; go on with --resume. Results so far: {arguments.output}.") from None
        raise KeyboardInterrupt from None
    if report["best_step"] is not None:  # only the first of several processes validates
        print(f"Best validation score {report['best_score']:.4f} at step {report['best_step']}: {folder.best}")


def models(arguments: argparse.Namespace) -> None:
    """mmln models."""
    entries = available_models()
    for entry in entries:
        print(f"{entry.card.name}: {entry.card.description}\n  learnt from: {entry.card.training_data}")
    if not entries:
        print("No trained network comes with this version: registration optimises each pair from zero.")


def doctor(arguments: argparse.Namespace) -> None:
    """mmln doctor."""
    lines = findings()
    for line in lines:
        print(f"{'ok ' if line.works else 'NO ' if line.required else '-  '} {line.name}: {line.detail}")
    broken = [line.name for line in lines if line.required and not line.works]
    if broken:
        raise RegistrationError(f"Nothing can be registered before this works: {', '.join(broken)}.")
    print("Ready to register.")


def _run(request: Work, report: Report = nobody) -> Outcome:
    with console() as progress:
        return Runner().run(request, progress, report)


def _inverse(transform: sitk.Transform, path: Path, reference: Geometry) -> sitk.Transform:
    """The inverse as a displacement field on the reference grid; points with no way back look far outside."""
    if transform.IsLinear():
        try:
            return transform.GetInverse()
        except RuntimeError as error:
            raise InputError(f"{path.name} cannot be inverted.") from error
    displacement_mm, geometry = io.read_displacement(path)
    points_ras = reference.points_ras()
    source_ras, found = invert_points(points_ras, displacement_mm, geometry)
    source_ras[~found] = 1e6
    inverse_mm = (source_ras - points_ras).reshape(*reference.shape_kji, 3)
    return io.displacement_transform(inverse_mm, reference)
