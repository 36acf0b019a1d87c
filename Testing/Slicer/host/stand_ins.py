"""Small parts of Slicer that the wheel lacks: translation, installation of packages, sample data, self tests."""

from __future__ import annotations

import types
import unittest
from dataclasses import dataclass, field
from pathlib import Path

import slicer

REGISTERED_SAMPLES: list[dict] = []
"""What the module offered as sample data, in the order of registration."""

INSTALLED: list[list[str]] = []
"""What slicer.packaging was asked to install."""


def i18n() -> types.ModuleType:
    """slicer.i18n"""
    module = types.ModuleType("slicer.i18n")

    def tr(text: str) -> str:
        if not isinstance(text, str):
            raise TypeError(f"only a text can be translated, not {text!r}")
        return slicer.app.translate("", text)

    module.tr, module.translate = tr, lambda context, text: slicer.app.translate(context, text)
    return module


def packaging() -> types.ModuleType:
    """slicer.packaging; it records and installs nothing."""
    module = types.ModuleType("slicer.packaging")

    def pip_install(requirements: str | list[str], *_positional: object, **_options: object) -> None:
        INSTALLED.append([requirements] if isinstance(requirements, str) else list(requirements))

    def pip_ensure(requirements: str | list[str], *_positional: object, **_options: object) -> None:
        wanted = [requirements] if isinstance(requirements, str) else list(requirements)
        if not slicer.util.confirmOkCancelDisplay(f"Install {', '.join(wanted)}?"):
            raise RuntimeError("User declined the installation of Python packages")
        INSTALLED.append(wanted)

    module.pip_install, module.pip_ensure = pip_install, pip_ensure
    module.load_requirements = lambda path: [
        line.strip() for line in Path(path).read_text().splitlines() if line.strip() and not line.startswith("#")
    ]
    module.pip_check = lambda _requirements: True
    module.isPipInstallInProgress = lambda: False
    return module


@dataclass
class SampleDataSource:
    """One entry of Slicer's Sample Data module."""

    sampleName: str
    uris: list[str]
    fileNames: list[str]
    nodeNames: list[str] = field(default_factory=list)


def sample_data() -> types.ModuleType:
    """SampleData: registers as the original does, and calls a source's own download function."""
    module = types.ModuleType("SampleData")

    class SampleDataLogic:
        @staticmethod
        def registerCustomSampleDataSource(
            category: str = "Custom",
            sampleName: str | None = None,
            uris: object = None,
            fileNames: object = None,
            nodeNames: object = None,
            customDownloader: object = None,
            thumbnailFileName: str | None = None,
            loadFileType: object = "VolumeFile",
            loadFiles: object = None,
            loadFileProperties: object = None,
            checksums: object = None,
            sampleDescription: str | None = None,
        ) -> None:
            if customDownloader is None and not uris:
                raise ValueError("a source needs uris or a customDownloader")
            REGISTERED_SAMPLES.append({"category": category, "name": sampleName, "download": customDownloader})

        @staticmethod
        def registerCustomSampleDataCategory(category: str, title: str | None = None) -> None:
            if not category:
                raise ValueError("a category needs a name")

        @staticmethod
        def downloadSample(name: str) -> object:
            for source in REGISTERED_SAMPLES:
                if source["name"] == name and source["download"] is not None:
                    return source["download"](SampleDataSource(name, [], [], []))
            raise LookupError(f"No sample data is called {name}")

    module.SampleDataLogic = SampleDataLogic
    module.SampleDataSource = SampleDataSource
    return module


def testing() -> types.ModuleType:
    """slicer.testing"""
    module = types.ModuleType("slicer.testing")

    def run_unit_test(case: type) -> bool:
        suite = unittest.defaultTestLoader.loadTestsFromTestCase(case)
        return unittest.TextTestRunner().run(suite).wasSuccessful()

    module.runUnitTest = run_unit_test
    return module
