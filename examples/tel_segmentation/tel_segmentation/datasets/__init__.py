"""The paper's public data sets, read as they are published: ``KIND:FOLDER`` names one of them.

A data set is a class made with ``(folder, split, options)`` that is a ``data.Source``.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.config import Data
from tel_segmentation.data import Sample, Source
from tel_segmentation.image_files import nearest

KINDS = ("voc", "cityscapes", "ade20k")


def public_dataset(source: str) -> tuple[str, Path] | None:
    """Kind and folder if ``source`` names a public data set (``voc:FOLDER``), else nothing.

    Raises:
        ValueError: a kind without a folder.
    """
    kind, colon, folder = source.partition(":")
    if kind not in KINDS or not colon:
        return None
    if not folder:
        raise ValueError(f"source must be {kind}:FOLDER with the data set's folder, got {source!r}")
    return kind, Path(folder).expanduser()


def published_counts(kind: str) -> dict[str, int]:
    """How many images of each split are published.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
    """
    counts: dict[str, int] = importlib.import_module(f"{__name__}.{kind}").COUNTS
    return counts


def open_dataset_source(kind: str, folder: Path, options: Data, split: str) -> Source:
    """A split of a public data set.

    Args:
        kind: ``voc``, ``cityscapes`` or ``ade20k``.
        folder: where it lies, in any of the layouts that its module describes.
        options: annotation, ignore, encoding, stroke, size, short_side.
        split: ``train``, ``val`` or ``test``.

    Raises:
        ValueError: an unknown kind or split, or a folder or file that is missing, by its path.
    """
    if kind == "voc":
        from tel_segmentation.datasets.voc import Voc

        return Voc(folder, split, options)
    if kind == "cityscapes":
        from tel_segmentation.datasets.cityscapes import Cityscapes

        return Cityscapes(folder, split, options)
    if kind == "ade20k":
        from tel_segmentation.datasets.ade20k import Ade20k

        return Ade20k(folder, split, options)
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")


def make_sample(
    name: str,
    image: Image.Image,
    label: NDArray[np.int64],
    truth: NDArray[np.int64],
    options: Data,
    split: str,
) -> Sample:
    """A sample at the size that the options ask for.

    ``size`` holds for every split; ``short_side`` for ``train`` alone, whose augmentation it
    precedes (how images are evaluated is ``config.Evaluation``'s). The image is resized bicubically
    and antialiased, the labels to the nearest pixel.

    Args:
        name: of the image.
        image: RGB.
        label: (H, W) int64 as wide and high as the image: what training may see, -1 unlabelled.
        truth: (H, W) int64, dense, -1 where there is no class.
        options: size, short_side.
        split: to which the image belongs.

    Raises:
        ValueError: both ``size`` and ``short_side`` are given.
    """
    if size := _size(label.shape[0], label.shape[1], options, split):
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
        label, truth = nearest(label, size), nearest(truth, size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return Sample(name, pixels, torch.from_numpy(label), torch.from_numpy(truth))


def _size(height: int, width: int, options: Data, split: str) -> tuple[int, int] | None:
    if options.size is not None and options.short_side is not None:
        raise ValueError(
            "size and short_side must not both be given, got"
            f" {options.size} and {options.short_side}"
        )
    if options.short_side is None or split != "train":
        return options.size
    factor = options.short_side / min(height, width)
    return round(height * factor), round(width * factor)
