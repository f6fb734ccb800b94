"""``KIND:FOLDER``: the class that reads it, the size of its images, its entry in records."""

import dataclasses

import numpy as np
import pytest
import tel_miniatures
import torch
from PIL import Image

from tel_segmentation import config, presets
from tel_segmentation.data.datasets.public import (
    open_dataset_source,
    public_dataset,
    published_counts,
)
from tel_segmentation.data.datasets.samples import make_sample
from tel_segmentation.training import record


def sample(split, height=40, width=60, **options):
    label = np.zeros((height, width), np.int64)
    label[:, width // 2 :] = 3
    truth = label.copy()
    truth[0] = -1
    image = Image.new("RGB", (width, height), (10, 20, 30))
    return make_sample("a", image, label, truth, config.Data(**options), split)


@pytest.mark.parametrize("source", ["scenes:default", "voc.toml", "voc", "pascal:x"])
def test_other_sources_are_none(source):
    assert public_dataset(source) is None


def test_kind_and_folder(tmp_path):
    kind, folder = public_dataset(f"ade20k:{tmp_path}")
    assert (kind, folder) == ("ade20k", tmp_path)
    assert public_dataset("voc:~/x")[1].is_absolute()


def test_a_kind_needs_a_folder():
    with pytest.raises(ValueError, match=r"source must be voc:FOLDER .*, got 'voc:'"):
        public_dataset("voc:")


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"kind must be one of .*, got 'coco'"):
        open_dataset_source("coco", tmp_path, config.Data(), "train")


@pytest.mark.parametrize(("kind", "folder"), [
    ("voc", "voc2012"), ("cityscapes", "cityscapes"), ("ade20k", "ADEChallengeData2016"),
])  # fmt: skip
@pytest.mark.parametrize("number", [-1, 70_000])
def test_numbers_that_no_label_file_can_have(tmp_path, kind, folder, number):
    """Without the check, -1 would mean 65535, and 70000 would fail at the first file."""
    root = tel_miniatures.data_root(tmp_path)
    options = config.Data(annotation="dense", ignore=(255, number))
    with pytest.raises(ValueError, match=f"ignore must be numbers of .* 0 to 65535, got {number}"):
        open_dataset_source(kind, root / folder, options, "train")


@pytest.mark.parametrize(
    ("kind", "train", "val", "test"),
    [
        ("voc", 10_582, 1_449, 1_456),
        ("cityscapes", 2_975, 500, 1_525),
        ("ade20k", 20_210, 2_000, 3_352),
    ],
)
def test_the_published_counts(kind, train, val, test):
    assert published_counts(kind) == {"train": train, "val": val, "test": test}


def test_a_shorter_side_of_nothing():
    options = config.Train(data=config.Data(short_side=0))
    with pytest.raises(ValueError, match=r"data\.short_side must be at least 1, got 0"):
        config.check(options)


def test_as_it_is():
    given = sample("train")
    assert given.image.dtype == torch.uint8
    assert given.image.shape == (3, 40, 60)
    assert given.image[:, 5, 5].tolist() == [10, 20, 30]
    assert (given.truth[0] == -1).all()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_size_holds_for_every_split(split):
    given = sample(split, size=(20, 24))
    assert given.image.shape[1:] == given.label.shape == given.truth.shape == (20, 24)
    assert set(given.label.unique().tolist()) == {0, 3}


@pytest.mark.parametrize(("shape", "after"), [((40, 60), (80, 120)), ((61, 40), (122, 80))])
def test_short_side_keeps_the_aspect_and_is_for_training(shape, after):
    assert tuple(sample("train", *shape, short_side=80).label.shape) == after
    assert tuple(sample("val", *shape, short_side=80).label.shape) == shape


def test_not_both_sizes():
    with pytest.raises(ValueError, match="size and short_side must not both be given"):
        sample("val", size=(20, 24), short_side=8)


def test_records_tell_the_kind_but_no_path(tmp_path):
    data = config.Data(source=f"voc:{tmp_path / 'mine' / 'VOC2012'}", annotation="/a/b/scribble")
    options = dataclasses.replace(presets.PRESETS["smoke"][1], data=data)
    assert record.default_experiment(options) == "voc/scribble"
    portable = record.portable(options).data
    assert (portable.source, portable.annotation) == ("voc:VOC2012", "scribble")
    again = record.portable(dataclasses.replace(options, data=portable)).data
    assert again == portable
