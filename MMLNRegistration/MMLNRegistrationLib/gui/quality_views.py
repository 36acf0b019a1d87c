"""What the slice views show while a transform is judged: changed only where the choices change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from ..errors import InputError
from ..scene.comparison import LARGEST_DIFFERENCE, WHITE, Mixture
from ..scene.jacobian_thresholds import percent_beyond, show_all, show_beyond
from ..scene.quality_results import windows_of
from ..scene.quality_views import (
    ARROWS,
    GRID,
    flip_foreground,
    hide_deformation,
    set_foreground_opacity,
    show_deformation,
    show_layers,
)
from ..scene.volumes import fill_volume_node, geometry_of_node, scalars_of_node, show_in_grey
from .pumping import Pump
from .quality_choices import Deformation, View

_MILLISECONDS_OF_FLICKER = 600


class QualityViews:
    """Brings the slice views in line with the panel's choices. Belongs to the main thread."""

    def __init__(self, on_error: Callable[[str], None]) -> None:
        """on_error: called with a sentence for the user."""
        self._on_error = on_error
        self._pump = Pump()
        self._flicker = qt.QTimer()
        self._flicker.setInterval(_MILLISECONDS_OF_FLICKER)
        self._flicker.timeout.connect(self._flip)
        self._flickering_id = ""
        self._shown: dict[str, tuple[Any, ...]] = {}
        self._drawn: slicer.vtkMRMLTransformNode | None = None
        self._counted = (0.0, 0.0)

    @property
    def is_flickering(self) -> bool:
        """Whether fixed and warped image are shown in turn."""
        return bool(self._flicker.isActive())

    def show(self, parameters: Any, renew: bool = False) -> None:
        """Show what the choices say. renew: also what seems unchanged. parameters: a QualityParameters."""
        if renew:
            self._shown.clear()
        if self._is_new("thresholds", parameters.jacobian, parameters.lower, parameters.upper, parameters.only_beyond):
            self._show_thresholds(parameters)
        volumes = (parameters.checked_fixed, parameters.jacobian, parameters.folded, parameters.warped)
        square_mm = parameters.square_mm if parameters.view is View.CHECKERBOARD else None
        if self._is_new("view", parameters.view, square_mm, *volumes):
            self._show_view(parameters)
        elif self._is_new("opacity", parameters.opacity) and parameters.view in (View.JACOBIAN, View.FADE):
            set_foreground_opacity(slicer.mrmlScene, parameters.opacity)
        transform = parameters.checked_transform
        if self._is_new("deformation", transform, parameters.deformation, parameters.spacing_mm):
            self._show_deformation(parameters)

    def percent_beyond(self, parameters: Any) -> tuple[float, float]:
        """Per cent of the voxels of the Jacobian map below and above the thresholds. Counted anew when they change."""
        image = parameters.jacobian.GetImageData()
        if self._is_new("counted", parameters.jacobian, image.GetMTime(), parameters.lower, parameters.upper):
            self._counted = percent_beyond(scalars_of_node(parameters.jacobian), parameters.lower, parameters.upper)
        return self._counted

    def stop(self) -> None:
        """Flicker no more, and give up what is being made; show goes on with them. The views stay as they are."""
        if self._flicker.isActive() or self._pump.is_running:
            self._shown.pop("view", None)
        if self._flicker.isActive():
            self._flicker.stop()
            set_foreground_opacity(slicer.mrmlScene, 0.5)
        self._pump.stop()

    def forget(self) -> None:
        """The scene is closed: there is nothing to bring in order."""
        self._flicker.stop()
        self._pump.stop()
        self._shown.clear()
        self._drawn = None

    def _is_new(self, what: str, *values: Any) -> bool:
        known = tuple(value.GetID() if isinstance(value, slicer.vtkMRMLNode) else value for value in values)
        changed = self._shown.get(what) != known
        self._shown[what] = known
        return changed

    def _show_thresholds(self, parameters: Any) -> None:
        if parameters.jacobian is None:
            return
        display = parameters.jacobian.GetDisplayNode()
        if parameters.only_beyond:
            show_beyond(slicer.mrmlScene, display, parameters.lower, parameters.upper)
        else:
            show_all(slicer.mrmlScene, display)

    def _show_view(self, parameters: Any) -> None:
        self._flicker.stop()
        self._pump.stop()
        fixed, warped, view = parameters.checked_fixed, parameters.warped, parameters.view
        self._shown["opacity"] = (parameters.opacity,)
        if fixed is None or parameters.jacobian is None:
            return
        if view is View.JACOBIAN or warped is None:
            show_layers(slicer.mrmlScene, fixed, parameters.jacobian, parameters.opacity, parameters.folded)
        elif view is View.FADE:
            show_layers(slicer.mrmlScene, fixed, warped, parameters.opacity)
        elif view is View.FLICKER:
            show_layers(slicer.mrmlScene, fixed, warped, 1.0)
            self._flickering_id = warped.GetID()
            self._flicker.start()
        else:
            self._mix(parameters)

    def _mix(self, parameters: Any) -> None:
        """Make the checkerboard or the difference, then show it."""
        fixed, warped = parameters.checked_fixed, parameters.warped
        is_board = parameters.view is View.CHECKERBOARD
        try:
            geometry = geometry_of_node(warped)
            if not geometry.matches(geometry_of_node(fixed)):
                raise InputError(f"{fixed.GetName()} has been moved or changed; check the transform again.")
            mixture = Mixture(
                scalars_of_node(fixed),
                scalars_of_node(warped),
                windows_of(warped),
                geometry,
                parameters.square_mm if is_board else None,
            )
        except InputError as error:
            self._on_error(str(error))
            return

        def finish() -> None:
            node = parameters.mixture or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
            node.SetName(f"{warped.GetName()} {'checkerboard' if is_board else 'difference'}")
            fill_volume_node(node, mixture.image, geometry)
            show_in_grey(slicer.mrmlScene, node, (0.0, WHITE if is_board else LARGEST_DIFFERENCE))
            if parameters.mixture is not node:
                parameters.mixture = node
            show_layers(slicer.mrmlScene, node)

        self._pump.start(mixture.steps(), finish, lambda error: self._on_error(str(error)))

    def _show_deformation(self, parameters: Any) -> None:
        transform, fixed = parameters.checked_transform, parameters.checked_fixed
        if self._drawn is not None and self._drawn is not transform and self._drawn.GetScene() is not None:
            hide_deformation(self._drawn)
            self._drawn = None
        if transform is None or fixed is None:
            return
        if parameters.deformation is Deformation.NONE:
            if self._drawn is transform:
                hide_deformation(transform)
                self._drawn = None
            return
        kind = GRID if parameters.deformation is Deformation.GRID else ARROWS
        show_deformation(transform, fixed, kind, parameters.spacing_mm)
        self._drawn = transform

    def _flip(self) -> None:
        if not flip_foreground(slicer.mrmlScene, self._flickering_id):
            self._flicker.stop()  # something else is shown by now
