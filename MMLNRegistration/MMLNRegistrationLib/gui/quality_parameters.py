"""What Quality remembers in the scene."""

from typing import Annotated

from slicer import (
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLMarkupsFiducialNode,
    vtkMRMLPlotChartNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLTableNode,
    vtkMRMLTransformNode,
)
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from .quality_choices import Deformation, Plot, Table, View


@parameterPack
class QualityParameters:
    """The panel's choices, and from jacobian on what the last check made; None where it has not made it.

    lower, upper: determinants beyond them are unusual. opacity: of the overlay. verdict: in rich text.
    mixture: the checkerboard or difference.
    """

    transform: vtkMRMLTransformNode
    fixed: vtkMRMLScalarVolumeNode
    moving: vtkMRMLScalarVolumeNode
    fixed_segments: vtkMRMLSegmentationNode
    moving_segments: vtkMRMLSegmentationNode
    fixed_points: vtkMRMLMarkupsFiducialNode
    moving_points: vtkMRMLMarkupsFiducialNode
    view: View = View.JACOBIAN
    opacity: Annotated[float, WithinRange(0, 1)] = 0.6
    square_mm: Annotated[float, WithinRange(2, 60)] = 20.0
    lower: Annotated[float, WithinRange(0, 1)] = 0.5
    upper: Annotated[float, WithinRange(1, 20)] = 2.0
    only_beyond: bool = False
    deformation: Deformation = Deformation.NONE
    spacing_mm: Annotated[float, WithinRange(2, 40)] = 8.0
    plot: Plot = Plot.HISTOGRAM
    table: Table = Table.STRUCTURES
    jacobian: vtkMRMLScalarVolumeNode
    folded: vtkMRMLLabelMapVolumeNode
    warped: vtkMRMLScalarVolumeNode
    mixture: vtkMRMLScalarVolumeNode
    folds_table: vtkMRMLTableNode
    structures_table: vtkMRMLTableNode
    landmarks_table: vtkMRMLTableNode
    histogram_table: vtkMRMLTableNode
    chart: vtkMRMLPlotChartNode
    checked_fixed: vtkMRMLScalarVolumeNode
    checked_transform: vtkMRMLTransformNode
    verdict: str = ""
