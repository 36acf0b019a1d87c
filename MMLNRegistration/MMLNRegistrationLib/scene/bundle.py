"""A registration as one scene file that opens in Slicer ready to look at."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import slicer

from ..errors import InputError
from ..pipeline.result import Registration
from ..pipeline.volume import Volume
from ..quiet import quiet_libraries
from .jacobian import jacobian_node
from .segments import segmentation_from_labels
from .transforms import transform_node
from .views import SliceLayers, set_up_slice_views
from .volumes import volume_node


def fill_scene(scene: slicer.vtkMRMLScene, registration: Registration, labels: Volume | None = None) -> None:
    """Add what a registration delivers to a scene, and set up its slice views.

    The views show the fixed image with the warped one blended over it at 50 %. Also there: the moving image, the
    Jacobian determinant with its legend, the transform, and the labels (on the fixed grid) as a segmentation.
    """
    fixed, moving = registration.fixed, registration.moving
    fixed_node = volume_node(scene, fixed, fixed.name)
    moving_node = volume_node(scene, moving, moving.name)
    warped_node = volume_node(scene, registration.warped, f"{moving.name} warped")
    jacobian_node(scene, registration.jacobian, "Jacobian determinant")
    transform_node(
        scene,
        registration.displacement_mm,
        fixed.geometry,
        f"{moving.name} to {fixed.name}",
        fixed_node,
        moving_node,
    )
    # Slicer aborts the whole process when it writes a segmentation without segments.
    if labels is not None and labels.array_kji.any():
        segmentation_from_labels(scene, labels, f"{labels.name} propagated", reference_node=fixed_node)
    set_up_slice_views(scene, SliceLayers(fixed_node, warped_node, foreground_opacity=0.5))


def write_scene(registration: Registration, path: Path, labels: Volume | None = None) -> None:
    """Write a registration as a Slicer scene bundle, path ending in .mrb. An older file is replaced, whole or not.

    labels: a label map on the fixed grid, shown as a segmentation.

    Raises InputError when the file cannot be written.
    """
    scene = slicer.vtkMRMLScene()
    fill_scene(scene, registration, labels)
    _write(scene, path)


def write_labels_scene(
    subject: Volume, labels: Volume, agreement: Volume, names: Mapping[int, str], path: Path
) -> None:
    """Write a scene bundle of a subject with its labels as a segmentation and the map of the atlases' agreement.

    Raises InputError when the file cannot be written.
    """
    scene = slicer.vtkMRMLScene()
    subject_node = volume_node(scene, subject, subject.name)
    volume_node(scene, agreement, "agreement")
    if labels.array_kji.any():
        segmentation_from_labels(scene, labels, labels.name, names, reference_node=subject_node)
    set_up_slice_views(scene, SliceLayers(subject_node))
    _write(scene, path)


def _write(scene: slicer.vtkMRMLScene, path: Path) -> None:
    messages = slicer.vtkMRMLMessageCollection()
    try:
        # Slicer also puts its temporary files beside the bundle, so all of it goes when this folder goes.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.stem}-") as folder:
            unfinished = Path(folder).resolve() / path.name
            with quiet_libraries():
                written = scene.WriteToMRB(str(unfinished), None, messages)
            if not written:
                reason = " ".join(messages.GetAllMessagesAsString().split())
                raise InputError(f"{path} cannot be written; check the space left. Slicer says: {reason.rstrip('.')}.")
            os.replace(unfinished, path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}); check the rights and the space left."
        ) from error
