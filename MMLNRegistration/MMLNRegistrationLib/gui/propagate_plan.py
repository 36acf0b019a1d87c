"""From the panel's choices to a request: which atlases, which files they take, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import slicer
from slicer.i18n import tr as _

from ..backend.messages import Atlas, Propagate
from ..scene.atlases import Codes, atlas_labels
from ..scene.field_file import FieldFile
from ..scene.propagation import RESULT_FILES
from ..scene.spaces import is_under
from ..scene.volume_files import file_name, volume_file
from ..scene.volumes import geometry_of_node
from ..spatial.geometry import Geometry
from .register_presets import PRESETS
from .volume_files import Writable

FILES = (*RESULT_FILES, "volumes.csv", "report.json")
"""What the worker is to write."""


class AtlasChoice(NamedTuple):
    """One atlas as it is chosen; None where nothing is yet, and for a transform that is to be found."""

    image: slicer.vtkMRMLScalarVolumeNode | None = None
    labels: slicer.vtkMRMLNode | None = None
    transform: slicer.vtkMRMLTransformNode | None = None


@dataclass(frozen=True, eq=False)
class PropagationPlan:
    """A propagation to be done. The scene is not needed any more, but to sample the fields.

    inputs: what to write, by the paths in request; codes: what the labels in them stand for, known once they are
    written. fields: among the inputs, to be sampled before. geometry: the subject's grid in the world.
    """

    request: Propagate
    inputs: Mapping[Path, Writable]
    fields: Sequence[FieldFile]
    codes: Codes
    geometry: Geometry


def chosen_atlases(parameters: Any) -> list[AtlasChoice]:
    """The atlases of a PropagateParameters, at least one, which may be empty."""
    rows = zip_longest(parameters.images, parameters.labels, parameters.transforms)
    return [AtlasChoice(*row) for row in rows] or [AtlasChoice()]


def choose_atlases(parameters: Any, atlases: Sequence[AtlasChoice]) -> None:
    """Put atlases into a PropagateParameters."""
    parameters.images = [atlas.image for atlas in atlases]
    parameters.labels = [atlas.labels for atlas in atlases]
    parameters.transforms = [atlas.transform for atlas in atlases]


def earlier_registration(
    subject: slicer.vtkMRMLVolumeNode | None, image: slicer.vtkMRMLVolumeNode | None
) -> slicer.vtkMRMLTransformNode | None:
    """The latest transform of the scene that says of itself that it registers the image to the subject."""
    if subject is None or image is None:
        return None
    pair = subject.GetID(), image.GetID()
    found = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLTransformNode")
        if pair
        == (
            node.GetNodeReferenceID(node.GetFixedNodeReferenceRole()),
            node.GetNodeReferenceID(node.GetMovingNodeReferenceRole()),
        )
    ]
    return found[-1] if found else None


def only_labels(result: slicer.vtkMRMLSegmentationNode | None) -> slicer.vtkMRMLNode | None:
    """The segmentation or label map of the scene where there is one alone, results left out."""
    nodes = [
        node
        for kind in ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode")
        for node in slicer.util.getNodesByClass(kind)
        if node is not result and not node.GetHideFromEditors()
    ]
    return nodes[0] if len(nodes) == 1 else None


def hindrance(parameters: Any, is_remote: bool) -> str:
    """Why Propagate cannot be pressed, as a sentence; empty when it can. parameters: a PropagateParameters."""
    subject, atlases = parameters.subject, chosen_atlases(parameters)
    if subject is None:
        return _("Choose a subject.")
    for number, atlas in enumerate(atlases, start=1):
        sentence = _atlas_hindrance(atlas, number, parameters, is_remote)
        if sentence:
            return sentence
    for volume in (subject, *(atlas.image for atlas in atlases)):
        parent = volume.GetParentTransformNode()
        if parent is not None and not parent.IsTransformToWorldLinear():
            return _("{name} lies under the non-linear transform {parent}; take it out or harden it first.").format(
                name=volume.GetName(), parent=parent.GetName()
            )
    if parameters.agreement is not None and parameters.agreement in (subject, *(atlas.image for atlas in atlases)):
        return _("{name} cannot be overwritten by a result; choose another node for it.").format(
            name=parameters.agreement.GetName()
        )
    return ""


def _atlas_hindrance(atlas: AtlasChoice, number: int, parameters: Any, is_remote: bool) -> str:
    if atlas.image is None:
        return _("Choose the image of atlas {number}.").format(number=number)
    if atlas.labels is None:
        return _("Choose the labels of atlas {number}.").format(number=number)
    if atlas.image is parameters.subject:
        return _("Subject and atlas {number} are the same volume; choose two.").format(number=number)
    if atlas.labels is parameters.segmentation:
        return _("{name} cannot be overwritten by the result; choose another segmentation for it.").format(
            name=atlas.labels.GetName()
        )
    if atlas.transform is None:
        return ""
    if is_remote:
        return _("A server registers anew: choose no transform for atlas {number}, or work without the server.").format(
            number=number
        )
    for node in (atlas.image, atlas.labels, parameters.subject):
        if is_under(node, atlas.transform):
            return _("{name} lies under {transform} already; take it out, or choose no transform.").format(
                name=node.GetName(), transform=atlas.transform.GetName()
            )
    return ""


def plan(parameters: Any, shared: Any, folder: Path, on_out_of_memory: str = "fail") -> PropagationPlan:
    """The propagation that is asked for, its files to lie in `folder`.

    parameters: a PropagateParameters. shared: the RegisterParameters, for network and device.

    Raises InputError for volumes and labels that cannot be used.
    """
    settings = PRESETS[parameters.preset]
    subject, codes = volume_file(parameters.subject), Codes()
    subject_path = folder / "subject" / file_name(parameters.subject)
    inputs: dict[Path, Writable] = {subject_path: subject}
    fields: list[FieldFile] = []
    atlases, are_placed = [], []
    for number, choice in enumerate(chosen_atlases(parameters), start=1):
        assert choice.image is not None
        assert choice.labels is not None
        image = volume_file(choice.image)
        image_path = folder / f"atlas{number}" / file_name(choice.image)
        labels_path = folder / f"labels{number}" / file_name(choice.labels)
        inputs[image_path] = image
        inputs[labels_path] = atlas_labels(choice.labels, image, codes)
        transform_path = None
        if choice.transform is not None:
            transform_path = folder / f"transform{number}.npy"
            field = FieldFile(choice.transform, subject, image)
            inputs[transform_path] = field
            fields.append(field)
        else:
            parents = choice.image.GetParentTransformNode(), parameters.subject.GetParentTransformNode()
            are_placed.append(parents[0] not in (None, parents[1]) and image.is_in_world and subject.is_in_world)
        atlases.append(Atlas(image=image_path, labels=labels_path, transform=transform_path))
    request = Propagate(
        subject=subject_path,
        atlases=tuple(atlases),
        output=folder / "result",
        fusion=parameters.fusion.name.lower(),
        files=FILES,
        initial="identity" if are_placed and all(are_placed) else "affine",
        model=shared.model or None,
        refine=settings.iterations,
        similarity=settings.similarity.name.lower(),
        brain="auto" if parameters.extract_brains else "none",
        device=shared.device,
        on_out_of_memory=on_out_of_memory,
    )
    return PropagationPlan(request, inputs, fields, codes, geometry_of_node(parameters.subject))
