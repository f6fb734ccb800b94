"""The photographs that annotations are for: found by name, with their size and orientation."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from tel_segmentation.data.formats.label_maps import image_name
from tel_segmentation.data.formats.shapes import Size
from tel_segmentation.data.image_files import (
    FORMATS,
    IMAGE_SUFFIXES,
    is_text,
    some,
    why_unread,
)

TOML = "dataset.toml"
"""The name of a data set's file, unless it has another."""

METHODS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its Exif orientation."""


class Photograph(NamedTuple):
    """An image file, without its pixels."""

    file: Path
    stored: Size
    """Width and height of the stored pixels."""
    orientation: int
    """Exif: 1 upright, 3 upside down, 6 and 8 on a side, …."""

    @property
    def size(self) -> Size:
        """Width and height of the upright image, which is what this package reads."""
        width, height = self.stored
        return (height, width) if self.orientation >= 5 else self.stored

    def upright(self, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A label map of the stored pixels, turned as the image is."""
        if self.orientation not in METHODS:
            return label
        return np.asarray(Image.fromarray(label).transpose(METHODS[self.orientation]))


def look(file: Path) -> Photograph:
    """Reads an image's size and orientation.

    Raises:
        ValueError: the file is not a readable image.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            return Photograph(file, image.size, orientation if orientation in METHODS else 1)
    except Exception as error:  # PIL raises errors of many types for a broken file
        why = why_unread(file, error)
        raise ValueError(f"{file} must be a readable image, got: {why}") from error


class Album:
    """Image files that can be found by the names that tools give them.

    Only the names in a folder count, never a path that an annotation has: no file outside of the
    folder is opened.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = sorted(files)
        self._by_name: dict[str, list[Path]] = {}
        for file in self.files:
            for key in dict.fromkeys((_form(file.name), _form(file.stem))):
                self._by_name.setdefault(key, []).append(file)

    def find(self, name: str) -> Path | None:
        """The file that a tool means; None if there is none.

        It has the same name, or the same without its suffix, or without what was added to it
        (``photo-labels.tif``). Of several, it is the one whose folders agree with the tool's path,
        and then the one in the fewest folders.

        Raises:
            ValueError: several fit.
        """
        path = PurePosixPath(_form(name).replace("\\", "/"))
        for key in (path.name, path.stem, image_name(path.stem)):
            if found := self._by_name.get(key):
                fit = [(_shared(file, path), -len(file.parts)) for file in found]
                best = [file for file, each in zip(found, fit, strict=True) if each == max(fit)]
                if len(best) > 1:
                    raise ValueError(f"{name!r} must be one image, could be {some(best)}")
                return best[0]
        return None


def names_for(files: Iterable[Path], root: Path) -> dict[Path, str]:
    """A name of its own for every image.

    It is the stem. Where stems are the same, the folders come before it, and where these are the
    same, too, the suffix follows: ``a_1`` of ``a/1.jpg``, ``1_png`` beside ``1_jpg``.

    Raises:
        ValueError: a name is not text, or two cannot be told apart.
    """
    listed = sorted(files)
    names = {file: _form(file.stem) for file in listed}
    for longer in (
        lambda file: "_".join((*file.relative_to(root).parent.parts, file.stem)),
        lambda file: f"{names[file]}_{file.suffix[1:]}",
    ):
        used = Counter(names.values())
        again = [file for file in listed if used[names[file]] > 1]
        names.update({file: _form(longer(file)) for file in again})
    if odd := [name for name in names.values() if not is_text(name)]:
        raise ValueError(f"{root} must have file names that are text, has {some(map(ascii, odd))}")
    used = Counter(names.values())
    if twice := [str(file) for file, name in names.items() if used[name] > 1]:
        raise ValueError(f"images must have names of their own, got {some(twice)}")
    return names


def images_in(folder: Path, without: Iterable[Path] = ()) -> list[Path]:
    """The image files of a folder and the folders inside, except some files.

    Hidden files and folders do not count, nor do folders inside that are data sets themselves.
    """
    left_out = {file.resolve() for file in without}
    found = []
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = [
            name for name in folders if name[0] != "." and not (here / name / TOML).exists()
        ]
        files = [here / name for name in names if name[0] != "."]
        found += [
            file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
        ]
    return sorted(file for file in found if file.resolve() not in left_out)


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _shared(file: Path, path: PurePosixPath) -> int:
    """The number of folders, from the file upwards, in which both paths agree."""
    count = 0
    for one, other in zip(file.parts[-2::-1], path.parts[-2::-1], strict=False):
        if _form(one) != other:
            break
        count += 1
    return count
