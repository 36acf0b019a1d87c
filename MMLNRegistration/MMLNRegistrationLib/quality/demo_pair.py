"""The demo's data: the MNI152 template, and a second brain made from it by a map that is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool3d

from ..errors import InputError
from ..pipeline.field import deformation, forward_displacement, inverse_displacement, warp_volume
from ..pipeline.prepare import velocity_shape
from ..pipeline.volume import Volume, checked_image, checked_labels
from ..spatial.geometry import Geometry, Matrix, transform_points, translation_matrix

GREY, WHITE, FLUID = 1, 2, 3
"""Values in the tissue label maps; 0 is outside the brain."""

ROTATION_DEGREES = 12.0
ROTATION_AXIS_RAS = (2.0, -2.0, 1.0)
SHIFT_RAS_MM = (20.0, -10.0, 20.0)
"""The rigid misplacement: a turn about the middle of the template's grid, then a shift of 30 mm."""

VELOCITY_RMS_MM = 2.5
VELOCITY_SMOOTHNESS_MM = 45.0
"""The deformation: a random stationary velocity whose components have this root mean square on the template's grid.
Waves whose half length is this long have exp(-1/2) of the full amplitude, shorter ones less."""

VELOCITY_FACTOR = 2
"""The velocity lives on a grid with voxels this many times the template's. exp(v) and exp(-v) then undo each other to
0.01 mm (median inside the brain, 0.07 mm at worst), which is how exactly the map is known."""

MOVING_SPACING_MM = (1.2, 1.0, 1.4)
MOVING_AXES_RAS = ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
MOVING_TILT_DEGREES = 7.0
MOVING_TILT_AXIS_RAS = (1.0, 0.0, 1.0)
MOVING_MARGIN_MM = 12.0
"""The second brain is stored as a sagittal scan: i runs to posterior, j to inferior, k to right, all tilted."""

CONTRAST_GAMMA = 2.0
BIAS_LOG_AMPLITUDE = 0.25
BIAS_SMOOTHNESS_MM = 90.0
NOISE_SHARE = 0.03
INTENSITY_SCALE = 1000.0
"""The second scan: intensity to the power of gamma, times a bias field between exp(-a) and exp(a), with Rician noise
whose deviation is a share of the full range, in whole numbers up to about the scale."""

_HALF_WAVES = 8
"""Random fields are sums of sines with 1 to this many half waves along each axis."""

_TEMPLATE_FILES = {
    "t1": "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
    "grey": "mni_icbm152_gm_tal_nlin_sym_09a_converted.nii.gz",
    "white": "mni_icbm152_wm_tal_nlin_sym_09a_converted.nii.gz",
}


@dataclass(frozen=True, eq=False)
class DemoPair:
    """Two brains and the map between them: moving(x + true_displacement_mm(x)) ~ fixed(x), up to contrast and noise.

    fixed_tissues, moving_tissues: GREY, WHITE and FLUID on the grids of fixed and moving.
    brain: bool (K, J, I) on the fixed grid.
    true_displacement_mm: float32 (K, J, I, 3) on the fixed grid, components R, A, S, rigid part included.
    moving_ras_from_fixed_ras: the rigid part, applied after the deformation.
    """

    fixed: Volume
    moving: Volume
    fixed_tissues: Volume
    moving_tissues: Volume
    brain: NDArray[np.bool_]
    true_displacement_mm: NDArray[np.float32]
    moving_ras_from_fixed_ras: Matrix


class _Template(NamedTuple):
    """The template's brain and its tissue probabilities, all between 0 and 1, on one grid."""

    t1: Volume
    grey: Volume
    white: Volume


def make_demo_pair(seed: int = 0, coarsening: int = 1) -> DemoPair:
    """The template as fixed and a deformed, misplaced, differently scanned copy of it as moving.

    seed: of the deformation, the bias field and the noise; the same seed gives the same pair.
    coarsening: 1 for the template's 1 mm; n for voxels n times as large in both volumes.

    Raises InputError when nilearn, which carries the template, is not installed.
    """
    rng = np.random.default_rng(seed)
    template = _load_template(coarsening)
    geometry = template.t1.geometry
    rotation = _rotation_about(geometry.centre_ras, ROTATION_AXIS_RAS, ROTATION_DEGREES)
    moving_ras_from_fixed_ras = translation_matrix(np.array(SHIFT_RAS_MM)) @ rotation
    moving_geometry = _moving_geometry(template.t1, moving_ras_from_fixed_ras, coarsening)

    # M(y) = F(exp(-v)(rigid^-1(y))), so that M(rigid(exp(v)(x))) = F(x).
    velocity = _random_velocity(rng, geometry)
    forward_mm = forward_displacement(geometry, deformation(velocity, geometry), moving_ras_from_fixed_ras)
    backward_mm = inverse_displacement(moving_geometry, velocity, geometry, moving_ras_from_fixed_ras)
    deformed = _Template(*(warp_volume(part, backward_mm, moving_geometry) for part in template))

    return DemoPair(
        fixed=checked_image(template.t1.array_kji * INTENSITY_SCALE, geometry, "MNI152 template"),
        moving=checked_image(_second_scan(rng, deformed.t1), moving_geometry, "deformed template"),
        fixed_tissues=_tissue_labels(template, "tissues of the template"),
        moving_tissues=_tissue_labels(deformed, "tissues of the deformed template"),
        brain=template.t1.array_kji > 0,
        true_displacement_mm=forward_mm,
        moving_ras_from_fixed_ras=moving_ras_from_fixed_ras,
    )


def _load_template(coarsening: int) -> _Template:
    """The MNI152 template from the files that nilearn ships, averaged over blocks of coarsening^3 voxels."""
    nilearn = find_spec("nilearn")
    if nilearn is None or nilearn.origin is None:
        raise InputError(
            "The demo needs the MNI152 template that the package nilearn carries; "
            'install it with: pip install "mmln-registration[demo]".'
        )
    import nibabel  # after the check, so that a bare installation gets the sentence above

    folder = Path(nilearn.origin).parent / "datasets" / "data"
    # The centre of the first block of voxels is the new first voxel.
    block_ijk = np.diag([coarsening, coarsening, coarsening, 1.0])
    block_ijk[:3, 3] = (coarsening - 1) / 2
    parts = []
    for part, file_name in _TEMPLATE_FILES.items():
        if not (folder / file_name).is_file():
            raise InputError(f"The installed nilearn does not carry {file_name}; install nilearn 0.14.")
        image = nibabel.load(folder / file_name)
        array_kji = np.asarray(image.dataobj, dtype=np.float32).transpose(2, 1, 0) / 255
        pooled = avg_pool3d(torch.from_numpy(array_kji)[None, None], coarsening)[0, 0].numpy()
        parts.append(Volume(pooled, Geometry(pooled.shape, image.affine @ block_ijk), part))
    return _Template(*parts)


def _random_velocity(rng: np.random.Generator, geometry: Geometry) -> Tensor:
    """(1, 3, k, j, i) a smooth velocity on the corner-aligned velocity grid, in its voxels, zero on its border."""
    shape_kji = velocity_shape(geometry.shape_kji, VELOCITY_FACTOR)
    extent_mm = _extent_mm(geometry)
    velocity_mm = np.stack([_smooth_random_field(rng, shape_kji, extent_mm, VELOCITY_SMOOTHNESS_MM) for _ in range(3)])
    velocity_mm *= VELOCITY_RMS_MM / np.sqrt(np.mean(velocity_mm**2))
    spacing_mm = (extent_mm / (np.array(shape_kji) - 1)).reshape(3, 1, 1, 1)
    return torch.from_numpy((velocity_mm / spacing_mm).astype(np.float32)).unsqueeze(0)


def _extent_mm(geometry: Geometry) -> NDArray[np.float64]:
    """(3,) distance between the first and the last voxel centre along k, j, i."""
    return (np.array(geometry.shape_kji) - 1) * geometry.spacing_mm[::-1]


def _smooth_random_field(
    rng: np.random.Generator, shape_kji: tuple[int, ...], extent_mm: NDArray[np.float64], smoothness_mm: float
) -> NDArray[np.float64]:
    """(K, J, I) sum of sines with random amplitudes, zero on the grid's border, equally smooth along all axes."""
    half_waves = np.arange(1, _HALF_WAVES + 1)
    frequency = np.meshgrid(*[half_waves / extent for extent in extent_mm], indexing="ij")
    amplitude = np.exp(-0.5 * smoothness_mm**2 * sum(f**2 for f in frequency))
    field = amplitude * rng.standard_normal(amplitude.shape)
    for size in shape_kji:
        sines = np.sin(np.pi * np.outer(half_waves, np.linspace(0, 1, size)))
        field = np.tensordot(field, sines, axes=(0, 0))  # the first axis goes, the grid's axis comes last
    return field


def _moving_geometry(t1: Volume, moving_ras_from_fixed_ras: Matrix, coarsening: int) -> Geometry:
    """A tilted sagittal grid around the misplaced head: MOVING_AXES_RAS, MOVING_SPACING_MM, MOVING_MARGIN_MM."""
    tilt = _rotation_about(np.zeros(3), MOVING_TILT_AXIS_RAS, MOVING_TILT_DEGREES)[:3, :3]
    directions_ras = tilt @ np.array(MOVING_AXES_RAS).T
    spacing_mm = np.array(MOVING_SPACING_MM) * coarsening
    brain_ijk = np.argwhere(t1.array_kji > 0)[:, ::-1].astype(np.float64)
    brain_ras = transform_points(moving_ras_from_fixed_ras @ t1.geometry.ras_from_ijk, brain_ijk)
    along_axes_mm = brain_ras @ directions_ras
    lower_mm = along_axes_mm.min(axis=0) - MOVING_MARGIN_MM
    size_ijk = np.ceil((along_axes_mm.max(axis=0) + MOVING_MARGIN_MM - lower_mm) / spacing_mm).astype(int) + 1
    ras_from_ijk = np.eye(4)
    ras_from_ijk[:3, :3] = directions_ras * spacing_mm
    ras_from_ijk[:3, 3] = directions_ras @ lower_mm
    return Geometry((size_ijk[2], size_ijk[1], size_ijk[0]), ras_from_ijk)


def _second_scan(rng: np.random.Generator, t1: Volume) -> NDArray[np.float64]:
    """(K, J, I) the same anatomy with another contrast, a bias field and Rician noise."""
    bias = _smooth_random_field(rng, t1.geometry.shape_kji, _extent_mm(t1.geometry), BIAS_SMOOTHNESS_MM)
    bias *= BIAS_LOG_AMPLITUDE / np.abs(bias).max()
    signal = t1.array_kji**CONTRAST_GAMMA * np.exp(bias)
    real, imaginary = NOISE_SHARE * rng.standard_normal((2, *signal.shape))
    return np.rint(INTENSITY_SCALE * np.hypot(signal + real, imaginary))


def _tissue_labels(template: _Template, name: str) -> Volume:
    """The likeliest tissue inside the brain; what is neither grey nor white matter is fluid."""
    grey, white = template.grey.array_kji, template.white.array_kji
    fluid = 1 - grey - white
    labels = np.full(grey.shape, FLUID, dtype=np.uint8)
    labels[(grey > white) & (grey > fluid)] = GREY
    labels[(white >= grey) & (white > fluid)] = WHITE
    labels[template.t1.array_kji <= 0] = 0
    return checked_labels(labels, template.t1.geometry, name)


def _rotation_about(centre_ras: NDArray[np.float64], axis_ras: tuple[float, float, float], degrees: float) -> Matrix:
    """Rotation by Rodrigues' formula about an axis through centre_ras, right-handed."""
    x, y, z = np.array(axis_ras) / np.linalg.norm(axis_ras)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return translation_matrix(centre_ras) @ rotation @ translation_matrix(-centre_ras)
