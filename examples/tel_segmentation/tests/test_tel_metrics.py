import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tel_segmentation.evaluation.metrics import ConfusionMatrix, boundary_band


def measured(prediction, truth, num_classes):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(torch.as_tensor(prediction), torch.as_tensor(truth))
    return matrix


def test_values_by_hand():
    matrix = measured([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, -1, 0], 4)
    assert matrix.counts.tolist() == [[1, 0, 1, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # IoU: class 0 1/3, class 1 2/3; class 2 is predicted but never true; class 3 does not occur
    assert matrix.iou() == [1 / 3, 2 / 3, 0.0, None]
    assert matrix.miou() == pytest.approx((1 / 3 + 2 / 3) / 3)
    assert matrix.accuracy() == 3 / 5


def test_nothing_counted():
    matrix = measured([0, 1], [-1, -2], 2)
    assert matrix.iou() == [None, None]
    assert matrix.miou() is None
    assert matrix.accuracy() is None


def test_counts_are_exact_beyond_float32():
    matrix = ConfusionMatrix(2)
    matrix.counts[0, 0] = 2**53 - 2
    matrix.update(torch.tensor([0]), torch.tensor([0]))
    assert matrix.counts[0, 0].item() == 2**53 - 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 10**6))
def test_merging_parts_is_counting_all(num_classes, seed):
    generator = torch.Generator().manual_seed(seed)
    prediction = torch.randint(0, num_classes, (3, 5, 7), generator=generator)
    truth = torch.randint(-2, num_classes, (3, 5, 7), generator=generator)
    whole = measured(prediction, truth, num_classes)
    parts = measured(prediction[:1], truth[:1], num_classes)
    parts.merge(measured(prediction[1:], truth[1:], num_classes))
    assert torch.equal(parts.counts, whole.counts)
    assert whole.counts.sum() == (truth >= 0).sum()


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([0, 1], [0], "truth must have the prediction's shape"),
        ([0, 3], [0, 0], r"prediction must be in 0\.\.2, got 0\.\.3"),
        ([0, 0], [0, 5], r"truth must be in 0\.\.2"),
        ([-1], [0], "prediction must be in"),
    ],
)
def test_errors(prediction, truth, message):
    with pytest.raises(ValueError, match=message):
        measured(prediction, truth, 3)


def test_a_prediction_on_void_is_not_looked_at():
    assert measured([99, 1], [-1, 1], 2).accuracy() == 1.0


def test_other_classes_do_not_merge():
    with pytest.raises(ValueError, match="must have 2 classes, got 3"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="at least 1"):
        ConfusionMatrix(0)


def brute_force_band(truth, width):
    height, columns = truth.shape
    band = torch.zeros_like(truth, dtype=torch.bool)
    for y in range(height):
        for x in range(columns):
            window = truth[max(0, y - width) : y + width + 1, max(0, x - width) : x + width + 1]
            others = (window >= 0) & (window != truth[y, x])
            band[y, x] = truth[y, x] >= 0 and bool(others.any())
    return band


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3), st.integers(0, 10**6))
def test_band_is_what_its_definition_says(height, columns, width, seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randint(-1, 3, (height, columns), generator=generator)
    assert torch.equal(boundary_band(truth, width), brute_force_band(truth, width))


def test_band_of_a_batch_and_of_void():
    truth = torch.zeros(2, 6, 6, dtype=torch.int64)
    truth[0, :, 3:] = 1
    truth[1, :, 3:] = -1
    band = boundary_band(truth, 1)
    assert band[0, 0].tolist() == [False, False, True, True, False, False]
    assert not band[1].any()  # a border to void does not count
    assert not boundary_band(truth, 0).any()


def test_band_errors():
    with pytest.raises(ValueError, match="width must not be negative"):
        boundary_band(torch.zeros(3, 3, dtype=torch.int64), -1)
    with pytest.raises(ValueError, match=r"truth must be \(…, H, W\)"):
        boundary_band(torch.zeros(3, dtype=torch.int64), 1)
