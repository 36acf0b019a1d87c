"""The pages of propagations and inspections: harmless, whole, with pictures of what they say, fit for any screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from html_page import picture, self_contained
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.quality.colours import label_colour
from MMLNRegistrationLib.quality.inspection import inspect_map
from MMLNRegistrationLib.quality.inspection_page import inspection_html
from MMLNRegistrationLib.quality.landmarks import Points
from MMLNRegistrationLib.quality.pictures import label_pixels
from MMLNRegistrationLib.quality.planes import fullest_ras
from MMLNRegistrationLib.quality.propagation import Propagation, propagation_json
from MMLNRegistrationLib.quality.propagation_page import propagation_html
from MMLNRegistrationLib.quality.structure_volumes import structure_volumes
from phantoms import blob, grid, voxels_ras

CENTRE = (5.0, -3.0, 8.0)
GEOMETRY = grid("lps_axes", (20, 22, 24), (2.0, 2.0, 2.0), CENTRE)
HOSTILE = "<script>alert(1)</script>\"'&"


def image(shift_mm: float = 0.0, name: str = "subject") -> Volume:
    points = voxels_ras(GEOMETRY) - (shift_mm, 0, 0)
    return Volume((900 * blob(points, CENTRE, 9.0) + 5).astype(np.float32), GEOMETRY, name)


def registered(**changes: object) -> dict[str, object]:
    """What a propagation keeps of a registration's report."""
    similarity = {"local_correlation": 0.3}
    return {
        "similarity_before": similarity,
        "similarity_after": {"local_correlation": 0.7},
        "folded_voxels": 0,
        "seconds": {"total": 3.0},
        "notes": [],
        **changes,
    }


def propagation(atlases: int = 3, name: str = "subject") -> Propagation:
    """A box of label 2, contested on the patient's right, one of label 9 to its left; no votes in the lowest slices."""
    labels, agreement = np.zeros(GEOMETRY.shape_kji, np.uint8), np.ones(GEOMETRY.shape_kji, np.float32)
    labels[6:16, 6:16, 4:12], labels[6:16, 6:16, 12:20] = 2, 9
    agreement[6:16, 6:16, 4:6] = 0.5
    agreement[:2] = 0.0
    volume = Volume(labels, GEOMETRY, "labels")
    return Propagation(
        subject=image(name=name),
        labels=volume,
        agreement=Volume(agreement, GEOMETRY, "agreement"),
        fusion="majority",
        atlases=tuple(
            {"image": f"atlas{number}.nii", "labels": HOSTILE, "registration": registered() if number else None}
            for number in range(atlases)
        ),
        volumes=structure_volumes(volume, {2: HOSTILE}, {2, 9}),
        seconds={"total": 5.0},
        device="cpu",
    )


@pytest.mark.parametrize("atlases", [1, 3])
def test_page_of_a_propagation(atlases):
    result = propagation(atlases, HOSTILE)
    page = self_contained(propagation_html(result))
    assert len(page.scripts) == 1
    assert "alert" not in page.scripts[0]
    assert page.text.count(HOSTILE) >= 4
    assert f"2 structures from {atlases} atlas" in page.text
    assert ("Agreement" in page.text) == ("Contested" in page.text) == (atlases > 1)
    assert "transform given" in page.text
    assert "Folded voxels 0" in page.text if atlases > 1 else "Folded voxels 0" not in page.text


def test_pictures_of_a_propagation(tmp_path):
    page = self_contained(propagation_html(propagation()))
    subject, structures, contested = (
        picture(page, f"{key}-coronal", tmp_path).astype(int) for key in ("subject", "structures", "contested")
    )
    is_left_alone = (structures == subject[..., None]).all(axis=-1)
    height, width = subject.shape
    # The picture's left is the patient's right, where i is low.
    for label, columns in ((2, slice(0, width // 2)), (9, slice(width // 2, width))):
        assert (structures[:, columns] == np.rint(255 * np.array(label_colour(label)))).all(axis=-1).any()
    assert is_left_alone[0].all()
    assert not is_left_alone[height // 2, width // 2 - 3 : width // 2 + 3].any()
    bright = contested.sum(axis=-1) > 400
    assert bright[:, : width // 2].any()
    assert not bright[:, width // 2 :].any()
    assert not bright[-2:].any()  # no votes at all are not contested


def test_nothing_labelled_is_told_and_drawn():
    result = propagation()
    nothing = Volume(np.zeros_like(result.labels.array_kji), GEOMETRY, "labels")
    lost = replace(result, labels=nothing, volumes=structure_volumes(nothing, {2: "Fornix"}, {2, 9}))
    page = self_contained(propagation_html(lost))
    assert "No voxel of the subject was given to Fornix, label 9." in page.text
    flat = replace(lost, subject=Volume(np.zeros(GEOMETRY.shape_kji, np.float32), GEOMETRY, "flat"))
    self_contained(propagation_html(flat))


def test_folds_and_unmeasured_similarity_are_told():
    report = registered(folded_voxels=7, similarity_before={"local_correlation": None}, notes=["It was dark."])
    atlas = {"image": "a.nii", "labels": "l.nii", "registration": report}
    result = replace(propagation(), atlases=(atlas, atlas))
    page = self_contained(propagation_html(result))
    assert "a.nii: the map has 7 folded voxels" in page.text
    assert "a.nii: It was dark." in page.text
    assert "not measured" in page.text
    assert propagation_json(result)["folded_voxels"] == 14


def test_structures_are_tinted_and_outlined():
    labels = np.zeros((5, 5), int)
    labels[1:4, 1:4] = 3
    pixels = label_pixels(np.full((5, 5), 0.5, np.float32), labels, {3: (1.0, 0.0, 0.2)})
    for place, colour in (((0, 0), (127.5, 127.5, 127.5)), ((1, 2), (255, 0, 51)), ((2, 2), (178.5, 76.5, 96.9))):
        np.testing.assert_allclose(pixels[place], colour, atol=0.5)


def test_cuts_go_where_most_points_are():
    points = np.concatenate([np.zeros((4, 3)), np.full((12, 3), 10.0), np.linspace(0, 8, 5)[:, None] * (1, 0, 0)])
    np.testing.assert_allclose(fullest_ras(points, 1.0), (10, 10, 10))
    np.testing.assert_allclose(fullest_ras(points[:1], 1.0), (0, 0, 0))


def box(label: int, start: int) -> Volume:
    labels = np.zeros(GEOMETRY.shape_kji, np.uint8)
    labels[6:16, 6:16, start : start + 6] = label
    return Volume(labels, GEOMETRY, "box")


@pytest.mark.parametrize("sides", [("drawn", "carried"), ("drawn",), ("carried",)])
def test_structures_of_an_inspection_are_shown(sides, tmp_path):
    """Structures that overlap lie in layers of their own; the moving ones are carried by two voxels."""
    field = np.zeros((*GEOMETRY.shape_kji, 3), np.float32)
    field[..., 0] = -4.0  # i runs to the patient's left
    fixed = (box(2, 8), box(5, 11)) if "drawn" in sides else ()
    moving = (box(2, 8), box(5, 11)) if "carried" in sides else ()
    names = {2: HOSTILE, 5: "Fornix"}
    page = self_contained(
        inspection_html(inspect_map("map", image(), field, image(-4.0, "moving"), fixed, moving, names))
    )
    shown = {}
    for key in sides:
        pixels = picture(page, f"{key}-axial", tmp_path).astype(int)
        is_above = (pixels == np.rint(255 * np.array(label_colour(5)))).all(axis=-1)
        shown[key] = np.flatnonzero(is_above.any(axis=0)).mean()
    if len(sides) == 2:
        assert shown["carried"] - shown["drawn"] == pytest.approx(-2, abs=0.6)
    assert page.text.count("Fornix") == 1
    assert "colours are those of the table" in page.text
    assert ("Borders of both" in page.text) == (len(sides) == 2)


def inspected(has_moving: bool) -> str:
    field = np.zeros((*GEOMETRY.shape_kji, 3), np.float32)
    field[..., 0] = 3.0
    field[8, 9, 10] = (14, 0, 0)
    moving = image(3.0, "moving") if has_moving else None
    points = [
        Points("first", CENTRE, (8.0, -3.0, 8.0)),
        Points("second", (7.0, -3.0, 8.0), (12.0, -3.0, 8.0)),
    ]
    return inspection_html(inspect_map("map", image(), field, moving, points=points if has_moving else ()))


def test_landmarks_have_their_summary_in_the_same_columns():
    page = self_contained(inspected(has_moving=True))
    assert "Median 4.00 1.00" in page.text
    assert "95th percentile 4.90 1.90" in page.text
    assert "in a cluster" in page.text


def test_terms_are_those_of_the_page():
    alone, compared = (self_contained(inspected(has_moving)) for has_moving in (False, True))
    assert "Global similarity" in compared.text
    assert "imilarity" not in alone.text.replace("Similarities and statistics", "")
    assert "SD of log J" in alone.text


@pytest.mark.parametrize("kind", ["propagation of one", "propagation", "inspection", "inspection alone"])
def test_in_a_browser(chromium, tmp_path: Path, kind):
    """Nothing to complain about, nothing wider than the screen, and the comparison works where there is one."""
    texts = {
        "propagation of one": lambda: propagation_html(propagation(1)),
        "propagation": lambda: propagation_html(propagation()),
        "inspection": lambda: inspected(has_moving=True),
        "inspection alone": lambda: inspected(has_moving=False),
    }
    file = tmp_path / "report.html"
    file.write_text(texts[kind](), encoding="utf-8")
    for width in (1280, 420):
        tab = chromium.new_page(viewport={"width": width, "height": 800})
        complaints: list[str] = []
        tab.on("pageerror", lambda error, found=complaints: found.append(str(error)))
        tab.on("console", lambda said, found=complaints: found.append(said.text) if said.type == "error" else None)
        tab.goto(file.as_uri())
        assert tab.evaluate("document.documentElement.scrollWidth") == width
        viewer = tab.locator(".viewer")
        assert viewer.count() == (kind != "inspection alone")
        if viewer.count():
            # Three ways to compare, and what with, where there is a choice.
            assert viewer.get_by_role("radio").count() == 3 + {"propagation": 2, "inspection": 3}.get(kind, 0)
            viewer.locator("input[value=fade]").check()
            assert viewer.locator(".second").first.evaluate("group => group.style.opacity") == "0.5"
        assert complaints == []
        tab.close()
