"""The Slicer module: Register, Propagate, Quality and Train over one worker. What it does is in MMLNRegistrationLib."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from MMLNRegistrationLib.gui.propagate_parameters import PropagateParameters
from MMLNRegistrationLib.gui.quality_parameters import QualityParameters
from MMLNRegistrationLib.gui.register_parameters import RegisterParameters
from MMLNRegistrationLib.gui.train_parameters import TrainParameters

LIBRARY = "MMLNRegistrationLib"
RESOURCES = Path(__file__).resolve().parent / "Resources"


class MMLNRegistration(ScriptedLoadableModule):
    """What the module selector shows, and what is done once Slicer is up."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MMLN Registration")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Registration")]
        parent.dependencies = []
        parent.contributors = ["MMLNRegistration contributors"]
        parent.helpText = _(
            "Deformable registration of brain images: two volumes in, one transform out that does not fold. "
            "<p><b>Register</b>: choose a fixed and a moving volume and press Register. The fixed image and the warped "
            "one are shown over each other; the transform is new in the scene.</p>"
            "<p><b>Propagate</b> carries the segments of atlases over to a subject. <b>Quality</b> shows how far a "
            "transform can be trusted, any transform of the scene. <b>Train</b> makes a network for your own data.</p>"
            '<p>More in the <a href="{url}">documentation</a>.</p>'
        ).format(url="https://github.com/MMLNRegistration/SlicerMMLNRegistration")
        parent.acknowledgementText = _(
            "The network follows the multi-level and multi-branch registration of the paper that is cited in the "
            "documentation; it runs on PyTorch, and on SimpleITK, VTK and MRML. It is for research, not for clinical "
            "use."
        )
        slicer.app.connect("startupCompleted()", _startup_completed)


def _startup_completed():
    """Sample data, and an installation that needed the restart."""
    from MMLNRegistrationLib.gui import installation
    from MMLNRegistrationLib.gui.sample_data import register_sample_data

    register_sample_data(RESOURCES / "Icons")
    if not slicer.app.testingEnabled():
        installation.resume()


@parameterNodeWrapper
class MMLNRegistrationParameterNode:
    """The choices of each panel; a scene keeps them."""

    register: RegisterParameters
    propagate: PropagateParameters
    quality: QualityParameters
    train: TrainParameters


def make_panels(session):
    """The panels with their titles, in the order of their tabs."""
    from MMLNRegistrationLib.gui.propagate_panel import PropagatePanel
    from MMLNRegistrationLib.gui.quality_panel import QualityPanel
    from MMLNRegistrationLib.gui.register_panel import RegisterPanel
    from MMLNRegistrationLib.gui.train_panel import TrainPanel

    return [
        (_("Register"), RegisterPanel(session, RESOURCES)),
        (_("Propagate"), PropagatePanel(session, RESOURCES)),
        (_("Quality"), QualityPanel(session, RESOURCES)),
        (_("Train"), TrainPanel(session, RESOURCES)),
    ]


class MMLNRegistrationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The tabs, bound to the parameter node while the module is seen."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.session = None
        self.panels = []

    def setup(self):
        """Called when the module is opened for the first time. Nothing is asked and nothing is installed here."""
        ScriptedLoadableModuleWidget.setup(self)
        from MMLNRegistrationLib.gui.session import Session

        frame = slicer.util.loadUI(self.resourcePath("UI/MMLNRegistration.ui"))
        self.layout.addWidget(frame)
        self.ui = slicer.util.childWidgetVariables(frame)
        self.logic = MMLNRegistrationLogic()
        self.session = Session()
        for title, panel in make_panels(self.session):
            self.panels.append(panel)
            self.ui.tabs.addTab(panel.widget, title)
        frame.setMRMLScene(slicer.mrmlScene)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closes)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._scene_closed)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self._scene_closed)
        self._connect()

    def cleanup(self):
        """Called when the module is reloaded or Slicer ends."""
        self.removeObservers()
        for panel in self.panels:
            panel.cleanup()
        self.panels = []
        if self.session is not None:
            self.session.close()

    def enter(self):
        """Called each time the module is opened. Who opens it will soon need the worker."""
        self._connect()
        from MMLNRegistrationLib.gui.server_choice import server_is_named

        if not server_is_named():
            self.session.warm()

    def exit(self):
        """Called each time another module is opened. What runs goes on."""
        for panel in self.panels:
            panel.disconnect()

    def onReload(self):  # noqa: N802, Slicer's name
        """The library is loaded anew too."""
        for name in [name for name in sys.modules if name.partition(".")[0] == LIBRARY]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def _connect(self):
        parameters = self.logic.getParameterNode()
        for panel in self.panels:
            panel.connect(parameters)

    def _scene_closes(self, caller=None, event=None):
        for panel in self.panels:
            panel.scene_closes()
            panel.disconnect()

    def _scene_closed(self, caller=None, event=None):
        if self.parent.isEntered:
            self._connect()


class MMLNRegistrationLogic(ScriptedLoadableModuleLogic):
    """Registration without a window, for scripts."""

    def getParameterNode(self):  # noqa: N802, Slicer's name
        """The module's parameter node, typed. It is made when there is none."""
        return MMLNRegistrationParameterNode(super().getParameterNode())

    def register(self, fixed, moving, refine=20, initial="affine", similarity="local_correlation", device="auto"):
        """Register two scalar volumes and wait for it. Returns ResultNodes: transform, warped, jacobian, all new.

        refine: iterations at full resolution. initial: affine, rigid or identity (as the volumes lie in the world).
        Other values as in docs/protocol.md. Raises InputError or JobError with a sentence.
        """
        from MMLNRegistrationLib.gui.register_logic import register

        return register(fixed, moving, refine, initial, similarity, device)


class MMLNRegistrationTest(ScriptedLoadableModuleTest):
    """Registers two small blobs, in seconds."""

    def setUp(self):
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):  # noqa: N802, Slicer's name
        """All there is."""
        self.setUp()
        self.test_registration_of_two_blobs()

    def test_registration_of_two_blobs(self):
        """The moving blob lies 4 mm to the right; the result brings it home, and does not fold."""
        from MMLNRegistrationLib.gui.self_test import run

        self.delayDisplay("Registering two small volumes")
        run(MMLNRegistrationLogic())
        self.delayDisplay("Test passed")
