"""DeepLabV2 with a backbone from timm.

Chen, L.-C., Papandreou, G., Kokkinos, I., Murphy, K., Yuille, A. L.: DeepLab: Semantic Image
Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully Connected CRFs. TPAMI 2018.

The Tree Energy Loss's paper reports a result of it on Pascal VOC's test set, but its official code
does not include it. The features from which F is computed are therefore our choice, and so are a
single input scale and no CRF.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tel_segmentation.networks.backbones import dilated_backbone, renormalization

RATES = (6, 12, 18, 24)


class DeepLabV2(nn.Module):
    """A dilated backbone, whose last map is classified by the sum of four dilated convolutions.

    Args:
        name: a timm model that returns feature maps and can be dilated; the paper's is
            ``resnet101``.
        output_stride: of the features and the logits, 8 (as in DeepLabV2) or 16.
        bgr: whether the backbone's channels are blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or the model cannot have this output stride.
    """

    channels: int
    """Channels of the backbone's last map, which is classified and embedded; 2048 in ResNet-101."""

    def __init__(self, name: str, output_stride: int = 8, bgr: bool = False) -> None:
        super().__init__()
        self.backbone, channels, _ = dilated_backbone(name, output_stride)
        pool = getattr(self.backbone, "maxpool", None)
        if isinstance(pool, nn.MaxPool2d):
            pool.ceil_mode = True  # as in the Caffe network
        self.normalize = renormalization(name, bgr)
        self.channels = channels[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, channels, about H/8, about W/8) of normalised images (B, 3, H, W)."""
        features: Tensor = self.backbone(self.normalize(image))[-1]
        return features

    def head(self, num_classes: int) -> nn.Module:
        """The module that maps the features to logits."""
        return SummedASPP(self.channels, num_classes)


class SummedASPP(nn.Module):
    """The sum of 3×3 convolutions with dilations 6, 12, 18 and 24 (Fig. 7: ASPP-L)."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList()
        for rate in RATES:
            branch = nn.Conv2d(channels, num_classes, 3, padding=rate, dilation=rate)
            nn.init.normal_(branch.weight, std=0.01)
            nn.init.zeros_(branch.get_parameter("bias"))
            self.branches.append(branch)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K, h, w) of features (B, channels, h, w)."""
        return torch.stack([branch(features) for branch in self.branches]).sum(0)
