"""A network small enough to be trained in a minute on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation


class Tiny(nn.Module):
    """Encoder and decoder with fewer than 0.3 million parameters, from scratch.

    The classes of the generated scenes are textures with periods of a few pixels. The features at
    strides 1 and 2 preserve them; dilated convolutions at stride 8 see their surroundings. The
    expensive layers are at strides 4 and 8.
    """

    channels = 64
    """Channels of the feature map that is classified and embedded, at stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Encoder()
        self.aspp = Pyramid(64, rates=(2, 4))
        self.fuse = nn.Sequential(
            Conv2dNormActivation(64 + 64, 64, 1), Conv2dNormActivation(64, 64, 3)
        )
        self.refine = Conv2dNormActivation(32 + 64, self.channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, 64, ⌈H/2⌉, ⌈W/2⌉) of normalised images (B, 3, H, W)."""
        fine, middle, context = self.backbone(image)
        middle = self.fuse(_upsample_beside(self.aspp(context), middle))
        features: Tensor = self.refine(_upsample_beside(middle, fine))
        return features

    def head(self, num_classes: int) -> nn.Module:
        """The module that maps the features to logits."""
        return nn.Conv2d(self.channels, num_classes, 1)


class LocalContrast(nn.Module):
    """Concatenates the image with its local contrast normalisation.

    The normalisation (Jarrett et al., ICCV 2009, Section 3.2, here with a box as window) removes
    the local mean and contrast. A texture of a few grey levels on any colour is then as visible as
    a strong one; without it the network learns nothing about the scenes in the default 300
    iterations.
    """

    window = 7
    floor = 0.05  # added to the deviation (of the normalised image), limits how noise is amplified

    def forward(self, image: Tensor) -> Tensor:
        """Maps normalised images (B, 3, H, W) to (B, 6, H, W)."""
        centred = image - self._mean(image)
        deviation = self._mean(centred.square().mean(1, keepdim=True)).sqrt()
        return torch.cat((image, centred / (deviation + self.floor)), dim=1)

    def _mean(self, values: Tensor) -> Tensor:
        return functional.avg_pool2d(
            values, self.window, stride=1, padding=self.window // 2, count_include_pad=False
        )


class Encoder(nn.Module):
    """16 channels at stride 1, 32 at 2, 64 at 4 and 8; dilations of 1, 2 and 4 at stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            LocalContrast(),
            Conv2dNormActivation(6, 16, 3),
            Conv2dNormActivation(16, 32, 3, stride=2),
            Conv2dNormActivation(32, 32, 3),
        )
        self.middle = Conv2dNormActivation(32, 64, 3, stride=2)
        self.context = nn.Sequential(
            Conv2dNormActivation(64, 64, 3, stride=2),
            Conv2dNormActivation(64, 64, 3, dilation=2),
            Conv2dNormActivation(64, 64, 3, dilation=4),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The features at strides 2, 4 and 8."""
        fine = self.fine(image)
        middle = self.middle(fine)
        return fine, middle, self.context(middle)


class Pyramid(nn.Module):
    """ASPP without the globally pooled branch, so that a batch may be a single image."""

    def __init__(self, channels: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        width = channels // 2
        self.branches = nn.ModuleList(
            [Conv2dNormActivation(channels, width, 1)]
            + [Conv2dNormActivation(channels, width, 3, dilation=rate) for rate in rates]
        )
        self.project = Conv2dNormActivation(width * len(self.branches), channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        joined = torch.cat([branch(features) for branch in self.branches], dim=1)
        projected: Tensor = self.project(joined)
        return projected


def _upsample_beside(coarse: Tensor, fine: Tensor) -> Tensor:
    coarse = functional.interpolate(
        coarse, size=fine.shape[-2:], mode="bilinear", align_corners=True
    )
    return torch.cat((fine, coarse), dim=1)
