"""ADE20K: both layouts, the label 0, sparse annotations, and invalid files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tel_folders import write_image, write_label
from tel_street import ade_label, ade_names, official_ade, published_ade

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.ade20k import ADE20K, CLASSES, COLORS, Ade20k
from tel_segmentation.data.datasets.pairs import MissingFilesError
from tel_segmentation.data.loading import open_source

DENSE = Data(annotation="dense")
BLOCK = Data(annotation="block20")


def test_classes() -> None:
    assert len(CLASSES) == len(set(CLASSES)) == len(COLORS) == len(set(COLORS)) == 150
    assert "" not in CLASSES
    for number, name in [
        (1, "wall"), (2, "building"), (21, "car"), (45, "chest of drawers"), (59, "screen door"),
        (76, "swivel chair"), (90, "television"), (113, "basket"), (131, "screen"), (150, "flag"),
    ]:  # fmt: skip
        assert CLASSES[number - 1] == name
    assert ADE20K.table()[0] == -1
    assert ADE20K.table()[1] == 0
    assert ADE20K.table()[150] == 149


@pytest.mark.parametrize("make", [published_ade, official_ade])
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("inside", ["", "ADEChallengeData2016"])
def test_dense_samples_of_both_layouts(tmp_path: Path, make, split: str, inside: str) -> None:
    make(tmp_path / inside, split)
    source = Ade20k(tmp_path, split, DENSE)
    assert source.names == ade_names(split)
    for seed in range(3):
        sample = source[seed]
        assert sample.image.shape == (3, 24, 40 + seed)
        assert sample.label.dtype == torch.int64
        assert np.array_equal(sample.label, ade_label(seed) - 1)
        assert torch.equal(sample.truth, sample.label)


def test_named_as_a_source(tmp_path: Path) -> None:
    published_ade(tmp_path)
    source = open_source(Data(source=f"ade20k:{tmp_path}", annotation="dense"), "train")
    assert isinstance(source, Ade20k)


@pytest.mark.parametrize("make", [published_ade, official_ade])
@pytest.mark.parametrize("place", ["train/sparse_label/block20", "annotations/block20/train"])
def test_blocks_are_zero_where_unlabelled(tmp_path: Path, make, place: str) -> None:
    make(tmp_path)
    label = ade_label(1) * 0
    label[4, 22:26] = 150
    write_label(tmp_path / place / f"{ade_names()[1]}.png", label)
    source = Ade20k(tmp_path, "train", BLOCK)
    assert source.names == ade_names()[1:2]
    assert np.array_equal(source[0].label, label - 1)
    assert np.array_equal(source[0].truth, ade_label(1) - 1)


def test_255_is_refused_unless_it_is_said_to_mean_nothing(tmp_path: Path) -> None:
    published_ade(tmp_path)
    label = ade_label()
    label[0] = 255
    file = tmp_path / "train/sparse_label/block20" / f"{ade_names()[0]}.png"
    write_label(file, label)
    words = re.escape(f"{file} must have the values 1…150 (ade20k), or where there is no class 0;")
    with pytest.raises(ValueError, match=words + " has also 255"):
        Ade20k(tmp_path, "train", BLOCK)[0]
    sample = Ade20k(tmp_path, "train", Data(annotation="block20", ignore=(255,)))[0]
    assert (sample.label[0] == -1).all()
    assert np.array_equal(sample.label[1:], ade_label()[1:] - 1)


def test_images_are_not_turned_since_labels_are_not(tmp_path: Path) -> None:
    published_ade(tmp_path)
    file = tmp_path / "images/training/ADE_train_00000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.open(file).save(file, exif=exif)
    assert Ade20k(tmp_path, "train", DENSE)[0].image.shape == (3, 24, 40)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    published_ade(tmp_path)
    gone = tmp_path / "annotations/training/ADE_train_00000002.png"
    gone.unlink()
    with pytest.raises(MissingFilesError, match=re.escape(str(gone))):
        Ade20k(tmp_path, "train", DENSE)
    write_label(tmp_path / "train/sparse_label/block20/ADE_train_00000009.png", ade_label())
    image = tmp_path / "images/training/ADE_train_00000009.jpg"
    with pytest.raises(MissingFilesError, match=re.escape(str(image))):
        Ade20k(tmp_path, "train", BLOCK)
    with pytest.raises(ValueError, match=r"images.validation .* or val.image .*, has neither"):
        Ade20k(tmp_path, "val", DENSE)


@pytest.mark.parametrize("make", [published_ade, official_ade])
def test_a_label_without_its_image(tmp_path: Path, make) -> None:
    make(tmp_path)
    (gone,) = tmp_path.rglob("ADE_train_00000001.jpg")
    gone.unlink()
    with pytest.raises(MissingFilesError, match=re.escape(f"are missing: {gone}")):
        Ade20k(tmp_path, "train", DENSE)
    rest = Ade20k(tmp_path, "train", DENSE, skip_missing=True)
    assert rest.names == ade_names()[1:]
    write_label(tmp_path / "train/sparse_label/block20/ADE_train_00000003.png", ade_label(2))
    blocks = Ade20k(tmp_path, "train", BLOCK)
    folder = tmp_path / "train/sparse_label/block20"
    assert blocks.without_annotation == [folder / f"{name}.png" for name in ade_names()[:2]]


@pytest.mark.parametrize("place", ["release_test/testing", "../release_test/testing"])
def test_test_split_has_no_labels(tmp_path: Path, place: str) -> None:
    root = tmp_path / "ADEChallengeData2016"
    root.mkdir()
    write_image(root / place / "ADE_test_00000001.jpg")
    source = Ade20k(root, "test", DENSE)
    assert source.names == ("ADE_test_00000001",)
    assert (source[0].truth == -1).all()


def test_short_side_is_for_training(tmp_path: Path) -> None:
    for split, shape in (("train", (12, 20)), ("val", (24, 40))):
        published_ade(tmp_path, split)
        source = Ade20k(tmp_path, split, Data(annotation="dense", short_side=12))
        assert source[0].image.shape == (3, *shape)
        assert tuple(source[0].label.shape) == shape
