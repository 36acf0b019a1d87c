"""Registration for scripts in Slicer: without a window, and waiting for the result."""

from __future__ import annotations

import slicer

from ..backend.local import LocalClient
from ..errors import InputError
from ..scene.results import ResultNodes, add_result, read_result
from .register_parameters import RegisterParameters
from .register_plan import hindrance, plan
from .register_presets import Similarity, Start
from .session import slicer_python

_STARTS = {"affine": Start.AFFINE, "rigid": Start.RIGID, "identity": Start.AS_PLACED}


def register(
    fixed: slicer.vtkMRMLScalarVolumeNode,
    moving: slicer.vtkMRMLScalarVolumeNode,
    refine: int = 20,
    initial: str = "affine",
    similarity: str = "local_correlation",
    device: str = "auto",
) -> ResultNodes:
    """Register two volumes as they lie in the world, and wait for it. The nodes that are returned are new.

    refine: iterations at full resolution. initial: affine, rigid or identity. similarity: see docs/protocol.md.

    Raises InputError for what cannot be registered, JobError when there is no result.
    """
    if initial not in _STARTS:
        raise InputError(f"initial must be one of {', '.join(_STARTS)}, not {initial!r}.")
    similarities = [choice.name.lower() for choice in Similarity if choice is not Similarity.AS_PRESET]
    if similarity not in similarities:
        raise InputError(f"similarity must be one of {', '.join(similarities)}, not {similarity!r}.")
    parameters = RegisterParameters()
    parameters.fixed, parameters.moving = fixed, moving
    parameters.start, parameters.iterations = _STARTS[initial], refine
    parameters.similarity, parameters.device = Similarity[similarity.upper()], device
    reason = hindrance(parameters)
    if reason:
        raise InputError(reason)
    with LocalClient(slicer_python()) as client:
        planned = plan(parameters, client.new_folder())
        for path, file in planned.inputs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            file.write(path)
        outcome_folder = planned.request.output
        client.run(planned.request)
        result = read_result(outcome_folder, planned.fixed.geometry, planned.moving.world_from_file)
    return add_result(slicer.mrmlScene, result, (fixed.GetName(), moving.GetName()), (fixed, moving), ResultNodes())
