"""Samples of public data sets, resized to the size in the options."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tel_segmentation.config import Data
from tel_segmentation.data.aspect import size_for
from tel_segmentation.data.sample import Sample
from tel_segmentation.data.sparse_labels import label_kind, resize_label


def make_sample(
    name: str,
    image: Image.Image,
    label: NDArray[np.int64],
    truth: NDArray[np.int64],
    options: Data,
    split: str,
) -> Sample:
    """Makes a sample, resized to the size in the options.

    ``size`` is used for every split. ``short_side`` is used for ``train`` only, before augmentation
    (``config.Evaluation`` has the sizes for evaluation). The image is resized bicubically with
    antialiasing, the labels as ``sparse_labels`` describes.

    Args:
        name: of the image.
        image: RGB.
        label: (H, W) int64 in the image's size: the labels for training, -1 unlabelled.
        truth: (H, W) int64, dense, -1 where there is no class.
        options: size, keep_aspect, short_side, annotation, labels.
        split: of the image.

    Raises:
        ValueError: both ``size`` and ``short_side`` are given.
    """
    if size := size_of_sample(label.shape[0], label.shape[1], options, split):
        image = image.resize(size[::-1], Image.Resampling.BICUBIC)
        sparse = split == "train" and options.annotation != "dense"
        label = resize_label(label, size, label_kind(sparse, options.labels))
        truth = resize_label(truth, size, label_kind(False, options.labels))
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return Sample(name, pixels, torch.from_numpy(label), torch.from_numpy(truth))


def size_of_sample(height: int, width: int, options: Data, split: str) -> tuple[int, int] | None:
    """The size to which an image of this size is resized; None: it is not.

    Raises:
        ValueError: both ``size`` and ``short_side`` are given.
    """
    if options.size is not None and options.short_side is not None:
        raise ValueError(
            "size and short_side must not both be given, got"
            f" {options.size} and {options.short_side}"
        )
    if options.short_side is None or split != "train":
        return size_for((height, width), options.size, options.keep_aspect)
    factor = options.short_side / min(height, width)
    return round(height * factor), round(width * factor)
