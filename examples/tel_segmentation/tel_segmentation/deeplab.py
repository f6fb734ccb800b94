"""DeepLabV3+ over a backbone from timm.

Chen, L.-C., Zhu, Y., Papandreou, G., Schroff, F., Adam, H.: Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation. ECCV 2018. With the plain convolutions, and the 3×3
convolution behind the ASPP, of the Tree Energy Loss's official code.
"""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation

WIDTH = 256


class DeepLab(nn.Module):
    """Backbone, ASPP and decoder up to the feature behind the decoder's first convolution.

    Args:
        name: a timm model that gives feature maps and can dilate, e.g. ``resnet101``.
        output_stride: of the backbone's last feature map, 8 or 16.
        rates: dilations of the ASPP; None: 6, 12, 18 at output stride 16 and twice that at 8. The
            paper's official code has 12, 24, 36 at both.

    Raises:
        ValueError: timm has no such model, or the model cannot have this output stride.
    """

    channels = WIDTH
    """Of the feature that is classified and embedded, at stride 4."""

    def __init__(
        self, name: str, output_stride: int = 16, rates: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        self.backbone, channels, strides = dilated_backbone(name, output_stride)
        self.normalize = renormalization(name)
        self.low = max(i for i, stride in enumerate(strides) if stride == 4)
        self.aspp = ASPP(channels[-1], rates or default_rates(output_stride))
        self.skip = Conv2dNormActivation(channels[self.low], 48, 1)
        self.fuse = Conv2dNormActivation(48 + WIDTH, WIDTH, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, 256, ⌈H/4⌉, ⌈W/4⌉) of normalised images (B, 3, H, W)."""
        features = self.backbone(self.normalize(image))
        skip = self.skip(features[self.low])
        context = functional.interpolate(
            self.aspp(features[-1]), size=skip.shape[-2:], mode="bilinear", align_corners=True
        )
        fused: Tensor = self.fuse(torch.cat((skip, context), dim=1))
        return fused

    def head(self, num_classes: int) -> nn.Module:
        """What makes logits of the features."""
        return nn.Sequential(
            Conv2dNormActivation(WIDTH, WIDTH, 3),
            nn.Dropout(0.1),
            nn.Conv2d(WIDTH, num_classes, 1),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1×1, three dilated 3×3, and the global average."""

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [Conv2dNormActivation(channels, WIDTH, 1)]
            + [Conv2dNormActivation(channels, WIDTH, 3, dilation=rate) for rate in rates]
        )
        self.pooled = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), Conv2dNormActivation(channels, WIDTH, 1)
        )
        self.project = Conv2dNormActivation(WIDTH * (len(rates) + 2), WIDTH, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 256, h, w) of features (B, C, h, w).

        Raises:
            ValueError: a single image in training: the pooled branch would be normalised by itself.
        """
        pooled = self._pool(features).expand(-1, -1, *features.shape[-2:])
        branches = [branch(features) for branch in self.branches]
        projected: Tensor = self.project(torch.cat([*branches, pooled], dim=1))
        return projected

    def _pool(self, features: Tensor) -> Tensor:
        try:
            pooled: Tensor = self.pooled(features)
        except ValueError as error:
            if features.shape[0] > 1:
                raise
            # Batch norm refuses a single value, unless it is synchronised over several processes.
            raise ValueError(
                "ASPP: batch must be at least 2 images in training, because batch norm follows its"
                f" global average, got {features.shape[0]}"
            ) from error
        return pooled


def default_rates(output_stride: int) -> tuple[int, int, int]:
    """The dilations of DeepLabV3: 6, 12, 18 at output stride 16, twice that at 8."""
    return (12, 24, 36) if output_stride == 8 else (6, 12, 18)


def dilated_backbone(name: str, output_stride: int) -> tuple[nn.Module, list[int], list[int]]:
    """The timm model that returns a list of feature maps, randomly initialised.

    Returns:
        The model, and the channels and strides of its feature maps.

    Raises:
        ValueError: timm has no such model, or the model cannot have this output stride.
    """
    check_name(name)
    if output_stride not in (8, 16):
        raise ValueError(f"DeepLab: output_stride must be 8 or 16, got {output_stride}")
    try:
        backbone = timm.create_model(
            name, pretrained=False, features_only=True, output_stride=output_stride
        )
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"DeepLab: name must be a timm model whose stages can be dilated, got {name!r}"
            f" ({type(error).__name__}: {error})"
        ) from error
    info: Any = backbone.feature_info
    strides: list[int] = info.reduction()
    if 4 not in strides or strides[-1] != output_stride:
        raise ValueError(
            f"DeepLab: name must be a timm model with features at strides 4 and {output_stride},"
            f" got {name!r} with {strides}"
        )
    return backbone, info.channels(), strides


def check_name(name: str) -> None:
    """Raises ValueError with the names that are near if timm has no such model."""
    if timm.is_model(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(), n=5)
    hint = f"; near are {', '.join(near)}" if near else ""
    raise ValueError(f"build_model: name must be 'tiny' or a timm model's, got {name!r}{hint}")


class Renormalization(nn.Module):
    """From images normalised by ImageNet's mean and deviation to those of the backbone."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        ours, theirs = torch.tensor(IMAGENET_DEFAULT_STD), torch.tensor(std)
        shift = (torch.tensor(IMAGENET_DEFAULT_MEAN) - torch.tensor(mean)) / theirs
        self.register_buffer("scale", (ours / theirs).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Images of the same shape."""
        return image * self.scale + self.shift


def renormalization(name: str) -> nn.Module:
    """What turns the package's input into what this backbone's weights were trained on."""
    options = timm.get_pretrained_cfg(name)
    if options is None or (options.mean, options.std) == (
        IMAGENET_DEFAULT_MEAN,
        IMAGENET_DEFAULT_STD,
    ):
        return nn.Identity()
    return Renormalization(options.mean, options.std)
