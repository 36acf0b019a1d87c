"""What the words on the reports' pages mean."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from .figures import Figures
from .parts import section

_DIRECTION = (
    "The field u lives on the fixed image’s grid, in millimetres, linear part included: M(x + u(x)) ≈ F(x) for every "
    "point x of the fixed image. It points from fixed to moving and brings the moving image onto the fixed one; in 3D "
    "Slicer it is the from-parent transform."
)
_SIDES = (
    "R, L, A, P, S and I are the patient’s right, left, front, back, top and bottom. Pictures follow the radiological "
    "convention: the patient’s right is on the left of the picture. All are resampled along the world’s axes with "
    "square pixels, whatever the grid of the volume."
)
_LOCAL_SIMILARITY = (
    "Mean over the foreground of the squared correlation coefficient in windows of 5 × 5 × 5 mm; 1 at best. It asks "
    "whether structures meet and forgives differences of contrast."
)
_FOLDED = (
    "One where any of the eight determinants made of one-sided differences is not positive: the map turns inside out "
    "there. Stricter than the usual test by central differences, which skips the voxel itself."
)


def terms_of_registration(figures: Figures) -> str:
    """Direction, orientation and the definition of each figure of a registration."""
    return _how_to_read(
        {
            "Direction": _DIRECTION,
            "Sides": _SIDES,
            **_stages(figures),
            "Foreground": "The fixed image’s brain mask or, without one, everything brighter than its background. "
            "Similarities and statistics of log J are taken there.",
            **_similarities(),
            **_jacobian(),
            "Linear part": "The affine, rigid or given alignment that comes before the deformation. Its own J is one "
            "number for the whole image.",
        }
    )


def terms_of_inspection(figures: Figures) -> str:
    """The same for a transform of any origin. figures: with stages where a moving image is known."""
    return _how_to_read(
        {
            "Direction": _DIRECTION,
            "Sides": _SIDES,
            **_stages(figures),
            "Foreground": "Everything in the fixed image that is brighter than its background. Similarities and "
            "statistics of log J are taken there.",
            **(_similarities() if figures.stages else {}),
            **_jacobian(),
            "Linear part": "The affine map that comes closest to the whole map in the foreground. Its own J is one "
            "number for the whole image.",
        }
    )


def terms_of_propagation(is_fused: bool) -> str:
    """What a propagation's page takes for granted. is_fused: several atlases voted."""
    votes = {
        "Votes": "Each atlas’s labels are carried to the subject’s grid by its own registration; every voxel takes the "
        "label with the most votes. Weighted by local similarity, an atlas counts for more where its image, carried "
        "over, looks like the subject around the voxel.",
        "Agreement": "The share of all votes that the chosen label got. It says how much the atlases agree, not "
        "whether they are right: atlases can share an error.",
    }
    return _how_to_read(
        {"Sides": _SIDES, **(votes if is_fused else {}), "Local similarity": _LOCAL_SIMILARITY, "Folded voxel": _FOLDED}
    )


def _how_to_read(entries: Mapping[str, str]) -> str:
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in entries.items())
    return section("how-to-read", "How to read this", "", f'<dl class="definitions-list">{items}</dl>')


def _stages(figures: Figures) -> dict[str, str]:
    words = "; ".join(f"{stage.label}: {stage.description}" for stage in figures.stages)
    return {"Stages": f"{words}."} if words else {}


def _similarities() -> dict[str, str]:
    return {
        "Local similarity": _LOCAL_SIMILARITY,
        "Global similarity": "Correlation coefficient of the two images over the whole foreground; 1 at best.",
    }


def _jacobian() -> dict[str, str]:
    return {
        "Jacobian determinant J": "The volume of a small piece of the moving image over that of the piece of the fixed "
        "image it is matched to. 1 keeps volume, 2 means twice as large in moving, 0.5 half as large.",
        "SD of log J": "Standard deviation of log J over the foreground. The lower, the smoother the map.",
        "Folded voxel": _FOLDED,
    }
