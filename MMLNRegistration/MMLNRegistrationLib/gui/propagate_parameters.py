"""What Propagate remembers in the scene."""

import enum

from slicer import (
    vtkMRMLNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTransformNode,
)
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterPack

from .register_presets import Preset


class Fusion(enum.Enum):
    """How atlases vote. Scenes keep the name; requests take it in small letters."""

    LOCAL_SIMILARITY = 1
    MAJORITY = 2

    def label(self) -> str:
        """How the window calls it."""
        return {
            Fusion.LOCAL_SIMILARITY: _("By local similarity"),
            Fusion.MAJORITY: _("Majority"),
        }[self]


@parameterPack
class PropagateParameters:
    """The panel's choices. segmentation, agreement, table: results, made when there are none.

    images, labels, transforms: of each atlas one, lists of the same length; what is not chosen yet is None.
    """

    subject: vtkMRMLScalarVolumeNode
    images: list[vtkMRMLScalarVolumeNode]
    labels: list[vtkMRMLNode]
    transforms: list[vtkMRMLTransformNode]
    fusion: Fusion = Fusion.LOCAL_SIMILARITY
    preset: Preset = Preset.ACCURATE
    extract_brains: bool = False
    segmentation: vtkMRMLSegmentationNode
    agreement: vtkMRMLScalarVolumeNode
    table: vtkMRMLTableNode
