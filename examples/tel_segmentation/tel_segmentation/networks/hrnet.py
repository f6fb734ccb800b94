"""HRNetV2 over a backbone from timm.

Wang, J., Sun, K., Cheng, T., et al.: Deep High-Resolution Representation Learning for Visual
Recognition. TPAMI 2021. With the head of the Tree Energy Loss's official code, and like there with
bilinear upsampling where branches are fused: timm's own, for classification, takes the nearest.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from tel_segmentation.networks.backbones import check_name, renormalization, upsample


class HRNet(nn.Module):
    """The concatenated branches of a high-resolution network.

    Args:
        name: a HRNet of timm's; the paper's is ``hrnet_w48``.
        bgr: whether the backbone sees blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or it is of another kind.
    """

    channels: int
    """Of the feature that is classified and embedded, at stride 4: 720 of the paper's network."""

    def __init__(self, name: str, bgr: bool = False) -> None:
        super().__init__()
        check_name(name)
        if not timm.models.is_model_in_modules(name, ["hrnet"]):
            raise ValueError(f"HRNet: name must be one of timm's hrnet_*, got {name!r}")
        # Without the modules that widen the branches for classification; the first map, which is
        # left out, is the stem's at stride 2.
        self.backbone = timm.create_model(
            name,
            pretrained=False,
            features_only=True,
            feature_location="",
            out_indices=(1, 2, 3, 4),
        )
        for stage in (self.backbone.stage2, self.backbone.stage3, self.backbone.stage4):
            for key, module in stage.named_children():
                setattr(stage, key, Exchange(module))
        self.normalize = renormalization(name, bgr)
        self.channels = sum(self.backbone.feature_info.channels())

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, channels, ⌈H/4⌉, ⌈W/4⌉) of normalised images (B, 3, H, W)."""
        finest, *coarser = self.backbone(self.normalize(image))
        return torch.cat([finest, *(upsample(branch, finest) for branch in coarser)], dim=1)

    def head(self, num_classes: int) -> nn.Module:
        """What makes logits of the features."""
        return nn.Sequential(
            nn.Conv2d(self.channels, self.channels, 3, padding=1),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(self.channels, num_classes, 1, bias=False),
        )


class Exchange(nn.Module):
    """timm's ``HighResolutionModule``: parallel branches, each of which then hears all others.

    Has its parameters under the same names. Coarser maps are upsampled to the size of the finer
    one instead of by a factor, so that the image may have any size.
    """

    branches: nn.ModuleList
    fuse_layers: nn.ModuleList

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.branches = module.branches
        self.fuse_layers = module.fuse_layers
        for layer in list(self.fuse_layers.modules()):
            if isinstance(layer, nn.Sequential) and isinstance(layer[-1], nn.Upsample):
                del layer[-1]

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """The maps of as many branches, finest first, of the same shapes."""
        maps = [branch(values) for branch, values in zip(self.branches, maps, strict=True)]
        fused = []
        for own, layers in zip(maps, self.fuse_layers, strict=True):
            heard = [layer(values) for layer, values in zip(layers.children(), maps, strict=True)]
            heard = [part if part.shape == own.shape else upsample(part, own) for part in heard]
            fused.append(functional.relu(sum(heard[1:], heard[0])))
        return fused
