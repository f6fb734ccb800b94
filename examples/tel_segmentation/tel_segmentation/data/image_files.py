"""Image and label files, as they come: found by name, read with care, refused with a reason."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm")
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")  # not EPS, which runs Ghostscript
LABEL_MODES = ("L", "P", "I", "I;16", "I;16B")
LARGEST = 2**16 - 1  # value of a label


def read_image(path: Path, upright: bool = True) -> Image.Image:
    """An image as 8-bit RGB, without transparency.

    Args:
        path: of the file.
        upright: turn it as its Exif orientation says. Labels of public data sets lie on the pixels
            as they are stored.

    Raises:
        ValueError: the file is no image that can be read, or an implausibly large one.
    """
    image = _open(path, FORMATS, upright)
    if image.mode == "F":
        raise ValueError(f"{path} must be an image of 8 or 16 bits, got floating point")
    if image.mode.startswith("I"):  # 16 bits of grey, which PIL would clip
        grey = np.asarray(image).clip(0, LARGEST)
        image = Image.fromarray((grey / LARGEST * 255).round().astype(np.uint8))
    return image.convert("RGB")


def read_label(path: Path) -> NDArray[np.uint16]:
    """A label file's values as they are, (H, W); of a palette PNG the indices.

    Raises:
        ValueError: the file is no image that can be read, or not of one channel.
    """
    image = _open(path, ("PNG",))
    if image.mode not in LABEL_MODES:
        raise ValueError(
            f"{path} must be a label map of one channel, 8 or 16 bits, or with a palette, got mode"
            f" {image.mode}: save class indices, not colours"
        )
    return np.asarray(image).astype(np.uint16)


def check_size(path: Path, label: NDArray[Any], image: Image.Image) -> None:
    """Raises a ValueError that names the label's file if it is not of its image's size."""
    height, width = label.shape
    if (width, height) != image.size:
        turned = "; the image is turned by its Exif orientation" * ((height, width) == image.size)
        raise ValueError(
            f"{path} must be {image.width} × {image.height} pixels like its image, got"
            f" {width} × {height}{turned}"
        )


def nearest(label: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """A label map at another height and width: of each new pixel the old one at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for new, old in zip(size, label.shape, strict=True)
    )
    return np.ascontiguousarray(label[rows[:, None], columns])


def visible(folder: Path) -> list[Path]:
    """The files of a folder whose names do not start with a dot."""
    return [file for file in folder.iterdir() if file.name[0] != "." and file.is_file()]


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Name → file, sorted; the name is the stem with accents composed, which macOS decomposes."""
    return dict(sorted((unicodedata.normalize("NFC", file.stem), file) for file in files))


def is_text(name: str) -> bool:
    """Whether a name has no control characters and no bytes that are not UTF-8."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def label_files(folder: Path) -> dict[str, Path]:
    """The PNGs of a folder by name; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    return by_name(file for file in visible(folder) if file.suffix.lower() == ".png")


def some(things: Iterable[Any], limit: int = 5) -> str:
    """The first few of many things, for a message."""
    words = [str(thing) for thing in things]
    more = [f"… ({len(words)} in all)"] * (len(words) > limit)
    return ", ".join(words[:limit] + more)


def _open(path: Path, formats: tuple[str, ...], upright: bool = True) -> Image.Image:
    try:
        with Image.open(path, formats=formats) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except Exception as error:  # what PIL raises for a broken file is anything
        kinds = "/".join(formats)
        raise ValueError(f"{path} must be a readable image ({kinds}), got: {error}") from error
