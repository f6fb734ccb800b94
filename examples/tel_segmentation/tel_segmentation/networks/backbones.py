"""Backbones from timm, the normalisation of their input, and a global average of their features.

The paper's ``resnet101s`` is a ResNet-101 with a stem of three 3×3 convolutions, 64, 64 and 128
wide; ``resnet101`` is the one with a stem of one 7×7 convolution. He, K., Zhang, X., Ren, S.,
Sun, J.: Deep Residual Learning for Image Recognition. CVPR 2016.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

PYRAMID = (4, 8, 16, 32)


def dilated_backbone(name: str, output_stride: int) -> tuple[nn.Module, list[int], list[int]]:
    """The timm model that returns a list of feature maps, randomly initialised.

    Returns:
        The model, and the channels and strides of its feature maps.

    Raises:
        ValueError: timm has no such model, or the model cannot have this output stride.
    """
    if output_stride not in (8, 16):
        raise ValueError(f"DeepLab: output_stride must be 8 or 16, got {output_stride}")
    try:
        backbone, channels, strides = _feature_maps(name, output_stride)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"DeepLab: name must be a timm model whose stages can be dilated, got {name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
    if 4 not in strides or strides[-1] != output_stride:
        raise ValueError(
            f"DeepLab: name must be a timm model with features at strides 4 and {output_stride},"
            f" got {name!r} with {strides}"
        )
    return backbone, channels, strides


def pyramid_backbone(name: str) -> tuple[nn.Module, list[int], list[int]]:
    """The timm model that returns feature maps at strides 4, 8, 16 and 32, among others.

    Returns:
        The model, and the channels of those four maps and their indices in the model's output.

    Raises:
        ValueError: timm has no such model, or it does not return such feature maps.
    """
    try:
        backbone, channels, strides = _feature_maps(name, PYRAMID[-1])
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"LTF: name must be a timm model that gives feature maps, got {name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
    places = [strides.index(stride) for stride in PYRAMID if stride in strides]
    if len(places) != len(PYRAMID) or strides[-1] != PYRAMID[-1]:
        raise ValueError(
            f"LTF: name must be a timm model with features at strides {PYRAMID}, got {name!r} with"
            f" {strides}"
        )
    return backbone, [channels[place] for place in places], places


def _feature_maps(name: str, output_stride: int) -> tuple[nn.Module, list[int], list[int]]:
    check_name(name)
    backbone = _without_zeros(name, features_only=True, output_stride=output_stride)
    info: Any = backbone.feature_info
    return backbone, info.channels(), info.reduction()


def _without_zeros(name: str, **options: Any) -> Any:
    """The timm model with a scale of 1 at the start in every batch norm.

    By default timm starts with a scale of 0 in the last batch norm of every residual block; the
    paper's networks do not. Only models with residual blocks accept the option for this.
    """
    try:
        return timm.create_model(name, pretrained=False, zero_init_last=False, **options)
    except TypeError as error:
        if "zero_init_last" not in str(error):
            raise
    return timm.create_model(name, pretrained=False, **options)


def check_name(name: str) -> None:
    """Raises a ValueError with similar names if timm has no such model."""
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=5)
    hint = f"; near are {', '.join(near)}" if near else ""
    raise ValueError(f"build_model: name must be 'tiny' or a timm model's, got {name!r}{hint}")


class Renormalization(nn.Module):
    """Converts images normalised by ImageNet's mean and deviation to the backbone's normalisation.

    Args:
        mean: of the backbone's input channels.
        std: of the backbone's input channels.
        bgr: whether those channels are blue, green, red. ``mean`` and ``std`` are not reordered:
            the official code of the Tree Energy Loss reads blue, green, red and normalises them by
            the statistics of red, green, blue.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], bgr: bool = False) -> None:
        super().__init__()
        step = -1 if bgr else 1
        our_mean = torch.tensor(IMAGENET_DEFAULT_MEAN[::step])
        our_std = torch.tensor(IMAGENET_DEFAULT_STD[::step])
        theirs = torch.tensor(std)
        shift = (our_mean - torch.tensor(mean)) / theirs
        self.bgr = bgr
        self.register_buffer("scale", (our_std / theirs).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The converted images, of the same shape."""
        ordered = image.flip(1) if self.bgr else image
        return ordered * self.scale + self.shift


def renormalization(name: str, bgr: bool = False) -> nn.Module:
    """The module that converts the network's input to what this backbone was trained on."""
    options = timm.get_pretrained_cfg(name)
    ours = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    mean, std = ours if options is None else (options.mean, options.std)
    return nn.Identity() if (mean, std) == ours and not bgr else Renormalization(mean, std, bgr)


class GlobalAverage(nn.Sequential):
    """The mean over the whole map, then a 1×1 convolution, batch norm and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), Conv2dNormActivation(channels, width, 1))

    def forward(self, features: Tensor) -> Tensor:
        """The average (B, width, 1, 1) of features (B, channels, h, w).

        Raises:
            ValueError: in training, the batch is a single image: batch norm cannot normalise one
                value.
        """
        try:
            average: Tensor = super().forward(features)
        except ValueError as error:
            if features.shape[0] > 1:
                raise
            # Batch norm rejects a single value, unless it is synchronised over several processes.
            raise ValueError(
                "GlobalAverage: batch must be at least 2 images in training, because batch norm"
                f" follows the average over the whole image, got {features.shape[0]}"
            ) from error
        return average


def upsample(coarse: Tensor, like: Tensor) -> Tensor:
    """Resizes a map to the size of another one, bilinearly and with aligned corners."""
    return functional.interpolate(coarse, size=like.shape[-2:], mode="bilinear", align_corners=True)
