"""Draw the pictures of the README from a finished registration, with Slicer's own slice views.

mmln demo --output demo-output
python Resources/make_pictures.py demo-output
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import slicer
import vtk

from MMLNRegistrationLib import io
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.scene.jacobian import jacobian_node
from MMLNRegistrationLib.scene.render import render_slice
from MMLNRegistrationLib.scene.views import SliceLayers
from MMLNRegistrationLib.scene.volumes import volume_node

SIZE_PIXELS = (420, 480)
PICTURE = Path(__file__).parent / "Screenshots" / "demo-pair.png"


def main(folder: Path) -> None:
    """Four coronal slices side by side: fixed, moving, warped, Jacobian over fixed."""
    scene = slicer.vtkMRMLScene()
    fixed = volume_node(scene, io.read_image(folder / "fixed.nii.gz"), "fixed")
    moving = volume_node(scene, io.read_image(folder / "moving.nii.gz"), "moving")
    warped = volume_node(scene, io.read_image(folder / "warped.nii.gz"), "warped")
    determinant = io.read_image(folder / "jacobian.nii.gz")
    jacobian = jacobian_node(scene, Volume(determinant.array_kji, determinant.geometry, "Jacobian"), "Jacobian")
    panels = (
        SliceLayers(fixed),
        SliceLayers(moving),
        SliceLayers(warped),
        SliceLayers(fixed, jacobian, foreground_opacity=0.7),
    )
    with tempfile.TemporaryDirectory() as temporary:
        files = [
            render_slice(
                scene,
                Path(temporary) / f"{number}.png",
                layers,
                orientation="Coronal",
                size_pixels=SIZE_PIXELS,
                legend_of=jacobian if layers.foreground is jacobian else None,
            )
            for number, layers in enumerate(panels)
        ]
        side_by_side(files, PICTURE)
    print(PICTURE)


def side_by_side(files: list[Path], target: Path) -> None:
    """One PNG from several of the same height."""
    append = vtk.vtkImageAppend()
    append.SetAppendAxis(0)
    for file in files:
        reader = vtk.vtkPNGReader()
        reader.SetFileName(str(file))
        reader.Update()
        append.AddInputData(reader.GetOutput())
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(target))
    writer.SetInputConnection(append.GetOutputPort())
    writer.Write()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
