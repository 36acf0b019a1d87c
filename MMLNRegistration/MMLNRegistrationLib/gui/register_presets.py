"""The presets of Register and the choices that they are made of, as the module's window calls them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

MODELS = Path(__file__).resolve().parents[1] / "models"
"""Where bundled networks lie."""


class Preset(enum.Enum):
    """What to choose first. Scenes keep the name."""

    ACCURATE = 1
    QUICK = 2
    ANY_CONTRAST = 3
    NETWORK = 4

    def label(self) -> str:
        """How the window calls it."""
        return {
            Preset.ACCURATE: _("Accurate"),
            Preset.QUICK: _("Quick"),
            Preset.ANY_CONTRAST: _("Any contrast"),
            Preset.NETWORK: _("Network only"),
        }[self]

    def hint(self) -> str:
        """What it is for, in a line."""
        return {
            Preset.ACCURATE: _("The same contrast, such as two T1 images: 20 iterations at full resolution."),
            Preset.QUICK: _("As Accurate with 7 iterations: about a third of the time, slightly less exact."),
            Preset.ANY_CONTRAST: _("Different contrasts, such as T1 and T2: compares by mutual information."),
            Preset.NETWORK: _("What a trained network says, without refinement: the fastest."),
        }[self]


class Similarity(enum.Enum):
    """What the refinement drives up. Scenes keep the name."""

    AS_PRESET = 0
    LOCAL_CORRELATION = 1
    CORRELATION = 2
    MUTUAL_INFORMATION = 3
    MIND = 4

    def label(self) -> str:
        """How the window calls it."""
        return {
            Similarity.AS_PRESET: _("as the preset"),
            Similarity.LOCAL_CORRELATION: _("Local correlation (same contrast)"),
            Similarity.CORRELATION: _("Correlation (same contrast, no bias)"),
            Similarity.MUTUAL_INFORMATION: _("Mutual information (any contrast)"),
            Similarity.MIND: _("MIND (any contrast)"),
        }[self]


class Start(enum.Enum):
    """How the images are brought together before they are deformed. Scenes keep the name."""

    AUTOMATIC = 0
    AFFINE = 1
    RIGID = 2
    AS_PLACED = 3

    def label(self) -> str:
        """How the window calls it."""
        return {
            Start.AUTOMATIC: _("Automatic"),
            Start.AFFINE: _("Affine"),
            Start.RIGID: _("Rigid"),
            Start.AS_PLACED: _("As they lie"),
        }[self]


@dataclass(frozen=True)
class PresetSettings:
    """iterations: at full resolution. needs_network: there is no result without one."""

    iterations: int
    similarity: Similarity
    needs_network: bool = False


PRESETS = {
    Preset.ACCURATE: PresetSettings(20, Similarity.LOCAL_CORRELATION),
    Preset.QUICK: PresetSettings(7, Similarity.LOCAL_CORRELATION),
    Preset.ANY_CONTRAST: PresetSettings(20, Similarity.MUTUAL_INFORMATION),
    Preset.NETWORK: PresetSettings(0, Similarity.LOCAL_CORRELATION, needs_network=True),
}


def bundled_networks(folder: Path = MODELS) -> list[str]:
    """Names of the networks that came with the module."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))
