"""The presets of Register and the choices that they are made of, as the module's window calls them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from slicer.i18n import tr as _


class Preset(enum.Enum):
    """What to choose first. Scenes keep the name."""

    ACCURATE = 1
    FAST = 2
    ANY_CONTRAST = 3

    def label(self) -> str:
        """How the window calls it."""
        return {
            Preset.ACCURATE: _("Accurate"),
            Preset.FAST: _("Fast"),
            Preset.ANY_CONTRAST: _("Any contrast"),
        }[self]

    def hint(self) -> str:
        """What it is for, in a line."""
        return {
            Preset.ACCURATE: _(
                "The same contrast, such as two T1 images: the network, then refined for this very pair."
            ),
            Preset.FAST: _("The same contrast: the network alone, without refinement."),
            Preset.ANY_CONTRAST: _("Different contrasts, such as T1 and T2: compares by mutual information."),
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
    """iterations: at full resolution, the program's own choice when None."""

    iterations: int | None
    similarity: Similarity


PRESETS = {
    Preset.ACCURATE: PresetSettings(None, Similarity.LOCAL_CORRELATION),
    Preset.FAST: PresetSettings(0, Similarity.LOCAL_CORRELATION),
    Preset.ANY_CONTRAST: PresetSettings(None, Similarity.MUTUAL_INFORMATION),
}
