"""Image and label files: finding them by name, reading them, and rejecting invalid ones."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tel_segmentation.data.pixel_range import eight_bits
from tel_segmentation.data.tiff_kind import tiff_kind

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm",
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")  # not EPS, which runs Ghostscript
LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
LARGEST = 2**16 - 1  # the largest value of a label
ORIENTATION = 0x0112  # the tag of Exif
RANGE = "range"  # in an image's info: the values of black and white, unless they are 0 and 255
TURNS = {
    2: "mirrored",
    3: "turned by 180°",
    4: "mirrored and turned by 180°",
    5: "mirrored and turned by 90°",
    6: "turned by 90°",
    7: "mirrored and turned by 270°",
    8: "turned by 270°",
}
"""What a viewer does with the stored pixels, by the Exif orientation."""


def read_image(path: Path, upright: bool = True) -> Image.Image:
    """An image as 8-bit RGB, without transparency.

    Grey values of more than 8 bits, and of floating point, are scaled by their own range, see
    ``pixel_range``. ``info`` of the result has that range as ``range``, and the Exif orientation
    of the file as ``orientation``.

    Args:
        path: of the file.
        upright: whether to rotate the image as its Exif orientation says. The labels of public data
            sets are for the image as it is stored.

    Raises:
        ValueError: the file is not a readable image, or implausibly large.
    """
    image, raw = _open(path, FORMATS)
    try:
        orientation = int(image.getexif().get(ORIENTATION, 1))
        if upright:
            image = ImageOps.exif_transpose(image)
        limits = None
        if image.mode == "F" or image.mode.startswith("I"):  # PIL would clip it to 8 bits
            grey, limits = eight_bits(np.asarray(image))
            image = Image.fromarray(grey)
        image = image.convert("RGB")
        if ";16" in raw and np.asarray(image).max() < 2**6:
            raise ValueError(
                "colours of 16 bits a channel of which the upper ones are not used: save it with 8"
                " bits, or scale it to the whole range"
            )
    except Exception as error:  # PIL raises errors of many types, also for Exif data
        raise _unreadable(path, FORMATS, error) from error
    image.info = {"orientation": orientation}
    if limits not in (None, (0.0, 255.0)):
        image.info[RANGE] = limits
    return image


def read_label(path: Path) -> NDArray[np.uint16]:
    """The unchanged values of a label file, (H, W); for a PNG with a palette, the indices.

    Raises:
        ValueError: the file is not a readable image, has several channels, or a value that does
            not fit into 16 bits.
    """
    image, _ = _open(path, ("PNG",))
    if image.mode not in LABEL_MODES:
        raise ValueError(
            f"{path} must be a label map of one channel, 1, 8 or 16 bits, or with a palette, got"
            f" mode {image.mode}: save class indices, not colours"
        )
    return label_values(path, np.asarray(image))


def label_values(path: Path, values: NDArray[Any]) -> NDArray[np.uint16]:
    """The values of a label map of any integer type, in 16 bits.

    Raises:
        ValueError: a value does not fit; conversion would make another class of it.
    """
    if values.dtype != bool and values.size and (values.min() < 0 or values.max() > LARGEST):
        wrong = values[(values < 0) | (values > LARGEST)]
        raise ValueError(
            f"{path} must have values from 0 to {LARGEST}, has also {some(np.unique(wrong))}"
        )
    return values.astype(np.uint16)


def check_size(path: Path, label: NDArray[Any], image: Image.Image) -> None:
    """Raises a ValueError with the label's path if it does not have its image's size."""
    height, width = label.shape
    if (width, height) == image.size:
        return
    turn = TURNS.get(image.info.get("orientation", 1))
    hint = ""
    if (height, width) == image.size:
        hint = "; its sides are swapped"
        if turn:
            hint = f"; the image is {turn} by its Exif orientation, the label is for stored pixels"
    raise ValueError(
        f"{path} must be {image.width} × {image.height} pixels like its image, got"
        f" {width} × {height}{hint}"
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


def no_files(folder: Path, suffixes: Iterable[str]) -> list[str]:
    """What is called like a file of a folder but is none: name and kind, for a message."""
    known = tuple(suffixes)
    return [
        f"{path.name} ({kind})"
        for path in sorted(folder.iterdir())
        if path.name[0] != "." and path.suffix.lower() in known and (kind := no_file(path))
    ]


def no_file(path: Path) -> str:
    """What a path is instead of a file; empty for a file. It is not opened: a FIFO would wait."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return "a link to nothing" if path.is_symlink() else str(error.strerror or error)
    kinds = {stat.S_ISREG: "", stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a FIFO"}
    return next((kind for test, kind in kinds.items() if test(mode)), "a device or socket")


def by_name(files: Iterable[Path]) -> dict[str, Path]:
    """Name → file, sorted; the name is the stem in Unicode's form NFC, since macOS uses NFD."""
    return dict(sorted((unicodedata.normalize("NFC", file.stem), file) for file in files))


def is_text(name: str) -> bool:
    """Whether a name is valid UTF-8 without control characters."""
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


def is_name(name: str) -> bool:
    """Whether a name is one part of a path, and text; as a split must be, which names folders."""
    return name not in ("", ".", "..") and not set(name) & set("/\\") and is_text(name)


def expanded(path: Path | str) -> Path:
    """A path whose ``~`` is replaced by the user's folder.

    Raises:
        ValueError: its user does not exist, or it has the character 0.
    """
    if "\0" in str(path):
        raise ValueError(f"a path must have no character 0, got {str(path)!r}")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} must begin with a user's folder, got: {error}") from error


def shortened(value: Any, most: int = 80) -> str:
    """A value in Python's words for a message; only the beginning of a long one."""
    try:
        text = repr(value)
    except RecursionError:
        text = f"a deeply nested {type(value).__name__}"
    return text if len(text) <= most else f"{text[:most]}…"


def label_files(folder: Path) -> dict[str, Path]:
    """The PNG files of a folder by name; empty if there is no such folder."""
    if not folder.is_dir():
        return {}
    return by_name(file for file in visible(folder) if file.suffix.lower() == ".png")


def labels_of_other_formats(folder: Path, names: Iterable[str]) -> str:
    """A hint for a message: label files of these names that are no PNG; empty if there are none."""
    wanted = set(names)
    if not folder.is_dir():
        return ""
    others = by_name(file for file in visible(folder) if file.suffix.lower() in IMAGE_SUFFIXES)
    found = [file for name, file in others.items() if name in wanted]
    if not found:
        return ""
    lossy = [file for file in found if file.suffix.lower().startswith((".j", ".webp"))]
    why = ": JPEG is lossy and changes labels, save them as PNG" if lossy else ": save them as PNG"
    return f"; labels must be PNG, {folder} has {some(file.name for file in found)}{why}"


def some(things: Iterable[Any], limit: int = 5) -> str:
    """The first few of many things, and their number, for a message."""
    words = [str(thing) for thing in things]
    more = [f"… ({len(words)} in all)"] if len(words) > limit else []
    return ", ".join(words[:limit] + more)


def _open(path: Path, formats: tuple[str, ...]) -> tuple[Image.Image, str]:
    """The loaded image, and how its file stores the pixels, in PIL's words."""
    if kind := no_file(path):
        raise _unreadable(path, formats, kind)
    try:
        with Image.open(path, formats=formats) as image:
            raw = str(image.tile)
            image.load()
            return image, raw
    except Exception as error:  # PIL raises errors of many types for a broken file
        raise _unreadable(path, formats, why_unread(path, error)) from error


def why_unread(path: Path, error: Exception) -> Exception | str:
    """For a TIFF of a kind that PIL does not know or cannot decode, the kind; else PIL's error."""
    undecoded = str(error).startswith("decoder error")  # PIL's number says nothing to a user
    if undecoded or isinstance(error, UnidentifiedImageError):
        return tiff_kind(path, undecoded) or error
    return error


def _unreadable(path: Path, formats: tuple[str, ...], error: Exception | str) -> ValueError:
    why = str(error) or type(error).__name__
    if formats == ("PNG",) and not isinstance(error, str) and _starts(path, b"\xff\xd8\xff"):
        why = "a JPEG, which is lossy and changes labels: save it as PNG"
    return ValueError(f"{path} must be a readable image ({'/'.join(formats)}), got: {why}")


def _starts(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic
