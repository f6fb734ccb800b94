"""Where the files of Pascal VOC 2012 and of the Semantic Boundaries Dataset (SBD) are.

Pascal VOC is in the folder itself, or in its sub-folder ``VOC2012``, ``VOCdevkit/VOC2012`` (the
layout of the archive and of torchvision) or ``VOC/VOCdevkit/VOC2012`` (that of the official code).
The masks and names of the further training images are beside it, in one of these forms:

- ``SegmentationClassAug`` in Pascal VOC's folder, and a list of names: ``train_aug.txt`` or
  ``trainaug.txt`` in ``ImageSets/SegmentationAug`` or ``ImageSets/Segmentation``, or ``aug.txt`` in
  the latter with the names that are not in ``train.txt``. Without a list, all masks are used except
  those of the validation set.
- SBD as published, ``cls/NAME.mat``, ``train.txt`` and ``val.txt``, in ``SBD``,
  ``benchmark_RELEASE/dataset`` or ``VOCdevkit/VOCaug/dataset``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tel_segmentation.data.datasets.sbd import augmented_names, read_names

SPLITS = ("train", "val", "test")
VOC_PLACES = ("", "VOC2012", "VOCdevkit/VOC2012", "VOC/VOCdevkit/VOC2012")
SBD_PLACES = (
    "SBD",
    "sbd",
    "benchmark_RELEASE/dataset",
    "SBD/benchmark_RELEASE/dataset",
    "VOCdevkit/VOCaug/dataset",
    "VOCaug/dataset",
)
LISTS = ("ImageSets/SegmentationAug", "ImageSets/Segmentation")
AUGMENTED = ("train_aug.txt", "trainaug.txt")


@dataclass(frozen=True)
class Layout:
    """The folders that were found."""

    folder: Path
    """The given folder."""
    voc: Path
    """Pascal VOC's folder, with JPEGImages, SegmentationClass, ImageSets."""
    sbd: Path | None
    """SBD's folder, with cls, train.txt, val.txt."""

    def places(self) -> list[Path]:
        """Folders in which annotations may be, the given one first."""
        return list(dict.fromkeys([*_around(self.folder), self.voc]))

    def names(self, split: str) -> list[str]:
        """The images of a split, sorted: ``train`` is VOC's and SBD's without VOC's ``val``.

        Raises:
            ValueError: the split is unknown, or a list is missing; the message has the paths.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        if split != "train":
            return sorted(self._list(f"{split}.txt"))
        val = self._list("val.txt")
        for folder in LISTS:
            for file in AUGMENTED:
                if (path := self.voc / folder / file).is_file():
                    return augmented_names(read_names(path), val, ())
        if (path := self.voc / "ImageSets/Segmentation/aug.txt").is_file():
            return augmented_names(self._list("train.txt"), val, read_names(path))
        if self.sbd is not None:
            sbd = read_names(self.sbd / "train.txt") + read_names(self.sbd / "val.txt")
            return augmented_names(self._list("train.txt"), val, sbd)
        if masks := _files(self.voc / "SegmentationClassAug", ".png"):
            return augmented_names(masks, val, ())
        raise ValueError(
            f"{self.folder} must have the images that extend VOC's training set to 10,582: SBD"
            f" (cls, train.txt, val.txt) in {self.folder / SBD_PLACES[0]}, or"
            f" {self.voc / 'SegmentationClassAug'}, or their names in"
            f" {self.voc / LISTS[0] / AUGMENTED[0]}; none of these is there"
        )

    def images(self, names: Iterable[str]) -> dict[str, Path]:
        """The image of every name that has one."""
        images = self._images
        return {name: images[name] for name in names if name in images}

    def image(self, name: str) -> Path:
        """The path where an image is expected."""
        return self.voc / "JPEGImages" / f"{name}.jpg"

    def masks(self, names: Iterable[str]) -> dict[str, Path]:
        """The dense labels of those names that have some.

        VOC's own masks take precedence. For VOC's own training and validation set, SBD's masks are
        never used: they have no void, so results on them would differ.
        """
        masks = self._masks
        return {name: masks[name] for name in names if name in masks}

    def mask(self, name: str, split: str) -> Path:
        """The path where a missing dense label is expected."""
        augmented = self.voc / "SegmentationClassAug"
        if split != "train" or name in self._own:
            return self.voc / "SegmentationClass" / f"{name}.png"
        if self.sbd is not None and not augmented.is_dir():
            return self.sbd / "cls" / f"{name}.mat"
        return augmented / f"{name}.png"

    @cached_property
    def _images(self) -> dict[str, Path]:
        others = _files(self.sbd / "img", ".jpg") if self.sbd else {}
        return others | _files(self.voc / "JPEGImages", ".jpg")

    @cached_property
    def _masks(self) -> dict[str, Path]:
        sbd = _files(self.sbd / "cls", ".mat") if self.sbd else {}
        sbd = {name: file for name, file in sbd.items() if name not in self._own}
        augmented = _files(self.voc / "SegmentationClassAug", ".png")
        return sbd | augmented | _files(self.voc / "SegmentationClass", ".png")

    @cached_property
    def _own(self) -> set[str]:
        """The names in VOC's own training and validation set, if their lists exist."""
        lists = [self.voc / "ImageSets/Segmentation/train.txt", self._place("val.txt")]
        return {name for path in lists if path.is_file() for name in read_names(path)}

    def _list(self, file: str) -> list[str]:
        return read_names(self._place(file))

    def _place(self, file: str) -> Path:
        """The path of a list of names, or where it is expected."""
        paths = [self.voc / folder / file for folder in reversed(LISTS)]
        return next((path for path in paths if path.is_file()), paths[0])


def find_layout(folder: Path) -> Layout:
    """Finds Pascal VOC 2012, and SBD if it exists.

    Raises:
        ValueError: there is no folder ``JPEGImages``; the message says where it is expected.
    """
    found = [folder / place for place in VOC_PLACES if (folder / place / "JPEGImages").is_dir()]
    if not found:
        places = ", ".join(str(folder / place / "JPEGImages") for place in VOC_PLACES)
        raise ValueError(
            f"{folder} must have Pascal VOC 2012, got none of {places}; tel prepare voc makes it"
            " from the archives"
        )
    bases = [base / place for base in _around(folder) for place in SBD_PLACES]
    sbd = next((b for b in bases if (b / "cls").is_dir() or (b / "train.txt").is_file()), None)
    return Layout(folder, found[0], sbd)


def _around(folder: Path) -> list[Path]:
    """The folder, and its parents while the folder is called VOC2012 or VOCdevkit."""
    around = [folder]
    path = folder.absolute()
    while path.name in ("VOC2012", "VOCdevkit"):
        path = path.parent
        around.append(path)
    return around


def _files(folder: Path, suffix: str) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    files = (file for file in folder.iterdir() if file.name[0] != ".")
    return {file.stem: file for file in files if file.suffix == suffix}
