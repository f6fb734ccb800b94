"""Labels made smaller: no annotated object vanishes, wherever that happens."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from tel_folders import HEAD, bands, write_image, write_label

from tel_segmentation import config
from tel_segmentation.commands.annotate import Annotate
from tel_segmentation.commands.annotate import run as annotate
from tel_segmentation.data import sparse_labels
from tel_segmentation.data.augment import augment
from tel_segmentation.data.datasets.samples import make_sample
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.image_files import nearest
from tel_segmentation.data.sample import Sample
from tel_segmentation.data.sparse_labels import (
    FARTHEST,
    marks_of,
    objects_of,
    resize_label,
    resize_labels,
)
from tel_segmentation.training.objective import Objective


def components(label):
    """The objects of a map by brute force: a list of (class, rows, columns)."""
    found = []
    for value in np.unique(label[label >= 0]):
        number, count = ndimage.label(label == value, np.ones((3, 3)))
        found += [(value, *np.nonzero(number == k)) for k in range(1, count + 1)]
    return found


def lost(label, small, reach=FARTHEST):
    """The objects without a pixel of their class where they are, or ``reach`` pixels from there."""
    height, width = small.shape
    gone = []
    for value, y, x in components(label):
        down, right = height / label.shape[0], width / label.shape[1]
        top, bottom = int(y.min() * down) - reach, math.ceil((y.max() + 1) * down) + reach
        left, end = int(x.min() * right) - reach, math.ceil((x.max() + 1) * right) + reach
        near = small[max(0, top) : bottom, max(0, left) : end]
        if not (near == value).any():
            gone.append(value)
    return gone


def random_points(seed, size, count, classes, width=2):
    rng = np.random.default_rng(seed)
    label = np.full(size, -1)
    for _ in range(count):
        y, x = rng.integers(0, size[0]), rng.integers(0, size[1])
        label[y : y + width, x : x + width] = rng.integers(classes)
    return label


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    small=st.tuples(st.integers(6, 40), st.integers(6, 40)),
)
def test_every_object_keeps_a_pixel(seed, size, small):
    label = random_points(seed, size, 12, 9)
    result = resize_label(label, small, sparse=True)
    assert result.shape == small
    assert lost(label, result) == []
    assert set(np.unique(result)) <= {-1, *np.unique(label)}
    assert np.array_equal(result, resize_label(label.copy(), small, sparse=True))


@pytest.mark.parametrize("sparse", [0, 10**6])
def test_objects_are_the_components(sparse, monkeypatch):
    monkeypatch.setattr(sparse_labels, "SPARSE", sparse)
    for seed in range(20):
        label = random_points(seed, (30, 40), 60, 3)
        marks = marks_of(label)
        number, count = objects_of(label, marks)
        expected = components(label)
        assert count == len(expected)
        for _, y, x in expected:
            here = number[np.isin(marks.y * 40 + marks.x, y * 40 + x)]
            assert here.size == y.size
            assert len(set(here)) == 1


def test_the_rarest_class_wins_a_block():
    label = np.full((4, 8), -1)
    label[0, :3] = 0
    label[3, 3] = 1
    assert resize_label(label, (1, 2)).tolist() == [[1, 0]]  # class 0 moves to the free pixel
    label[0, 4] = 0  # another object of class 0
    assert resize_label(label, (1, 2)).tolist() == [[1, 0]]


def test_objects_that_meet_move_to_free_neighbours():
    label = np.full((80, 80), -1)
    for k in range(9):
        label[40 + 2 * (k // 3), 40 + 2 * (k % 3)] = k  # all within one pixel of 8 × 8
    small = resize_label(label, (10, 10))
    assert sorted(small[small >= 0]) == list(range(9))
    assert small[5, 5] == 0
    near = small[4:7, 4:7]
    assert (near >= 0).all()


def test_without_a_free_pixel_an_object_takes_over_where_another_keeps_one():
    label = np.zeros((4, 8), np.int64)
    label[:, 4:] = 2
    label[0, 0], label[0, 1] = 1, 3  # both in the first pixel, and rarer than 0
    small = resize_label(label, (1, 4), sparse=True)
    assert small[0, 0] == 1
    assert set(small[0]) >= {1, 2}


def test_dense_labels_and_growing_sides_are_nearest():
    dense = np.random.default_rng(0).integers(0, 5, (31, 23))
    assert np.array_equal(resize_label(dense, (9, 11)), nearest(dense, (9, 11)))
    points = random_points(1, (10, 12), 5, 4)
    assert np.array_equal(resize_label(points, (25, 30)), nearest(points, (25, 30)))
    tall = resize_label(points, (30, 5))
    assert lost(points, tall) == []


def test_padding_is_never_labelled():
    label = np.full((8, 8), -2)
    label[:, :4] = -1
    label[0, 0], label[1, 1] = 1, 2
    small = resize_label(label, (2, 2))
    assert (small[:, 1] == -2).all()
    assert sorted(small[:, 0]) == [1, 2]


def test_a_batch_of_tensors():
    maps = [random_points(seed, (24, 20), 4, 3) for seed in range(3)]
    batch = resize_labels(torch.from_numpy(np.stack(maps)).to(torch.int32), (6, 5))
    assert batch.dtype == torch.int32
    for small, label in zip(batch.numpy(), maps, strict=True):
        assert np.array_equal(small, resize_label(label, (6, 5)))
    assert resize_labels(torch.zeros(0, 4, 4, dtype=torch.int64), (2, 2)).shape == (0, 2, 2)


POINTS = random_points(5, (300, 400), 20, 3, width=1)


def test_augmentation_keeps_every_object():
    image = torch.zeros(3, 300, 400, dtype=torch.uint8)
    sample = Sample("a", image, torch.from_numpy(POINTS), torch.zeros(300, 400, dtype=torch.int64))
    options = config.Data(crop=(90, 120), scale=(0.1, 0.3), flip=0.0, annotation="point")
    for seed in range(5):
        view = augment(sample, options, np.random.default_rng(seed))
        inside = (view.label != -2).nonzero()
        (top, left), (bottom, right) = inside.min(0).values, inside.max(0).values + 1
        assert lost(POINTS, view.label[top:bottom, left:right].numpy()) == []
    gone = augment(sample, dataclasses.replace(options, labels="nearest"), np.random.default_rng(0))
    assert lost(POINTS, gone.label.numpy(), 0)


def test_readers_keep_every_object(tmp_path):
    (tmp_path / "data.toml").write_text(HEAD)
    write_image(tmp_path / "images/a.png", 300, 400)
    write_label(tmp_path / "labels/a.png", np.where(POINTS < 0, 255, POINTS))
    write_label(tmp_path / "annotations/mine/a.png", np.where(POINTS < 0, 255, POINTS))
    for annotation in ("dense", "mine"):  # a map of strokes in labels/ is sparse, too
        sample = Folder(tmp_path / "data.toml", "train", annotation, (30, 40))[0]
        assert lost(POINTS, sample.label.numpy()) == []
        assert lost(POINTS, sample.truth.numpy()) == []  # as in an evaluation at reduced size
    image = Image.new("RGB", (400, 300))
    for options in (config.Data(size=(30, 40)), config.Data(short_side=30)):
        sample = make_sample("a", image, POINTS, POINTS, options, "train")
        assert sample.label.shape == (30, 40)
        assert lost(POINTS, sample.label.numpy()) == []


def test_annotations_of_large_images_are_kept(tmp_path):
    (tmp_path / "data.toml").write_text(HEAD)
    for split in ("train", "val"):
        write_image(tmp_path / split / "images/a.png", 240, 320)
        write_label(tmp_path / split / "labels/a.png", bands(240, 320))
    annotate(Annotate(tmp_path / "data.toml"))
    full = Folder(tmp_path / "data.toml", "train", "point")[0].label.numpy()
    small = Folder(tmp_path / "data.toml", "train", "point", (12, 16))[0].label.numpy()
    assert len(components(full)) == 3
    assert lost(full, small, 0) == []


def test_cross_entropy_at_the_predictions_resolution_sees_every_object():
    torch.manual_seed(0)
    loss = config.Loss(method="partial", resolution="prediction")
    label = torch.full((1, 32, 32), -1)
    label[0, 5, 6] = 1  # at no corner
    guide = torch.rand(1, 3, 32, 32).expand(2, -1, -1, -1)
    for labels, seen in (("kept", True), ("nearest", False)):
        data = config.Data(labels=labels)
        objective = Objective(config.Train(loss=loss, data=data), 3).train()
        out = objective(guide, guide, label.expand(2, -1, -1), 0)
        assert (out.loss > 0) == seen


@pytest.mark.parametrize("count", [1, 2])
def test_more_objects_than_places(count):
    label = np.arange(2 * count).reshape(2, count)
    small = resize_label(label, (1, 1), sparse=True)
    assert small.shape == (1, 1)
    assert small[0, 0] == 0
