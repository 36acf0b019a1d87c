"""The sample pair: the MNI152 template and a second brain made from it, generated on this computer."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import installation
from .session import slicer_python, worker_environment

CATEGORY = "MMLNRegistration"
NAMES = ("MNI152 template", "MNI152 template, deformed")
FILES = ("fixed.nii.gz", "moving.nii.gz")
TISSUES_NAME, TISSUES_FILE = "Tissues of the deformed template", "moving_tissues.nii.gz"
"""A label map of the second brain, to propagate to the first."""
_MODULE = "MMLNRegistrationLib.demo_files"
_MILLISECONDS_BETWEEN_LOOKS = 200


def register_sample_data(icons: Path) -> None:
    """Put the pair into the module Sample Data. icons: the folder with its thumbnail."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, title=_("MMLN Registration"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=_("Two brains to register"),
        thumbnailFileName=str(icons / "MMLNRegistration.png"),
        customDownloader=generate,
    )


def generate(source: Any = None, coarsening: int = 1) -> SampleMaker | None:
    """Make the pair and load it, without waiting for it. None when the user does not want what it needs.

    source: what Sample Data passes. coarsening: the voxels' size in mm, about.
    """
    if not (installation.ensure_torch() and installation.ensure_template()):
        return None
    maker = SampleMaker(coarsening)
    maker.start()
    return maker


class SampleMaker:
    """The pair being made in a process of its own, some seconds long; a status message says so."""

    def __init__(self, coarsening: int) -> None:
        """coarsening: see generate."""
        self._coarsening = coarsening
        self._folder = tempfile.TemporaryDirectory(prefix="mmln-sample-")
        self._process: subprocess.Popen[bytes] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(_MILLISECONDS_BETWEEN_LOOKS)
        self._timer.timeout.connect(self._look)
        self.nodes: list[slicer.vtkMRMLVolumeNode] = []
        self.is_done = False

    def start(self) -> None:
        """Begin. Returns at once."""
        slicer.util.showStatusMessage(_("Making two brains to register ..."))
        self._process = subprocess.Popen(
            [slicer_python(), "-m", _MODULE, self._folder.name, str(self._coarsening)],
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._timer.start()

    def _look(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        if self._process.poll() is None:
            return
        self._timer.stop()
        complaint = self._process.stderr.read().decode(errors="replace").strip()
        if self._process.returncode == 0:
            for name, file in zip(NAMES, FILES, strict=True):
                self.nodes.append(
                    slicer.util.loadVolume(str(Path(self._folder.name) / file), properties={"name": name})
                )
            self.nodes.append(_load_tissues(Path(self._folder.name) / TISSUES_FILE))
            slicer.util.showStatusMessage(_("Two brains to register are loaded."), 3000)
        else:
            last = complaint.splitlines()[-1] if complaint else _("it said nothing")
            slicer.util.errorDisplay(_("The sample data could not be made: {reason}").format(reason=last))
        self._folder.cleanup()
        self.is_done = True


def _load_tissues(file: Path) -> slicer.vtkMRMLLabelMapVolumeNode:
    """The label map with names and colours for its labels, those of quality.demo_pair."""
    node = slicer.util.loadLabelVolume(str(file), properties={"name": TISSUES_NAME})
    colours = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Tissues")
    colours.SetTypeToUser()
    colours.SetNumberOfColors(4)
    colours.SetColor(0, _("Background"), 0.0, 0.0, 0.0, 0.0)
    colours.SetColor(1, _("Grey matter"), 0.78, 0.52, 0.47, 1.0)
    colours.SetColor(2, _("White matter"), 0.93, 0.86, 0.74, 1.0)
    colours.SetColor(3, _("Fluid"), 0.37, 0.63, 0.85, 1.0)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colours.GetID())
    return node
