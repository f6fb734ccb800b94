"""A split with its dense labels; where and how annotations made from them are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tel_segmentation.config import Data
from tel_segmentation.data.datasets.encoding import Encoding, plain
from tel_segmentation.data.datasets.pairs import Pairs
from tel_segmentation.data.datasets.public import open_dataset_source, public_dataset
from tel_segmentation.data.folder import Folder
from tel_segmentation.data.image_files import read_label
from tel_segmentation.data.regions import VOID
from tel_segmentation.data.sample import Source


class NamedSource(Source, Protocol):
    """A source that knows its samples' names without reading them."""

    names: tuple[str, ...]


class DenseLabels(NamedTuple):
    """A split with its dense labels, and where its annotations belong."""

    source: NamedSource
    encoding: Encoding
    base: Path
    """The folder that contains ``annotations``."""
    recipe: dict[str, Any]
    """What annotations depend on besides the options and the labels."""

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Image (H, W, 3) and dense label (H, W), 255 where there is no class.

        Raises:
            ValueError: a file is missing or invalid; the message names it.
        """
        sample = self.source[index]
        truth = sample.truth.numpy()
        label = np.where(truth < 0, VOID, truth).astype(np.uint8)
        return sample.image.permute(1, 2, 0).numpy(), label

    def read_annotation(self, file: Path) -> NDArray[np.uint8]:
        """An annotation that was written in this encoding: (H, W), 255 where nothing is labelled.

        Raises:
            ValueError: the file cannot be read, or has other values.
        """
        classes = self.encoding.classes(file, read_label(file))
        return np.where(classes < 0, VOID, classes).astype(np.uint8)


def open_dense(data: str, split: str, encoding: str = "auto") -> DenseLabels:
    """The dense labels of a data set.

    Args:
        data: a TOML file, or ``voc:FOLDER``, ``cityscapes:FOLDER``, ``ade20k:FOLDER``.
        split: ``train``, ….
        encoding: the numbers in Cityscapes' label files, as ``config.Data.encoding``.

    Raises:
        ValueError, OSError: the data set is invalid; the message names missing files.
    """
    public = public_dataset(data)
    if public is None:
        folder = Folder(data, split, "dense")
        info = folder.info
        recipe = {"classes": list(info.classes), "ignore": list(info.ignore)}
        return DenseLabels(folder, plain(len(info.classes), info.ignore), info.path.parent, recipe)
    options = Data(source=data, annotation="dense", encoding=encoding)  # type: ignore[arg-type]
    source: Any = open_dataset_source(*public, options, split)
    pairs = isinstance(source, Pairs)
    written = source.encoding if pairs else plain(len(source.classes))
    recipe = {"classes": list(source.classes), "encoding": written.name}
    return DenseLabels(source, written, source.root if pairs else public[1], recipe)
