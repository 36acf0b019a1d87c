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
from ..pipeline.volume import Volume, checked_image, checked_labels
from ..spatial.geometry import Geometry, Matrix, kji_matrix, transform_points, translation_matrix
from ..spatial.velocity import integrate
from ..spatial.warp import identity_grid, resize_displacement, sample

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

VELOCITY_GRID_VOXELS = 2
"""The velocity lives on a grid this many template voxels apart. exp(v) and exp(-v) then undo each other to 0.02 mm
(median inside the brain, 0.12 mm at worst), which is how exactly the map is known."""

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
    """The template on one grid; tensors (1, 1, K, J, I), all between 0 and 1."""

    t1: Tensor
    grey: Tensor
    white: Tensor
    geometry: Geometry


def make_demo_pair(seed: int = 0, coarsening: int = 1) -> DemoPair:
    """The template as fixed and a deformed, misplaced, differently scanned copy of it as moving.

    seed: of the deformation, the bias field and the noise; the same seed gives the same pair.
    coarsening: 1 for the template's 1 mm; n for voxels n times as large in both volumes.

    Raises InputError when nilearn, which carries the template, is not installed.
    """
    rng = np.random.default_rng(seed)
    template = _load_template(coarsening)
    geometry = template.geometry
    rigid = _rotation_about(geometry.centre_ras, ROTATION_AXIS_RAS, ROTATION_DEGREES)
    moving_ras_from_fixed_ras = translation_matrix(np.array(SHIFT_RAS_MM)) @ rigid

    forward_voxels, inverse_voxels = _random_deformation(rng, geometry)
    fixed_grid = identity_grid(geometry.shape_kji)
    deformed_ras = _apply_affine(moving_ras_from_fixed_ras @ geometry.ras_from_ijk, fixed_grid + forward_voxels)
    true_displacement_mm = deformed_ras - _apply_affine(geometry.ras_from_ijk, fixed_grid)

    moving_geometry = _moving_geometry(template, moving_ras_from_fixed_ras, coarsening)
    template_ijk_from_moving_ijk = (
        geometry.ijk_from_ras @ np.linalg.inv(moving_ras_from_fixed_ras) @ moving_geometry.ras_from_ijk
    )
    # Where in the template each voxel of the second scan comes from: the rigid motion undone, then the deformation.
    rigid_kji = _apply_affine(template_ijk_from_moving_ijk, identity_grid(moving_geometry.shape_kji)).flip(1)
    source_kji = rigid_kji + sample(inverse_voxels, rigid_kji, outside_zero=True)
    t1, grey, white = (
        sample(image, source_kji, outside_zero=True) for image in (template.t1, template.grey, template.white)
    )

    return DemoPair(
        fixed=checked_image(template.t1[0, 0].numpy() * INTENSITY_SCALE, geometry, "MNI152 template"),
        moving=checked_image(_second_scan(rng, t1, moving_geometry), moving_geometry, "deformed template"),
        fixed_tissues=checked_labels(
            _tissue_labels(template.t1, template.grey, template.white), geometry, "tissues of the template"
        ),
        moving_tissues=checked_labels(
            _tissue_labels(t1, grey, white), moving_geometry, "tissues of the deformed template"
        ),
        brain=(template.t1[0, 0] > 0).numpy(),
        true_displacement_mm=true_displacement_mm[0].permute(1, 2, 3, 0).contiguous().numpy(),
        moving_ras_from_fixed_ras=moving_ras_from_fixed_ras,
    )


def _load_template(coarsening: int) -> _Template:
    """The brain of the MNI152 template and its tissue probabilities, from the files that nilearn ships."""
    nilearn = find_spec("nilearn")
    if nilearn is None or nilearn.origin is None:
        raise InputError(
            "The demo needs the MNI152 template that the package nilearn carries; "
            'install it with: pip install "mmln-registration[demo]".'
        )
    import nibabel  # after the check, so that a bare installation gets the sentence above

    folder = Path(nilearn.origin).parent / "datasets" / "data"
    missing = [name for name in _TEMPLATE_FILES.values() if not (folder / name).is_file()]
    if missing:
        raise InputError(f"The installed nilearn does not carry {missing[0]}; install nilearn 0.14.")
    images = {part: nibabel.load(folder / name) for part, name in _TEMPLATE_FILES.items()}
    pooled = {
        part: avg_pool3d(torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32).T.copy())[None, None], coarsening)
        for part, image in images.items()
    }
    # The centre of the first block of voxels is the new first voxel.
    block_ijk = np.diag([coarsening, coarsening, coarsening, 1.0])
    block_ijk[:3, 3] = (coarsening - 1) / 2
    shape_kji = pooled["t1"].shape[2:]
    geometry = Geometry((shape_kji[0], shape_kji[1], shape_kji[2]), images["t1"].affine @ block_ijk)
    return _Template(pooled["t1"] / 255, pooled["grey"] / 255, pooled["white"] / 255, geometry)


def _random_deformation(rng: np.random.Generator, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Displacements (1, 3, K, J, I) in voxels of exp(v) and of its inverse exp(-v), zero on the grid's border."""
    coarse_shape = tuple(int(np.ceil((size - 1) / VELOCITY_GRID_VOXELS)) + 1 for size in geometry.shape_kji)
    extent_mm = _extent_mm(geometry)
    velocity_mm = np.stack(
        [_smooth_random_field(rng, coarse_shape, extent_mm, VELOCITY_SMOOTHNESS_MM) for _ in range(3)]
    )
    velocity_mm *= VELOCITY_RMS_MM / np.sqrt(np.mean(velocity_mm**2))
    coarse_spacing_mm = (extent_mm / (np.array(coarse_shape) - 1)).reshape(3, 1, 1, 1)
    velocity_voxels = torch.from_numpy((velocity_mm / coarse_spacing_mm).astype(np.float32)).unsqueeze(0)
    forward_voxels = resize_displacement(integrate(velocity_voxels), geometry.shape_kji)
    inverse_voxels = resize_displacement(integrate(-velocity_voxels), geometry.shape_kji)
    return forward_voxels, inverse_voxels


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


def _moving_geometry(template: _Template, moving_ras_from_fixed_ras: Matrix, coarsening: int) -> Geometry:
    """A tilted sagittal grid around the misplaced head: MOVING_AXES_RAS, MOVING_SPACING_MM, MOVING_MARGIN_MM."""
    tilt = _rotation_about(np.zeros(3), MOVING_TILT_AXIS_RAS, MOVING_TILT_DEGREES)[:3, :3]
    directions_ras = tilt @ np.array(MOVING_AXES_RAS).T
    spacing_mm = np.array(MOVING_SPACING_MM) * coarsening
    brain_ijk = np.argwhere(template.t1[0, 0].numpy() > 0)[:, ::-1].astype(np.float64)
    brain_ras = transform_points(moving_ras_from_fixed_ras @ template.geometry.ras_from_ijk, brain_ijk)
    along_axes_mm = brain_ras @ directions_ras
    lower_mm = along_axes_mm.min(axis=0) - MOVING_MARGIN_MM
    size_ijk = np.ceil((along_axes_mm.max(axis=0) + MOVING_MARGIN_MM - lower_mm) / spacing_mm).astype(int) + 1
    ras_from_ijk = np.eye(4)
    ras_from_ijk[:3, :3] = directions_ras * spacing_mm
    ras_from_ijk[:3, 3] = directions_ras @ lower_mm
    return Geometry((size_ijk[2], size_ijk[1], size_ijk[0]), ras_from_ijk)


def _second_scan(rng: np.random.Generator, t1: Tensor, geometry: Geometry) -> NDArray[np.float64]:
    """(K, J, I) the same anatomy with another contrast, a bias field and Rician noise."""
    bias = _smooth_random_field(rng, geometry.shape_kji, _extent_mm(geometry), BIAS_SMOOTHNESS_MM)
    bias *= BIAS_LOG_AMPLITUDE / np.abs(bias).max()
    signal = t1[0, 0].numpy() ** CONTRAST_GAMMA * np.exp(bias)
    real, imaginary = NOISE_SHARE * rng.standard_normal((2, *geometry.shape_kji))
    return np.rint(INTENSITY_SCALE * np.hypot(signal + real, imaginary))


def _tissue_labels(t1: Tensor, grey: Tensor, white: Tensor) -> NDArray[np.uint8]:
    """(K, J, I) the likeliest tissue inside the brain; what is neither grey nor white matter is fluid."""
    fluid = 1 - grey - white
    labels = torch.full(t1.shape, FLUID, dtype=torch.uint8)
    labels[(grey > white) & (grey > fluid)] = GREY
    labels[(white >= grey) & (white > fluid)] = WHITE
    labels[t1 <= 0] = 0
    return labels[0, 0].numpy()


def _rotation_about(centre_ras: NDArray[np.float64], axis_ras: tuple[float, float, float], degrees: float) -> Matrix:
    """Rotation by Rodrigues' formula about an axis through centre_ras, right-handed."""
    x, y, z = np.array(axis_ras) / np.linalg.norm(axis_ras)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    rotation = np.eye(4)
    rotation[:3, :3] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return translation_matrix(centre_ras) @ rotation @ translation_matrix(-centre_ras)


def _apply_affine(to_from_ijk: Matrix, coordinates_kji: Tensor) -> Tensor:
    """(1, 3, *shape) affine image, channels x, y, z or i, j, k, of voxel coordinates with channels k, j, i."""
    matrix = torch.from_numpy(kji_matrix(to_from_ijk)).float()
    moved = torch.einsum("ab,nbkji->nakji", matrix[:3, :3], coordinates_kji) + matrix[:3, 3].view(1, 3, 1, 1, 1)
    return moved.flip(1)
