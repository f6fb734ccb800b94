"""Image and label files: finding them by name, reading them, and rejecting invalid ones."""

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
LARGEST = 2**16 - 1  # the largest value of a label


def read_image(path: Path, upright: bool = True) -> Image.Image:
    """An image as 8-bit RGB, without transparency.

    Args:
        path: of the file.
        upright: whether to rotate the image as its Exif orientation says. The labels of public data
            sets are for the image as it is stored.

    Raises:
        ValueError: the file is not a readable image, or implausibly large.
    """
    image = _open(path, FORMATS, upright)
    if image.mode == "F":
        raise ValueError(f"{path} must be an image of 8 or 16 bits, got floating point")
    if image.mode.startswith("I"):  # grey with 16 bits, which PIL would clip to 8
        grey = np.asarray(image).clip(0, LARGEST)
        image = Image.fromarray((grey / LARGEST * 255).round().astype(np.uint8))
    return image.convert("RGB")


def read_label(path: Path) -> NDArray[np.uint16]:
    """The unchanged values of a label file, (H, W); for a PNG with a palette, the indices.

    Raises:
        ValueError: the file is not a readable image, or has several channels.
    """
    image = _open(path, ("PNG",))
    if image.mode not in LABEL_MODES:
        raise ValueError(
            f"{path} must be a label map of one channel, 8 or 16 bits, or with a palette, got mode"
            f" {image.mode}: save class indices, not colours"
        )
    return np.asarray(image).astype(np.uint16)


def check_size(path: Path, label: NDArray[Any], image: Image.Image) -> None:
    """Raises a ValueError with the label's path if it does not have its image's size."""
    height, width = label.shape
    if (width, height) != image.size:
        turned = "; the image is turned by its Exif orientation" * ((height, width) == image.size)
        raise ValueError(
            f"{path} must be {image.width} × {image.height} pixels like its image, got"
            f" {width} × {height}{turned}"
        )


def nearest(label: NDArray[np.int64], size: tuple[int, int]) -> NDArray[np.int64]:
    """Resizes a label map: each new pixel gets the value of the old pixel at its centre."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.int64)
        for new, old in zip(size, label.shape, strict=True)
    )
    return np.ascontiguousarray(label[rows[:, None], columns])


def visible(folder: Path) -> list[Path]:
    """The files of a folder whose names do not start with a dot."""
    return [file for file in folder.iterdir() if file.name[0] != "." and file.is_file()]


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Name → file, sorted; the name is the stem in Unicode's form NFC, since macOS uses NFD."""
    return dict(sorted((unicodedata.normalize("NFC", file.stem), file) for file in files))


def is_text(name: str) -> bool:
    """Whether a name is valid UTF-8 without control characters."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def label_files(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by name; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    return by_name(file for file in visible(folder) if file.suffix.lower() == ".png")


def some(things: Iterable[Any], limit: int = 5) -> str:
    """The first few of many things, and their number, for a message."""
    words = [str(thing) for thing in things]
    more = [f"… ({len(words)} in all)"] * (len(words) > limit)
    return ", ".join(words[:limit] + more)


def _open(path: Path, formats: tuple[str, ...], upright: bool = True) -> Image.Image:
    try:
        with Image.open(path, formats=formats) as image:
            image.load()
            return ImageOps.exif_transpose(image) if upright else image
    except Exception as error:  # PIL raises errors of many types for a broken file
        kinds = "/".join(formats)
        raise ValueError(f"{path} must be a readable image ({kinds}), got: {error}") from error
