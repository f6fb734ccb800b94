"""Pascal VOC 2012, with the masks of the Semantic Boundaries Dataset for the set ``trainaug``.

See ``voc_layout`` for the layouts, ``voc_strokes`` for points and scribbles. Dense labels have the
values 0 to 20, and 255 where there is no class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.encoding import check_ignore
from tel_segmentation.data.datasets.samples import make_sample
from tel_segmentation.data.datasets.sbd import read_mask
from tel_segmentation.data.datasets.voc_annotations import Annotation, Maps, find_annotation
from tel_segmentation.data.datasets.voc_classes import CLASSES, COLORS, ENCODING
from tel_segmentation.data.datasets.voc_layout import find_layout
from tel_segmentation.data.datasets.voc_strokes import Points
from tel_segmentation.data.formats.photographs import look
from tel_segmentation.data.image_files import check_size, read_image, read_label, some
from tel_segmentation.data.sample import UNLABELLED, Sample

COUNTS = {"train": 10_582, "val": 1_449, "test": 1_456}
"""The number of images of each split."""


class Voc:
    """A split of Pascal VOC 2012; files are listed on creation and read on access.

    Args:
        folder: see ``voc_layout``.
        split: ``train`` (VOC's and SBD's images without those of ``val``), ``val``, or ``test``,
            which has no labels.
        options: annotation (``dense``, ``point``, ``scribble`` or a folder; only ``train`` has
            other annotations than dense ones), ignore, stroke, size, short_side.
        skip_missing: leave out images that are missing or have no labels, instead of raising an
            error.

    Attributes:
        names: of the images, sorted.
        images: their files.
        masks: the files of their dense labels, of those images that have some.
        annotation: the labels for training; None: the dense labels.
        missing: the expected paths of missing files; empty unless ``skip_missing``.

    Raises:
        ValueError: files are missing; the message has the paths.
    """

    classes = CLASSES
    colors = COLORS

    def __init__(self, folder: Path, split: str, options: Data, skip_missing: bool = False) -> None:
        check_ignore(options.ignore)
        self.split, self.options = split, options
        self.layout = find_layout(folder)
        self.names = tuple(self.layout.names(split))
        self.images = self.layout.images(self.names)
        self.masks = {} if split == "test" else self.layout.masks(self.names)
        self.annotation: Annotation | None = None
        if split == "train" and options.annotation != "dense":
            self.annotation = find_annotation(
                self.layout.places(), options.annotation, options.stroke, options.ignore
            )
        gone = {name: where for name in self.names if (where := self._missing(name))}
        self.missing = list(gone.values())
        if gone and not skip_missing:
            raise ValueError(
                f"images of {split} and their labels must be there, are missing for {len(gone)} of"
                f" {len(self)}: {some(self.missing)}"
            )
        self.names = tuple(name for name in self.names if name not in gone)

    def __len__(self) -> int:
        return len(self.names)

    def shape_of(self, index: int) -> tuple[int, int]:
        """Height and width of an image's file, whose pixels are not read."""
        return look(self.images[self.names[index]]).stored[::-1]

    def __getitem__(self, index: int) -> Sample:
        """One image with its labels for training, and its dense label if there is one.

        Raises:
            ValueError: a file cannot be read, or is not valid. The message names it.
        """
        name = self.names[index]
        # The labels are for the image as it is stored, so it is not rotated.
        image = read_image(self.images[name], upright=False)
        truth = self._truth(name, image)
        label = truth if self.annotation is None else self.annotation.label(name, image)
        return make_sample(name, image, label.copy(), truth, self.options, self.split)

    @property
    def annotation_folder(self) -> Path | None:
        """The folder of the label maps for training; None if training uses other labels."""
        return self.annotation.folder if isinstance(self.annotation, Maps) else None

    def without_image(self) -> list[str]:
        """Names that the annotation has labels for, but that no image has."""
        names = [] if self.annotation is None else list(self.annotation.names())
        there = self.layout.images(names)
        return [name for name in names if name not in there]

    def points_outside(self, progress: bool = False) -> dict[str, int]:
        """The images with points outside their borders, and how many; these are not drawn.

        Reads the size of every image. Empty if the annotation is not points.
        """
        if not isinstance(self.annotation, Points):
            return {}
        found = {}
        for name in tqdm(self.names, "points", leave=False, disable=not progress or None):
            with Image.open(self.images[name]) as image:
                if count := self.annotation.outside(name, image.size):
                    found[name] = count
        return found

    def _truth(self, name: str, image: Image.Image) -> NDArray[np.int64]:
        if name not in self.masks:
            return np.full((image.height, image.width), UNLABELLED, np.int64)
        file = self.masks[name]
        values = read_mask(file) if file.suffix == ".mat" else read_label(file)
        check_size(file, values, image)
        return ENCODING.classes(file, values)

    def _missing(self, name: str) -> str:
        """The path where a missing file is expected; empty if nothing is missing."""
        if name not in self.images:
            return str(self.layout.image(name))
        if self.annotation is not None:
            return "" if name in self.annotation else self.annotation.where(name)
        labelled = self.split == "test" or name in self.masks
        return "" if labelled else str(self.layout.mask(name, self.split))
