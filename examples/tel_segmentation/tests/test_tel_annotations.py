"""Points, scribbles and blocks from label maps of any kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tel_segmentation.data.annotations import points, scribbles
from tel_segmentation.data.blocks import blocks, blocks_above, interior_distance
from tel_segmentation.data.regions import VOID, components

EIGHT = np.ones((3, 3))
METRICS = ("edt", "chessboard", "cityblock")
SCOPES = ("component", "class", "image")
PENALTY = {  # between two pixels
    "edt": lambda dy, dx: np.hypot(dy, dx),
    "chessboard": lambda dy, dx: np.maximum(abs(dy), abs(dx)),
    "cityblock": lambda dy, dx: abs(dy) + abs(dx),
}
quick = settings(deadline=None, max_examples=60)


@st.composite
def labels(draw, largest=7):
    """Random label maps with a few classes and void, of single pixels or of larger squares."""
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=largest))
    values = st.sampled_from([0, 1, 2, VOID])
    small = draw(hnp.arrays(np.uint8, shape, elements=values))
    square = draw(st.integers(1, 5))
    return np.kron(small, np.ones((square, square), np.uint8))


def rng(seed=0):
    return np.random.default_rng(seed)


def stripes():
    """A label map with four classes, one of them a pole one pixel wide, and a region of void."""
    label = np.zeros((60, 80), np.uint8)
    label[30:] = 1
    label[:, 20] = 2
    label[40:55, 50:75] = 3
    label[:8, 60:] = VOID
    return label


def brute_force_distance(label, metric):
    y, x = np.indices(label.shape).reshape(2, -1)
    flat = label.ravel()
    apart = PENALTY[metric](y[:, None] - y, x[:, None] - x).astype(float)
    apart[flat[:, None] == flat] = np.inf
    nearest = apart.min(1)
    nearest[flat == VOID] = 0
    return nearest.reshape(label.shape)


ANNOTATORS = {
    "points": lambda label, seed: points(label, None, rng(seed)),
    "scribbles": lambda label, seed: scribbles(label, None, rng(seed)),
    "blocks": lambda label, seed: blocks(label, 0.3, seed=seed),
    "image blocks": lambda label, seed: blocks(label, 0.3, "image", "cityblock", seed=seed),
}


@pytest.mark.parametrize("annotator", ANNOTATORS)
@given(label=labels(), seed=st.integers(0, 1000))
@quick
def test_what_is_labelled_agrees_with_the_truth_and_is_repeated(annotator, label, seed):
    before = label.copy()
    result = ANNOTATORS[annotator](label, seed)
    assert result.dtype == np.uint8
    assert result.shape == label.shape
    labelled = result != VOID
    assert np.array_equal(result[labelled], label[labelled])
    assert np.array_equal(result, ANNOTATORS[annotator](label, seed))
    assert np.array_equal(label, before)


@pytest.mark.parametrize("annotator", ANNOTATORS)
def test_seeds_differ_and_wider_integers_are_the_same(annotator):
    label = stripes()
    assert not np.array_equal(ANNOTATORS[annotator](label, 0), ANNOTATORS[annotator](label, 1))
    wide = ANNOTATORS[annotator](label.astype(np.int64), 0)
    assert np.array_equal(wide, ANNOTATORS[annotator](label, 0))


@pytest.mark.parametrize("annotator", ANNOTATORS)
def test_an_image_without_any_class_stays_so(annotator):
    assert (ANNOTATORS[annotator](np.full((5, 6), VOID, np.uint8), 0) == VOID).all()


@pytest.mark.parametrize("annotator", [points, scribbles])
@given(label=labels(), seed=st.integers(0, 1000))
@quick
def test_every_piece_of_twelve_pixels_is_annotated_and_no_other(annotator, label, seed):
    number = components(label)
    labelled = annotator(label, None, rng(seed)) != VOID
    for index in range(1, number.max() + 1):
        inside = number == index
        assert labelled[inside].any() == (inside.sum() >= 12)


@given(label=labels(), seed=st.integers(0, 1000))
@quick
def test_points_are_small_and_deep_inside(label, seed):
    number, depth = components(label), interior_distance(label)
    marked = points(label, None, rng(seed)) != VOID
    for index in np.unique(number[marked]):
        y, x = np.nonzero(marked & (number == index))
        assert 1 <= len(y) <= 9
        assert np.ptp(y) <= 2
        assert np.ptp(x) <= 2
        if number.max() > 1:  # the centre, which is at least that deep, is one of them
            assert depth[y, x].max() >= depth[number == index].max() / 2


def test_points_go_to_the_largest_piece_of_an_instance_and_not_to_negative_ones():
    label = np.zeros((20, 30), np.uint8)
    instances = np.zeros((20, 30), int)
    label[:, 10:20], instances[:, 10:20] = 1, 5
    label[8:12, 12:18], instances[8:12, 12:18] = 2, 7
    instances[:, 20:] = -1
    instances[:2, 10] = 0  # of class 1: an instance is of one class
    for seed in range(20):
        marked = points(label, instances, rng(seed))
        assert (marked[:, 20:] == VOID).all()
        assert (marked[:, :10] == 0).any()
        assert {0, 1, 2} <= set(np.unique(marked))
        assert ndimage.label(marked != VOID, EIGHT)[1] <= 3


@given(seed=st.integers(0, 10_000))
@quick
def test_scribbles_stay_two_pixels_inside_where_there_is_room(seed):
    label = stripes()
    centre = scribbles(label, None, rng(seed), width=1)
    depth = interior_distance(label)
    assert depth[(centre != VOID) & (centre != 2)].min() >= 2
    assert set(np.unique(centre)) == {0, 1, 2, 3, VOID}


def test_scribbles_label_three_percent_and_the_larger_the_longer():
    label = np.zeros((200, 300), np.uint8)
    label[:, 200:] = 1
    label[50:90, 220:260] = 2
    ratio, per_class = [], np.zeros(3)
    for seed in range(20):
        marked = scribbles(label, None, rng(seed))
        ratio.append((marked != VOID).mean())
        per_class += np.bincount(marked[marked != VOID], minlength=3) / 20
    assert 0.025 < np.mean(ratio) < 0.035
    root = np.sqrt(np.bincount(label.ravel()))
    assert per_class / per_class.sum() == pytest.approx(root / root.sum(), abs=0.08)


def test_scribbles_are_strokes_not_blots():
    label = np.zeros((200, 200), np.uint8)
    length = [np.ptp(np.nonzero(scribbles(label, None, rng(s)) != VOID)) for s in range(10)]
    assert np.mean(length) > 60


def test_the_width_of_scribbles():
    label = np.zeros((100, 100), np.uint8)
    thin = scribbles(label, None, rng(1), width=1) != VOID
    assert not ndimage.binary_erosion(thin, EIGHT).any()
    assert ndimage.binary_erosion(scribbles(label, None, rng(1), width=5) != VOID, EIGHT).any()


@pytest.mark.parametrize("scope", SCOPES)
@given(label=labels(), ratio=st.floats(0, 1), metric=st.sampled_from(METRICS), border=st.booleans())
@quick
def test_blocks_keep_exactly_the_ratio_and_the_deepest(scope, label, ratio, metric, border):
    kept = blocks(label, ratio, scope, metric, border) != VOID
    depth = interior_distance(label, metric, border)
    unit = {"component": components(label), "class": label + 1, "image": (label != VOID) + 0}[scope]
    for value in np.unique(unit[label != VOID]):
        inside = (unit == value) & (label != VOID)
        expected = round(ratio * inside.sum())
        if scope == "component" and ratio > 0:
            expected = max(1, expected)
        assert (kept & inside).sum() == expected
        left = depth[inside & kept].min(initial=np.inf)
        assert left >= depth[inside & ~kept].max(initial=0)


@pytest.mark.parametrize("seed", [0, 5])
def test_among_pixels_equally_deep_a_hash_of_the_place_chooses(seed):
    """The hash is splitmix64, here in Python's integers, so that annotations never change."""

    def mixed(y, x):
        z = (y * 2**32 + x + (seed + 1) * 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    label = np.zeros((9, 14), np.int64)
    label[:, 5:] = 1
    distance = interior_distance(label)
    for value in (0, 1):
        places = [(y, x) for y in range(9) for x in range(14) if label[y, x] == value]
        places.sort(key=lambda p: (-distance[p], mixed(*p)))
        kept = {tuple(p) for p in np.argwhere(blocks(label, 0.3, seed=seed) == value).tolist()}
        assert kept == set(places[: round(0.3 * len(places))])


@pytest.mark.parametrize("scope", ["component", "class", "image"])
def test_among_pixels_equally_deep_the_upper_rows_may_come_first(scope):
    label = np.zeros((9, 14), np.int64)
    label[:, 5:] = 1
    label[4, 2] = 255
    distance = interior_distance(label)
    result = blocks(label, 0.3, scope, seed=3, ties="row-major")
    for values in ((0,), (1,)) if scope != "image" else ((0, 1),):
        places = [tuple(p) for p in np.argwhere(np.isin(label, values)).tolist()]
        places.sort(key=lambda p: (-distance[p], p))
        kept = {tuple(p) for p in np.argwhere(np.isin(result, values)).tolist()}
        assert kept == set(places[: round(0.3 * len(places))])
    assert not np.array_equal(result, blocks(label, 0.3, scope, seed=3))
    with pytest.raises(ValueError, match=r"ties must be one of \('hash', 'row-major'\), got 'x'"):
        blocks(label, 0.3, ties="x")


@given(label=labels(largest=4), metric=st.sampled_from(METRICS))
@quick
def test_interior_distance_is_the_nearest_other_label(label, metric):
    if len(np.unique(label)) > 1:
        assert interior_distance(label, metric) == pytest.approx(
            brute_force_distance(label, metric)
        )


@given(label=labels(largest=4), metric=st.sampled_from(METRICS))
@quick
def test_with_border_the_outside_is_another_label(label, metric):
    around = np.pad(label, 1, constant_values=VOID)
    expected = brute_force_distance(around, metric)[1:-1, 1:-1]
    assert interior_distance(label, metric, border=True) == pytest.approx(expected)


def test_an_image_of_one_class_is_deepest_in_its_middle():
    distance = interior_distance(np.zeros((9, 9), np.uint8))
    assert distance[4, 4] == distance.max() == 5
    assert distance[0].max() == 1


@given(label=labels(), threshold=st.floats(-1, 6))
@quick
def test_blocks_above_a_threshold_never_label_void(label, threshold):
    distance = interior_distance(label)
    above = blocks_above(distance, threshold)
    assert np.array_equal(above, (label != VOID) & (distance >= threshold))


def test_components_are_eight_connected():
    assert components(np.eye(4, dtype=np.uint8)).max() == 2
    assert components(np.array([[VOID, 1, VOID, 1]])).tolist() == [[0, 1, 0, 2]]


GOOD = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: points([[0]], None, rng()), TypeError, "points: label must be an array of int"),
        (lambda: points(GOOD * 1.0, None, rng()), TypeError, "points: .* got float64"),
        (lambda: points(GOOD[0], None, rng()), ValueError, r"label must be \(H, W\), got \(4,\)"),
        (lambda: scribbles(GOOD[:0], None, rng()), ValueError, r"scribbles: .* got \(0, 4\)"),
        (lambda: blocks(GOOD.astype(int) - 1, 0.5), ValueError, "must be in 0 to 255, got -1"),
        (lambda: points(GOOD, GOOD[:2], rng()), ValueError, r"instances must be \(4, 4\) like"),
        (lambda: points(GOOD, GOOD * 1.0, rng()), TypeError, "instances must be an array of int"),
        (lambda: scribbles(GOOD, None, rng(), width=0), ValueError, "width must be at least 1"),
        (lambda: blocks(GOOD, 1.1), ValueError, r"blocks: ratio must be in \[0, 1\], got 1.1"),
        (lambda: blocks(GOOD, float("nan")), ValueError, "ratio must be in .* got nan"),
        (lambda: blocks(GOOD, 0.5, "dataset"), ValueError, "blocks: scope must be one of"),
        (lambda: blocks(GOOD, 0.5, metric="l2"), ValueError, "metric must be one of"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
