"""DeepLabV3+ with a backbone from timm.

Chen, L.-C., Zhu, Y., Papandreou, G., Schroff, F., Adam, H.: Encoder-Decoder with Atrous Separable
Convolution for Semantic Image Segmentation. ECCV 2018. As in the Tree Energy Loss's official code,
the convolutions are not separable, and a 3×3 convolution follows the ASPP.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from tel_segmentation.networks.backbones import (
    GlobalAverage,
    dilated_backbone,
    renormalization,
    upsample,
)

WIDTH = 256


class DeepLab(nn.Module):
    """Backbone, ASPP and decoder, up to the output of the decoder's first convolution.

    Args:
        name: a timm model that returns feature maps and can be dilated, e.g. ``resnet101``.
        output_stride: of the backbone's last feature map, 8 or 16.
        rates: dilations of the ASPP; None: 6, 12, 18 at output stride 16 and twice that at 8. The
            paper's official code has 12, 24, 36 at both.
        bgr: whether the backbone's channels are blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or the model cannot have this output stride.
    """

    channels = WIDTH
    """Channels of the feature map that is classified and embedded, at stride 4."""

    def __init__(
        self,
        name: str,
        output_stride: int = 16,
        rates: tuple[int, int, int] | None = None,
        bgr: bool = False,
    ) -> None:
        super().__init__()
        self.backbone, channels, strides = dilated_backbone(name, output_stride)
        self.normalize = renormalization(name, bgr)
        self.low = max(i for i, stride in enumerate(strides) if stride == 4)
        self.aspp = ASPP(channels[-1], rates or default_rates(output_stride))
        self.skip = Conv2dNormActivation(channels[self.low], 48, 1)
        self.fuse = Conv2dNormActivation(48 + WIDTH, WIDTH, 3)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, 256, ⌈H/4⌉, ⌈W/4⌉) of normalised images (B, 3, H, W)."""
        features = self.backbone(self.normalize(image))
        skip = self.skip(features[self.low])
        context = upsample(self.aspp(features[-1]), skip)
        fused: Tensor = self.fuse(torch.cat((skip, context), dim=1))
        return fused

    def head(self, num_classes: int) -> nn.Module:
        """The module that maps the features to logits."""
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
        self.pooled = GlobalAverage(channels, WIDTH)
        self.project = Conv2dNormActivation(WIDTH * (len(rates) + 2), WIDTH, 3)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, 256, h, w) of features (B, C, h, w).

        Raises:
            ValueError: in training, the batch is a single image; see ``GlobalAverage``.
        """
        pooled = self.pooled(features).expand(-1, -1, *features.shape[-2:])
        branches = [branch(features) for branch in self.branches]
        projected: Tensor = self.project(torch.cat([*branches, pooled], dim=1))
        return projected


def default_rates(output_stride: int) -> tuple[int, int, int]:
    """The dilations of DeepLabV3: 6, 12, 18 at output stride 16, twice that at 8."""
    return (12, 24, 36) if output_stride == 8 else (6, 12, 18)
