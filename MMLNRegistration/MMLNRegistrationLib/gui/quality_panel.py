"""The Quality panel: how far a transform can be trusted, whoever made it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import ctk
import slicer
from slicer.i18n import tr as _

from ..backend.jobs import JobError
from ..scene.quality_results import InspectionResult
from .quality_choices import Deformation, View
from .quality_export import export, remove
from .quality_folds import FoldList
from .quality_plan import hindrance, plan
from .quality_plots import missing, show_plot, show_table, table_node, table_of
from .quality_preselection import QualityPreselection
from .quality_progress import QualityProgress
from .quality_result import result_steps
from .quality_run import QualityRun
from .quality_views import QualityViews
from .run_panel import ButtonWords, RunPanel
from .session import Session


class QualityPanel(RunPanel):
    """Below its button is what looks at what was found."""

    ui_name = "Quality"
    button_name = "checkButton"
    held_names = ("inputsButton", "moreButton")
    progress_class = QualityProgress
    run: QualityRun | None

    def __init__(self, session: Session, resources: Path) -> None:
        """See Panel."""
        super().__init__(session, resources)
        ui = self.ui
        self._folder: Path | None = None
        self._checked_id = ""
        self._listed: tuple[Any, ...] = ()
        self._views = QualityViews(self._complain)
        self._preselection = QualityPreselection()
        self._folds = FoldList(ui.foldTable, ui.previousFold, ui.nextFold, ui.foldCount)
        ui.showPlot.connect("clicked(bool)", self._show_plot)
        ui.showTable.connect("clicked(bool)", self._show_table)
        ui.exportButton.connect("clicked(bool)", self._export)
        ui.folder.connect("currentPathChanged(QString)", self._folder_chosen)
        ui.folder.filters = ctk.ctkPathLineEdit.Dirs
        ui.verdict.visible = ui.exported.visible = False

    def connect(self, parameters: Any) -> None:
        """See Panel."""
        super().connect(parameters)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeRemovedEvent, self._update)

    def disconnect(self) -> None:
        """See Panel. The flicker stops, a check goes on."""
        self._views.stop()
        super().disconnect()

    def scene_closes(self) -> None:
        """See Panel."""
        super().scene_closes()
        self._views.forget()
        self._preselection.forget()
        self._folder, self._checked_id, self._listed = None, "", ()
        self._folds.show(None)
        self.ui.exported.visible = False

    def _words(self) -> ButtonWords:
        return ButtonWords(
            _("Check transform"),
            _("Look for folds and compare."),
            _("Stop the check."),
            _("PyTorch is not installed: nothing can be checked without it."),
        )

    def _hindrance(self) -> str:
        return hindrance(self.parameters.quality, self.session.is_remote)

    def _new_run(self, on_out_of_memory: str) -> QualityRun:
        """See RunPanel. A check needs little memory, so that there is one way to do it."""
        parameters = self.parameters.quality
        planned = plan(parameters, self.session.new_folder())
        nodes = tuple(node for node in (parameters.transform, parameters.fixed, parameters.moving) if node is not None)
        asked = self.parameters

        def fill(result: InspectionResult) -> Iterator[float]:
            return result_steps(asked, result, *nodes[:2])

        return QualityRun(self.session, planned, nodes, self._progress.tell, fill, self._done, self._failed)

    def _done(self) -> None:
        run = self.run
        assert run is not None
        self._ended()
        self._remove(*run.plan.inputs, run.plan.request.transform)
        if self._folder is not None:
            self._remove(self._folder.parent)
        self._folder, self._checked_id = run.plan.request.output, run.nodes[0].GetID()
        self._listed = ()
        if self.parameters is not None:
            self._views.show(self.parameters.quality, renew=True)
        self._update()

    def _failed(self, error: JobError) -> None:
        if self.run is not None:
            self._remove(self.run.plan.request.output.parent)
        super()._failed(error)

    def _complete(self) -> None:
        if self.run is None and not slicer.mrmlScene.IsBatchProcessing():
            self._preselection.fill(self.parameters, self.session.last)

    def _show_choices(self) -> None:
        parameters, ui = self.parameters.quality, self.ui
        ui.verdict.text = parameters.verdict
        ui.verdict.visible = bool(parameters.verdict)
        self._update_views(parameters)
        self._update_folds(parameters)
        self._update_plots(parameters)
        self._update_export()

    def _update_views(self, parameters: Any) -> None:
        ui = self.ui
        has_result = parameters.jacobian is not None and parameters.checked_fixed is not None
        ui.viewsButton.enabled = has_result
        view = parameters.view
        for name in ("opacity", "opacityLabel"):
            getattr(ui, name).visible = view in (View.JACOBIAN, View.FADE)
        for name in ("square_mm", "squareLabel"):
            getattr(ui, name).visible = view is View.CHECKERBOARD
        for name in ("lowerLabel", "lower", "upper", "only_beyond", "beyond"):
            getattr(ui, name).visible = view is View.JACOBIAN
        for name in ("spacing_mm", "spacingLabel"):
            getattr(ui, name).visible = parameters.deformation is not Deformation.NONE
        if view.needs_warped and parameters.warped is None:
            ui.beyond.visible = True
            ui.beyond.text = _("Choose a moving volume and check again to compare the images.")
        elif has_result and view is View.JACOBIAN:
            below, above = self._views.percent_beyond(parameters)
            ui.beyond.text = _("{below} % of the voxels below, {above} % above").format(
                below=f"{below:.2g}", above=f"{above:.2g}"
            )
        if has_result and self.run is None:
            self._views.show(parameters)

    def _update_folds(self, parameters: Any) -> None:
        node = parameters.folds_table
        known = (node.GetID(), node.GetTable().GetMTime()) if node is not None else (None,)
        if known != self._listed:
            self._listed = known
            self._folds.show(node)

    def _update_plots(self, parameters: Any) -> None:
        ui = self.ui
        for button, table in ((ui.showPlot, table_of(parameters.plot)), (ui.showTable, parameters.table)):
            lack = missing(table_node(parameters, table), table)
            button.enabled = not lack
            button.toolTip = lack or _("Shows it in a view of Slicer's own.")

    def _update_export(self) -> None:
        button = self.ui.exportButton
        has_files = self._folder is not None and self._checked_id != ""
        button.enabled = has_files and bool(self.ui.folder.currentPath)
        if not has_files:
            button.toolTip = _("Check the transform first; the report is made with it.")
        elif not self.ui.folder.currentPath:
            button.toolTip = _("Choose a folder first.")
        else:
            button.toolTip = _("Writes the report (HTML), all tables (CSV), and the Jacobian map.")

    def _folder_chosen(self, path: str) -> None:
        self._update_export()

    def _show_plot(self) -> None:
        show_plot(self.parameters.quality)

    def _show_table(self) -> None:
        show_table(self.parameters.quality)

    def _export(self) -> None:
        self._complain("")
        assert self._folder is not None
        node = slicer.mrmlScene.GetNodeByID(self._checked_id)
        name = node.GetName() if node is not None else _("transform")
        self.ui.exportButton.enabled = False
        self.session.in_thread(
            partial(export, self._folder, Path(self.ui.folder.currentPath), name), self._exported, self._not_exported
        )

    def _exported(self, folder: Path) -> None:
        url = (folder / "report.html").absolute().as_uri()
        self.ui.exported.text = _('Written: <a href="{url}">{folder}</a>').format(url=url, folder=folder)
        self.ui.exported.visible = True
        self._update_export()

    def _not_exported(self, error: Exception) -> None:
        self._complain(str(error))
        self._update_export()

    def _remove(self, *paths: Path) -> None:
        """Remove files that nobody needs any more: they are as large as the volumes."""
        self.session.in_thread(partial(remove, paths), lambda nothing: None, lambda error: None)
