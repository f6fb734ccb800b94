"""Label maps as image files: a number for each pixel, in the file that has the image's name.

Indexed or grey PNG files of any tool, and what napari saves of a layer of labels (TIFF, npy, zarr).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.formats.fields import files_of
from tel_segmentation.data.formats.shapes import Export, LabelMap
from tel_segmentation.data.image_files import read_label

LARGEST = 2**28
"""Pixels of a label map; a file that claims more is not read."""
ENDING = re.compile(r"[-_. ]?(labels?|mask|annotations?|segmentation|label_ids)$", re.IGNORECASE)
"""What tools and people add to the image's name."""

Numbers = NDArray[np.integer[Any]]


def read(source: Path) -> Export:
    """Lists the PNG files of a folder.

    Raises:
        ValueError: there is none.
    """
    files = files_of(source, [".png"])
    return Export(
        annotations=[LabelMap(file.name, file, partial(read_label, file)) for file in files]
    )


def image_name(stem: str) -> str:
    """The image's name in the name of a label file: ``photo-labels`` → ``photo``."""
    return ENDING.sub("", stem) or stem


def optional(package: str, what: str) -> Any:
    """A package that is needed for one kind of file.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModuleNotFoundError(
            f"{what} needs the package {package}: pip install 'tel-segmentation[import]'"
        ) from error


def check_plausible(shape: Sequence[int], dtype: Any, where: str) -> tuple[int, int]:
    """The height and width of an array that is a label map but for axes of length 1.

    Raises:
        ValueError: it has other axes or numbers, or is implausibly large.
    """
    kept = [side for side in shape if side != 1]
    pixels = int(np.prod(np.array(shape, dtype=object)))
    if len(kept) > 2 or not 0 < pixels <= LARGEST or np.dtype(dtype).kind not in "iub":
        raise ValueError(
            f"{where} must be a label map, two axes of whole numbers and at most {LARGEST} pixels,"
            f" got {' × '.join(map(str, shape))} of {dtype}"
        )
    height, width = kept if len(kept) == 2 else (*(1, 1), *shape)[-2:]
    return int(height), int(width)


def read_numbers(file: Path) -> Numbers:
    """A label map from a PNG, TIFF or npy file, or a zarr array.

    Raises:
        ValueError: it cannot be read, or is no label map.
        ModuleNotFoundError: the package for this kind of file is not installed.
    """
    if file.suffix.lower() == ".png":
        return read_label(file)
    try:
        match file.suffix.lower():
            case ".npy":
                found = np.load(file, mmap_mode="r", allow_pickle=False)
            case ".tif" | ".tiff":
                with optional("tifffile", "a TIFF file of labels").TiffFile(file) as tiff:
                    series = tiff.series[0]
                    check_plausible(series.shape, series.dtype, str(file))
                    found = series.asarray()
            case _:
                found = _zarr(file)
        sides = check_plausible(found.shape, found.dtype, str(file))
        numbers = np.asarray(found[...]).reshape(sides)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the libraries raise errors of many types for a broken file
        if isinstance(error, ValueError) and str(error).startswith(str(file)):
            raise
        raise ValueError(f"{file} must be a readable label map, got: {error}") from error
    return numbers.astype(np.uint8) if numbers.dtype == np.bool_ else numbers


def _zarr(folder: Path) -> Any:
    """The array of a zarr folder, or of an OME-Zarr label image its largest scale, called 0."""
    node = optional("zarr", "a zarr folder of labels").open(str(folder), mode="r")
    for name in ("labels", None, "0"):
        if hasattr(node, "shape"):
            break
        names = sorted(node.keys())
        if name in names:
            node = node[name]
        elif name is None and "0" not in names and len(names) == 1:
            node = node[names[0]]
    if not hasattr(node, "shape"):
        raise ValueError("a group without one array of labels")
    return node
