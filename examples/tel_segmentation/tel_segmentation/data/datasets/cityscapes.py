"""Cityscapes, 2048 × 1024: 2,975 images for training, 500 for validation, 1,525 for testing.

Two layouts are read: the published one (``…_labelTrainIds.png`` is read as well)::

    leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png    gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png

and that of the paper's official code, where an image and its label have the same name::

    SPLIT/image/NAME_leftImg8bit.png               SPLIT/label/NAME_leftImg8bit.png

Sparse annotations (``block20``) are in ``SPLIT/sparse_label/block20/NAME_leftImg8bit.png``, in
``annotations/block20/SPLIT`` (made by ``tel annotate``), or in a folder given by its path. The
split then has only the images with such an annotation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.encoding import Encoding, encoding_of_annotations
from tel_segmentation.data.datasets.pairs import (
    Entry,
    Pairs,
    annotation_files,
    check_split,
    images_of,
)
from tel_segmentation.data.image_files import read_label
from tel_segmentation.data.regions import VOID

COUNTS = {"train": 2975, "val": 500, "test": 1525}

# Name, number in labelIds and colour of each class; the index in the list is the trainId.
_CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
CLASSES = tuple(name for name, _, _ in _CLASSES)
COLORS = tuple(color for _, _, color in _CLASSES)

# In labelIds, every number that is not of an evaluated class means no class, as in the official
# code. Pixels without a label are written as 255: 0 means "unlabeled" too, but it would become
# road if the file were read as trainIds.
LABEL_IDS = Encoding("labelIds", tuple(number for _, number, _ in _CLASSES), VOID, (0,), True)
TRAIN_IDS = Encoding("trainIds", tuple(range(len(_CLASSES))), VOID)
ENCODINGS = {encoding.name: encoding for encoding in (LABEL_IDS, TRAIN_IDS)}

LOOKED_AT = 30  # number of files by which an encoding is judged
IMAGE = "_leftImg8bit"
_FILES = {"labelIds": "_gtFine_labelIds", "trainIds": "_gtFine_labelTrainIds"}
_ENDINGS = re.compile(f"({'|'.join((IMAGE, *_FILES.values()))})$")


class Cityscapes(Pairs):
    """A split of Cityscapes. Names are those of the image files, with ``_leftImg8bit``.

    Args:
        folder: the data set, in one of the layouts at the top of this file.
        split: ``train``, ``val`` or ``test``; ``test`` needs no labels.
        options: annotation, encoding, ignore, size, short_side.
        skip_missing: leave out images with missing files instead of raising an error.

    Raises:
        ValueError: a folder or files are missing (the message has the paths), or annotations are
            of another data set.
    """

    classes = CLASSES
    colors = COLORS

    def __init__(self, folder: Path, split: str, options: Data, skip_missing: bool = False) -> None:
        check_split(split, COUNTS)
        layout = Layout(folder, split, options.encoding)
        label = dense = ENCODINGS[layout.encoding]
        made: Path | None = None
        if options.annotation == "dense":
            entries = [layout.entry(name) for name in layout.names()]
        else:
            made, files = annotation_files(folder, split, options.annotation, ("*.png", "*/*.png"))
            label = _label_encoding(made, files, options)
            sparse = {short(name): file for name, file in files.items()}
            entries = [layout.entry(name, file) for name, file in sparse.items()]
            others = [name for name in layout.names() if name not in sparse]
            self.without_annotation = _expected(made, next(iter(files.values())), others)
        super().__init__(folder, split, entries, label, dense, options, skip_missing, made)

    def like_train_ids(self) -> list[Path]:
        """Folders of label files that are read as labelIds, but look like trainIds."""
        found = []
        labels = [entry.label for entry in self.entries if entry.label is not None]
        truths = [entry.truth for entry in self.entries if entry.truth is not None]
        for files, encoding in ((labels, self.label_encoding), (truths, self.encoding)):
            if encoding is LABEL_IDS and _like_train_ids(files):
                found.append(files[0].parent)
            if labels == truths:
                break
        return found


class Layout:
    """The paths of a split's files.

    Args:
        folder: the data set.
        split: train, val, test.
        encoding: which dense labels are read if there are some in both encodings; or ``auto``.

    Attributes:
        images: folder of the images.
        labels: folder of the dense labels.
        found: images by name, CITY_SEQUENCE_FRAME.
        dense: dense labels by name.
        published: whether it is the published layout, with folders for cities.
        encoding: of the dense labels.

    Raises:
        ValueError: neither layout's folder of images exists, or it has no images.
    """

    def __init__(self, folder: Path, split: str, encoding: str) -> None:
        self.published = (folder / "leftImg8bit" / split).is_dir()
        flat = folder / split / "image"
        if not self.published and not flat.is_dir():
            raise ValueError(
                f"{folder} must have a folder {Path('leftImg8bit') / split} (as published) or"
                f" {Path(split) / 'image'} (as the official code has it), has neither"
            )
        self.images = folder / "leftImg8bit" / split if self.published else flat
        self.labels = folder / "gtFine" / split if self.published else folder / split / "label"
        self.encoding = self._encoding(encoding)
        pattern = f"*/*{_FILES[self.encoding]}.png" if self.published else "*.png"
        labels = [file for file in self.labels.glob(pattern) if file.name[0] != "."]
        self.dense = {short(file.stem): file for file in labels}
        self._has_labels = split != "test" or bool(self.dense)
        self.found = {short(image.stem): image for image in self._images()}

    def names(self) -> list[str]:
        """The names of the images, then of dense labels without an image, which is reported."""
        return [*self.found, *sorted(self.dense.keys() - self.found.keys())]

    def entry(self, name: str, sparse: Path | None = None) -> Entry:
        """The files of an image; if it has a sparse label, the dense one is optional.

        Args:
            name: CITY_SEQUENCE_FRAME.
            sparse: the sparse label file.
        """
        city = name.split("_")[0] if self.published else ""
        dense = self.dense.get(name)
        # In the flat layout an image and its label have the same name.
        file = dense.name if dense and not self.published else f"{name}{IMAGE}.png"
        image = self.found.get(name, self.images / city / file)
        if not self._has_labels or (sparse is not None and dense is None):
            return Entry(image.stem, image, sparse, None)
        stem = name + _FILES[self.encoding] if self.published else image.stem
        dense = dense or self.labels / city / f"{stem}.png"
        return Entry(image.stem, image, sparse or dense, dense)

    def _images(self) -> list[Path]:
        if not self.published:
            return list(images_of(self.images, (".png",)).values())
        files = [x for x in self.images.glob(f"*/*{IMAGE}.png") if x.name[0] != "."]
        if not files:
            raise ValueError(f"{self.images} must have images CITY/NAME{IMAGE}.png, has none")
        return sorted(files, key=lambda file: file.name)

    def _encoding(self, requested: str) -> str:
        """The requested encoding, unless the file names show that there is only the other one.

        A request may be meant for the sparse annotation, whose encoding may differ from that of the
        dense labels. File names in the official code's layout do not state it; it is labelIds.
        """
        if self.published:
            there = [x for x in _FILES if any(self.labels.glob(f"*/*{_FILES[x]}.png"))]
            if there and requested not in there:
                return there[0]
        return "labelIds" if requested == "auto" else requested


def short(stem: str) -> str:
    """CITY_SEQUENCE_FRAME of a file's stem."""
    return _ENDINGS.sub("", stem)


def _expected(folder: Path, example: Path, names: Iterable[str]) -> list[Path]:
    """The paths that sparse labels of these names would have in a folder with ``example``."""
    ending = example.stem.removeprefix(short(example.stem))
    in_cities = example.parent != folder
    return [
        folder / (name.split("_")[0] if in_cities else "") / f"{name}{ending}.png" for name in names
    ]


def _like_train_ids(files: Sequence[Path]) -> bool:
    """Whether a sample of the files has no number above 19 except 255.

    TrainIds end at 18; some published files have 19 where nothing is labelled. In labelIds,
    vegetation, sky, cars and people have greater numbers, and hardly any image has none of them.
    Files that cannot be read are skipped.
    """
    highest = -1
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        try:
            values = read_label(file)
        except ValueError:
            continue
        numbers = values[values != VOID]
        highest = max(highest, int(numbers.max()) if numbers.size else -1)
    return 0 <= highest <= len(CLASSES)


def named_encoding(names: Iterable[str]) -> Encoding | None:
    """The encoding that the names of label files state; None if they state none."""
    names = list(names)
    for encoding, ending in _FILES.items():
        if any(name.endswith(ending) for name in names):
            return ENCODINGS[encoding]
    return None


def _label_encoding(folder: Path, files: dict[str, Path], options: Data) -> Encoding:
    """The encoding of sparse annotations.

    It is what ``tel annotate`` recorded, else what the file names state, else what the options
    request, else labelIds.
    """
    requested = ENCODINGS["labelIds" if options.encoding == "auto" else options.encoding]
    return encoding_of_annotations(folder, ENCODINGS) or named_encoding(files) or requested
