"""Annotations of Pascal VOC's training images: points, scribbles, or label maps in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.data.datasets.encoding import encoding_of_annotations
from tel_segmentation.data.datasets.voc_classes import ENCODING
from tel_segmentation.data.datasets.voc_strokes import Points, Scribbles
from tel_segmentation.data.image_files import check_size, expanded, label_files, read_label
from tel_segmentation.data.manifest import SHEET

FOREGROUND = "voc_whats_the_point.json"
BACKGROUND = "voc_whats_the_point_bg_from_scribbles.json"
SCRIBBLES = "voc_scribbles"
SCRIBBLE_MAPS = "pascal_2012_scribble"


class Annotation(Protocol):
    """The sparse labels of every training image."""

    def __contains__(self, name: object) -> bool: ...

    def names(self) -> Iterator[str]:
        """The names of all annotated images, whether the images exist or not."""
        ...

    def label(self, name: str, image: Image.Image) -> NDArray[np.int64]:
        """The labels of an image: (H, W) int64, -1 unlabelled."""
        ...

    def where(self, name: str) -> str:
        """The path where the annotation of an image is expected, for a message."""
        ...


class Maps:
    """A folder of label maps: 0 to 20, and 255 where nothing is labelled.

    Args:
        folder: has a NAME.png for every image.
        ignore: further values that mean unlabelled, even if they are classes otherwise.

    Raises:
        ValueError: ``tel annotate`` made the folder for another data set, or it is incomplete.
    """

    def __init__(self, folder: Path, ignore: tuple[int, ...] = ()) -> None:
        encoding_of_annotations(folder, {ENCODING.name: ENCODING})
        self.folder = folder
        self._ignore = ignore
        self._files = label_files(folder)

    def __contains__(self, name: object) -> bool:
        return name in self._files

    def names(self) -> Iterator[str]:
        """The names of all label maps, without the contact sheet of ``tel annotate``."""
        return (name for name in self._files if name != SHEET)

    def label(self, name: str, image: Image.Image) -> NDArray[np.int64]:
        """The file's classes.

        Raises:
            ValueError: the file is not a label map, does not have the image's size, or has another
                value.
        """
        file = self._files[name]
        values = read_label(file)
        check_size(file, values, image)
        return ENCODING.classes(file, values, self._ignore)

    def where(self, name: str) -> str:
        """The path of the label map, for a message."""
        return str(self.folder / f"{name}.png")


def find_annotation(
    places: list[Path], annotation: str, stroke: int = 3, ignore: tuple[int, ...] = ()
) -> Annotation:
    """The annotation of Pascal VOC's training images that ``Data.annotation`` names.

    Args:
        places: folders in which it may be, the likeliest first.
        annotation: ``point``, ``scribble``, a folder's name or a folder's path.
        stroke: width of drawn points and lines.
        ignore: values of label maps that mean unlabelled.

    Raises:
        ValueError: it does not exist; the message says where it was expected.
    """
    if annotation == "point":
        base = next((p for p in places if (p / FOREGROUND).is_file()), places[0])
        return Points(base / FOREGROUND, base / BACKGROUND, stroke)
    if annotation == "scribble":
        for place in places:
            for file in (place / f"{SCRIBBLES}.zip", place / SCRIBBLES):
                if file.exists():
                    return Scribbles(file, stroke)
            if label_files(place / SCRIBBLE_MAPS):
                return Maps(place / SCRIBBLE_MAPS, ignore)
        raise ValueError(
            f"scribbles must be in {places[0] / f'{SCRIBBLES}.zip'} (or in the folders {SCRIBBLES}"
            f" with XML files or {SCRIBBLE_MAPS} with PNG files beside it), there is none of them"
        )
    bases = [place / "annotations" / annotation for place in places]
    bases += [place / annotation for place in places] + [expanded(annotation)]
    folders = [folder for base in bases for folder in (base / "train", base)]
    for folder in folders:
        if label_files(folder):
            return Maps(folder, ignore)
    raise ValueError(
        f"annotation must be dense, point, scribble or a folder with a PNG of every image, got"
        f" {annotation!r}: there are none in {folders[0]} or {folders[-1]}"
    )
