"""The Propagate panel: atlases and what is drawn on them in, a segmentation of the subject out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..scene.propagation import PropagatedArrays, PropagationNodes, StructureRow
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
from .registering_panel import RegisteringPanel
from .run_panel import ButtonWords
from .session import LastRegistration, Session
from .worker_run import is_in_scene


class PropagatePanel(RegisteringPanel):
    """What it has made stays shown below the button until the next propagation."""

    ui_name = "Propagate"
    button_name = "propagateButton"
    held_names = ("inputsButton", "outputsButton")
    progress_class = PropagateProgress
    run: PropagateRun | None

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        self._resources = resources
        self.cards: list[AtlasCard] = []
        self._result: PropagationNodes | None = None
        self._subject: slicer.vtkMRMLVolumeNode | None = None
        self._drawn: list[slicer.vtkMRMLNode | None] = []
        self._rows: tuple[StructureRow, ...] = ()
        self._reused: LastRegistration | None = None
        self._offered: slicer.vtkMRMLVolumeNode | None = None
        ui = self.ui
        ui.addAtlas.connect("clicked(bool)", self._add_atlas)
        ui.showSegmentation.connect("clicked(bool)", self._show_structures)
        ui.showAgreement.connect("clicked(bool)", self._show_agreement)
        ui.volumes.connect("cellClicked(int,int)", self._structure_chosen)
        ui.volumes.connect("cellActivated(int,int)", self._structure_chosen)

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self._reuse_registrations()

    def scene_closes(self) -> None:
        """See Panel."""
        super().scene_closes()
        self._result, self._subject, self._drawn, self._rows = None, None, [], ()
        self.ui.show3d.setSegmentationNode(None)

    def _words(self) -> ButtonWords:
        return ButtonWords(
            _("Propagate"),
            _("Carry the labels of the atlases over to the subject."),
            _("Stop the propagation."),
            _("PyTorch is not installed: nothing can be propagated without it."),
        )

    def _hindrance(self) -> str:
        return hindrance(self.parameters.propagate, self.session.is_remote)

    def _new_run(self, on_out_of_memory: str) -> PropagateRun:
        parameters = self.parameters.propagate
        self._require_brain_extraction(
            parameters, _("Brain extraction needs deepbet; install it, or switch brain extraction off.")
        )
        planned = plan(parameters, self.parameters.register, self.session.new_folder(), on_out_of_memory)
        self._subject = subject = parameters.subject
        self._drawn = [atlas.labels for atlas in chosen_atlases(parameters)]
        self.ui.resultFrame.visible = False
        nodes = PropagationNodes(parameters.segmentation, parameters.agreement, parameters.table)
        return PropagateRun(self.session, planned, nodes, subject, self._progress.tell, self._done, self._failed)

    def _done(self, nodes: PropagationNodes, result: PropagatedArrays, report: Mapping[str, Any]) -> None:
        asked = self._ended()
        self._result, self._rows = nodes, result.rows
        with slicer.util.NodeModify(asked.parameterNode):
            parameters = asked.propagate
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

    def _complete(self) -> None:
        """The fixed volume of Register is the subject until another is chosen; each is offered once."""
        fixed, parameters = self.parameters.register.fixed, self.parameters.propagate
        if fixed is not None and fixed is not self._offered and parameters.subject is None:
            self._offered = fixed
            parameters.subject = fixed

    def _show_choices(self) -> None:
        parameters = self.parameters.propagate
        atlases = chosen_atlases(parameters)
        self._show_cards(atlases)
        self.ui.fusion.enabled = self.ui.agreement.enabled = len(atlases) > 1
        registers = any(atlas.transform is None for atlas in atlases)
        self.ui.preset.enabled = self.ui.brains.enabled = registers
        self.ui.presetHint.text = (
            parameters.preset.hint() if registers else _("Nothing is registered: all atlases have a transform.")
        )

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

    def _show_structures(self, checked: bool = False, fit: bool = False) -> None:
        if self._result is not None and is_in_scene(self._result.segmentation):
            show_structures(self._subject if is_in_scene(self._subject) else None, self._result.segmentation, fit)

    def _show_agreement(self, checked: bool = False) -> None:
        if self._result is not None and is_in_scene(self._result.agreement):
            show_agreement(self._subject if is_in_scene(self._subject) else None, self._result.agreement)

    def _structure_chosen(self, row: int, column: int) -> None:
        if 0 <= row < len(self._rows):
            jump_to(self._rows[row])
