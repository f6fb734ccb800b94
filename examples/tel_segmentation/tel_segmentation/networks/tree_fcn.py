"""The learnable tree filter network (LTF) over a backbone from timm.

Song, L., Li, Y., Li, Z., Yu, G., Sun, H., Sun, J., Zheng, N.: Learnable Tree Filter for
Structure-preserving Feature Transform. NeurIPS 2019. As in the Tree Energy Loss's official code,
where it is called TreeFCN: from coarse to fine, the features so far are filtered along the minimum
spanning tree of every stage of the backbone. The trees are part of the network: it needs them for
prediction, too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

import treefilter as tf
from tel_segmentation.networks.backbones import (
    GlobalAverage,
    pyramid_backbone,
    renormalization,
    upsample,
)

WIDTH = 512
EMBEDDING = 256
GROUPS = 16


class TreeFCN(nn.Module):
    """Backbone, global average, and four stages of refinement with tree filters between them.

    Args:
        name: a timm model that gives feature maps at strides 4, 8, 16 and 32; the paper's is
            ``resnet101s``.
        bgr: whether the backbone sees blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or it does not give such feature maps.
    """

    channels = WIDTH
    """Of the feature that is classified and embedded, at stride 4: the last refined map."""

    def __init__(self, name: str, bgr: bool = False) -> None:
        super().__init__()
        self.backbone, channels, self.places = pyramid_backbone(name)
        self.normalize = renormalization(name, bgr)
        self.context = GlobalAverage(channels[-1], WIDTH)
        self.latent = nn.ModuleList(RefineResidual(count, WIDTH) for count in reversed(channels))
        self.refine = nn.ModuleList(RefineResidual(WIDTH, WIDTH) for _ in channels)
        self.filter = nn.ModuleList(TreeFilter(WIDTH, EMBEDDING, GROUPS) for _ in channels[1:])

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, 512, ⌈H/4⌉, ⌈W/4⌉) of normalised images (B, 3, H, W).

        Raises:
            ValueError: a single image in training: the global average would be normalised by
                itself.
        """
        features = self.backbone(self.normalize(image))
        coarsest, *finer = [features[place] for place in reversed(self.places)]
        # The official code filters in the first stage, too. There every pixel has the value of the
        # global average, and all are equal already.
        last = self.refine[0](self.latent[0](coarsest) + self.context(coarsest))
        for stage, latent, refine, filter in zip(
            finer, self.latent[1:], self.refine[1:], self.filter, strict=True
        ):
            last = refine(latent(stage) + filter(upsample(last, stage), stage))
        return last

    def head(self, num_classes: int) -> nn.Module:
        """What makes logits of the features."""
        return nn.Sequential(RefineResidual(WIDTH, WIDTH), nn.Conv2d(WIDTH, num_classes, 1))


class RefineResidual(nn.Module):
    """A 1×1 convolution, to which two 3×3 convolutions add, and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels, width, 1, bias=False)
        self.residual = nn.Sequential(
            Conv2dNormActivation(width, width, 3),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, width, h, w) of features (B, channels, h, w)."""
        projected = self.project(features)
        return torch.relu(projected + self.residual(projected))


class TreeFilter(nn.Module):
    """The learnable tree filter in groups of channels (Section 3 of the paper).

    The tree is the guide's; along its edges, group g of the values passes with the affinity
    exp(−|E_g(i) − E_g(j)|²) of the group's part of an embedding E of the values themselves.

    Args:
        width: channels of the values.
        embedding: channels of E.
        groups: that ``width`` and ``embedding`` are divided into.
    """

    def __init__(self, width: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.embed = nn.Conv2d(width, embedding, 1, bias=False)

    def forward(self, values: Tensor, guide: Tensor) -> Tensor:
        """Filters along the minimum spanning trees of a guide.

        Computed in float32 (float64 stays), whatever autocast says: squared differences of
        half-precision features vanish, and the order of the edges with them.

        Args:
            values: (B, width, h, w).
            guide: (B, C, h, w); has no gradient: the tree is all that is taken of it.

        Returns:
            The filtered values, (B, width, h, w) in float32 or float64.
        """
        embedding = self.embed(values)
        with torch.autocast(values.device.type, enabled=False):
            graph = tf.grid(*values.shape[-2:])
            tree = tf.mst(tf.edge_weight(_wide(guide.detach()), graph), graph)
            parts = _wide(embedding).unflatten(1, (self.groups, -1))
            weight = tf.edge_weight(parts.flatten(0, 1), graph).unflatten(0, parts.shape[:2])
            return tf.filter(_wide(values), tree, tf.affinity(weight, tree))


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
