"""How torch gets into Slicer: by the PyTorch extension alone, which knows the right build for the machine.

The user is asked before anything is installed. Where the extension itself is missing Slicer has to be started anew; a
mark in the settings then makes the module go on where it was.
"""

from __future__ import annotations

import importlib.util
import sys

import qt
import slicer
from slicer.i18n import tr as _

TORCH_REQUIREMENT = ">=2.2"
BRAIN_REQUIREMENT = "deepbet>=1.0.2"
EXTENSION = "PyTorch"
RESUME_SETTING = "MMLNRegistration/ResumeInstallation"
"""Set while Slicer restarts for the extension."""


def is_there(module: str) -> bool:
    """Whether a Python package is installed. It is not imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    importlib.invalidate_caches()
    return importlib.util.find_spec(module) is not None


def is_complete() -> bool:
    """Whether nothing is missing that a worker on this machine needs."""
    return is_there("torch")


def ensure_torch() -> bool:
    """Whether torch is there, all that the worker needs beside Slicer; the user is asked where it is missing."""
    return is_there("torch") or _install_torch()


def ensure_brain_extraction() -> bool:
    """Whether deepbet is there, which finds brains; the user is asked to install it where it is missing."""
    return is_there("deepbet") or _install(BRAIN_REQUIREMENT)


def ensure_template() -> bool:
    """Whether the files are there that the sample data is made from, which the package nilearn carries.

    The user is asked. Of nilearn the files alone are used, so what it depends on is not installed.
    """
    if is_there("nilearn") and is_there("nibabel"):
        return True
    wanted = slicer.util.confirmOkCancelDisplay(
        _("The sample data is made from the MNI152 template in the Python package nilearn (10 MB). Install it now?"),
        _("Template is missing"),
    )
    if not wanted:
        return False
    from slicer.packaging import pip_install

    try:
        pip_install(["nibabel>=5.2"], no_deps_requirements=["nilearn>=0.11"], requester="MMLNRegistration")
    except Exception as error:  # pip's own words
        slicer.util.errorDisplay(_("The template could not be installed: {error}").format(error=error))
        return False
    return is_there("nilearn") and is_there("nibabel")


def resume() -> bool:
    """Go on with an installation that needed a restart of Slicer; to be called once Slicer is up.

    Returns whether there was one to go on with.
    """
    settings = qt.QSettings()
    if not slicer.util.toBool(settings.value(RESUME_SETTING, False)):
        return False
    settings.remove(RESUME_SETTING)
    slicer.util.selectModule("MMLNRegistration")
    ensure_torch()
    return True


def _install_torch() -> bool:
    if not is_there("PyTorchUtils"):
        _install_extension()
        return False
    import PyTorchUtils

    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
        )
    except Exception as error:  # whatever pip and the network may say
        slicer.util.errorDisplay(
            _("PyTorch could not be installed: {error} Try it in the module PyTorch Utils.").format(error=error)
        )
        return False
    return torch is not None


def _install_extension() -> None:
    """Ask, install the extension, and restart."""
    wanted = slicer.util.confirmOkCancelDisplay(
        _(
            "Registration needs PyTorch, which is not installed yet. It comes with Slicer's extension PyTorch, which "
            "chooses the right build for this computer. Install the extension now and restart Slicer? You are asked "
            "once more before PyTorch itself, up to 3 GB, is downloaded."
        ),
        _("PyTorch is missing"),
    )
    if not wanted:
        return
    extensions = slicer.app.extensionsManagerModel()
    extensions.interactive = False
    settings = qt.QSettings()
    settings.setValue(RESUME_SETTING, True)
    if not extensions.installExtensionFromServer(EXTENSION, False):
        settings.remove(RESUME_SETTING)
        slicer.util.errorDisplay(
            _(
                "The extension PyTorch could not be installed. Check the connection to the internet, or install it "
                "by hand in the Extensions Manager, and restart Slicer."
            )
        )
        return
    slicer.util.restart()


def _install(requirement: str) -> bool:
    """Ask and install a Python package that is small and needs nothing that Slicer has not."""
    from slicer.packaging import pip_ensure

    try:
        pip_ensure([requirement], requester="MMLNRegistration", skip_packages=["torch", "torchvision", "numpy"])
    except RuntimeError:  # the user's no
        return False
    except Exception as error:  # pip's own words, which it has shown already
        slicer.util.errorDisplay(
            _("{requirement} could not be installed: {error}").format(requirement=requirement, error=error)
        )
        return False
    return is_there(requirement.split(">")[0])
