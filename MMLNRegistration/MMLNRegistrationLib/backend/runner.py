"""Carrying out requests, one at a time, in this process: what the worker, the command line and tests call alike."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from .. import io, velocity_file
from ..errors import InputError, is_out_of_memory
from ..model.checkpoint import Checkpoint
from ..model.registry import DEFAULT_MODEL, NO_MODEL
from ..outputs import write_registration
from ..pipeline.device import choose_device
from ..pipeline.infer import halvings
from ..pipeline.prepare import PrepareConfig
from ..pipeline.propagate import carry_labels, require_labels_of
from ..pipeline.refine import RefineConfig
from ..pipeline.registration import Options
from ..pipeline.registration import register as register_volumes
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from ..progress import Progress, silent
from ..quality import evaluate as evaluation
from ..quality.report import report_json
from ..result_folder import output_folder
from ..spatial.geometry import Matrix
from ..velocity_file import read_velocity
from ..writing import REGISTRATION_FILES, RESULT_FILES
from . import training_requests
from .information import information
from .inspecting import inspect_files
from .messages import (
    LINEAR_STARTS,
    CheckData,
    Evaluate,
    Info,
    Inspect,
    Outcome,
    Preview,
    Propagate,
    Refine,
    Register,
    Search,
    Settings,
    Train,
    Work,
)
from .models import WarmModels
from .propagation import propagate
from .turns import taking_turns

Report = Callable[[Mapping[str, Any]], None]
"""Called with every line of a table that a request writes as it goes, see messages.EntryEvent."""

_LARGER_SPACING = 2.0
_FULL_RESOLUTION = ((1, 1),)
"""RefineConfig.factors for a velocity that has all detail already."""


def nobody(entry: Mapping[str, Any]) -> None:
    """A Report that tells nobody."""


class Runner:
    """Carries out requests and keeps networks warm between them.

    turns: the folder of the devices' locks, see turns; None when nobody shares this machine's devices.
    """

    def __init__(self, turns: Path | None = None) -> None:
        self._turns = turns
        self._models = WarmModels()
        self._threads = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()

    def run(
        self, request: Work, progress: Progress = silent, report: Report = nobody, partial_name: str | None = None
    ) -> Outcome:
        """Carry out a request. partial_name: of the folder that unfinished results are in, see output_folder.

        Raises InputError, RegistrationError, what progress raises, and whatever torch and ITK do; a caller that goes
        on afterwards asks failures.failure_of what it means, and calls free_memory.
        """
        torch.set_grad_enabled(True)  # a request that was stopped inside torch may have left it switched off
        self.set_threads(None if isinstance(request, CheckData | Info) else request.threads)
        if isinstance(request, Register):
            return self._register(request, progress, partial_name)
        if isinstance(request, Refine):
            return self._refine(request, progress, partial_name)
        if isinstance(request, Propagate):
            return self._propagate(request, progress, partial_name)
        if isinstance(request, Evaluate):
            return self._evaluate(request, progress, report, partial_name)
        if isinstance(request, Inspect):
            return inspect_files(request, progress, partial_name)
        if isinstance(request, Train):
            return training_requests.train(request, progress, report)
        if isinstance(request, CheckData):
            return training_requests.check(request, progress)
        if isinstance(request, Preview):
            return training_requests.preview(request, progress, partial_name)
        return Outcome(report=information())

    def options(self, settings: Settings) -> Options:
        """The pipeline's options for these settings, masks aside. Raises InputError."""
        options = Options(
            model=self._model(settings.model or DEFAULT_MODEL),
            initial=_initial(settings.initial),
            brain=settings.brain,
            device=settings.device,
            refine=_refinement(settings),
        )
        return replace(options, prepare=replace(options.prepare, spacing_mm=settings.spacing_mm))

    def _model(self, name_or_file: str) -> Checkpoint | None:
        return None if name_or_file == NO_MODEL else self._models.get(name_or_file)

    def _register(self, request: Register, progress: Progress, partial_name: str | None) -> Outcome:
        progress("read", 0.0)
        options = self.options(request)
        return self._register_pair(
            request, io.read_image(request.fixed), io.read_image(request.moving), options, progress, partial_name
        )

    def _refine(self, request: Refine, progress: Progress, partial_name: str | None) -> Outcome:
        progress("read", 0.0)
        fixed, moving = io.read_image(request.fixed), io.read_image(request.moving)
        stored = read_velocity(request.result / velocity_file.NAME, fixed, moving)
        options = Options(
            start=stored.start,
            initial=stored.moving_ras_from_fixed_ras,
            brain=request.brain,
            device=request.device,
            prepare=PrepareConfig(spacing_mm=float(stored.start.net_geometry.spacing_mm[0])),
            refine=replace(_refinement(request), factors=_FULL_RESOLUTION),
        )
        return self._register_pair(request, fixed, moving, options, progress, partial_name)

    def _register_pair(
        self,
        request: Register | Refine,
        fixed: Volume,
        moving: Volume,
        options: Options,
        progress: Progress,
        partial_name: str | None,
    ) -> Outcome:
        options = replace(
            options,
            fixed_mask=io.read_labels(request.fixed_mask) if request.fixed_mask else None,
            moving_mask=io.read_labels(request.moving_mask) if request.moving_mask else None,
        )
        labels = io.read_labels(request.moving_labels) if request.moving_labels else None
        if labels:
            require_labels_of(moving, labels)
        with output_folder(request.output, request.overwrite, partial_name) as folder:
            registration = self.registered(fixed, moving, options, request, progress)
            carried = carry_labels(registration, labels) if labels else None
            return _written(registration, carried, folder, request, progress)

    def _propagate(self, request: Propagate, progress: Progress, partial_name: str | None) -> Outcome:
        progress("read", 0.0)
        options = self.options(request)

        def register(fixed: Volume, moving: Volume, progress: Progress) -> Registration:
            return self.registered(fixed, moving, options, request, progress)

        with output_folder(request.output, request.overwrite, partial_name) as folder:
            return propagate(request, register, options, folder, progress)

    def _evaluate(self, request: Evaluate, progress: Progress, report: Report, partial_name: str | None) -> Outcome:
        cases = evaluation.read_cases(request.cases)
        structures = evaluation.read_structures(request.structures) if request.structures else None
        options = self.options(request)

        def register_case(case: evaluation.Case) -> tuple[Registration, Volume, Volume]:
            def named(step: str, fraction: float) -> None:
                progress(f"{case.fixed.name} {step}", fraction)

            named("read", 0.0)
            fixed, moving = io.read_image(case.fixed), io.read_image(case.moving)
            fixed_labels, moving_labels = io.read_labels(case.fixed_labels), io.read_labels(case.moving_labels)
            evaluation.require_labels(fixed, moving, fixed_labels, moving_labels, structures)
            return self.registered(fixed, moving, options, request, named), fixed_labels, moving_labels

        with output_folder(request.output, request.overwrite, partial_name) as folder:
            scores = evaluation.evaluate(cases, register_case, structures, folder, lambda score: report(asdict(score)))
        files = {name: request.output / name for name in ("scores.csv", "summary.json")}
        return Outcome(files, {"cases": len(scores), "means": evaluation.means(scores)})

    def registered(
        self, fixed: Volume, moving: Volume, options: Options, settings: Search, progress: Progress
    ) -> Registration:
        """Register as settings say, also where memory runs out."""
        registration = self._attempt(fixed, moving, options, settings, progress)
        if registration is not None:
            return registration
        free_memory()
        if settings.on_out_of_memory == "cpu":
            options = replace(options, device="cpu")
            note = "The GPU's memory ran out: the processor did the work."
        else:
            options, note = _coarser(options)
        registration = register_volumes_in_turn(fixed, moving, options, self._turn_of(options, settings), progress)
        return replace(registration, notes=(*registration.notes, note))

    def _attempt(
        self, fixed: Volume, moving: Volume, options: Options, settings: Search, progress: Progress
    ) -> Registration | None:
        """None when memory ran out and another way was asked for; the error and what it holds are gone by then."""
        try:
            return register_volumes_in_turn(fixed, moving, options, self._turn_of(options, settings), progress)
        except (MemoryError, RuntimeError) as error:
            on_cpu = choose_device(options.device).type == "cpu"
            can_go_on = settings.on_out_of_memory == "coarser" or (settings.on_out_of_memory == "cpu" and not on_cpu)
            if not (is_out_of_memory(error) and can_go_on):
                raise
        return None

    def _turn_of(self, options: Options, settings: Search) -> Path | None:
        """Where to wait for the device. Whoever was told how many threads to use shares the processor on purpose."""
        if choose_device(options.device).type == "cpu" and settings.threads is not None:
            return None
        return self._turns

    def set_threads(self, count: int | None) -> None:
        """Use so many threads of the processor from now on; None for as many as there were at first."""
        for_torch, for_itk = (count, count) if count else self._threads
        torch.set_num_threads(for_torch)
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(for_itk)


def register_volumes_in_turn(
    fixed: Volume, moving: Volume, options: Options, turns: Path | None, progress: Progress
) -> Registration:
    """pipeline.registration.register, once the device is free."""
    if turns is None:
        return register_volumes(fixed, moving, options, progress)
    with taking_turns(turns, choose_device(options.device), progress):
        return register_volumes(fixed, moving, options, progress)


def free_memory() -> None:
    """Give back what a request no longer needs, to the other programs on the GPU too."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _written(
    registration: Registration,
    labels: Volume | None,
    folder: Path,
    request: Register | Refine,
    progress: Progress,
) -> Outcome:
    write_registration(registration, folder, labels, progress, request.files or REGISTRATION_FILES)
    names = [name for name in RESULT_FILES if (folder / name).exists()]
    return Outcome({name: request.output / name for name in names}, report_json(registration))


def _coarser(options: Options) -> tuple[Options, str]:
    """Twice the voxel size, and what to tell about it; without a network that cannot work there."""
    spacing_mm = options.prepare.spacing_mm * _LARGER_SPACING
    note = f"Memory ran out: the field was found on a grid of {spacing_mm:g} mm."
    options = replace(options, prepare=replace(options.prepare, spacing_mm=spacing_mm))
    if options.model is not None:
        try:
            halvings(options.model.card, spacing_mm)
        except InputError:
            return replace(options, model=None), f"{note} The network does not work there and was left out."
    return options, note


def _refinement(search: Search) -> RefineConfig:
    config = RefineConfig(similarity=search.similarity)
    return config if search.refine is None else replace(config, iterations=search.refine)


def _initial(wish: str) -> str | Matrix:
    if wish in LINEAR_STARTS:
        return wish
    if not Path(wish).exists():
        raise InputError(
            f"The initial transform {wish} is no file, and none of {', '.join(LINEAR_STARTS)}; give one of these."
        )
    return io.read_linear(wish)
