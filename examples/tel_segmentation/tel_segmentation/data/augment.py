"""Random augmentation of a training sample: its image, annotation and dense labels alike.

This is the augmentation of the Tree Energy Loss (Liang et al., CVPR 2022, and its code): flip,
scale and aspect ratio, crop, padding, brightness. Brightness changes only the network's input; the
guide of the trees keeps the original colours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from tel_segmentation.config import Data
from tel_segmentation.data.sample import PADDING, Sample
from tel_segmentation.data.sparse_labels import is_sparse, label_kind, resize_label

MEAN = (0.485, 0.456, 0.406)  # of ImageNet
STD = (0.229, 0.224, 0.225)


class Augmented(NamedTuple):
    """An augmented sample; h × w is the crop's size."""

    image: Tensor  # (3, h, w) float32: jittered and normalised, what the network sees
    guide: Tensor  # (3, h, w) float32: colours in [0, 1], for the losses
    label: Tensor  # (h, w) int64: class, -1 unlabelled, -2 padding
    truth: Tensor  # (h, w) int64: class, -1 no class, -2 padding


def augment(sample: Sample, options: Data, rng: np.random.Generator) -> Augmented:
    """Augments a sample; the result is the same for the same state of ``rng``.

    Image, label and truth are flipped with probability ``options.flip``, and resized to
    W' = ⌊W·√a·s⌋ × H' = ⌊H·s/√a⌋ pixels, at least 2 × 2, for a scale s and an aspect ratio a (the
    image bicubic and antialiased, the labels by the rule of ``sparse_labels``). They are cropped at
    a random position; a side that is smaller than the crop is padded to it, with the image at a
    random position (padding is 0 in the image, -2 in labels). The network's input is then made
    brighter or darker by an integer number of grey levels.

    Args:
        sample: image (3, H, W) uint8, label and truth (H, W) int64.
        options: flip, scale, aspect, crop, brightness, annotation, labels.
        rng: the source of randomness.

    Raises:
        ValueError: an option is out of its range.
    """
    _check(options)
    height, width = sample.label.shape
    flip = rng.random() < options.flip
    scale, aspect = rng.uniform(*options.scale), rng.uniform(*options.aspect)
    place = rng.random(2)
    offset = rng.random(2)
    brightness = int(rng.integers(-options.brightness, options.brightness, endpoint=True))

    image, labels = sample.image, torch.stack((sample.label, sample.truth))
    if flip:
        image, labels = F.horizontal_flip(image), F.horizontal_flip(labels)
    size = [  # torch 2.13 fails to resize to one column
        max(2, int(height * scale / math.sqrt(aspect))),
        max(2, int(width * math.sqrt(aspect) * scale)),
    ]
    image = F.resize(image, size, InterpolationMode.BICUBIC)
    labels = _resized(labels, size, options)
    window = _window(size, options.crop, place)
    padding = _padding(window[2:], options.crop, offset)
    image = F.pad(F.crop(image, *window), padding)
    labels = F.pad(F.crop(labels, *window), padding, fill=PADDING)

    jittered = (image.to(torch.int16) + brightness).clamp(0, 255)
    return Augmented(
        image=normalize(jittered.to(torch.float32) / 255),
        guide=image.to(torch.float32) / 255,
        label=labels[0],
        truth=labels[1],
    )


def _resized(labels: Tensor, size: list[int], options: Data) -> Tensor:
    """Label and truth (2, H, W) in another size."""
    resized: Tensor = F.resize(labels, size, InterpolationMode.NEAREST_EXACT)
    for index, sparse in enumerate((options.annotation != "dense", False)):
        label = labels[index].numpy()
        kind = label_kind(sparse, options.labels)
        if is_sparse(label) if kind is None else kind:
            resized[index] = torch.from_numpy(resize_label(label, (size[0], size[1]), True))
    return resized


def normalize(guide: Tensor) -> Tensor:
    """Normalises images in [0, 1] for a network: minus ImageNet's mean, divided by its deviation.

    Args:
        guide: (..., 3, H, W), floating point.
    """
    normalized: Tensor = F.normalize(guide, list(MEAN), list(STD))
    return normalized


def _window(size: list[int], crop: tuple[int, int], place: np.ndarray) -> list[int]:
    """Top, left, height and width of the part of an image of that size that is kept."""
    kept = [min(c, n) for c, n in zip(crop, size, strict=True)]
    start = [int(p * (n - k + 1)) for p, n, k in zip(place, size, kept, strict=True)]
    return start + kept


def _padding(size: list[int], crop: tuple[int, int], offset: np.ndarray) -> list[int]:
    """Pixels to add at the left, top, right and bottom."""
    missing = [c - n for c, n in zip(crop, size, strict=True)]
    top, left = (int(o * (m + 1)) for o, m in zip(offset, missing, strict=True))
    return [left, top, missing[1] - left, missing[0] - top]


def _check(options: Data) -> None:
    for name, (low, high) in (("scale", options.scale), ("aspect", options.aspect)):
        if not 0 < low <= high < math.inf:
            raise ValueError(
                f"augment: {name} must be a range of positive numbers, got {low}, {high}"
            )
    if min(options.crop) < 1:
        raise ValueError(f"augment: crop must be at least 1 × 1, got {options.crop}")
    if not 0 <= options.flip <= 1:
        raise ValueError(f"augment: flip must be a probability, got {options.flip}")
    if not 0 <= options.brightness <= 255:
        raise ValueError(f"augment: brightness must be in 0 to 255, got {options.brightness}")


__all__ = ["MEAN", "STD", "Augmented", "augment", "normalize"]
