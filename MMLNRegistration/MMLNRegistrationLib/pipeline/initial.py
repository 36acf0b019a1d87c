"""Step 3: the linear map that a registration starts from, by SimpleITK (Mattes mutual information).

SimpleITK computes in whatever frame its images carry. Here they carry RAS, on both sides, so that the
resulting matrix maps fixed RAS to moving RAS and no flip is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ..progress import Progress, deferred_interrupts
from ..spatial.geometry import Matrix, transform_points
from .volume import Volume


@dataclass(frozen=True)
class InitialConfig:
    """The linear search, coarse to fine."""

    search_mm: float = 8.0
    """Voxel size at which start rotations are compared."""
    search_degrees: tuple[float, ...] = (-30.0, -15.0, 0.0, 15.0, 30.0)
    """Start angles tried about each axis, all combinations, around the centres of mass."""
    candidates: int = 3
    """How many of the best starts are optimised at search_mm."""
    levels_mm: tuple[float, ...] = (4.0, 2.0)
    """Voxel sizes of the affine levels; the rigid level runs at the first."""
    iterations: int = 200
    histogram_bins: int = 32
    volume_factor_limit: float = 3.0
    """An affine that scales volume by more than this, or its inverse, is not between two heads."""


@dataclass(frozen=True, eq=False)
class Initial:
    """The linear map, and what the user should know about it."""

    moving_ras_from_fixed_ras: Matrix
    notes: tuple[str, ...]


def register_linear(
    fixed: Volume,
    moving: Volume,
    fixed_mask: NDArray[np.bool_],
    moving_mask: NDArray[np.bool_],
    *,
    rigid_only: bool,
    progress: Progress,
    config: InitialConfig | None = None,
) -> Initial:
    """Rigid or affine map from fixed to moving world, from any misplacement: centres of mass, then rotations.

    fixed and moving are normalised to [0, 1] with background 0; masks are (K, J, I) and weigh the centres of mass
    and the metric. When the search ends worse than the world as it was or the centres of mass alone, the better of
    these is kept and a note says so.
    """
    config = config or InitialConfig()
    pyramid = [
        (_coarse(fixed, mm), _coarse(moving, mm), _coarse_mask(fixed, fixed_mask, mm))
        for mm in (config.search_mm, *config.levels_mm)
    ]
    fixed_centre, moving_centre = _centre_of_mass(fixed, fixed_mask), _centre_of_mass(moving, moving_mask)
    centred = sitk.Euler3DTransform()
    centred.SetCenter(fixed_centre)
    centred.SetTranslation(moving_centre - fixed_centre)

    rigid = _best_rigid(pyramid[0], centred, config, progress)
    _optimise(pyramid[1], rigid, config.levels_mm[0], config, progress, "initial: rigid")
    candidates = {
        "the world coordinates of the files": sitk.Transform(3, sitk.sitkIdentity),
        "the centres of mass": centred,
        "a rigid map": rigid,
    }
    wanted = "a rigid map"
    if not rigid_only:
        affine = sitk.AffineTransform(3)
        affine.SetCenter(rigid.GetCenter())
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        for level, mm in enumerate(config.levels_mm, start=1):
            _optimise(pyramid[level], affine, mm, config, progress, f"initial: affine {mm:g} mm")
        factor = abs(np.linalg.det(np.array(affine.GetMatrix()).reshape(3, 3)))
        if 1 / config.volume_factor_limit < factor < config.volume_factor_limit:
            wanted = "an affine map"
            candidates[wanted] = affine
    scores = {name: _mutual_information(pyramid[1], transform, config) for name, transform in candidates.items()}
    best = max(scores, key=lambda name: (scores[name], name == wanted))
    notes: tuple[str, ...] = ()
    if best != wanted or (not rigid_only and wanted == "a rigid map"):
        notes = (f"The linear search did not improve on {best}, which was kept; look at the result with care.",)
    return Initial(_matrix_of(candidates[best]), notes)


def _best_rigid(
    level: tuple[sitk.Image, sitk.Image, sitk.Image],
    centred: sitk.Euler3DTransform,
    config: InitialConfig,
    progress: Progress,
) -> sitk.Euler3DTransform:
    """The best of the start rotations about the centre of mass, the first few of them optimised coarsely."""
    starts = []
    angles = np.deg2rad(config.search_degrees)
    for number, rotation in enumerate(product(angles, repeat=3)):
        progress("initial: search", number / len(angles) ** 3)
        start = sitk.Euler3DTransform(centred)
        start.SetRotation(*rotation)
        starts.append((_mutual_information(level, start, config), number, start))
    starts.sort(key=lambda entry: entry[:2], reverse=True)
    finished = []
    for _, number, start in starts[: config.candidates]:
        _optimise(level, start, config.search_mm, config, progress, "initial: search")
        finished.append((_mutual_information(level, start, config), number, start))
    return max(finished, key=lambda entry: entry[:2])[2]


def _optimise(
    level: tuple[sitk.Image, sitk.Image, sitk.Image],
    transform: sitk.Transform,
    spacing_mm: float,
    config: InitialConfig,
    progress: Progress,
    step: str,
) -> None:
    """Improve transform in place; steps start at an eighth of a voxel and shrink to a fiftieth of that."""
    fixed, moving, fixed_mask = level
    method = _registration_method(config)
    method.SetMetricFixedMask(fixed_mask)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=spacing_mm / 8,
        minStep=spacing_mm / 400,
        numberOfIterations=config.iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    stopped: list[BaseException] = []

    def on_iteration() -> None:
        # No exception may cross the C++ optimiser: it is stopped, and the exception raised once it has returned.
        try:
            progress(step, min(method.GetOptimizerIteration() / config.iterations, 1.0))
        except BaseException as error:
            stopped.append(error)
        if stopped or interrupts:
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, on_iteration)
    try:
        with deferred_interrupts() as interrupts:
            method.Execute(fixed, moving)
    except RuntimeError as error:
        # ITK gives up when the images drift apart; the transform so far stays and is judged with the others.
        if not any(words in str(error) for words in ("samples map outside", "No valid points", "sampled points")):
            raise
    if stopped:
        raise stopped[0]


def _registration_method(config: InitialConfig) -> sitk.ImageRegistrationMethod:
    """Mattes mutual information over all voxels, summed in one order: threads would give other bits in every run."""
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(config.histogram_bins)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetNumberOfWorkUnits(1)
    return method


def _mutual_information(
    level: tuple[sitk.Image, sitk.Image, sitk.Image], transform: sitk.Transform, config: InitialConfig
) -> float:
    """Mutual information over the whole fixed grid, the moving image being zero outside its own.

    Judged where both overlap alone, two corners that touch can look like a perfect match.
    """
    fixed, moving, _ = level
    resampled = sitk.Resample(moving, fixed, transform, sitk.sitkLinear, 0.0)
    array = sitk.GetArrayViewFromImage(resampled)
    if array.max() == array.min():
        return 0.0
    method = _registration_method(config)
    method.SetInitialTransform(sitk.Transform(3, sitk.sitkIdentity))
    return -float(method.MetricEvaluate(fixed, resampled))


def _sitk_image(image: Volume) -> sitk.Image:
    converted = sitk.GetImageFromArray(np.ascontiguousarray(image.array_kji, dtype=np.float32))
    converted.SetSpacing([float(mm) for mm in image.geometry.spacing_mm])
    converted.SetOrigin([float(mm) for mm in image.geometry.ras_from_ijk[:3, 3]])
    converted.SetDirection([float(cosine) for cosine in image.geometry.direction_ras.ravel()])
    return converted


def _coarse(image: Volume, spacing_mm: float) -> sitk.Image:
    """The image averaged over blocks of voxels of about spacing_mm, never below 8 blocks along an axis."""
    converted = _sitk_image(image)
    factors = [
        int(np.clip(round(spacing_mm / mm), 1, max(1, size // 8)))
        for mm, size in zip(converted.GetSpacing(), converted.GetSize(), strict=True)
    ]
    # Not Shrink: it takes one voxel of each block but places it at the block's middle, half a voxel off for even
    # factors. Between images stored in different directions those shifts add up to a wrong linear map.
    return sitk.BinShrink(converted, factors)


def _coarse_mask(image: Volume, mask: NDArray[np.bool_], spacing_mm: float) -> sitk.Image:
    """Where the metric looks: the mask grown by a few voxels, since a brain's outline is its strongest feature."""
    coarse = _coarse(Volume(mask.astype(np.float32), image.geometry, image.name), spacing_mm)
    return sitk.BinaryDilate(sitk.Cast(coarse > 0.01, sitk.sitkUInt8), [2, 2, 2])


def _centre_of_mass(image: Volume, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(3,) intensity-weighted centre of the masked image, RAS mm."""
    weights = np.where(mask, image.array_kji + 1e-3, 0)
    total = weights.sum()
    centre_ijk = []
    for axis in (2, 1, 0):
        profile = weights.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
        centre_ijk.append(float((profile * np.arange(profile.size)).sum() / total))
    return transform_points(image.geometry.ras_from_ijk, np.array(centre_ijk))


def _matrix_of(transform: sitk.Transform) -> Matrix:
    """4x4 matrix of a linear SimpleITK transform, read off from where it sends the origin and the unit points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    for column, unit in enumerate(np.eye(3)):
        matrix[:3, column] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:3, 3] = origin
    return matrix
