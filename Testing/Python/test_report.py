"""The report: strict JSON, a harmless self-contained page, pictures with right sides and proportions."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
import pytest

from html_page import HtmlPage, decoded, self_contained
from MMLNRegistrationLib.pipeline.result import FoldingRepair, FoldingSummary, Registration, Similarity
from MMLNRegistrationLib.pipeline.volume import Volume
from MMLNRegistrationLib.quality import charts, pictures
from MMLNRegistrationLib.quality.colours import FOLD_COLOUR
from MMLNRegistrationLib.quality.figures import make_figures
from MMLNRegistrationLib.quality.planes import anatomical_planes, deformed_grid, image_tensor, sampled
from MMLNRegistrationLib.quality.report import report_html, report_json
from MMLNRegistrationLib.quality.verdict import bytes_text, seconds_text, verdict
from MMLNRegistrationLib.spatial.geometry import Geometry, transform_points, translation_matrix
from MMLNRegistrationLib.spatial.jacobian import determinants, index_displacement

BALL_RADIUS_MM = 14.0
CENTRE_RAS = np.array([12.0, -30.0, 45.0])


def _rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    matrix = np.eye(3)
    for axis, degrees in enumerate((about_x, about_y, about_z)):
        first, second = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        turn[first, first], turn[first, second], turn[second, first], turn[second, second] = cosine, -sine, sine, cosine
        matrix = matrix @ turn
    return matrix


def _geometry(columns: np.ndarray, size_ijk: tuple[int, int, int]) -> Geometry:
    """A grid with these voxel axes (mm, as columns) around CENTRE_RAS."""
    matrix = np.eye(4)
    matrix[:3, :3] = columns
    matrix[:3, 3] = CENTRE_RAS - columns @ (np.array(size_ijk) - 1) / 2
    return Geometry(size_ijk[::-1], matrix)


GEOMETRIES = {
    "right-handed": _geometry(np.diag([1.0, 1.0, 1.0]), (40, 40, 40)),
    "left-handed": _geometry(np.diag([-1.0, 1.0, 1.0]), (40, 40, 40)),
    "permuted": _geometry(np.eye(3)[:, [2, 0, 1]] * [-1.0, 1.0, -1.0], (40, 40, 40)),
    "oblique anisotropic": _geometry(_rotation(20, -15, 30) @ np.diag([1.0, -1.3, 3.0]), (44, 36, 18)),
}
DIRECTIONS_RAS = {
    "R": (1, 0, 0),
    "L": (-1, 0, 0),
    "A": (0, 1, 0),
    "P": (0, -1, 0),
    "S": (0, 0, 1),
    "I": (0, 0, -1),
}


def _world(geometry: Geometry) -> np.ndarray:
    """(K, J, I, 3) world points of the voxels."""
    k, j, i = np.meshgrid(*[np.arange(size) for size in geometry.shape_kji], indexing="ij")
    return transform_points(geometry.ras_from_ijk, np.stack([i, j, k], axis=-1).astype(float))


def _ball(geometry: Geometry, centre_ras: np.ndarray, radius_mm: float) -> np.ndarray:
    distance = np.linalg.norm(_world(geometry) - centre_ras, axis=-1)
    return np.clip(radius_mm + 0.5 - distance, 0, 1).astype(np.float32)


def _registration(
    geometry: Geometry, *, marker: str = "A", strength_mm: float = 1.5, period_mm: float = 20.0
) -> Registration:
    """A ball with a bright marker near its rim, registered by a smooth made-up field after a shift of (2, 1, 0) mm.

    strength_mm against period_mm decides on folding: the field folds where 2 pi strength / period exceeds 1.
    """
    toward = np.array(DIRECTIONS_RAS[marker], dtype=float)
    ball = _ball(geometry, CENTRE_RAS, BALL_RADIUS_MM)
    image = 0.3 * ball + 0.7 * _ball(geometry, CENTRE_RAS + 9 * toward, 4.0)
    points = _world(geometry)
    offset = points - CENTRE_RAS
    fade = np.exp(-(np.linalg.norm(offset, axis=-1) ** 2) / (2 * 8.0**2))
    deformation = np.zeros_like(points)
    deformation[..., 0] = strength_mm * fade * np.sin(2 * np.pi * offset[..., 0] / period_mm)
    moving_ras_from_fixed_ras = translation_matrix(np.array([2.0, 1.0, 0.0]))
    displacement = (transform_points(moving_ras_from_fixed_ras, points + deformation) - points).astype(np.float32)
    central, strict = determinants(index_displacement(displacement, geometry))
    jacobian = central.numpy()
    folded = int((strict <= 0).sum())
    foreground = ball > 0.5
    logarithm = np.log(jacobian[foreground & (jacobian > 0)])
    return Registration(
        fixed=Volume(image, geometry, "fixed.nii.gz"),
        moving=Volume(image * 2 + 1, geometry, "moving.nii.gz"),
        displacement_mm=displacement,
        warped=Volume(image * 2 + 1, geometry, "warped"),
        jacobian=Volume(jacobian, geometry, "jacobian"),
        foreground=foreground,
        velocity_voxels=np.full((3, 8, 8, 8), 0.1, dtype=np.float32),
        net_geometry=geometry,
        moving_ras_from_fixed_ras=moving_ras_from_fixed_ras,
        seconds={"initial": 3.25, "refine": 30.5, "total": 34.0},
        device="cpu",
        model="none",
        similarity_before=Similarity(0.61, 0.11),
        similarity_initial=Similarity(0.75, 0.22),
        similarity_after=Similarity(0.93, 0.64),
        folding=FoldingSummary(
            folded, 100 * folded / jacobian.size, float(jacobian.min()), float(jacobian.max()), float(logarithm.std())
        ),
        repair=FoldingRepair(7, 1, 0.02),
        peak_memory_bytes=1_500_000_000,
        settings={"initial": "affine", "refine": {"iterations": (40, 20)}, "mask": None},
        notes=(),
    )


@pytest.fixture(scope="module")
def smooth() -> Registration:
    return _registration(GEOMETRIES["oblique anisotropic"])


@pytest.fixture(scope="module")
def folded() -> Registration:
    return _registration(GEOMETRIES["left-handed"], strength_mm=6.0)


def test_json_is_strict_and_complete(smooth: Registration) -> None:
    registration = replace(
        smooth,
        similarity_before=Similarity(float("nan"), float("-inf")),
        settings={"rate": np.float32(0.5), "levels": np.arange(2), "mask": PurePosixPath("/data/Jane Doe/mask.nii")},
    )
    report = json.loads(json.dumps(report_json(registration), allow_nan=False))
    assert report["similarity_before"] == {"correlation": None, "local_correlation": None}
    assert report["similarity_after"] == {"correlation": 0.93, "local_correlation": 0.64}
    assert report["settings"] == {"rate": 0.5, "levels": [0, 1], "mask": "mask.nii"}
    assert report["seconds"] == {"initial": 3.25, "refine": 30.5, "total": 34.0}
    assert report["fixed"] == {"name": "fixed.nii.gz", "size": [44, 36, 18], "spacing": [1.0, 1.3, 3.0]}
    assert report["affine_determinant"] == pytest.approx(1.0)
    expected = {"device", "model", "folded_voxels", "folded_percent", "jacobian_min", "jacobian_max", "sd_log_jacobian"}
    expected |= {"similarity_initial", "peak_memory_bytes", "version", "moving", "repair", "notes", "versions"}
    assert expected <= report.keys()


def test_json_sums_the_steps_where_no_total_was_measured(smooth: Registration) -> None:
    report = report_json(replace(smooth, seconds={"initial": 1.5, "refine": 2.0}))
    assert report["seconds"] == {"initial": 1.5, "refine": 2.0, "total": 3.5}


def test_json_refuses_what_it_cannot_hold(smooth: Registration) -> None:
    with pytest.raises(TypeError, match="complex"):
        report_json(replace(smooth, settings={"odd": 1j}))


def test_page_is_balanced_and_self_contained(smooth: Registration, folded: Registration) -> None:
    for registration in (smooth, folded):
        page = self_contained(report_html(registration))
        assert "nan" not in page.text.lower().split()


def test_page_can_be_written_whatever_a_file_is_called(smooth: Registration) -> None:
    undecodable = b"caf\xe9.nii".decode("utf-8", "surrogateescape")
    page = report_html(replace(smooth, fixed=replace(smooth.fixed, name=undecodable)))
    assert b"caf?.nii" in page.encode("utf-8")


def test_page_runs_its_own_script_only(smooth: Registration) -> None:
    page = HtmlPage(report_html(smooth))
    policy = next(
        attributes["content"] for tag, attributes in page.elements if tag == "meta" and "http-equiv" in attributes
    )
    assert len(page.scripts) == 1
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>.nii", "\"><img src=x onerror='alert(1)'>&amp;", "</title>.mha"]
)
def test_names_and_notes_are_shown_as_text(smooth: Registration, name: str) -> None:
    plain = HtmlPage(report_html(smooth))
    hostile = HtmlPage(
        report_html(
            replace(
                smooth,
                fixed=replace(smooth.fixed, name=name),
                moving=replace(smooth.moving, name=name),
                notes=(name,),
                model=name,
                device=name,
                settings={name: name},
                seconds={name: 1.0},
            )
        )
    )
    assert [tag for tag, _ in hostile.elements if tag in {"script", "img", "title"}] == ["title", "script"]
    assert hostile.scripts == plain.scripts
    assert hostile.text.count(name) >= 7
    assert not any(attribute.startswith("on") for _, attributes in hostile.elements for attribute in attributes)


@pytest.mark.parametrize("kind", GEOMETRIES)
@pytest.mark.parametrize("letter", ["L", "A", "I"])
def test_a_marker_lies_on_the_side_that_bears_its_letter(kind: str, letter: str, tmp_path: Path) -> None:
    figures = make_figures(_registration(GEOMETRIES[kind], marker=letter))
    sides = 0
    for plane in figures.planes:
        if letter not in plane.letters:
            continue
        pixels = decoded(figures.pictures[f"fixed-{plane.name}"].data_uri, tmp_path)
        rows, columns = np.nonzero(pixels > 170)
        middle = plane.place_mm(CENTRE_RAS) / plane.pixel_mm
        found = {
            "left": columns.mean() < middle[0] - 4,
            "right": columns.mean() > middle[0] + 4,
            "top": rows.mean() < middle[1] - 4,
            "bottom": rows.mean() > middle[1] + 4,
        }
        expected = plane.letters._fields[plane.letters.index(letter)]
        assert [side for side, there in found.items() if there] == [expected]
        sides += 1
    assert sides == 2


def test_letters_follow_the_radiological_convention() -> None:
    geometry = GEOMETRIES["right-handed"]
    planes = anatomical_planes(geometry, geometry.corners_ras, CENTRE_RAS)
    letters = {plane.name: "".join(plane.letters) for plane in planes}
    assert letters == {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}
    assert [plane.position for plane in planes] == ["S 45 mm", "P 30 mm", "R 12 mm"]


@pytest.mark.parametrize("kind", GEOMETRIES)
def test_a_ball_is_shown_round_and_in_its_size(kind: str, tmp_path: Path) -> None:
    registration = _registration(GEOMETRIES[kind])
    ball = _ball(registration.fixed.geometry, CENTRE_RAS, BALL_RADIUS_MM)
    figures = make_figures(replace(registration, fixed=replace(registration.fixed, array_kji=ball)))
    for plane in figures.planes:
        rows, columns = np.nonzero(decoded(figures.pictures[f"fixed-{plane.name}"].data_uri, tmp_path) > 127)
        for pixels in (rows, columns):
            extent_mm = (pixels.max() - pixels.min() + 1) * plane.pixel_mm
            # The trilinear blur of 3 mm slices moves the half-height rim of a ball by up to a slice.
            assert extent_mm == pytest.approx(2 * BALL_RADIUS_MM, abs=3.0)


def test_nothing_is_shown_off_the_volume() -> None:
    geometry = GEOMETRIES["right-handed"]
    image = image_tensor(np.ones(geometry.shape_kji))
    corner = geometry.corners_ras[0]
    points = (corner + np.array([[-0.4, -0.4, -0.4], [-0.6, 0.0, 0.0], [1.0, 1.0, 1.0]]))[None]
    np.testing.assert_array_equal(sampled(image, geometry, points)[0, 0], [1.0, np.nan, 1.0])


def test_grid_shows_the_deformation_without_the_linear_part() -> None:
    geometry = GEOMETRIES["oblique anisotropic"]
    linear = translation_matrix(np.array([40.0, -3.0, 7.0]))
    linear[:3, :3] = 1.1 * _rotation(5, 10, -5)
    points = _world(geometry)
    shift_ras = np.array([3.0, 0.0, 2.0])
    plane = anatomical_planes(geometry, CENTRE_RAS + np.array([[-5.0, -5, -5], [5, 5, 5]]), CENTRE_RAS)[0]
    lines = {}
    for name, shift in (("still", np.zeros(3)), ("shifted", shift_ras)):
        displacement = (transform_points(linear, points + shift) - points).astype(np.float32)
        lines[name] = deformed_grid(displacement, geometry, linear, plane, spacing_mm=2.0)
    for still, shifted in zip(lines["still"], lines["shifted"], strict=True):
        assert min(np.ptp(still, axis=0)) < 1e-3
        # The picture's right is the patient's left: a shift to the patient's right goes left; S is out of the plane.
        np.testing.assert_allclose(shifted - still, np.broadcast_to([-3.0, 0.0], still.shape), atol=1e-3)


def test_folding_is_marked_where_and_only_where_it_is(
    smooth: Registration, folded: Registration, tmp_path: Path
) -> None:
    def marked(registration: Registration, prefix: str) -> list[int]:
        figures = make_figures(registration)
        return [
            int((decoded(picture.data_uri, tmp_path) == FOLD_COLOUR).all(axis=-1).sum())
            for key, picture in figures.pictures.items()
            if key.startswith(prefix)
        ]

    assert smooth.folding.folded_voxels == 0
    assert folded.folding.folded_voxels > 0
    assert marked(smooth, "jacobian") == [0, 0, 0]
    assert marked(smooth, "fold") == []
    assert min(marked(folded, "fold")) > 0
    whole, broken = HtmlPage(report_html(smooth)), HtmlPage(report_html(folded))
    assert "Folding: no folded voxel (0 %)" in whole.text
    assert "worst" not in whole.text
    assert re.search(r"Folding: [\d\u2009]+ folded voxels", broken.text)
    assert "folds worst" in broken.text
    assert sum(attributes.get("class") == "ring" for _, attributes in broken.elements) == 3


def test_jacobian_colours_are_centred_on_one() -> None:
    values = np.array([[0.5, 0.8, 1.0, 1.25, 2.0, np.nan]], dtype=np.float32)
    colours = pictures.jacobian_pixels(values, np.ones_like(values), np.zeros_like(values), limit=2.0).astype(int)[0]
    red, blue = colours[:, 0], colours[:, 2]
    assert (blue > red)[:2].all()
    assert (red > blue)[3:5].all()
    assert np.ptp(colours[2]) <= 2
    assert colours[2].min() > 240
    assert colours[5].tolist() == [0, 0, 0]


def test_histogram_counts_every_foreground_voxel(folded: Registration) -> None:
    jacobian, foreground = folded.jacobian.array_kji, folded.foreground
    histogram = charts.log_jacobian_histogram(jacobian, foreground, limit=1.5)
    assert histogram.not_positive == np.count_nonzero(jacobian[foreground] <= 0) > 0
    assert histogram.counts.sum() + histogram.not_positive == histogram.total == np.count_nonzero(foreground)
    beyond = np.count_nonzero(jacobian[foreground] > 1.5)
    assert histogram.counts[-1] >= beyond > 0


def test_histogram_of_no_change_stands_in_the_middle() -> None:
    histogram = charts.log_jacobian_histogram(np.ones((9, 9, 9), np.float32), np.ones((9, 9, 9), bool), limit=2.0)
    assert histogram.counts[charts.HISTOGRAM_BINS // 2] == 9**3
    assert histogram.mean == 0.0


def test_volumes_apart_in_the_world_show_the_linear_stage_instead(smooth: Registration) -> None:
    away = np.array([500.0, 0.0, 0.0])
    moving_geometry = Geometry(
        smooth.moving.geometry.shape_kji, translation_matrix(away) @ smooth.moving.geometry.ras_from_ijk
    )
    registration = replace(
        smooth,
        moving=replace(smooth.moving, geometry=moving_geometry),
        moving_ras_from_fixed_ras=translation_matrix(away),
    )
    figures = make_figures(registration)
    assert [stage.key for stage in figures.stages] == ["linear", "after"]
    assert figures.pictures["linear-axial"].data_uri == figures.pictures["after-axial"].data_uri
    assert "no part of the fixed foreground lies on the moving volume" in HtmlPage(report_html(registration)).text
    assert [stage.key for stage in make_figures(smooth).stages] == ["before", "linear", "after"]


def test_verdict_is_honest(smooth: Registration, folded: Registration) -> None:
    good = verdict(smooth)
    assert good.level == "good"
    assert good.headline == "Aligned"
    assert good.sentence == "Local similarity 0.11 → 0.64, no folded voxel, 34 s on CPU."
    unmoved = replace(smooth, similarity_after=smooth.similarity_before)
    no_better_than_linear = replace(
        smooth, similarity_initial=Similarity(0.9, 0.5), similarity_after=Similarity(0.9, 0.5)
    )
    linear_only = replace(no_better_than_linear, velocity_voxels=np.zeros_like(smooth.velocity_voxels))
    same = replace(smooth, similarity_before=Similarity(1.0, 1.0), similarity_after=Similarity(1.0, 0.999))
    little = replace(smooth, similarity_after=Similarity(0.5, 0.25))
    noted = replace(smooth, notes=("The mask was empty.", "The device was busy."))
    unknown = replace(smooth, similarity_after=Similarity(float("nan"), float("nan")))
    expected = (
        (folded, "bad", "Folded"),
        (unmoved, "bad", "Not aligned"),
        (unknown, "bad", "Not aligned"),
        (no_better_than_linear, "doubt", "Not improved"),
        (linear_only, "good", "Aligned"),
        (same, "good", "Aligned"),
        (little, "doubt", "Little alike"),
        (noted, "doubt", "Aligned, with 2 notes"),
    )
    for registration, level, headline in expected:
        assert verdict(registration)[:2] == (level, headline)
    assert "The device was busy." in HtmlPage(report_html(noted)).text


def test_an_empty_foreground_is_refused(smooth: Registration) -> None:
    with pytest.raises(ValueError, match="foreground is empty"):
        report_html(replace(smooth, foreground=np.zeros_like(smooth.foreground)))


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.00 s"), (0.9499, "0.95 s"), (9.96, "10 s"), (34.2, "34 s"), (125.4, "2 min 5 s")]
)
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, "not measured"), (512, "512 B"), (2**30, "1.0 GiB"), (300 * 2**20, "300 MiB")]
)
def test_memory_reads_naturally(count: int | None, text: str) -> None:
    assert bytes_text(count) == text
