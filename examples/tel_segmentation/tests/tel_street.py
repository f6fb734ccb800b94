"""Small folders with files in exactly the published formats of Cityscapes and ADE20K."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tel_folders import write_image, write_label

CITY_NAMES = ("aachen_000000_000019", "aachen_000001_000019", "zurich_000121_000019")
HEIGHT, WIDTH = 24, 40


def street(seed: int = 0) -> NDArray[np.int64]:
    """A scene in labelIds: sky, road, a car, a pole; ego vehicle and static are void."""
    label = np.full((HEIGHT, WIDTH), 23)
    label[12:] = 7
    x = 6 + seed % 5
    label[8:16, x : x + 10] = 26
    label[2:14, 30] = 17
    label[20:] = 1
    label[0, :4] = 4
    return label


def street_classes(seed: int = 0) -> NDArray[np.int64]:
    """The same scene as classes (trainIds), with -1 for void."""
    numbers = {23: 10, 7: 0, 26: 13, 17: 5}
    label = street(seed)
    classes = np.full(label.shape, -1)
    for number, value in numbers.items():
        classes[label == number] = value
    return classes


def train_ids(seed: int = 0) -> NDArray[np.int64]:
    """The same scene as in files of trainIds, with 255 for void."""
    classes = street_classes(seed)
    return np.where(classes < 0, 255, classes)


def published_cityscapes(
    folder: Path, split: str = "train", encodings: tuple[str, ...] = ("labelIds",)
) -> Path:
    """Writes leftImg8bit and gtFine, including published files that the package does not use."""
    for seed, name in enumerate(CITY_NAMES):
        city = name.split("_")[0]
        stem = folder / "gtFine" / split / city / name
        write_image(
            folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", HEIGHT, WIDTH, seed
        )
        if "labelIds" in encodings:
            write_label(Path(f"{stem}_gtFine_labelIds.png"), street(seed))
        if "trainIds" in encodings:
            write_label(Path(f"{stem}_gtFine_labelTrainIds.png"), train_ids(seed))
        write_label(Path(f"{stem}_gtFine_instanceIds.png"), street(seed) * 0)
        write_image(Path(f"{stem}_gtFine_color.png"), HEIGHT, WIDTH)
        Path(f"{stem}_gtFine_polygons.json").write_text("{}")
    return folder


def official_cityscapes(folder: Path, split: str = "train") -> Path:
    """Writes the flat layout of the paper's code: both files have the image's name."""
    for seed, name in enumerate(CITY_NAMES):
        write_image(folder / split / "image" / f"{name}_leftImg8bit.png", HEIGHT, WIDTH, seed)
        write_label(folder / split / "label" / f"{name}_leftImg8bit.png", street(seed))
    return folder


def ade_label(seed: int = 0) -> NDArray[np.int64]:
    """A label map in the published numbers: 0 other, 1 wall, 4 floor, 150 flag."""
    label = np.full((HEIGHT, WIDTH + seed), 1)
    label[14:] = 4
    label[3:7, 20:30] = 150
    label[:, :2] = 0
    return label


def ade_names(split: str = "train") -> tuple[str, ...]:
    """The names of the images, as published."""
    return tuple(f"ADE_{split}_{number:08d}" for number in (1, 2, 3))


def published_ade(folder: Path, split: str = "train") -> Path:
    """Writes the folders of ADEChallengeData2016."""
    long = {"train": "training", "val": "validation"}[split]
    for seed, name in enumerate(ade_names(split)):
        write_image(folder / "images" / long / f"{name}.jpg", HEIGHT, WIDTH + seed, seed)
        write_label(folder / "annotations" / long / f"{name}.png", ade_label(seed))
    (folder / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tName\n")
    return folder


def official_ade(folder: Path, split: str = "train") -> Path:
    """Writes the layout of the paper's code."""
    for seed, name in enumerate(ade_names(split)):
        write_image(folder / split / "image" / f"{name}.jpg", HEIGHT, WIDTH + seed, seed)
        write_label(folder / split / "label" / f"{name}.png", ade_label(seed))
    return folder
