"""Encodings of label files: the number of each class, and the numbers that mean no class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.data.image_files import LARGEST, some
from tel_segmentation.data.manifest import MANIFEST, read_manifest
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import UNLABELLED

_UNKNOWN = -3


@dataclass(frozen=True)
class Encoding:
    """The numbers of a data set's label files."""

    name: str
    values: tuple[int, ...]
    """The numbers of class 0, 1, …."""
    unlabelled: int
    """The number that is written, and read, where there is no class."""
    ignored: tuple[int, ...] = ()
    """Other numbers that mean no class."""
    lenient: bool = False
    """Whether every number that is not of a class means no class."""

    def table(self, ignore: tuple[int, ...] = ()) -> NDArray[np.int64]:
        """The class of each number from 0 to 65535; -1: no class; less: the number is not allowed.

        Args:
            ignore: numbers that mean no class, whatever they mean in this encoding.
        """
        return _table(self, ignore)

    def classes(
        self, file: Path, values: NDArray[np.uint16], ignore: tuple[int, ...] = ()
    ) -> NDArray[np.int64]:
        """A label file's numbers as classes (H, W), -1 where there is no class.

        Raises:
            ValueError: a number is neither a class's nor ignored; the message has all of them.
        """
        classes = self.table(ignore)[values]
        if (classes == _UNKNOWN).any():
            wrong = np.unique(values[classes == _UNKNOWN]).tolist()
            none = sorted({self.unlabelled, *self.ignored, *ignore})
            raise ValueError(
                f"{file} must have the values {min(self.values)}…{max(self.values)} ({self.name}),"
                f" or where there is no class {some(none)}; has also {some(wrong)}"
            )
        return classes

    def encode(self, classes: NDArray[Any]) -> NDArray[np.uint8]:
        """The numbers to write for a map of classes that is 255 or negative for no class."""
        numbers = np.full(VOID + 1, self.unlabelled, np.uint8)
        numbers[: len(self.values)] = self.values
        return numbers[np.where(classes < 0, VOID, classes)]

    def palette(self, colors: tuple[tuple[int, int, int], ...], void: tuple[int, int, int]) -> Any:
        """The palette of an indexed PNG in this encoding: 256 colours, flattened."""
        palette = np.tile(np.array(void, np.uint8), (VOID + 1, 1))
        palette[list(self.values)] = colors
        return palette.ravel().tolist()


def check_ignore(ignore: Iterable[int]) -> None:
    """Raises a ValueError if a number to ignore cannot occur in label files."""
    if wrong := [number for number in ignore if not 0 <= number <= LARGEST]:
        raise ValueError(
            f"ignore must be numbers of label files, 0 to {LARGEST}, got {some(wrong)}"
        )


def plain(count: int, ignored: tuple[int, ...] = ()) -> Encoding:
    """The encoding whose numbers are the classes themselves, and 255 no class."""
    return Encoding("class numbers", tuple(range(count)), VOID, ignored)


def encoding_of_annotations(folder: Path, known: Mapping[str, Encoding]) -> Encoding | None:
    """The encoding that ``tel annotate`` recorded in a folder; None if it did not make the folder.

    Args:
        folder: of annotations.
        known: the data set's encodings by name.

    Raises:
        ValueError: the annotations are another data set's, or incomplete.
    """
    manifest = read_manifest(folder / MANIFEST)
    if manifest is None:
        return None
    if "ratio" not in manifest:  # written last
        raise ValueError(
            f"{folder} must have all of its annotations, but tel annotate was interrupted: run it"
            " again to continue"
        )
    name = str(manifest.get("encoding"))
    if name not in known:
        raise ValueError(
            f"{folder} must have annotations of this data set ({', '.join(known)}), its {MANIFEST}"
            f" says {name}"
        )
    return known[name]


@lru_cache(maxsize=32)
def _table(encoding: Encoding, ignore: tuple[int, ...]) -> NDArray[np.int64]:
    table = np.full(LARGEST + 1, UNLABELLED if encoding.lenient else _UNKNOWN, np.int64)
    table[[encoding.unlabelled, *encoding.ignored]] = UNLABELLED
    table[list(encoding.values)] = np.arange(len(encoding.values))
    table[list(ignore)] = UNLABELLED
    table.setflags(write=False)
    return table
