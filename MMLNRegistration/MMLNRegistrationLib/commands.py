"""What each command of the command line does: read, call the pipeline, write. One function per command."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from . import io
from .console import ConsoleProgress, TrainingLines, stopping_between_steps
from .doctor import findings
from .errors import InputError, RegistrationError
from .model.checkpoint import load_checkpoint
from .model.registry import DEFAULT_MODEL, NO_MODEL, available_models, find_model
from .outputs import output_folder, write_registration
from .pipeline.propagate import carry_labels, require_labels_of
from .pipeline.refine import RefineConfig
from .pipeline.registration import Options
from .pipeline.registration import register as register_volumes
from .pipeline.result import Registration
from .pipeline.summary import jacobian_summary
from .pipeline.volume import Volume
from .progress import Cancelled
from .quality import evaluate as evaluation
from .quality.demo_errors import demo_errors
from .quality.demo_pair import make_demo_pair
from .spatial.geometry import Geometry, Matrix
from .spatial.inverse import invert_points
from .training.config import read_config
from .training.run import RunSettings
from .training.run import train as train_network
from .training.run_folder import RunFolder


def register(arguments: argparse.Namespace) -> None:
    """mmln register FIXED MOVING --output DIR."""
    options = _options(arguments)
    fixed, moving = io.read_image(arguments.fixed), io.read_image(arguments.moving)
    options = replace(
        options,
        fixed_mask=io.read_labels(arguments.fixed_mask) if arguments.fixed_mask else None,
        moving_mask=io.read_labels(arguments.moving_mask) if arguments.moving_mask else None,
    )
    labels = io.read_labels(arguments.moving_labels) if arguments.moving_labels else None
    if labels:
        require_labels_of(moving, labels)
    with output_folder(arguments.output, arguments.overwrite) as folder:
        registration = _run(fixed, moving, options)
        write_registration(registration, folder, carry_labels(registration, labels) if labels else None)
    _print_verdict(registration, arguments.output)


def propagate(arguments: argparse.Namespace) -> None:
    """mmln propagate SUBJECT --atlas IMAGE=LABELS --output DIR."""
    image_path, separator, labels_path = arguments.atlas.partition("=")
    if not (image_path and separator and labels_path):
        raise InputError(f"--atlas {arguments.atlas} is not IMAGE=LABELS; give the atlas image and its label map.")
    options = _options(arguments)
    subject, atlas, labels = io.read_image(arguments.subject), io.read_image(image_path), io.read_labels(labels_path)
    require_labels_of(atlas, labels)
    with output_folder(arguments.output, arguments.overwrite) as folder:
        registration = _run(subject, atlas, options)
        write_registration(registration, folder, carry_labels(registration, labels))
    _print_verdict(registration, arguments.output)


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
    cases = evaluation.read_cases(arguments.cases)
    structures = evaluation.read_structures(arguments.structures) if arguments.structures else None
    options = _options(arguments)

    def register_case(case: evaluation.Case) -> tuple[Registration, Volume, Volume]:
        fixed, moving = io.read_image(case.fixed), io.read_image(case.moving)
        fixed_labels, moving_labels = io.read_labels(case.fixed_labels), io.read_labels(case.moving_labels)
        evaluation.require_labels(fixed, moving, fixed_labels, moving_labels, structures)
        registration = _run(fixed, moving, options, f"{case.fixed.name} ")
        return registration, fixed_labels, moving_labels

    with output_folder(arguments.output, arguments.overwrite) as folder:
        scores = evaluation.evaluate(cases, register_case, structures, folder)
    for entry in scores:
        print(
            f"{entry.fixed} <- {entry.moving}: Dice coarse {entry.coarse_dice_initial:.3f} -> {entry.coarse_dice:.3f}, "
            f"fine {entry.fine_dice_initial:.3f} -> {entry.fine_dice:.3f}, folded {entry.folded_voxels}, "
            f"inverse {entry.inverse_median_mm:.4f} mm, {entry.seconds:.1f} s"
        )
    mean = evaluation.means(scores)
    print(
        f"Mean of {len(scores)}: Dice coarse {mean['coarse_dice']:.3f}, fine {mean['fine_dice']:.3f}; "
        f"all figures: {arguments.output}"
    )


def demo(arguments: argparse.Namespace) -> None:
    """mmln demo: the MNI152 template against a deformed, misplaced, differently scanned copy of itself."""
    options = _options(arguments)
    with output_folder(arguments.output, arguments.overwrite) as folder:
        pair = make_demo_pair()
        io.write_volume(pair.fixed, folder / "fixed.nii.gz")
        io.write_volume(pair.moving, folder / "moving.nii.gz")
        io.write_volume(pair.moving_tissues, folder / "moving_tissues.nii.gz")
        registration = _run(pair.fixed, pair.moving, options)
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
    _print_verdict(registration, arguments.output)


def train(arguments: argparse.Namespace) -> None:
    """mmln train --data DIR --output RUN."""
    _set_threads(arguments.threads)
    folder = RunFolder(arguments.output)
    if arguments.resume and arguments.config is None and folder.exists():
        config = folder.read_config()
    else:
        config = read_config(arguments.config)
    settings = RunSettings(
        data=tuple(arguments.data),
        output=arguments.output,
        config=config,
        validation_data=tuple(arguments.validation_data),
        structure_of_label=evaluation.read_structures(arguments.structures).coarse if arguments.structures else None,
        cache=arguments.cache,
        workers=arguments.threads or torch.get_num_threads(),
        skip_bad=arguments.skip_bad,
        device=arguments.device,
        resume=arguments.resume,
    )
    progress = ConsoleProgress()
    try:
        with stopping_between_steps(progress) as stoppable:
            state = train_network(settings, stoppable, TrainingLines(progress))
    except (Cancelled, KeyboardInterrupt):
        if folder.exists():
            raise KeyboardInterrupt(f"Stopped; go on with --resume. Results so far: {arguments.output}.") from None
        raise KeyboardInterrupt from None
    finally:
        progress.close()
    if state.best_step is not None:  # only the first of several processes validates
        print(f"Best validation score {state.best_score:.4f} at step {state.best_step}: {folder.best}")


def models(arguments: argparse.Namespace) -> None:
    """mmln models."""
    entries = available_models()
    for entry in entries:
        print(f"{entry.card.name}: {entry.card.description}\n  learnt from: {entry.card.training_data}")


def doctor(arguments: argparse.Namespace) -> None:
    """mmln doctor."""
    lines = findings()
    for line in lines:
        print(f"{'ok ' if line.works else 'NO ' if line.required else '-  '} {line.name}: {line.detail}")
    broken = [line.name for line in lines if line.required and not line.works]
    if broken:
        raise RegistrationError(f"Nothing can be registered before this works: {', '.join(broken)}.")
    print("Ready to register.")


def _options(arguments: argparse.Namespace) -> Options:
    """The options shared by all commands that register; also sets how many threads are used."""
    _set_threads(arguments.threads)
    refine = RefineConfig() if arguments.refine is None else RefineConfig(iterations=arguments.refine)
    return Options(
        model=None if arguments.model == NO_MODEL else load_checkpoint(find_model(arguments.model or DEFAULT_MODEL)),
        initial=_initial(arguments.initial),
        brain=arguments.brain,
        device=arguments.device,
        refine=refine,
    )


def _set_threads(count: int | None) -> None:
    if count:
        torch.set_num_threads(count)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(count)


def _initial(wish: str) -> str | Matrix:
    if wish in ("affine", "rigid", "identity"):
        return wish
    if not Path(wish).exists():
        raise InputError(f"--initial {wish} is no file, and none of affine, rigid, identity; give one of these.")
    return io.read_linear(wish)


def _run(fixed: Volume, moving: Volume, options: Options, prefix: str = "") -> Registration:
    progress = ConsoleProgress(prefix)
    try:
        return register_volumes(fixed, moving, options, progress)
    finally:
        progress.close()


def _print_verdict(registration: Registration, folder: Path) -> None:
    before, after = registration.similarity_before.correlation, registration.similarity_after.correlation
    print(
        f"Similarity {before:.3f} -> {after:.3f}, {registration.folding.folded_voxels} folded voxels, "
        f"{sum(registration.seconds.values()):.1f} s on {registration.device}."
    )
    for note in registration.notes:
        print(f"Note: {note}")
    print(f"Results: {folder}")


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
