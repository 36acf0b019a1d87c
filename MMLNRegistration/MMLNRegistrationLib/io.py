"""Files: volumes, label maps and transforms in and out. The only file that knows LPS.

ITK and its files place voxels in LPS (x to the left, y to the back); everything else here lives in RAS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from .errors import InputError
from .file_checks import check_dicom_series, check_nifti, check_nifti_header, check_written
from .freesurfer import SUFFIXES as _FREESURFER_SUFFIXES
from .freesurfer import read_freesurfer
from .pipeline.volume import Volume, checked_image, checked_labels
from .quiet import quiet_libraries
from .spatial.geometry import Geometry, Matrix
from .writing import replacing

_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
"""RAS from LPS, and LPS from RAS."""

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")
"""What volumes can be written as: each a single file."""

VECTOR_SIGNS = (-1.0, -1.0, 1.0)
"""Of R, A, S components, on their way into ITK's files and back."""

_IMAGE_SUFFIXES = (*VOLUME_SUFFIXES, ".nhdr", ".mhd", ".hdr", ".img", ".mgz")
"""What of the names of a transform says that it is stored as an image."""

_ITK_ERRORS = (RuntimeError, UnicodeDecodeError)
"""What SimpleITK raises for files; the second where its message quotes bytes of theirs."""

_SHEAR_TOLERANCE = 1e-3
"""Cosine of the angle between two axes that still counts as a right one: a tenth of a millimetre across a head."""

_OVERHEAD_BYTES = 1 << 16
"""More than what headers and HDF5's tables add to the voxels."""


def read_image(path: str | Path) -> Volume:
    """A scalar 3D image from a file (NIfTI, NRRD, MHA, MGZ and what else SimpleITK reads) or a DICOM folder.

    Raises InputError, one sentence, for anything that is not one.
    """
    array_kji, geometry = _read(Path(path))
    return checked_image(array_kji, geometry, Path(path).name)


def read_labels(path: str | Path) -> Volume:
    """A label map, see read_image."""
    array_kji, geometry = _read(Path(path))
    return checked_labels(array_kji, geometry, Path(path).name)


def read_geometry(path: str | Path) -> Geometry:
    """The grid of a volume file or DICOM folder, see read_image."""
    return _read(Path(path))[1]


def read_header(path: str | Path) -> Geometry:
    """The grid of a scalar 3D volume by its file's header alone: quick, and silent about damaged voxels.

    MGZ files and DICOM folders are read whole. Raises InputError as read_image does.
    """
    path = Path(path)
    if path.is_dir() or path.name.lower().endswith(_FREESURFER_SUFFIXES):
        return read_geometry(path)
    _require_file(path)
    with quiet_libraries():
        reader = _itk_reader(path)
        check_nifti_header(path)
    return _geometry(reader, path)


def write_volume(volume: Volume, path: str | Path) -> None:
    """Write a volume in the format that the name's ending says, whole or not at all."""
    path = Path(path)
    if not path.name.lower().endswith(VOLUME_SUFFIXES):
        raise InputError(f"{path.name} does not end in a format that can be written: {', '.join(VOLUME_SUFFIXES)}.")
    image = _placed(sitk.GetImageFromArray(np.ascontiguousarray(volume.array_kji)), volume.geometry)
    with replacing(path, volume.array_kji.nbytes + _OVERHEAD_BYTES) as temporary, quiet_libraries():
        sitk.WriteImage(image, str(temporary), useCompression=path.name.lower().endswith((".gz", ".nrrd")))
        check_written(temporary, volume.array_kji.nbytes)


def write_displacement(displacement_mm: NDArray[np.floating], geometry: Geometry, path: str | Path) -> None:
    """Write u (K, J, I, 3), mm RAS on geometry, as an ITK displacement field transform (.h5), whole or not at all.

    Read by Slicer (as a from-parent transform), SimpleITK and ANTs alike.
    """
    transform = displacement_transform(displacement_mm, geometry)
    size_bytes = 3 * np.float64().nbytes * int(np.prod(geometry.shape_kji))
    with replacing(Path(path), size_bytes + _OVERHEAD_BYTES) as temporary, quiet_libraries():
        sitk.WriteTransform(transform, str(temporary))


def read_displacement(path: str | Path) -> tuple[NDArray[np.float32], Geometry]:
    """u (K, J, I, 3) in mm RAS and its grid, from a displacement field transform or a displacement image.

    Raises InputError when the file is missing, unreadable, or holds no field on a grid.
    """
    path = Path(path)
    field = _displacement_image(read_transform(path))
    if field is None:
        raise InputError(f"{path.name} holds no displacement field on a grid of its own; give one that does.")
    if min(field.GetSize()) < 2:
        raise InputError(f"{path.name} holds a field of a single slice; at least 2 voxels along each axis are needed.")
    displacement_mm = sitk.GetArrayFromImage(field) * VECTOR_SIGNS
    return displacement_mm.astype(np.float32), _geometry(field, path)


def read_transform(path: str | Path) -> sitk.Transform:
    """Any 3D transform that ITK writes, or a displacement image (NRRD, NIfTI, MHA), as a SimpleITK transform in LPS.

    Raises InputError when the file is missing, unreadable, not 3D or not finite.
    """
    path = Path(path)
    _require_file(path)
    try:
        if path.name.lower().endswith(_IMAGE_SUFFIXES):
            with quiet_libraries():
                unusable = check_nifti(path)
                image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
            if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
                raise InputError(
                    f"{path.name} is an image, but not a displacement field: it needs three values per voxel."
                )
            transform = sitk.Transform(sitk.DisplacementFieldTransform(image))
        else:
            unusable = None
            with quiet_libraries():
                transform = sitk.ReadTransform(str(path))
    except _ITK_ERRORS as error:
        raise InputError(
            f"{path.name} cannot be read as a transform; give an ITK transform file such as .h5."
        ) from error
    if transform.GetDimension() != 3:
        raise InputError(f"{path.name} is a {transform.GetDimension()}D transform; a 3D one is needed.")
    if unusable is not None or not _is_finite(transform):
        raise InputError(f"{path.name} holds values that are not finite; make the transform again.")
    return transform


def write_linear(moving_ras_from_fixed_ras: Matrix, path: str | Path) -> None:
    """Write a linear transform as ITK does (.tfm, .h5), whole or not at all. It maps fixed points to moving points."""
    matrix = _FLIP @ moving_ras_from_fixed_ras @ _FLIP
    transform = sitk.AffineTransform(matrix[:3, :3].ravel().tolist(), matrix[:3, 3].tolist())
    with replacing(Path(path), _OVERHEAD_BYTES) as temporary, quiet_libraries():
        sitk.WriteTransform(transform, str(temporary))


def read_linear(path: str | Path) -> Matrix:
    """moving_ras_from_fixed_ras of a linear transform file, which maps fixed points to moving points as ITK's do.

    Raises InputError for a transform that is not linear, not invertible, or mirrors.
    """
    path = Path(path)
    transform = read_transform(path)
    # Asked, not probed: a field that lies elsewhere is the identity wherever one happens to look.
    if not transform.IsLinear():
        raise InputError(f"{path.name} is not linear; the initial transform must be rigid or affine.")
    matrix = np.eye(4)
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    for axis, unit in enumerate(np.eye(3)):
        matrix[:3, axis] = np.array(transform.TransformPoint(unit.tolist())) - origin
    matrix[:3, 3] = origin
    determinant = np.linalg.det(matrix[:3, :3])
    if determinant <= 1e-6:
        kind = "mirrors the anatomy" if determinant < -1e-6 else "cannot be inverted"
        raise InputError(f"{path.name} {kind}; the initial transform must keep left and right and have volume.")
    return _FLIP @ matrix @ _FLIP


def resample(image: Volume, transform: sitk.Transform, reference: Geometry, *, nearest: bool) -> Volume:
    """image(transform(x)) on the reference grid by SimpleITK; zero outside, for an image its lowest value."""
    moving = _placed(sitk.GetImageFromArray(np.ascontiguousarray(image.array_kji)), image.geometry)
    fixed = _placed(sitk.Image(reference.size_ijk, sitk.sitkUInt8), reference)
    outside = 0.0 if nearest else float(image.array_kji.min())
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    resampled = sitk.Resample(moving, fixed, transform, interpolator, outside)
    return Volume(sitk.GetArrayFromImage(resampled), reference, image.name)


def displacement_transform(displacement_mm: NDArray[np.floating], geometry: Geometry) -> sitk.Transform:
    """u (K, J, I, 3), mm RAS on geometry, as a SimpleITK transform in LPS."""
    image = sitk.GetImageFromArray(np.asarray(displacement_mm, dtype=np.float64) * VECTOR_SIGNS, isVector=True)
    return sitk.DisplacementFieldTransform(_placed(image, geometry))


def read_displacement_on(path: str | Path, geometry: Geometry) -> NDArray[np.float32]:
    """u (K, J, I, 3) in mm RAS of any transform file at the voxels of a grid; a field that lies on it comes as it is.

    Off the grid of a field it is zero, as ITK has it. Raises InputError as read_transform does.
    """
    transform = read_transform(path)
    field = _displacement_image(transform)
    if field is None or not _geometry(field, Path(path)).matches(geometry):
        sampler = sitk.TransformToDisplacementFieldFilter()
        sampler.SetReferenceImage(_placed(sitk.Image(geometry.size_ijk, sitk.sitkUInt8), geometry))
        field = sampler.Execute(transform)
    return (sitk.GetArrayFromImage(field) * VECTOR_SIGNS).astype(np.float32)


def file_matrix(geometry: Geometry) -> Matrix:
    """From voxel indices (i, j, k) to millimetres in the axes of ITK's files."""
    return _FLIP @ geometry.ras_from_ijk


def _require_file(path: Path) -> None:
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file.")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty; check how it was written.")


def _read(path: Path) -> tuple[NDArray, Geometry]:
    if not path.is_dir():
        _require_file(path)
        if path.name.lower().endswith(_FREESURFER_SUFFIXES):
            array_kji, ras_from_ijk = read_freesurfer(path)
            return array_kji, _checked_geometry(array_kji.shape, ras_from_ijk, path)
    with quiet_libraries():
        return _read_dicom(path) if path.is_dir() else _read_itk(path)


def _itk_reader(path: Path) -> sitk.ImageFileReader:
    """A reader that knows the header of a scalar 3D volume; its size may end in ones."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except _ITK_ERRORS as error:
        check_nifti(path)  # knows better what is wrong with one
        if "orthonormal" in str(error):
            raise _sheared(path) from error
        raise InputError(
            f"{path.name} cannot be read as a volume; give a NIfTI, NRRD, MHA or MGZ file or a DICOM folder."
        ) from error
    size = reader.GetSize()
    is_complex = reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
    if reader.GetNumberOfComponents() != 1 and not is_complex:
        raise InputError(
            f"{path.name} has {reader.GetNumberOfComponents()} values per voxel (colour or vectors); "
            "a scalar volume is needed."
        )
    if len(size) < 3:
        raise InputError(f"{path.name} is {len(size)}D; a 3D volume is needed.")
    if any(n != 1 for n in size[3:]):
        raise InputError(f"{path.name} is {len(size)}D ({' x '.join(map(str, size))}); choose one 3D volume of it.")
    return reader


def _read_itk(path: Path) -> tuple[NDArray, Geometry]:
    reader = _itk_reader(path)
    size = reader.GetSize()
    unusable = check_nifti(path)
    try:
        image = reader.Execute()
    except _ITK_ERRORS as error:
        raise InputError(f"{path.name} is damaged or cut off; copy or export it again.") from error
    if len(size) > 3:
        image = sitk.Extract(image, [*size[:3], *[0] * (len(size) - 3)])
    array_kji = sitk.GetArrayFromImage(image)
    if unusable is not None:
        array_kji[unusable] = np.nan
    return array_kji, _geometry(image, path)


def _read_dicom(folder: Path) -> tuple[NDArray, Geometry]:
    try:
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        if not series:
            raise InputError(
                f"The folder {folder} holds no DICOM series; give a volume file or a folder of DICOM slices."
            )
        if len(series) > 1:
            raise InputError(f"The folder {folder} holds {len(series)} DICOM series; give a folder with one.")
        files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0])
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(files)
        image = reader.Execute()
        check_dicom_series(image, files, folder)
    except _ITK_ERRORS as error:
        raise InputError(f"The DICOM series in {folder} is damaged or incomplete; export it again.") from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"The DICOM series in {folder} is in colour; a scalar volume is needed.")
    return sitk.GetArrayFromImage(image), _geometry(image, folder)


def _geometry(image: sitk.Image | sitk.ImageFileReader, path: Path) -> Geometry:
    axes = image.GetDimension()
    lps_from_ijk = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(axes, axes)[:3, :3]
    lps_from_ijk[:3, :3] = direction @ np.diag(image.GetSpacing()[:3])
    lps_from_ijk[:3, 3] = image.GetOrigin()[:3]
    return _checked_geometry(image.GetSize()[2::-1], _FLIP @ lps_from_ijk, path)


def _checked_geometry(shape_kji: tuple[int, int, int], ras_from_ijk: Matrix, path: Path) -> Geometry:
    """The grid of a file. ITK writes grids with right angles only, and bends others into such ones."""
    try:
        geometry = Geometry(shape_kji, ras_from_ijk)
    except ValueError as error:
        raise InputError(f"{path.name} has an unusable geometry: {error}") from error
    if np.abs(geometry.direction_ras.T @ geometry.direction_ras - np.eye(3)).max() > _SHEAR_TOLERANCE:
        raise _sheared(path)
    return geometry


def _sheared(path: Path) -> InputError:
    return InputError(
        f"{path.name} has an unusable geometry: its axes are sheared; resample it to a grid with right angles."
    )


def _placed(image: sitk.Image, geometry: Geometry) -> sitk.Image:
    """The image itself, laid on a grid."""
    lps_from_ijk = file_matrix(geometry)
    image.SetSpacing([float(mm) for mm in geometry.spacing_mm])
    image.SetOrigin([float(mm) for mm in lps_from_ijk[:3, 3]])
    image.SetDirection([float(cosine) for cosine in (lps_from_ijk[:3, :3] / geometry.spacing_mm).ravel()])
    return image


def _is_finite(transform: sitk.Transform) -> bool:
    if transform.GetTransformEnum() == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        return all(_is_finite(composite.GetNthTransform(n)) for n in range(composite.GetNumberOfTransforms()))
    field = _displacement_image(transform)
    values = transform.GetParameters() if field is None else sitk.GetArrayViewFromImage(field)
    return bool(np.isfinite(values).all())


def _displacement_image(transform: sitk.Transform) -> sitk.Image | None:
    """The field of a displacement field transform, also when it comes wrapped in a composite of one."""
    if transform.GetTransformEnum() == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        if composite.GetNumberOfTransforms() != 1:
            return None
        transform = composite.GetNthTransform(0)
    if transform.GetTransformEnum() != sitk.sitkDisplacementField:
        return None
    return sitk.DisplacementFieldTransform(transform).GetDisplacementField()
