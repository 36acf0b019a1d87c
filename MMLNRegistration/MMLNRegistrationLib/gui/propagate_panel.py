"""The Propagate panel: atlases and what is drawn on them in, a segmentation of the subject out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from ..backend.jobs import JobError
from ..errors import InputError
from ..scene.propagation import PropagatedArrays, PropagationNodes, StructureRow
from . import installation
from .panel import Panel
from .propagate_atlas import AtlasCard
from .propagate_plan import (
    AtlasChoice,
    choose_atlases,
    chosen_atlases,
    earlier_registration,
    hindrance,
    only_labels,
    plan,
)
from .propagate_progress import PropagateProgress
from .propagate_result import fill_table, hide_segmentations, jump_to, show_agreement, show_structures, verdict
from .propagate_run import PropagateRun
from .session import LastRegistration, Session
from .worker_run import is_in_scene


class PropagatePanel(Panel):
    """One button, which is Cancel while there is something to cancel. All that goes wrong is said beside it."""

    ui_name = "Propagate"

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        self._resources = resources
        self.run: PropagateRun | None = None
        self.cards: list[AtlasCard] = []
        self._result: PropagationNodes | None = None
        self._subject: slicer.vtkMRMLVolumeNode | None = None
        self._drawn: list[slicer.vtkMRMLNode | None] = []
        self._rows: tuple[StructureRow, ...] = ()
        self._reused: LastRegistration | None = None
        self._offered: slicer.vtkMRMLVolumeNode | None = None
        ui = self.ui
        self._progress = PropagateProgress(ui.progress, ui.status)
        ui.resultFrame.visible = ui.offerFrame.visible = False
        ui.propagateButton.connect("clicked(bool)", self._clicked)
        ui.onProcessor.connect("clicked(bool)", self._again_on_processor)
        ui.onCoarserGrid.connect("clicked(bool)", self._again_on_coarser_grid)
        ui.addAtlas.connect("clicked(bool)", self._add_atlas)
        ui.showSegmentation.connect("clicked(bool)", self._show_structures)
        ui.showAgreement.connect("clicked(bool)", self._show_agreement)
        ui.volumes.connect("cellClicked(int,int)", self._structure_chosen)
        ui.volumes.connect("cellActivated(int,int)", self._structure_chosen)
        # Kept while the panel is left: a run goes on then, and must not fill another scene.
        self._scene = slicer.mrmlScene
        self._scene_tag = self._scene.AddObserver(self._scene.StartCloseEvent, self._scene_closes)

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self.addObserver(parameters.parameterNode, vtk.vtkCommand.ModifiedEvent, self._update)
        self._reuse_registrations()
        self._update()

    def cleanup(self) -> None:
        """See Panel."""
        self._scene.RemoveObserver(self._scene_tag)
        if self.run is not None:
            self.run.abandon()
            self.run = None
        super().cleanup()

    def _clicked(self) -> None:
        if self.run is not None:
            self.ui.propagateButton.enabled = False
            self.ui.propagateButton.text = _("Cancelling ...")
            self.run.cancel()
        else:
            self._start("fail")

    def _again_on_processor(self) -> None:
        self._start("cpu")

    def _again_on_coarser_grid(self) -> None:
        self._start("coarser")

    def _start(self, on_out_of_memory: str) -> None:
        self._complain("")
        parameters = self.parameters.propagate
        if not self.session.ready():
            self._complain(_("PyTorch is not installed: nothing can be propagated without it."))
            return
        if parameters.extract_brains and not self.session.is_remote and not installation.ensure_brain_extraction():
            self._complain(_("Brain extraction needs deepbet; install it, or switch brain extraction off."))
            return
        try:
            planned = plan(parameters, self.parameters.register, self.session.new_folder(), on_out_of_memory)
        except InputError as error:
            self._complain(str(error))
            return
        self._subject = parameters.subject
        self._drawn = [atlas.labels for atlas in chosen_atlases(parameters)]
        nodes = PropagationNodes(parameters.segmentation, parameters.agreement, parameters.table)
        self.ui.resultFrame.visible = False
        self._progress.start()
        self.run = PropagateRun(
            self.session, planned, nodes, self._subject, self._progress.tell, self._done, self._failed
        )
        self.run.start()
        self._update()

    def _done(self, nodes: PropagationNodes, result: PropagatedArrays, report: Mapping[str, Any]) -> None:
        self.run = None
        self._progress.end()
        self._result, self._rows = nodes, result.rows
        if self.parameters is not None:
            with slicer.util.NodeModify(self.parameters.parameterNode):
                parameters = self.parameters.propagate
                parameters.segmentation, parameters.table = nodes.segmentation, nodes.table
                parameters.agreement = nodes.agreement
        ui = self.ui
        ui.verdict.text = verdict(report, result.rows)
        fill_table(ui.volumes, result.rows)
        ui.show3d.setSegmentationNode(nodes.segmentation)
        ui.showAgreement.visible = result.agreement is not None
        ui.resultFrame.visible = True
        hide_segmentations(self._drawn)
        self._show_structures(fit=True)
        self._update()

    def _failed(self, error: JobError) -> None:
        self.run = None
        self._progress.end()
        if error.cause != "cancelled":
            self._complain(str(error))
        self.ui.onProcessor.visible = "cpu" in error.offers
        self.ui.onCoarserGrid.visible = "coarser" in error.offers
        self.ui.offerFrame.visible = bool(error.offers)
        self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring the cards, the button, its reason and the hints in line with the choices."""
        if self.parameters is None:
            return
        self._offer_subject()
        parameters, button, running = self.parameters.propagate, self.ui.propagateButton, self.run is not None
        atlases = chosen_atlases(parameters)
        self._show_cards(atlases)
        reason = "" if running else hindrance(parameters, self.session.is_remote)
        button.text = _("Cancel") if running else _("Propagate")
        button.enabled = not reason
        button.toolTip = reason or (
            _("Stop the propagation.") if running else _("Carry the labels of the atlases over to the subject.")
        )
        self.ui.reason.text = reason
        self.ui.reason.visible = bool(reason)
        self.ui.fusion.enabled = self.ui.agreement.enabled = len(atlases) > 1
        registers = any(atlas.transform is None for atlas in atlases)
        self.ui.preset.enabled = self.ui.brains.enabled = registers
        self.ui.presetHint.text = (
            parameters.preset.hint() if registers else _("Nothing is registered: all atlases have a transform.")
        )
        for widget in (self.ui.inputsButton, self.ui.outputsButton):
            widget.enabled = not running

    def _show_cards(self, atlases: list[AtlasChoice]) -> None:
        layout = self.ui.atlasesFrame.layout()
        while len(self.cards) < len(atlases):
            card = AtlasCard(self._resources, self._card_changed, self._card_removed)
            layout.addWidget(card.widget)
            self.cards.append(card)
        while len(self.cards) > len(atlases):
            widget = self.cards.pop().widget
            layout.removeWidget(widget)
            widget.hide()
            widget.deleteLater()
        for number, (card, atlas) in enumerate(zip(self.cards, atlases, strict=True), start=1):
            card.show(atlas, number, len(atlases) == 1)

    def _choose(self, atlases: list[AtlasChoice]) -> None:
        with slicer.util.NodeModify(self.parameters.parameterNode):
            choose_atlases(self.parameters.propagate, atlases)

    def _add_atlas(self, checked: bool = False) -> None:
        if self.parameters is not None:
            self._choose([*chosen_atlases(self.parameters.propagate), AtlasChoice()])

    def _card_removed(self, card: AtlasCard) -> None:
        if self.parameters is not None:
            atlases = chosen_atlases(self.parameters.propagate)
            del atlases[self.cards.index(card)]
            self._choose(atlases)

    def _card_changed(self, card: AtlasCard) -> None:
        if self.parameters is None:
            return
        parameters, place = self.parameters.propagate, self.cards.index(card)
        atlases, choice = chosen_atlases(parameters), card.choice
        if choice.image is not atlases[place].image:  # another image: is it registered already?
            earlier = None if self.session.is_remote else earlier_registration(parameters.subject, choice.image)
            choice = choice._replace(transform=earlier)
            if choice.labels is None:
                choice = choice._replace(labels=only_labels(parameters.segmentation))
        atlases[place] = choice
        self._choose(atlases)

    def _offer_subject(self) -> None:
        """The fixed volume of Register is the subject until another is chosen; each is offered once."""
        fixed, parameters = self.parameters.register.fixed, self.parameters.propagate
        if fixed is not None and fixed is not self._offered and parameters.subject is None:
            self._offered = fixed
            parameters.subject = fixed

    def _reuse_registrations(self) -> None:
        """Take the registration that was just made for the atlas that it is of."""
        parameters, last = self.parameters.propagate, self.session.last
        if last is None or last is self._reused or parameters.subject is None:
            return
        if parameters.subject.GetID() != last.fixed_id:
            return
        self._reused = last
        transform = slicer.mrmlScene.GetNodeByID(last.transform_id)
        moving = slicer.mrmlScene.GetNodeByID(last.moving_id)
        atlases = chosen_atlases(parameters)
        if moving is not None and all(atlas.image is None for atlas in atlases):
            atlases[0] = atlases[0]._replace(image=moving)
        reused = [
            atlas._replace(transform=transform) if atlas.image is moving and atlas.transform is None else atlas
            for atlas in atlases
        ]
        if moving is not None and transform is not None and not self.session.is_remote:
            self._choose(reused)

    def _complain(self, sentence: str) -> None:
        """Say what went wrong, or, with an empty sentence, take back what was said."""
        self.ui.offerFrame.visible = False
        self.ui.message.text = sentence
        self.ui.message.visible = bool(sentence)

    def _show_structures(self, checked: bool = False, fit: bool = False) -> None:
        if self._result is not None and is_in_scene(self._result.segmentation):
            show_structures(self._subject if is_in_scene(self._subject) else None, self._result.segmentation, fit)

    def _show_agreement(self, checked: bool = False) -> None:
        if self._result is not None and is_in_scene(self._result.agreement):
            show_agreement(self._subject if is_in_scene(self._subject) else None, self._result.agreement)

    def _structure_chosen(self, row: int, column: int) -> None:
        if 0 <= row < len(self._rows):
            jump_to(self._rows[row])

    def _scene_closes(self, caller: Any, event: Any) -> None:
        """All nodes go: stop what was for them."""
        if self.run is not None:
            self.run.abandon()
            self.run = None
            self._progress.end()
        self._result, self._subject, self._drawn, self._rows = None, None, [], ()
        self.ui.show3d.setSegmentationNode(None)
        self.ui.resultFrame.visible = False
        self._complain("")
