"""What all tests on the real slicer-core share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# A screen would only make the pictures depend on the machine.
os.environ.pop("DISPLAY", None)


@pytest.fixture(scope="session", autouse=True)
def own_turns(tmp_path_factory):
    """Workers take turns on a device by locks in the folder of temporary files: ours do not wait for other programs."""
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("turns"))


@pytest.fixture
def scene():
    from mrml import slicer

    return slicer.vtkMRMLScene()


@pytest.fixture
def host(slicer_host, monkeypatch):
    """The one host of this process, where a worker starts with the first request: most tests have none."""
    monkeypatch.setattr("MMLNRegistrationLib.gui.session.Session.warm", lambda session: None)
    return slicer_host


@pytest.fixture
def slicer_host():
    """The one host of this process, as new. A test fails on errors that Slicer would only have printed."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    # Also where Qt is there and a library of the system is not, such as libEGL on a bare Linux.
    pytest.importorskip("PySide6.QtWidgets", reason="PySide6 cannot be loaded", exc_type=ImportError)
    from host import SOURCES_VARIABLE, start

    sources = os.environ.get(SOURCES_VARIABLE)
    the_host = start(Path(sources) if sources else None)
    the_host.reset()
    yield the_host
    errors, unexpected = list(the_host.errors), list(the_host.dialogs.unexpected)
    the_host.reset()
    assert errors == [], "\n".join(errors)
    assert unexpected == []
