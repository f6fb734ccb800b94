"""Batches: the same samples for every division of a run; the loss gets no dense labels."""

import dataclasses

import numpy as np
import pytest
import torch

from tel_segmentation import config, presets
from tel_segmentation.data.loading import open_source, training_batches
from tel_segmentation.data.order import Order
from tel_segmentation.losses.inputs import LossInputs

OPTIONS = dataclasses.replace(
    presets.PRESETS["smoke"][1],
    data=dataclasses.replace(presets.PRESETS["smoke"][1].data, train=7, crop=(32, 32)),
    iterations=5,
    batch=2,
)


@pytest.fixture(scope="module")
def source():
    return open_source(OPTIONS.data, "train")


def run(source, options=OPTIONS, **where):
    return list(training_batches(source, options, **{"start": 0, **where}))


def test_every_pass_sees_every_sample_once():
    order = [key for batch in Order(7, OPTIONS, start=0) for key in batch]
    assert [position for position, _ in order] == list(range(10))
    assert sorted(index for _, index in order[:7]) == list(range(7))
    assert len({index for _, index in order[7:]}) == 3


def test_resumed_in_the_middle(source):
    whole, rest = run(source), run(source, start=3)
    assert len(rest) == 2
    for a, b in zip(whole[3:], rest, strict=True):
        assert a.names == b.names
        assert all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_with_worker_processes(source):
    options = dataclasses.replace(OPTIONS, data=dataclasses.replace(OPTIONS.data, workers=2))
    for a, b in zip(run(source), run(source, options), strict=True):
        assert a.names == b.names
        assert all(torch.equal(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def test_divided_over_processes_and_accumulated(source):
    whole = run(source, dataclasses.replace(OPTIONS, batch=4))
    parts = dataclasses.replace(OPTIONS, batch=1, accumulate=2)
    ranks = [run(source, parts, rank=rank, world=2) for rank in range(2)]
    for i, batch in enumerate(whole):
        pieces = [ranks[r][2 * i + part] for part in range(2) for r in range(2)]
        assert batch.names == [p.names[0] for p in pieces]
        assert torch.equal(batch.image, torch.cat([p.image for p in pieces]))


def test_seeds_differ(source):
    a, b = run(source)[0], run(source, dataclasses.replace(OPTIONS, seed=1))[0]
    assert a.names != b.names or not torch.equal(a.image, b.image)


def test_the_truth_is_not_among_the_losses_inputs(source):
    batch = run(source)[0]
    assert "truth" not in LossInputs._fields
    known = batch.label >= 0
    assert known.float().mean() < 0.2 < (batch.truth >= 0).float().mean()
    assert torch.equal(batch.label[known], batch.truth[known])


def test_guide_and_input(source):
    batch = run(source)[0]
    assert batch.guide.min() >= 0
    assert batch.guide.max() <= 1
    assert batch.image.min() < -0.1
    assert np.array_equal(batch.image.shape, batch.guide.shape)


def test_mistakes():
    with pytest.raises(ValueError, match="no training images"):
        Order(0, OPTIONS, start=0)
    with pytest.raises(ValueError, match="preset"):
        open_source(config.Data(source="scenes:hardest"), "train")
    with pytest.raises((ValueError, OSError), match="nowhere"):
        open_source(config.Data(source="nowhere.toml"), "train")


def test_a_limit_on_the_images_of_every_split():
    data = dataclasses.replace(OPTIONS.data, limit=3)
    whole = open_source(OPTIONS.data, "train")
    part = open_source(data, "train")
    assert len(part) == 3
    assert [part[i].name for i in range(3)] == [whole[i].name for i in range(3)]
    assert part.classes == whole.classes
    assert len(open_source(dataclasses.replace(data, limit=999), "train")) == len(whole)
