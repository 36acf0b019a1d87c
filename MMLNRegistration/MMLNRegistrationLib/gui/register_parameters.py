"""What Register remembers in the scene."""

from typing import Annotated, Union

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from .register_presets import Preset, Similarity, Start

AS_PRESET = -1
"""The number of iterations that leaves it to the preset."""


Mask = Union[vtkMRMLLabelMapVolumeNode, vtkMRMLSegmentationNode, None]  # noqa: UP007, what Slicer takes


@parameterPack
class RegisterParameters:
    """The panel's choices. transform, warped, jacobian: results, made when there are none.

    model: file or name of a network, empty for the program's own choice. device: auto, cpu, cuda or cuda:N.
    iterations: of the refinement, AS_PRESET for what the preset says.
    """

    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    transform: vtkMRMLTransformNode
    warped: vtkMRMLScalarVolumeNode
    jacobian: vtkMRMLScalarVolumeNode
    preset: Preset = Preset.ACCURATE
    start: Start = Start.AUTOMATIC
    initial_transform: vtkMRMLTransformNode
    fixed_mask: Mask
    moving_mask: Mask
    extract_brains: bool = False
    iterations: Annotated[int, WithinRange(-1, 1000)] = AS_PRESET
    similarity: Similarity = Similarity.AS_PRESET
    model: str = ""
    device: str = "auto"
