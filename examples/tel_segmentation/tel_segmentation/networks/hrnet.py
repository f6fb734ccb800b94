"""HRNetV2 with a backbone from timm.

Wang, J., Sun, K., Cheng, T., et al.: Deep High-Resolution Representation Learning for Visual
Recognition. TPAMI 2021. The head is that of the Tree Energy Loss's official code. As there, maps
are upsampled bilinearly before branches are fused; timm's own network, which is for classification,
takes the nearest pixel.
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
        name: one of timm's HRNets; the paper's is ``hrnet_w48``.
        bgr: whether the backbone's channels are blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or it is not an HRNet.
    """

    channels: int
    """Channels of the map that is classified and embedded, at stride 4; 720 for ``hrnet_w48``."""

    def __init__(self, name: str, bgr: bool = False) -> None:
        super().__init__()
        check_name(name)
        if not timm.models.is_model_in_modules(name, ["hrnet"]):
            raise ValueError(f"HRNet: name must be one of timm's hrnet_*, got {name!r}")
        # feature_location "" leaves out the modules that widen the branches for classification;
        # out_indices leave out map 0, that of the stem at stride 2.
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
        """The module that maps the features to logits."""
        return nn.Sequential(
            nn.Conv2d(self.channels, self.channels, 3, padding=1),
            nn.BatchNorm2d(self.channels),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(self.channels, num_classes, 1, bias=False),
        )


class Exchange(nn.Module):
    """timm's ``HighResolutionModule``: parallel branches, each of which is then fused with all.

    The parameters keep their names. Coarser maps are upsampled to the size of the finer one instead
    of by a factor, so that the image may have any size.
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
        """The fused maps of the branches, finest first, in the shapes of the given maps."""
        maps = [branch(values) for branch, values in zip(self.branches, maps, strict=True)]
        fused = []
        for own, layers in zip(maps, self.fuse_layers, strict=True):
            terms = [layer(values) for layer, values in zip(layers.children(), maps, strict=True)]
            terms = [term if term.shape == own.shape else upsample(term, own) for term in terms]
            fused.append(functional.relu(sum(terms[1:], terms[0])))
        return fused
