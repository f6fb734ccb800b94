"""Views of a sample: image, annotation, truth and guide stay aligned."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tel_segmentation.config import Data
from tel_segmentation.data.augment import MEAN, STD, augment, normalize
from tel_segmentation.data.sample import PADDING, UNLABELLED, Sample

PLAIN = Data(crop=(24, 32), scale=(1.0, 1.0), aspect=(1.0, 1.0), flip=0.0, brightness=0)
quick = settings(deadline=None, max_examples=60)


def sample(height=24, width=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=g, dtype=torch.uint8)
    truth = torch.randint(-1, 5, (height, width), generator=g)
    seen = torch.rand(height, width, generator=g) < 0.3
    return Sample("a", image, torch.where(seen, truth, UNLABELLED), truth)


def ramp(height, width):
    """A sample whose truth is the grey level of its image, a smooth ramp in both directions."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    truth = 20 + 2 * y + 3 * x
    return Sample("ramp", truth.to(torch.uint8).expand(3, -1, -1), truth, truth)


def view(of, seed=0, **changes):
    return augment(of, dataclasses.replace(PLAIN, **changes), np.random.default_rng(seed))


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    crop=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 2**32),
)
@quick
def test_shapes_types_ranges_and_repetition(height, width, crop, seed):
    changes = {"crop": crop, "scale": (0.5, 2.0), "aspect": (0.9, 1.1), "flip": 0.5}
    changes["labels"] = "nearest"  # otherwise a label may be one pixel beside its truth
    of = sample(height, width)
    result = view(of, seed, brightness=10, **changes)
    assert result.image.shape == result.guide.shape == (3, *crop)
    assert result.label.shape == result.truth.shape == crop
    assert result.image.dtype == result.guide.dtype == torch.float32
    assert result.label.dtype == result.truth.dtype == torch.int64
    assert 0 <= result.guide.min() <= result.guide.max() <= 1
    assert set(result.truth.unique().tolist()) <= {PADDING, *of.truth.unique().tolist()}
    labelled = result.label >= 0
    assert torch.equal(result.label[labelled], result.truth[labelled])
    assert torch.equal(result.label == PADDING, result.truth == PADDING)
    assert (result.guide[:, result.truth == PADDING] == 0).all()
    again = view(of, seed, brightness=10, **changes)
    assert all(torch.equal(a, b) for a, b in zip(result, again, strict=True))


def test_nothing_to_do_is_the_sample_itself():
    of = sample()
    result = view(of)
    assert torch.equal(result.guide, of.image / 255)
    assert torch.equal(result.label, of.label)
    assert torch.equal(result.truth, of.truth)
    torch.testing.assert_close(result.image, normalize(of.image / 255))


def test_the_smallest_images():
    for height, width in ((1, 1), (1, 9), (9, 1)):
        for seed in range(20):
            assert (view(sample(height, width), seed, scale=(0.5, 2.0)).truth != PADDING).any()


def test_flip():
    of = sample()
    result = view(of, flip=1.0)
    assert torch.equal(result.guide, of.image.flip(-1) / 255)
    assert torch.equal(result.label, of.label.flip(-1))
    assert torch.equal(result.truth, of.truth.flip(-1))


@given(seed=st.integers(0, 2**32))
@quick
def test_image_and_labels_move_together(seed):
    of = ramp(30, 40)
    result = view(of, seed, scale=(0.5, 2.0), aspect=(0.8, 1.25), flip=0.5)
    kept = result.truth >= 0
    assert kept.any()
    apart = (255 * result.guide[:, kept] - result.truth[kept]).abs()
    assert apart.max() <= 6  # of 2 and 3 a pixel, and less sharp at the border
    assert apart.mean() <= 3


@given(seed=st.integers(0, 2**32))
@quick
def test_padding_surrounds_one_whole_image(seed):
    of = sample(10, 14)
    result = view(of, seed)
    y, x = torch.nonzero(result.truth != PADDING).unbind(1)
    window = (slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1))
    assert torch.equal(result.truth[window], of.truth)
    assert torch.equal(result.guide[(slice(None), *window)], of.image / 255)


def corners(of, count=400, **changes):
    """The position of the first pixel that is not padding, in the view and in the sample."""
    found = []
    for seed in range(count):
        truth = view(of, seed, **changes).truth
        first = torch.nonzero(truth != PADDING)[0]
        found.append((*first.tolist(), int(truth[tuple(first)])))
    return found


def test_crops_and_offsets_reach_every_place():
    of = ramp(26, 32)
    assert {value for _, _, value in corners(of)} == {20, 22, 24}
    small = ramp(22, 31)
    places = {place[:2] for place in corners(small)}
    assert places == {(y, x) for y in range(3) for x in range(2)}


def test_scale_and_aspect_have_their_sizes():
    of = sample(40, 40)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rng.random()
        scale, aspect = rng.uniform(0.5, 1.0), rng.uniform(0.9, 1.1)
        truth = view(of, seed, scale=(0.5, 1.0), aspect=(0.9, 1.1), crop=(60, 60)).truth
        y, x = torch.nonzero(truth != PADDING).unbind(1)
        assert len(y.unique()) == int(40 * scale / aspect**0.5)
        assert len(x.unique()) == int(40 * aspect**0.5 * scale)


@given(seed=st.integers(0, 2**32))
@quick
def test_brightness_is_one_whole_number_of_the_input_only(seed):
    of = sample(20, 32)  # padded: black is brightened too
    result = view(of, seed, brightness=10)
    plain = view(of, seed, brightness=0)
    assert torch.equal(result.guide, plain.guide)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    levels = 255 * (result.image * std + mean)
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    change = levels.round() - (255 * result.guide).round()
    inner = (levels.round() > 0) & (levels.round() < 255)
    amount = change[inner].unique()
    assert len(amount) == 1
    assert abs(amount.item()) <= 10
    assert levels.min() > -1e-3
    assert levels.max() < 255 + 1e-3


def test_every_brightness_occurs():
    of = Sample(
        "grey", torch.full((3, 4, 4), 128, dtype=torch.uint8), *[torch.zeros(4, 4).long()] * 2
    )
    seen = set()
    for seed in range(200):
        level = view(of, seed, crop=(4, 4), brightness=3).image[0, 0, 0] * STD[0] + MEAN[0]
        seen.add(round(255 * level.item()) - 128)
    assert seen == {-3, -2, -1, 0, 1, 2, 3}


def test_a_label_can_be_seen_by_nobody():
    of = sample()
    hidden = of._replace(label=torch.full_like(of.label, UNLABELLED))
    assert set(view(hidden, 1, scale=(0.5, 0.9)).label.unique().tolist()) == {PADDING, UNLABELLED}


def test_normalize_takes_batches():
    image = torch.rand(2, 3, 5, 4)
    expected = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(normalize(image), expected)
    torch.testing.assert_close(normalize(image[0]), expected[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": (0.0, 1.0)}, "augment: scale must be a range of positive numbers, got 0.0, 1.0"),
        ({"scale": (2.0, 1.0)}, "augment: scale must be a range"),
        ({"aspect": (-1.0, 1.0)}, "augment: aspect must be a range"),
        ({"crop": (0, 4)}, r"augment: crop must be at least 1 × 1, got \(0, 4\)"),
        ({"flip": 1.5}, "augment: flip must be a probability, got 1.5"),
        ({"brightness": -1}, "augment: brightness must be in 0 to 255, got -1"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        view(sample(), **change)
