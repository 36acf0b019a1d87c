"""What the tests of the command line share: small brains as files, and how a command may end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from MMLNRegistrationLib.cli import main

SIZE, SPACING_MM = 26, 2.0
"""Voxels along each axis of the usual volume, and between them: a world of 52 mm."""

_STEPS = (
    "read", "prepare", "initial", "network", "refine", "remove folding", "outputs", "write", "apply the transform",
    "fuse", "pairs",
)  # fmt: skip

BEND_MM = 1.6
"""How the usual moving brain differs from the fixed one."""

FAST = ("--initial", "identity", "--refine", "1", "--model", "none")
GOOD = ("--initial", "identity", "--refine", "6", "--model", "none")

RIGHT_HANDED = np.diag([1.0, 1.0, 1.0])


class Outcome(NamedTuple):
    """How a command ended. complaints: the lines of the standard error that are no progress."""

    code: int
    stdout: str
    complaints: list[str]


Run = Callable[..., Outcome]


class Pair(NamedTuple):
    """Two brains and what may come with them: a label map of each, and a mask of the fixed one."""

    fixed: Path
    moving: Path
    labels: Path
    fixed_labels: Path
    mask: Path


def lps_from_ijk(
    size: tuple[int, int, int], spacing_mm: tuple[float, float, float], direction: NDArray[np.float64] = RIGHT_HANDED
) -> NDArray[np.float64]:
    """4x4 of a grid around the world's origin, in the frame of the files."""
    matrix = np.eye(4)
    matrix[:3, :3] = direction @ np.diag(spacing_mm)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return matrix


USUAL_GRID = lps_from_ijk((SIZE,) * 3, (SPACING_MM,) * 3)


def brain(
    size: tuple[int, int, int] = (SIZE,) * 3,
    to_world: NDArray[np.float64] = USUAL_GRID,
    bend_mm: float = 0.0,
) -> NDArray[np.float32]:
    """(K, J, I) an egg with texture, 0 around it and up to about 200 inside, bent by some millimetres."""
    x, y, z, inside = _anatomy(size, to_world, bend_mm)
    texture = np.sin(x / 3.5 + 0.4) * np.sin(y / 4) * np.sin(z / 3.7 - 0.7) + 0.5 * np.sin((x - y + z) / 5)
    return np.where(inside, 110 + 55 * texture, 0).astype(np.float32)


def regions(bend_mm: float = 0.0) -> NDArray[np.uint8]:
    """(K, J, I) on the usual grid: the labels 1, 3 and 7 in a brain that is bent in the same way, left to right."""
    x, y, _, inside = _anatomy((SIZE,) * 3, USUAL_GRID, bend_mm)
    return np.where(inside, np.select([x < -5, x + 0.2 * y < 4], [1, 3], 7), 0).astype(np.uint8)


def _anatomy(size: tuple[int, int, int], to_world: NDArray[np.float64], bend_mm: float) -> list[NDArray[np.float64]]:
    """Where the voxels lie in the straight brain, x, y, z, and whether they are inside it."""
    index = np.stack(np.meshgrid(*map(np.arange, size[::-1]), indexing="ij")[::-1], axis=-1)
    points = index @ to_world[:3, :3].T + to_world[:3, 3]
    x, y, z = np.moveaxis(points + bend_mm * np.sin(points[..., [1, 2, 0]] / 8 + [0.5, 1.0, 2.0]), -1, 0)
    inside = np.sqrt((x / 17) ** 2 + ((y - 0.006 * z**2) / 21) ** 2 + ((z + 0.1 * x) / 16) ** 2) < 1
    return [x, y, z, inside]


def itk_image(array: NDArray, to_world: NDArray[np.float64] = USUAL_GRID) -> sitk.Image:
    """An array as an image at its place."""
    image = sitk.GetImageFromArray(array)
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(to_world[:3, 3].tolist())
    image.SetDirection((to_world[:3, :3] / spacing).ravel().tolist())
    return image


def write(path: Path, array: NDArray | None = None, to_world: NDArray[np.float64] = USUAL_GRID) -> Path:
    """Write a volume, the usual brain by default, in the format of the ending."""
    sitk.WriteImage(itk_image(brain() if array is None else array, to_world), str(path))
    return path


def nifti(
    path: Path, array_ijk: NDArray, affine: NDArray[np.float64] | None = None, sform: int = 2, qform: int = 2
) -> Path:
    """Write a NIfTI file with nibabel, which allows what ITK would refuse to write."""
    image = nibabel.Nifti1Image(array_ijk, np.diag([SPACING_MM] * 3 + [1.0]) if affine is None else affine)
    image.header["sform_code"], image.header["qform_code"] = sform, qform
    nibabel.save(image, path)
    return path


def patched(path: Path, offset: int, content: bytes) -> Path:
    """Overwrite some bytes of a file."""
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(bytes(data))
    return path


def linear(path: Path, matrix: np.ndarray, offset: tuple[float, ...] = (0, 0, 0)) -> Path:
    transform = sitk.AffineTransform(len(matrix))
    transform.SetMatrix(np.asarray(matrix, dtype=float).ravel().tolist())
    transform.SetTranslation([float(mm) for mm in offset[: len(matrix)]])
    sitk.WriteTransform(transform, str(path))
    return path


def field(path: Path, value: float = 0.0, size: tuple[int, ...] = (SIZE,) * 3, bent: bool = True) -> Path:
    """A displacement field transform, or image, bent so that it is not linear; one vector is set to value."""
    vectors = np.zeros((*size[::-1], 3))
    if bent:
        vectors[..., 0] = np.sin(np.arange(size[0]) / 3)
    vectors[(0,) * 3] = value
    image = sitk.GetImageFromArray(vectors, isVector=True)
    image.CopyInformation(itk_image(np.zeros(size[::-1], np.uint8)))
    if path.suffix == ".h5":
        sitk.WriteTransform(sitk.DisplacementFieldTransform(image), str(path))
    else:
        sitk.WriteImage(image, str(path))
    return path


def moved_grid(mm: float, to_world: NDArray[np.float64] = USUAL_GRID) -> NDArray[np.float64]:
    """A grid, moved along each axis of the world."""
    result = to_world.copy()
    result[:3, 3] += mm
    return result


def text(path: Path, content: str = "not what is needed\n") -> Path:
    path.write_text(content)
    return path


def cut(path: Path, share: float) -> Path:
    """Cut a file to a share of its length."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def dicom_series(folder: Path, slices: list[int], array: NDArray | None = None, series: str = "1") -> Path:
    """Write slices of a volume as one DICOM series, a file each."""
    folder.mkdir(exist_ok=True)
    image = sitk.Cast(itk_image(brain() if array is None else array), sitk.sitkInt16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in slices:
        plane = image[:, :, number]
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        for tag, value in {
            "0008|0060": "MR",
            "0020|000d": "1.2.826.0.1.3680043.2.1125.1",
            "0020|000e": f"1.2.826.0.1.3680043.2.1125.1.{series}",
            "0008|0018": f"1.2.826.0.1.3680043.2.1125.1.{series}.{number + 1}",
            "0020|0032": "\\".join(f"{mm:.6f}" for mm in position),
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0020|0013": str(number + 1),
        }.items():
            plane.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"series{series}-{number:03}.dcm"))
        writer.Execute(plane)
    return folder


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders of ours below a folder."""
    return sorted(path.name for path in folder.rglob(".*"))


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder by its name: the bytes of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")
    }


def array_of(path: Path) -> NDArray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def resampled(moving: Path, transform: sitk.Transform, reference: Path, nearest: bool = False) -> NDArray:
    """moving(T(x)) on a reference's grid by SimpleITK."""
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    return sitk.GetArrayFromImage(
        sitk.Resample(sitk.ReadImage(str(moving)), sitk.ReadImage(str(reference)), transform, interpolator, 0.0)
    )


def is_progress(line: str) -> bool:
    """Whether a line of the standard error is one of a registration at work: the step, after the case's name."""
    if line.startswith("atlas "):
        line = line.partition(", ")[2]
    return line in _STEPS or line.endswith(tuple(f".nii.gz {step}" for step in _STEPS))


def one_sentence(complaints: list[str]) -> str:
    """The only complaint, which must be one clear sentence of the command."""
    assert len(complaints) == 1, complaints
    (line,) = complaints
    assert line.startswith("mmln"), line
    assert line.endswith("."), line
    assert len(line) < 600, line
    assert "Traceback" not in line, line
    return line


def refused(run: Run, arguments: list[object], words: str, folder: Path) -> None:
    """Run a command that must end with exit code 2 and one sentence holding words, leaving folder as it was."""
    before, links = tree(folder), sorted(os.listdir(folder))
    outcome = run(*arguments)
    sentence = one_sentence(outcome.complaints)
    assert words in sentence
    assert outcome.code == 2
    assert outcome.stdout == "", outcome.stdout
    assert tree(folder) == before
    assert sorted(os.listdir(folder)) == links


def register_in_process(fixed: Path, moving: Path, folder: Path) -> None:
    """A registration for fixtures that outlive a test."""
    terminate = signal.getsignal(signal.SIGTERM)
    assert main(["register", str(fixed), str(moving), "--output", str(folder), *GOOD]) == 0
    signal.signal(signal.SIGTERM, terminate)
