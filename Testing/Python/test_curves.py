"""The picture of a training run, and the numbers it is drawn from."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from MMLNRegistrationLib.training.curves import LOSS_TERMS, MOST_POINTS, curves_picture, nice_ticks
from MMLNRegistrationLib.training.series import (
    LevelSpan,
    Series,
    best_step,
    event_steps,
    level_spans,
    running_mean,
    series,
    split,
    thin,
)

SVG = "{http://www.w3.org/2000/svg}"
LEFT, RIGHT = 66.0, 794.0
"""Where the first and the last step lie in the picture."""


def step(number, level=1, **values):
    return {"event": "step", "step": number, "level": level, **values}


def validation(number, level=1, **values):
    return {"event": "validation", "step": number, "level": level, **values}


def example():
    entries = [{"event": "start", "step": 0}]
    for number in range(10, 1010, 10):
        level = 1 if number <= 200 else 2 if number <= 500 else 3
        entries.append(
            step(number, level, similarity=-number / 1000, regularisation=0.02, slices=0.0, learning_rate=1e-4)
        )
        if number % 200 == 0:
            dice = 0.58 + number / 10000 - (0.1 if number == 1000 else 0)
            entries.append(
                validation(number, level, dice=dice, dice_initial=0.57, folded_percent=0.0, best=number < 1000)
            )
        if number == 400:
            entries.append({"event": "resume", "step": 400})
    return entries


def drawn(entries):
    return ET.fromstring(curves_picture(entries))


def texts(root):
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def places(line):
    return np.array([[float(part) for part in pair.split(",")] for pair in line.get("points").split()])


def lines(root, colour, width):
    """The points of all lines of one colour and width, one array for each."""
    found = [node for node in root.iter(f"{SVG}polyline") if node.get("stroke") == colour]
    return [places(node) for node in found if node.get("stroke-width") == width]


def test_series_by_event_and_name():
    found = series([step(2, total=0.5, dice=None), validation(3, dice=0.6, best=True), step(4, total=0.25)])
    assert set(found) == {"step.total", "validation.dice"}
    np.testing.assert_array_equal(found["step.total"].steps, [2, 4])
    np.testing.assert_array_equal(found["step.total"].values, [0.5, 0.25])


@pytest.mark.parametrize("value", [None, True, "0.5", math.nan, math.inf, [0.5], {}])
def test_series_leaves_out_what_is_no_number(value):
    assert set(series([step(1, total=value), step(2, core=1)])) == {"step.core"}
    assert series([{"event": "step", "step": value, "total": 0.5}]) == {}


def test_series_of_other_events_and_of_nothing():
    assert series([]) == {}
    assert series([{}, {"event": "start", "step": 0, "seed": 7}, {"step": 3, "total": 1.0}]) == {}


def test_series_is_in_the_order_of_steps():
    found = series([step(5, total=3.0), step(1, total=1.0), step(5, total=2.0)])["step.total"]
    np.testing.assert_array_equal(found.steps, [1, 5, 5])
    np.testing.assert_array_equal(found.values, [1, 3, 2])


def test_level_spans_meet():
    spans = level_spans([{"event": "start", "step": 0}, step(5, 1), step(20, 1), step(25, 2), step(40, 2), step(45, 3)])
    assert spans == [LevelSpan(1, 0, 20), LevelSpan(2, 20, 40), LevelSpan(3, 40, 45)]
    assert level_spans([{"event": "step", "step": 3}, {"level": 1}]) == []


def test_split_gives_the_border_to_the_level_before():
    spans = [LevelSpan(1, 0, 20), LevelSpan(2, 20, 40), LevelSpan(3, 40, 45)]
    whole = Series(np.array([5.0, 20, 25, 40]), np.array([1.0, 2, 3, 4]))
    assert [part.values.tolist() for part in split(whole, spans)] == [[1, 2], [3, 4]]
    assert [part.values.tolist() for part in split(whole, [])] == [[1, 2, 3, 4]]


def test_best_and_resumed_steps():
    entries = [
        validation(1, best=True),
        validation(2, best=False),
        step(3, best=True),
        {"event": "resume", "step": 3},
        {"event": "resume"},
    ]
    assert best_step(entries) == 1
    assert event_steps(entries, "resume") == [3]
    assert best_step([validation(2, best=False), validation(3)]) is None


def test_running_mean_stays_within_a_level():
    whole = Series(np.arange(1.0, 7.0), np.array([1.0, 2, 6, 10, 20, 30]))
    spans = [LevelSpan(1, 0, 3), LevelSpan(2, 3, 6)]
    np.testing.assert_allclose(running_mean(whole, spans, 3).values, [1.5, 3, 4, 15, 20, 25])
    np.testing.assert_allclose(running_mean(whole, spans, 1).values, whole.values)
    for window in (0, 2, -1):
        with pytest.raises(ValueError, match="odd and positive"):
            running_mean(whole, spans, window)


@settings(max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 40))
def test_thinning_keeps_extremes_ends_and_order(values, most):
    whole = Series(np.arange(float(len(values))), np.array(values))
    kept = thin(whole, most)
    assert len(kept.steps) <= most
    assert (np.diff(kept.steps) > 0).all()
    assert kept.steps[0] == 0
    assert kept.steps[-1] == len(values) - 1
    assert kept.values.min() == min(values)
    assert kept.values.max() == max(values)
    np.testing.assert_array_equal(kept.values, whole.values[kept.steps.astype(int)])
    if len(values) <= most:
        assert kept is whole


def test_thinning_of_a_zigzag():
    # Two pieces of five, and the two ends, which are no extremes of theirs.
    whole = Series(np.arange(10.0), np.array([3.0, 9, 3, 0, 3, 4, 1, 4, 8, 4]))
    assert thin(whole, 6).steps.tolist() == [0, 1, 3, 6, 8, 9]


def test_thinning_to_too_few_is_refused():
    with pytest.raises(ValueError, match="4 points or more, not 3"):
        thin(Series(np.zeros(9), np.zeros(9)), 3)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 1, 6, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 1, 3, [0, 0.5, 1]),
        (-0.64, -0.27, 3, [-0.6, -0.4]),
        (0, 60000, 9, [0, 10000, 20000, 30000, 40000, 50000, 60000]),
        (0.6, 0.6004, 4, [0.6, 0.6002, 0.6004]),
    ],
)
def test_nice_ticks(low, high, most, expected):
    assert nice_ticks(low, high, most) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200)
@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e6), st.integers(2, 10))
def test_ticks_are_inside_and_evenly_spaced(low, span, most):
    ticks = nice_ticks(low, low + span, most)
    assert 1 <= len(ticks) <= most
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    assert all(b - a == pytest.approx(ticks[1] - ticks[0]) for a, b in itertools.pairwise(ticks))


def test_ticks_without_a_range_are_refused():
    for low, high, most in [(1, 1, 5), (2, 1, 5), (0, 1, 1)]:
        with pytest.raises(ValueError, match="no ticks"):
            nice_ticks(low, high, most)


def test_picture_is_one_file_of_its_own():
    picture = curves_picture(example())
    root = ET.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    assert root.get("width") == "900"
    assert root.get("viewBox") == f"0 0 900 {root.get('height')}"
    assert [node for node in root.iter() if node.tag in (f"{SVG}image", f"{SVG}style", f"{SVG}script")] == []
    assert "href" not in picture
    assert root.find(f"{SVG}rect").get("fill") == "#ffffff"
    assert curves_picture(example()) == picture


def test_panels_are_those_that_occur():
    titles = texts(drawn(example()))
    assert [title for title, _ in LOSS_TERMS.values() if title in titles] == ["Similarity loss", "Regularisation loss"]
    assert {"Validation: Dice", "Validation: folded voxels", "Learning rate"} <= set(titles)
    everything = [step(number, 1, **dict.fromkeys(LOSS_TERMS, 0.5 / number)) for number in (1, 2, 3)]
    titles = texts(drawn(everything))
    assert {title for title, _ in LOSS_TERMS.values()} <= set(titles)
    assert not any(title.startswith("Validation") for title in titles)


def test_loss_lies_where_it_belongs():
    _, colour = LOSS_TERMS["similarity"]
    parts = lines(drawn(example()), colour, "1")
    assert len(parts) == 3  # one for each level
    points = np.concatenate(parts)
    steps = np.arange(10, 1010, 10)
    np.testing.assert_allclose(points[:, 0], LEFT + (RIGHT - LEFT) * steps / 1000, atol=0.06)
    # The loss falls in a straight line, and down in the picture is a larger y.
    np.testing.assert_allclose(np.diff(points[:, 1]), np.diff(points[:, 1]).mean(), atol=0.11)
    assert points[-1, 1] > points[0, 1]


def test_ticks_agree_with_the_lines():
    root = drawn([step(number, 1, similarity=number / 10) for number in range(11)])
    (line,) = lines(root, LOSS_TERMS["similarity"][1], "1")
    found = {}
    for node in root.iter(f"{SVG}text"):
        if node.get("text-anchor") == "end" and node.text != "step":
            found[float(node.text)] = float(node.get("y")) - 4
    assert set(found) == {0.0, 0.5, 1.0}
    for value, y in found.items():
        assert y == pytest.approx(line[int(value * 10), 1], abs=0.11)


def test_dice_with_initial_and_best():
    root = drawn(example())
    (dice,) = lines(root, "#0b6b7d", "2.2")
    (initial,) = [places(node) for node in root.iter(f"{SVG}polyline") if node.get("stroke-dasharray")]
    assert (initial[:, 1] == initial[0, 1]).all()
    assert initial[0, 0] == LEFT
    # 0.60, 0.62, 0.64, 0.66 and 0.58 by the equal distances of the first four.
    np.testing.assert_allclose(np.diff(dice[:, 1]) / (dice[1, 1] - dice[0, 1]), [1, 1, 1, -4], atol=0.02)
    (ring,) = [node for node in root.iter(f"{SVG}circle") if node.get("fill") == "none"]
    assert (float(ring.get("cx")), float(ring.get("cy"))) == tuple(dice[3])
    found = texts(root)
    assert {"best 0.660", "0.580", "initial 0.570"} <= set(found)
    assert "1\u2009000 steps, best validation Dice 0.660 at step 800" in found


def test_similarity_takes_the_place_of_dice_without_labels():
    entries = [
        validation(n, dice=None, dice_initial=None, similarity=0.9 + n / 100, best=True, folded_percent=0.5)
        for n in (1, 2)
    ]
    found = texts(drawn(entries))
    assert "Validation: similarity" in found
    assert "Validation: Dice" not in found
    assert {"best 0.920", "0.500\u2009%"} <= set(found)


def test_no_folding_is_drawn_on_the_floor():
    root = drawn(example())
    (folded,) = lines(root, "#c65300", "2")
    assert (folded[:, 1] == folded[0, 1]).all()
    assert "0\u2009%" in texts(root)


def bands(root):
    """(left, right, fill) of each shaded band."""
    found = [node for node in root.iter(f"{SVG}rect") if node.get("x")]
    return [(float(node.get("x")), float(node.get("x")) + float(node.get("width")), node.get("fill")) for node in found]


def test_levels_are_labelled_bands_side_by_side():
    root = drawn(example())
    first, second, third = bands(root)
    across = RIGHT - LEFT
    assert first[:2] == pytest.approx((LEFT, LEFT + 0.2 * across), abs=0.11)
    assert second[:2] == pytest.approx((LEFT + 0.2 * across, LEFT + 0.5 * across), abs=0.11)
    assert third[:2] == pytest.approx((LEFT + 0.5 * across, RIGHT), abs=0.11)
    assert first[2] != second[2] != third[2]
    labels = [text for text in texts(root) if re.fullmatch(r"level \d", text)]
    assert labels == ["level 1", "level 2", "level 3"]


def test_level_without_figures_yet_has_no_band():
    entries = [*example(), step(1010, 4), step(1020, 5)]
    assert bands(drawn(entries)) == bands(drawn(example()))


def test_narrow_bands_have_short_labels_or_none():
    entries = [step(1000, 1, core=0.1), step(1040, 2, core=0.2), step(1041, 3, core=0.3)]
    found = texts(drawn(entries))
    assert len(bands(drawn(entries))) == 3
    assert "level 1" in found
    assert "2" in found
    assert "level 2" not in found
    assert "3" not in found


def resume_marks(root):
    return [node for node in root.iter(f"{SVG}path") if node.get("stroke-dasharray") and "V" in node.get("d")]


def test_resumes_are_marked_and_explained():
    root = drawn([*example(), {"event": "resume", "step": 400}, {"event": "resume", "step": 5000}])
    (mark,) = resume_marks(root)
    assert float(re.match(r"M([\d.]+) ", mark.get("d")).group(1)) == pytest.approx(
        LEFT + 0.4 * (RIGHT - LEFT), abs=0.06
    )
    assert "the run was resumed" in texts(root)
    without = drawn([entry for entry in example() if entry["event"] != "resume"])
    assert resume_marks(without) == []
    assert "the run was resumed" not in texts(without)


def test_long_run_is_thinned_but_keeps_its_peak():
    entries = [step(number, 1, similarity=math.sin(number / 50)) for number in range(1, 8001)]
    entries[4321]["similarity"] = 9.0
    picture = curves_picture(entries)
    assert len(picture) < 40_000
    (raw,) = lines(ET.fromstring(picture), LOSS_TERMS["similarity"][1], "1")
    assert len(raw) <= MOST_POINTS
    peak = raw[raw[:, 1].argmin()]
    assert peak[0] == pytest.approx(LEFT + (RIGHT - LEFT) * 4322 / 8000, abs=0.06)
    assert peak[1] < np.sort(raw[:, 1])[1] - 20


@pytest.mark.parametrize(
    "entries",
    [
        [],
        [{}],
        [{"event": "start", "step": 0}],
        [step(1, similarity=0.5, core=0.1)],
        [{"event": "start", "step": 0}, validation(1, dice=0.5, dice_initial=0.4)],
        [step(1, seconds=2.0), step(2, seconds=2.0)],
        [step(1, total=math.nan), step(2, total=None)],
    ],
)
def test_picture_of_nothing_says_so(entries):
    (words,) = texts(drawn(entries))
    assert words.startswith("There is nothing to draw yet")


@pytest.mark.parametrize("missing", ["event", "step", "level", "similarity", "dice_initial", "best", "folded_percent"])
def test_missing_keys_do_no_harm(missing):
    entries = [{key: value for key, value in entry.items() if key != missing} for entry in example()]
    root = drawn(entries)
    assert ("There is nothing" in texts(root)[0]) == (missing in {"event", "step"})
    assert bool(bands(root)) == (missing not in {"event", "step", "level"})


@pytest.mark.parametrize("value", [0.5, -3.0, 1e-9, 2.5e7])
def test_constant_and_strange_sizes_are_drawn_inside(value):
    root = drawn([step(0, similarity=value, learning_rate=abs(value)), step(1, similarity=value, learning_rate=0.0)])
    height = float(root.get("height"))
    for node in root.iter(f"{SVG}polyline"):
        points = places(node)
        assert ((points[:, 0] >= LEFT) & (points[:, 0] <= RIGHT)).all()
        assert ((points[:, 1] > 84) & (points[:, 1] < height)).all()


def test_level_that_has_just_begun_is_a_dot():
    entries = [step(10, 1, core=0.3), step(20, 1, core=0.2), step(30, 2, core=0.4)]
    dots = [node for node in drawn(entries).iter(f"{SVG}circle") if float(node.get("cx")) == RIGHT]
    assert len(dots) == 2  # as recorded, and the mean


def test_short_runs_have_whole_steps_only():
    found = texts(drawn([step(0, learning_rate=0.5), step(2, learning_rate=0.5)]))
    assert [text for text in found if text in {"0", "1", "2"}] == ["0", "0", "1", "2"]


def test_labels_at_the_end_do_not_overlap():
    entries = [validation(n, dice=0.6, dice_initial=0.6 - d) for n, d in ((1, 0.3), (2, 1e-4))]
    ends = [float(node.get("y")) for node in drawn(entries).iter(f"{SVG}text") if node.get("x") == "802.0"]
    assert len(ends) == 2
    assert abs(ends[0] - ends[1]) >= 15
