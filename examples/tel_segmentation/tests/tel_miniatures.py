"""The paper's three data sets in miniature, in one data root, in their published layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tel_street
import tel_voc
from tel_folders import write_label

from tel_segmentation.commands.run import Run
from tel_segmentation.data.datasets.public import published_counts

COUNTS = {
    "voc": {"train": 4, "val": 2, "test": 1},
    "cityscapes": {"train": 3, "val": 3, "test": 3},
    "ade20k": {"train": 3, "val": 3, "test": 3},
}


def publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test, the published numbers of images are those of the miniatures."""
    for kind, counts in COUNTS.items():
        for split, count in counts.items():
            monkeypatch.setitem(published_counts(kind), split, count)


def data_root(root: Path) -> Path:
    """A data root: voc2012 (VOCdevkit with SBD, points, scribbles), cityscapes, ADE20K."""
    voc(root / "voc2012")
    cityscapes(root / "cityscapes")
    ade20k(root / "ADEChallengeData2016")
    return root


def voc(folder: Path) -> None:
    """The layout of the archives, with SegmentationClassAug and both kinds of annotation."""
    inner = folder / "VOCdevkit" / "VOC2012"
    tel_voc.write_voc(inner)
    tel_voc.write_augmented(inner)
    tel_voc.write_points(folder)
    tel_voc.write_scribbles(folder / "voc_scribbles.zip")
    names = "".join(f"{name}\n" for name in tel_voc.TRAIN)
    (inner / "ImageSets" / "Segmentation" / "trainaug.txt").write_text(names)


def cityscapes(folder: Path) -> None:
    """The published layout, with blocks in the folder that the official code uses."""
    for split in ("train", "val"):
        tel_street.published_cityscapes(folder, split)
    for percent in (10, 20, 50):
        for seed, name in enumerate(tel_street.CITY_NAMES):
            file = f"train/sparse_label/block{percent}/{name}_leftImg8bit.png"
            write_label(folder / file, kept(tel_street.street(seed), 255))


def ade20k(folder: Path) -> None:
    """The published layout, with blocks in the folder that ``tel annotate`` uses."""
    for split in ("train", "val"):
        tel_street.published_ade(folder, split)
    for percent in (10, 20, 50):
        for seed, name in enumerate(tel_street.ade_names()):
            file = folder / "annotations" / f"block{percent}" / "train" / f"{name}.png"
            write_label(file, kept(tel_street.ade_label(seed), 0))


def kept(label: np.ndarray, nothing: int) -> np.ndarray:
    """Every third column of a label map."""
    result = np.full_like(label, nothing)
    result[:, ::3] = label[:, ::3]
    return result


def tiny(id: str, root: Path, folder: Path, **changes: Any) -> Run:
    """The options for a rehearsal of an experiment."""
    options = Run(
        id, data_root=root, output=folder, tiny=True, protocols=("ss",), device="cpu", threads=1
    )
    return replace(options, **changes)
