"""A user's own data set, in the folders that ``dataset_file`` describes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tel_segmentation.config import Labels
from tel_segmentation.data.aspect import size_for
from tel_segmentation.data.dataset_file import DatasetInfo, open_dataset, where
from tel_segmentation.data.formats.photographs import look
from tel_segmentation.data.image_files import (
    LARGEST,
    check_size,
    labels_of_other_formats,
    read_image,
    read_label,
    some,
)
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED, Sample
from tel_segmentation.data.sparse_labels import label_kind, resize_label

_UNKNOWN = -3
KEPT = 2**28
"""Bytes of resized samples that a process keeps, because decoding large photographs takes long."""


class Folder:
    """A split of a data set in folders; files are listed on creation and read on access.

    Samples that are made smaller are kept in memory, up to ``KEPT``.

    Args:
        toml: the data set's TOML file.
        split: train, val, ….
        annotation: the labels for training; see ``DatasetInfo.labels``.
        size: height and width to which image (bicubic, antialiased) and labels
            (``sparse_labels``) are resized; None leaves them as they are.
        labels: as ``config.Data.labels``.
        keep_aspect: as ``config.Data.keep_aspect``.

    Raises:
        ValueError: the TOML file is not valid, or a folder or an image's label is missing.
    """

    def __init__(
        self,
        toml: Path | str,
        split: str,
        annotation: str,
        size: tuple[int, int] | None = None,
        labels: Labels = "kept",
        keep_aspect: bool = False,
    ) -> None:
        self.info = open_dataset(toml)
        self.classes = self.info.classes
        self.colors = self.info.colors
        self.size, self.labels, self.keep_aspect = size, labels, keep_aspect
        images = self.info.images(split)
        marked = self.info.labels(split, annotation)
        if missing := [name for name in images if name not in marked]:
            place = where(self.info, split, annotation)
            folders = self.info.label_folders(split, annotation)
            hints = (labels_of_other_formats(folder, missing) for folder in folders)
            raise ValueError(
                f"{self.info.path}: every image of {split} must have a label of the same name in"
                f" {place}; {len(missing)} of {len(images)} have none:"
                f" {some(images[name].name for name in missing)}{next(filter(None, hints), '')}"
            )
        truths = marked if annotation == "dense" else self.info.labels(split)
        self.sparse = annotation != "dense"
        self._values = label_table(self.info, sparse=self.sparse)
        self._truth_values = label_table(self.info)
        self.names = tuple(images)
        self.annotation_folder: Path | None = None
        """The folder of the sparse label files; None: training uses the dense labels."""
        if annotation != "dense":
            self.annotation_folder = next(iter(marked.values())).parent
        self._kept: dict[int, Sample] = {}
        self._room = KEPT
        self._files = [(name, images[name], marked[name], truths.get(name)) for name in images]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Sample:
        """One image: uint8 (3, H, W), and int64 (H, W) label and truth, -1 where there is no class.

        Raises:
            ValueError: a file cannot be read, sizes differ, or a label has a value that is neither
                a class nor ignored. The message names the file.
        """
        if index in self._kept:
            name, image, label, truth = self._kept[index]
            return Sample(name, image.clone(), label.long(), truth.long())
        sample = self._read(index)
        used = sample.image.nbytes + sample.label.nbytes  # labels are kept as int32
        if self.size is not None and used <= self._room:
            self._room -= used
            self._kept[index] = sample._replace(
                image=sample.image.clone(), label=sample.label.int(), truth=sample.truth.int()
            )
        return sample

    def _read(self, index: int) -> Sample:
        name, image_file, label_file, truth_file = self._files[index]
        image = read_image(image_file)
        label = self._label(label_file, image, self._values, self.sparse)
        if truth_file == label_file:
            truth = label.clone()
        elif truth_file is None:
            truth = torch.full_like(label, UNLABELLED)
        else:
            truth = self._label(truth_file, image, self._truth_values)
        if size := self._size_for(image):
            image = image.resize(size[::-1], Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return Sample(name, pixels, label, truth)

    def shape_of(self, index: int) -> tuple[int, int]:
        """Height and width of an image's file; its pixels are not read.

        Raises:
            ValueError: the file is not a readable image.
        """
        return look(self._files[index][1]).size[::-1]

    def full_label(self, index: int) -> NDArray[np.int64]:
        """The labels for training in the size of their file, (H, W); the image is not read.

        Raises:
            ValueError: as for a sample, except that sizes are not compared.
        """
        file = self._files[index][2]
        return to_classes(file, read_label(file), self._values)

    def _label(
        self, file: Path, image: Image.Image, table: NDArray[np.int64], sparse: bool = False
    ) -> Tensor:
        values = read_label(file)
        check_size(file, values, image)
        label = to_classes(file, values, table)
        if size := self._size_for(image):
            label = resize_label(label, size, label_kind(sparse, self.labels))
        return torch.from_numpy(label)

    def _size_for(self, image: Image.Image) -> tuple[int, int] | None:
        return size_for((image.height, image.width), self.size, self.keep_aspect)


def label_table(info: DatasetInfo, sparse: bool = False) -> NDArray[np.int64]:
    """The class of each value of a label file; -1: no class; less: the value is not allowed."""
    table = np.full(LARGEST + 1, _UNKNOWN, dtype=np.int64)
    table[: len(info.classes)] = np.arange(len(info.classes))
    table[list(info.ignore)] = UNLABELLED
    if sparse:
        table[VOID] = UNLABELLED
    return table


def to_classes(
    path: Path, values: NDArray[np.uint16], table: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A label file's values as classes, -1 where there is no class.

    Raises:
        ValueError: a value is neither a class nor ignored; the message lists such values.
    """
    found = table[values]
    if found.size and found.min() == _UNKNOWN:
        wrong = wrong_values(values, table)
        classes = int(table.max()) + 1
        ignored = ", ".join(map(str, np.flatnonzero(table == UNLABELLED))) or "none"
        raise ValueError(
            f"{path} must have the values 0…{classes - 1} or ignored ones ({ignored}), has also"
            f" {some(wrong)}"
        )
    return found


def wrong_values(values: NDArray[np.uint16], table: NDArray[np.int64]) -> list[int]:
    """The values of a label file that are neither a class nor ignored."""
    wrong = table[values] == _UNKNOWN
    return np.unique(values[wrong]).tolist() if wrong.any() else []
