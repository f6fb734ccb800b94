"""Cityscapes: both layouts, both encodings, sparse annotations, and invalid files."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tel_folders import write_label
from tel_street import (
    CITY_NAMES,
    official_cityscapes,
    published_cityscapes,
    street,
    street_classes,
    train_ids,
)

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.cityscapes import CLASSES, COLORS, LABEL_IDS, Cityscapes
from tel_segmentation.data.datasets.pairs import MissingFilesError
from tel_segmentation.data.loading import open_source

DENSE = Data(annotation="dense")
BLOCK = Data(annotation="block20")
NAMES = tuple(f"{name}_leftImg8bit" for name in CITY_NAMES)


def block(seed: int) -> np.ndarray:
    """An annotation in labelIds: a few pixels of car and road; the rest has a void number."""
    label = np.full(street(seed).shape, (0, 255, 3)[seed])
    label[10:12, 12:14] = 26
    label[18, 30:] = 7
    return label


def block_classes() -> np.ndarray:
    label = np.full(street().shape, -1)
    label[10:12, 12:14] = 13
    label[18, 30:] = 0
    return label


def test_classes_have_the_published_numbers() -> None:
    assert len(CLASSES) == len(COLORS) == len(set(CLASSES)) == len(set(COLORS)) == 19
    for number, index, name in [
        (7, 0, "road"), (8, 1, "sidewalk"), (11, 2, "building"), (12, 3, "wall"), (13, 4, "fence"),
        (17, 5, "pole"), (19, 6, "traffic light"), (20, 7, "traffic sign"), (21, 8, "vegetation"),
        (22, 9, "terrain"), (23, 10, "sky"), (24, 11, "person"), (25, 12, "rider"), (26, 13, "car"),
        (27, 14, "truck"), (28, 15, "bus"), (31, 16, "train"), (32, 17, "motorcycle"),
        (33, 18, "bicycle"),
    ]:  # fmt: skip
        assert CLASSES[index] == name
        assert LABEL_IDS.table()[number] == index
    assert (LABEL_IDS.table() >= 0).sum() == 19
    assert COLORS[13] == (0, 0, 142)


@pytest.mark.parametrize("make", [published_cityscapes, official_cityscapes])
@pytest.mark.parametrize("split", ["train", "val"])
def test_dense_samples_of_both_layouts(tmp_path: Path, make, split: str) -> None:
    make(tmp_path, split)
    source = Cityscapes(tmp_path, split, DENSE)
    assert len(source) == 3
    assert source.names == NAMES
    for seed in range(3):
        sample = source[seed]
        assert sample.name == NAMES[seed]
        assert sample.image.dtype == torch.uint8
        noise = np.random.default_rng(seed).integers(0, 256, (24, 40, 3), dtype=np.uint8)
        assert np.array_equal(sample.image.permute(1, 2, 0), noise)
        assert np.array_equal(sample.label, street_classes(seed))
        assert torch.equal(sample.truth, sample.label)
        assert sample.truth.data_ptr() != sample.label.data_ptr()


def test_named_as_a_source(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    source = open_source(Data(source=f"cityscapes:{tmp_path}", annotation="dense"), "train")
    assert isinstance(source, Cityscapes)
    assert source.classes == CLASSES


@pytest.mark.parametrize("asked", ["auto", "trainIds"])
def test_train_ids_by_the_files_names(tmp_path: Path, asked) -> None:
    published_cityscapes(tmp_path, encodings=("trainIds",))
    source = Cityscapes(tmp_path, "train", Data(annotation="dense", encoding=asked))
    assert np.array_equal(source[1].label, street_classes(1))


def test_encoding_chooses_among_both(tmp_path: Path) -> None:
    published_cityscapes(tmp_path, encodings=("labelIds", "trainIds"))
    for file in tmp_path.rglob("*_labelIds.png"):
        file.write_bytes(b"")
    source = Cityscapes(tmp_path, "train", Data(annotation="dense", encoding="trainIds"))
    assert np.array_equal(source[0].label, street_classes(0))
    with pytest.raises(ValueError, match=r"gtFine_labelIds\.png must be a readable image"):
        Cityscapes(tmp_path, "train", DENSE)[0]


def test_flat_train_ids_are_asked_for(tmp_path: Path) -> None:
    official_cityscapes(tmp_path)
    for seed, name in enumerate(NAMES):
        write_label(tmp_path / "train/label" / f"{name}.png", train_ids(seed))
    source = Cityscapes(tmp_path, "train", Data(annotation="dense", encoding="trainIds"))
    assert np.array_equal(source[2].label, street_classes(2))


@pytest.mark.parametrize("make", [published_cityscapes, official_cityscapes])
@pytest.mark.parametrize("place", ["train/sparse_label/block20", "annotations/block20/train"])
def test_blocks_decide_which_images_there_are(tmp_path: Path, make, place: str) -> None:
    make(tmp_path)
    for seed in (0, 2):
        write_label(tmp_path / place / f"{NAMES[seed]}.png", block(seed))
    write_label(tmp_path / place / "contact_sheet.png", block(0))
    source = Cityscapes(tmp_path, "train", BLOCK)
    assert source.names == (NAMES[0], NAMES[2])
    for index, seed in enumerate((0, 2)):
        assert np.array_equal(source[index].label, block_classes())
        assert np.array_equal(source[index].truth, street_classes(seed))


@pytest.mark.parametrize("inside", ["", "train", "aachen"])
def test_annotations_by_path(tmp_path: Path, inside: str) -> None:
    published_cityscapes(tmp_path / "data")
    folder = tmp_path / "elsewhere"
    write_label(folder / inside / f"{CITY_NAMES[0]}_gtFine_labelTrainIds.png", train_ids())
    source = Cityscapes(tmp_path / "data", "train", Data(annotation=str(folder)))
    assert source.names == (NAMES[0],)
    assert np.array_equal(source[0].label, street_classes())


def test_sparse_alone_needs_no_dense_labels(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    shutil.rmtree(tmp_path / "gtFine")
    write_label(tmp_path / "train/sparse_label/block20" / f"{NAMES[0]}.png", block(0))
    sample = Cityscapes(tmp_path, "train", BLOCK)[0]
    assert np.array_equal(sample.label, block_classes())
    assert (sample.truth == -1).all()


def test_sparse_encoding_is_asked_for_and_other_values_are_named(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    label = train_ids()
    label[0, 0] = 19  # some annotations use it for no class
    file = tmp_path / "train/sparse_label/block20" / f"{NAMES[0]}.png"
    write_label(file, label)
    options = Data(annotation="block20", encoding="trainIds")
    # The annotation has trainIds. The dense labels only exist as labelIds, and are read as such.
    source = Cityscapes(tmp_path, "train", options)
    with pytest.raises(
        ValueError, match=re.escape(f"{file} must have the values 0…18 (trainIds)") + ".*also 19"
    ):
        source[0]
    ignoring = Data(annotation="block20", encoding="trainIds", ignore=(19,))
    expected = street_classes()
    expected[0, 0] = -1
    sample = Cityscapes(tmp_path, "train", ignoring)[0]
    assert np.array_equal(sample.label, expected)
    assert np.array_equal(sample.truth, street_classes())
    # So a run that trains on them can be evaluated on labelIds.
    published_cityscapes(tmp_path, "val")
    dense = Data(annotation="dense", encoding="trainIds", ignore=(19,))
    assert np.array_equal(Cityscapes(tmp_path, "val", dense)[1].truth, street_classes(1))


def test_size_and_short_side(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    sample = Cityscapes(tmp_path, "train", Data(annotation="dense", short_side=12))[0]
    assert sample.image.shape == (3, 12, 20)
    assert sample.label.shape == sample.truth.shape == (12, 20)
    assert set(sample.label.unique().tolist()) <= {-1, 0, 5, 10, 13}


def test_test_split_needs_no_labels(tmp_path: Path) -> None:
    published_cityscapes(tmp_path, "test")
    shutil.rmtree(tmp_path / "gtFine")
    source = Cityscapes(tmp_path, "test", DENSE)
    assert source.names == NAMES
    assert (source[0].truth == -1).all()


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    gone = tmp_path / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png"
    gone.unlink()
    with pytest.raises(
        MissingFilesError, match=re.escape(f"1 files must be there, are missing: {gone}")
    ):
        Cityscapes(tmp_path, "train", DENSE)
    rest = Cityscapes(tmp_path, "train", DENSE, skip_missing=True)
    assert rest.names == (NAMES[0], NAMES[2])
    assert rest.missing == [gone]


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (published_cityscapes, "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png"),
        (official_cityscapes, "train/image/aachen_000000_000019_leftImg8bit.png"),
    ],
)
def test_a_label_without_its_image(tmp_path: Path, make, place: str) -> None:
    make(tmp_path)
    (tmp_path / place).unlink()
    with pytest.raises(MissingFilesError, match=re.escape(f"are missing: {tmp_path / place}")):
        Cityscapes(tmp_path, "train", DENSE)
    rest = Cityscapes(tmp_path, "train", DENSE, skip_missing=True)
    assert rest.names == NAMES[1:]
    assert rest.missing == [tmp_path / place]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("aachen_000000_000019_leftImg8bit.png", "zurich_000121_000019_leftImg8bit.png"),
        ("aachen/aachen_000000_000019_gtFine_labelIds.png",
         "zurich/zurich_000121_000019_gtFine_labelIds.png"),
    ],
)  # fmt: skip
def test_images_that_an_annotation_lacks(tmp_path: Path, given: str, expected: str) -> None:
    """Of one of them only the image exists, of the other only the dense label."""
    published_cityscapes(tmp_path)
    (tmp_path / "gtFine/train/zurich/zurich_000121_000019_gtFine_labelIds.png").unlink()
    (tmp_path / "leftImg8bit/train/aachen/aachen_000001_000019_leftImg8bit.png").unlink()
    folder = tmp_path / "train/sparse_label/block20"
    write_label(folder / given, block(0))
    source = Cityscapes(tmp_path, "train", BLOCK)
    assert source.names == NAMES[:1]
    second = given.replace("000000", "000001")
    assert source.without_annotation == [folder / expected, folder / second]
    assert source.annotation_folder == folder
    assert Cityscapes(tmp_path, "train", DENSE, skip_missing=True).annotation_folder is None


def test_an_annotation_without_its_image(tmp_path: Path) -> None:
    published_cityscapes(tmp_path)
    write_label(tmp_path / "train/sparse_label/block20/ulm_000000_000019_leftImg8bit.png", block(0))
    image = tmp_path / "leftImg8bit/train/ulm/ulm_000000_000019_leftImg8bit.png"
    with pytest.raises(MissingFilesError, match=re.escape(str(image))):
        Cityscapes(tmp_path, "train", BLOCK)


def test_labels_of_another_size(tmp_path: Path) -> None:
    official_cityscapes(tmp_path)
    write_label(tmp_path / "train/label" / f"{NAMES[0]}.png", street()[:, 2:])
    with pytest.raises(ValueError, match="must be 40 × 24 pixels like its image, got 38 × 24"):
        Cityscapes(tmp_path, "train", DENSE)[0]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder leftImg8bit.val .* or val.image .*, has neither"):
        Cityscapes(tmp_path, "val", DENSE)
    (tmp_path / "leftImg8bit/val").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"val must have images CITY.NAME_leftImg8bit\.png"):
        Cityscapes(tmp_path, "val", DENSE)
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'minival'"):
        Cityscapes(tmp_path, "minival", DENSE)
    published_cityscapes(tmp_path)
    with pytest.raises(
        ValueError, match=r"train.sparse_label.block20, .*annotations.block20.train"
    ):
        Cityscapes(tmp_path, "train", BLOCK)
