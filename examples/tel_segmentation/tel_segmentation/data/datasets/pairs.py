"""Pairs of an image file and a label file: the common part of Cityscapes and ADE20K."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.encoding import Encoding, check_ignore
from tel_segmentation.data.datasets.samples import make_sample
from tel_segmentation.data.formats.photographs import look
from tel_segmentation.data.image_files import (
    by_name,
    check_size,
    expanded,
    is_text,
    read_image,
    read_label,
    some,
    visible,
)
from tel_segmentation.data.manifest import SHEET
from tel_segmentation.data.sample import UNLABELLED, Sample


class MissingFilesError(ValueError):
    """Files that a data set must have are missing."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__(f"{len(paths)} files must be there, are missing: {some(paths)}")
        self.paths = paths


class Entry(NamedTuple):
    """The paths of a sample's files, which need not exist."""

    name: str
    image: Path
    label: Path | None  # the labels for training; None: there are none
    truth: Path | None  # dense


class Pairs:
    """A split of a data set in pairs of files, which are read on access.

    Args:
        root: the data set's folder; its sub-folder ``annotations`` has the generated annotations.
        split: train, val, ….
        entries: the files, in order.
        label: the encoding of the label files.
        truth: the encoding of the dense label files.
        options: size, short_side; ``ignore`` for label files that are not the dense ones.
        skip_missing: leave out samples with missing files instead of raising an error.
        annotation_folder: the folder of sparse label files.

    Attributes:
        names: of the samples.
        entries: their files.
        missing: the missing files; empty unless ``skip_missing``.
        encoding: of the dense labels.
        label_encoding: of the label files.
        annotation_folder: as given; None: training uses the dense labels.

    Raises:
        MissingFilesError: files are missing; their paths are in the message.
        ValueError: a name is not text, or a number to ignore cannot occur in label files.
    """

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    without_annotation: Sequence[Path] = ()
    """Expected paths of the sparse labels of images that have none; these are not trained on."""

    def __init__(
        self,
        root: Path,
        split: str,
        entries: Iterable[Entry],
        label: Encoding,
        truth: Encoding,
        options: Data,
        skip_missing: bool = False,
        annotation_folder: Path | None = None,
    ) -> None:
        check_ignore(options.ignore)
        entries = list(entries)
        needed = [file for x in entries for file in dict.fromkeys(x[1:]) if file is not None]
        self.missing = _missing(needed)
        if self.missing and not skip_missing:
            raise MissingFilesError(self.missing)
        gone = set(self.missing)
        self.entries = [entry for entry in entries if gone.isdisjoint(entry[1:])]
        self.root, self.split, self.options = root, split, options
        self.names = tuple(entry.name for entry in self.entries)
        if odd := [ascii(name) for name in self.names if not is_text(name)]:
            raise ValueError(f"{root} must have file names that are text, has {some(odd)}")
        self.encoding, self.label_encoding = truth, label
        self.annotation_folder = annotation_folder

    def __len__(self) -> int:
        return len(self.entries)

    def shape_of(self, index: int) -> tuple[int, int]:
        """Height and width of an image's file, whose pixels are not read."""
        return look(self.entries[index].image).stored[::-1]

    def __getitem__(self, index: int) -> Sample:
        """One image: uint8 (3, H, W), and int64 (H, W) label and truth, -1 where there is no class.

        Raises:
            ValueError: a file cannot be read, sizes differ, or a label has a value that is neither
                a class nor ignored. The message names the file.
        """
        entry = self.entries[index]
        image = read_image(entry.image, upright=False)  # labels are for the stored pixels
        same = entry.label == entry.truth
        truth = self._read(entry.truth, image, self.encoding, ())
        ignore = self.options.ignore
        label = truth if same else self._read(entry.label, image, self.label_encoding, ignore)
        return make_sample(entry.name, image, label, truth.copy(), self.options, self.split)

    def _read(
        self, file: Path | None, image: Image.Image, encoding: Encoding, ignore: tuple[int, ...]
    ) -> NDArray[np.int64]:
        if file is None:
            return np.full(image.size[::-1], UNLABELLED, np.int64)
        values = read_label(file)
        check_size(file, values, image)
        return encoding.classes(file, values, ignore)


def annotation_files(
    root: Path, split: str, annotation: str, patterns: Sequence[str] = ("*.png",)
) -> tuple[Path, dict[str, Path]]:
    """The folder of a sparse annotation, and its label files by name.

    An annotation's name stands for a folder in the official code's layout or for one that ``tel
    annotate`` made; otherwise it is a folder's path, with or without a sub-folder for the split.

    Args:
        root: the data set's folder.
        split: train, ….
        annotation: the name or the path.
        patterns: glob patterns of the files in the folder.

    Raises:
        ValueError: none of these folders has such files; the message lists the folders.
    """
    path = expanded(annotation)
    folders = [path / split, path]
    if len(path.parts) == 1:
        named = (root / split / "sparse_label" / path, root / "annotations" / path / split)
        folders = [*named, *folders]
    for folder in folders:
        files = [file for p in patterns for file in folder.glob(p) if file.name[0] != "."]
        if named_files := {name: file for name, file in by_name(files).items() if name != SHEET}:
            return folder, named_files
    raise ValueError(
        f"annotation {annotation} of {split} must be PNG files in one of the folders"
        f" {', '.join(map(str, folders))}; there are none"
    )


def images_of(folder: Path, suffixes: Sequence[str]) -> Mapping[str, Path]:
    """The images of a folder by name, sorted.

    Raises:
        ValueError: there is no such folder, or it has no images.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} must be a folder of images, there is none")
    files = by_name(file for file in visible(folder) if file.suffix.lower() in suffixes)
    if not files:
        raise ValueError(f"{folder} must have images ({', '.join(suffixes)}), has none")
    return files


def check_split(split: str, splits: Iterable[str]) -> None:
    """Raises a ValueError if there is no such split."""
    if split not in splits:
        raise ValueError(f"split must be one of {', '.join(splits)}, got {split!r}")


def _missing(files: Iterable[Path]) -> list[Path]:
    """The files that do not exist. Each folder is listed once, since network drives are slow."""
    listed: dict[Path, set[str]] = {}
    missing = []
    for file in files:
        if file.parent not in listed:
            there = file.parent.iterdir() if file.parent.is_dir() else ()
            listed[file.parent] = {path.name for path in there}
        if file.name not in listed[file.parent]:
            missing.append(file)
    return missing
