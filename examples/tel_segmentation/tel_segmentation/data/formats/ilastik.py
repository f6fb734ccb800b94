"""ilastik: the labels of a project (.ilp), or labels that it exported (HDF5).

Both are HDF5 files. A project has, for each image, blocks of labels, with their position in the
attribute ``blockSlice``, and the order of the axes in ``axistags``. 0 is no label.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tel_segmentation.data.formats import fields
from tel_segmentation.data.formats.label_maps import LARGEST, Numbers, check_plausible, optional
from tel_segmentation.data.formats.shapes import Export, LabelMap

LABELS = re.compile(r"^labels(\d+)$")


def read(source: Path) -> Export:
    """Reads a project, or exported label files.

    Raises:
        ValueError: there is none, or one is not ilastik's.
        ModuleNotFoundError: h5py is not installed.
    """
    export = Export()
    for file in fields.files_of(source, [".ilp", ".h5", ".hdf5"]):
        try:
            with optional("h5py", "a file of ilastik").File(file, "r") as opened:
                if "PixelClassification" in opened:
                    _project(opened, file, export)
                else:
                    name = _dataset(opened, file)
                    image = re.sub(r"[_-](Labels|labels)$", "", file.stem) + file.suffix
                    reader = partial(_exported, file, name)
                    export.annotations.append(LabelMap(image, file, reader))
        except (OSError, KeyError, TypeError, RuntimeError, AttributeError) as error:
            raise ValueError(f"{file} must be an HDF5 file of ilastik, got: {error}") from error
    return export


def _project(opened: Any, file: Path, export: Export) -> None:
    group = opened["PixelClassification"]
    names = [_text(name) for name in group["LabelNames"][()]] if "LabelNames" in group else []
    export.names = tuple(dict.fromkeys((*export.names, *names)))
    for key in sorted(group["LabelSets"]):
        if not (found := LABELS.match(key)) or not len(group["LabelSets"][key]):
            continue
        raw = opened[f"Input Data/infos/lane{int(found[1]):04d}/Raw Data"]
        name = _text(raw["filePath"][()]) if "filePath" in raw else _text(raw["nickname"][()])
        # Data within an HDF5 file has the path FILE.h5/NAME.
        name = re.sub(r"(\.(h5|hdf5|ilp))/.*$", r"\1", name, flags=re.IGNORECASE)
        reader = partial(_labels, file, key, f"Input Data/infos/lane{int(found[1]):04d}")
        export.annotations.append(LabelMap(name, file, reader))


def _labels(file: Path, key: str, lane: str) -> Numbers:
    """The blocks of an image's labels, together."""
    with optional("h5py", "a file of ilastik").File(file, "r") as opened:
        blocks = opened["PixelClassification/LabelSets"][key]
        raw = opened[lane]["Raw Data"]
        parts = []
        for name in sorted(blocks):
            block = blocks[name]
            where = f"{file}: {key}/{name}"
            axes = _axes(block, where)
            check_plausible(block.shape, block.dtype, where)
            begin = [int(a) for a in re.findall(r"(\d+):\d+", _text(block.attrs["blockSlice"]))]
            if len(begin) != len(axes) or block.ndim != len(axes):
                raise ValueError(f"{where} must have a blockSlice for its axes {axes}")
            y, x = axes.index("y"), axes.index("x")
            numbers = np.moveaxis(block[()], (y, x), (0, 1))
            parts.append((begin[y], begin[x], numbers.reshape(numbers.shape[:2])))
        size = [max(p[axis] + p[2].shape[axis] for p in parts) for axis in (0, 1)]
        if "shape" in raw:  # of the image; otherwise the labels may end before it does
            shape = [int(side) for side in raw["shape"][()]]
            order = _axes(raw, f"{file}: {lane}")
            if len(order) == len(shape):
                size = [max(a, shape[order.index(n)]) for a, n in zip(size, "yx", strict=True)]
    if size[0] * size[1] > LARGEST:
        raise ValueError(f"{file}: {key} must have at most {LARGEST} pixels, got {size}")
    whole = np.zeros(size, np.uint8)
    for top, left, numbers in parts:
        window = whole[top : top + numbers.shape[0], left : left + numbers.shape[1]]
        window[numbers > 0] = numbers[numbers > 0]
    return whole


def _axes(item: Any, where: str) -> str:
    """The order of the axes, as ``yxc``."""
    tags = item.attrs.get("axistags")
    if tags is None and "axistags" in getattr(item, "keys", list)():
        tags = item["axistags"][()]
    if tags is None:
        return "yxc"
    try:
        axes = "".join(axis["key"] for axis in json.loads(_text(tags))["axes"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{where} must have axistags, got: {error!r}") from error
    if "y" not in axes or "x" not in axes:
        raise ValueError(f"{where} must have axes y and x, got {axes!r}")
    return axes


def _dataset(opened: Any, file: Path) -> str:
    """The name of the only array of an exported file."""
    found: list[str] = []
    opened.visititems(lambda name, item: found.append(name) if hasattr(item, "shape") else None)
    if len(found) != 1:
        raise ValueError(f"{file} must be a project of ilastik or have one array of labels")
    return found[0]


def _exported(file: Path, name: str) -> Numbers:
    with optional("h5py", "a file of ilastik").File(file, "r") as opened:
        array = opened[name]
        sides = check_plausible(array.shape, array.dtype, str(file))
        axes = _axes(array, str(file))
        numbers = array[()]
        if len(axes) == numbers.ndim and axes.index("x") < axes.index("y"):
            numbers, sides = numbers.T, sides[::-1]
        return np.asarray(numbers).reshape(sides)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
