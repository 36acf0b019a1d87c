"""Parameters of all types that the module uses."""

from enum import Enum
from pathlib import Path
from typing import Annotated

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import (
    Choice,
    Default,
    Maximum,
    Minimum,
    WithinRange,
    parameterNodeWrapper,
    parameterPack,
)


class Way(Enum):
    """How."""

    FAST = 1
    ACCURATE = 2


@parameterPack
class Inner:
    """A pack in a pack."""

    steps: Annotated[int, WithinRange(1, 20)] = 3
    folder: Path = Path("results")


@parameterPack
class Outer:
    """A pack."""

    volume: vtkMRMLScalarVolumeNode
    factor: Annotated[float, Minimum(0), Maximum(10)] = 2.0
    way: Way = Way.ACCURATE
    device: Annotated[str, Choice(["CPU", "GPU"])] = "CPU"
    inner: Inner


@parameterNodeWrapper
class Parameters:
    """All parameters."""

    outer: Outer
    switch: bool
    names: list[str]
    number: float
    note: Annotated[str, Default("first")]
