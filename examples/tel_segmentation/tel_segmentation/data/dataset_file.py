"""The TOML file that describes a data set of the user: folders of images and labels.

    name = "streets"                      # in reports (optional; by default the folder's name)
    classes = ["sky", "road"]             # label value 0, 1, …
    ignore = [255]                        # label values that mean no class (this is the default)
    colors = [[0, 0, 255], [90, 90, 90]]  # for pictures (optional)
    root = "."                            # folder of the splits, relative to this file (default)
    [splits]                              # optional; by default those of train, val and test that
    train = "train"                       # exist, or if none does, the root itself for every split
    val = "val"

Each split has ``images/NAME.jpg`` (or png, …) and ``labels/NAME.png`` (dense; one value per pixel).
Sparse annotations are ``annotations/KIND/SPLIT/NAME.png`` beside the TOML file, 255 = unlabelled.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tel_segmentation.data.image_files import (
    IMAGE_SUFFIXES,
    LARGEST,
    by_name,
    expanded,
    is_name,
    is_text,
    label_files,
    no_files,
    shortened,
    some,
    visible,
)
from tel_segmentation.data.regions import VOID

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """The content of a data set's TOML file."""

    path: Path
    name: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore: tuple[int, ...]
    root: Path
    splits: Mapping[str, Path]
    """Empty if the root itself serves as every split."""

    def folder(self, split: str) -> Path:
        """The folder of a split.

        Raises:
            ValueError: there is no such split.
        """
        if not is_name(split):  # without splits, every name stands for the root
            raise ValueError(f"{self.path}: split must be a name, not a path, got {split!r}")
        if self.splits and split not in self.splits:
            raise ValueError(
                f"{self.path}: split must be one of {', '.join(self.splits)}, got {split!r}"
            )
        return self.splits.get(split, self.root)

    def images(self, split: str) -> dict[str, Path]:
        """The images of a split: name (the file's stem) → file, sorted by name.

        Raises:
            ValueError: the folder is missing or has no images, a name is not text, or two files
                have the same name.
        """
        folder = self.folder(split) / "images"
        if not folder.is_dir():
            raise ValueError(f"{self.path}: split {split} must have a folder {folder}")
        if odd := no_files(folder, IMAGE_SUFFIXES):
            raise ValueError(f"{folder} must have images as files, has also {some(odd)}")
        files = [file for file in visible(folder) if file.suffix.lower() in IMAGE_SUFFIXES]
        if not files:
            raise ValueError(f"{folder} must have images ({', '.join(IMAGE_SUFFIXES)}), has none")
        images = by_name(files)
        if odd := [ascii(name) for name in images if not is_text(name)]:
            raise ValueError(f"{folder} must have file names that are text, has {some(odd)}")
        if twice := sorted({file.name for file in files} - {p.name for p in images.values()}):
            raise ValueError(
                f"{folder} must have one image of a name, has also {some(twice)}, which would"
                " share a label file with another"
            )
        return images

    def labels(self, split: str, annotation: str = "dense") -> dict[str, Path]:
        """The label files of a split: name → file; empty if there are none.

        ``annotation`` is ``dense`` (``labels/``), the name of a folder in ``annotations/`` beside
        the TOML file, or a folder's path; the last two with or without a sub-folder for the split.
        """
        for folder in self.label_folders(split, annotation):
            if files := label_files(folder):
                return files
        return {}

    def label_folders(self, split: str, annotation: str = "dense") -> list[Path]:
        """The folders in which label files are searched, which need not exist."""
        own = self.folder(split) / "labels"
        if annotation == "dense":
            return [own]
        bases = (self.path.parent / "annotations" / annotation, expanded(annotation))
        return [folder for base in bases for folder in (base / split, base)]


def open_dataset(path: Path | str) -> DatasetInfo:
    """Reads a data set's TOML file (see the top of this file).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not TOML, a key is missing, unknown or of the wrong type, or a
            folder that it names does not exist. The message names the file.
    """
    path = expanded(path)
    if path.is_dir():
        found = [str(file) for file in sorted(path.glob("*.toml"))]
        raise IsADirectoryError(
            f"{path} must be a data set's TOML file, is a folder; TOML files in it:"
            f" {some(found) if found else 'none'}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} must be a data set's TOML file, there is no such file")
    try:  # utf-8-sig: some editors write a byte order mark, which TOML does not know
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be TOML in UTF-8, got: {error}") from error
    keys = ("name", "classes", "ignore", "colors", "root", "splits")
    if unknown := sorted(set(values) - set(keys)):
        raise ValueError(f"{path} must have no keys but {', '.join(keys)}; got {some(unknown)}")
    classes = _classes(path, values.get("classes"))
    colors = values.get("colors", default_colors(classes))
    root = _root(path, values.get("root", "."))
    return DatasetInfo(
        path=path,
        name=_name(path, values.get("name")),
        classes=classes,
        colors=_colors(path, colors, len(classes)),
        ignore=_ignore(path, values.get("ignore", [VOID]), classes),
        root=root,
        splits=_splits(path, values.get("splits"), root),
    )


def default_colors(classes: Sequence[str]) -> list[list[int]]:
    """Pascal VOC's colours; its first one, black, is left to a class that is the background."""
    first = [name.strip(" _").lower() for name in classes[:1]] != ["background"]
    return voc_colors(len(classes) + first)[first:]


def voc_colors(count: int) -> list[list[int]]:
    """The colour map of Pascal VOC: the bits of the index, distributed over the three channels."""
    return [
        [sum((i >> (3 * bit + c) & 1) << (7 - bit) for bit in range(3)) for c in range(3)]
        for i in range(count)
    ]


def where(info: DatasetInfo, split: str, annotation: str) -> str:
    """The path where the label files of a split are expected, for a message."""
    if annotation == "dense":
        return str(info.folder(split) / "labels")
    beside = info.path.parent / "annotations" / annotation / split
    return f"{beside} (or a folder given by its path)"


def _name(path: Path, name: Any) -> str:
    if name is None:
        return path.resolve().parent.name or path.stem
    if not isinstance(name, str) or not name.strip() or not is_text(name):
        raise ValueError(f"{path}: name must be a text without control characters, got {name!r}")
    return name


def _classes(path: Path, classes: Any) -> tuple[str, ...]:
    if not isinstance(classes, list) or not all(isinstance(n, str) and n for n in classes):
        raise ValueError(f"{path}: classes must be a list of names, got {shortened(classes)}")
    if odd := [ascii(name) for name in classes if not is_text(name)]:
        raise ValueError(
            f"{path}: classes must have names without control characters, got {some(odd)}"
        )
    if not 2 <= len(classes) <= VOID:
        raise ValueError(f"{path}: classes must be 2 to {VOID}, got {len(classes)}")
    if twice := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f"{path}: classes must have different names, got {some(twice)} twice")
    return tuple(classes)


def _integers(values: Any, lowest: int, highest: int) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and lowest <= value <= highest for value in values
    )


def _ignore(path: Path, ignore: Any, classes: tuple[str, ...]) -> tuple[int, ...]:
    if not _integers(ignore, len(classes), LARGEST):
        raise ValueError(
            f"{path}: ignore must be a list of label values that are no class, {len(classes)} to"
            f" {LARGEST}, got {shortened(ignore)}"
        )
    return tuple(ignore)


def _colors(path: Path, colors: Any, count: int) -> tuple[tuple[int, int, int], ...]:
    if not isinstance(colors, list) or not all(
        _integers(color, 0, 255) and len(color) == 3 for color in colors
    ):
        raise ValueError(f"{path}: colors must be a list of [red, green, blue] from 0 to 255")
    if len(colors) != count:
        raise ValueError(f"{path}: colors must be {count}, one a class, got {len(colors)}")
    return tuple((red, green, blue) for red, green, blue in colors)


def _root(path: Path, root: Any) -> Path:
    if not isinstance(root, str):
        raise ValueError(f"{path}: root must be the name of a folder, got {shortened(root)}")
    if not is_text(root):
        raise ValueError(f"{path}: root must have no control characters, got {root!r}")
    try:
        folder = path.parent / expanded(root)
    except ValueError as error:
        raise ValueError(f"{path}: root: {error}") from error
    if not folder.is_dir():
        raise ValueError(
            f"{path}: root must be a folder that exists, got {folder}; write the data set's folder"
            " there, or copy this file beside the data"
        )
    return folder


def _splits(path: Path, splits: Any, root: Path) -> dict[str, Path]:
    if splits is None:
        found = {name: root / name for name in ("train", "val", "test")}
        return {name: folder for name, folder in found.items() if (folder / "images").is_dir()}
    if not isinstance(splits, dict) or not all(isinstance(value, str) for value in splits.values()):
        raise ValueError(
            f"{path}: splits must be a table of folders' names, got {shortened(splits)}"
        )
    if odd := [ascii(name) for name in splits if not is_name(name)]:
        raise ValueError(f"{path}: splits must have names that are no paths, got {some(odd)}")
    if odd := [ascii(folder) for folder in splits.values() if not is_text(folder)]:
        raise ValueError(
            f"{path}: splits must have folders without control characters, got {some(odd)}"
        )
    return {name: root / folder for name, folder in splits.items()}
