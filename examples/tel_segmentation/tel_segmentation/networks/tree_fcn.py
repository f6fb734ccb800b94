"""The learnable tree filter network (LTF) with a backbone from timm.

Song, L., Li, Y., Li, Z., Yu, G., Sun, H., Sun, J., Zheng, N.: Learnable Tree Filter for
Structure-preserving Feature Transform. NeurIPS 2019. This is the version of the Tree Energy Loss's
official code, where it is called TreeFCN. From coarse to fine, the features computed so far are
filtered along the minimum spanning tree of each stage of the backbone. The trees are part of the
network, so it needs them for prediction too.
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
from tel_segmentation.runtime.precision import lifted

WIDTH = 512
EMBEDDING = 256
GROUPS = 16


class TreeFCN(nn.Module):
    """Backbone, global average, and four stages of refinement with tree filters between them.

    Args:
        name: a timm model that returns feature maps at strides 4, 8, 16 and 32; the paper's is
            ``resnet101s``.
        bgr: whether the backbone's channels are blue, green, red; see ``config.Model``.

    Raises:
        ValueError: timm has no such model, or it does not return such feature maps.
    """

    channels = WIDTH
    """Channels of the last refined map, at stride 4, which is classified and embedded."""

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
            ValueError: in training, the batch is a single image; see ``GlobalAverage``.
        """
        features = self.backbone(self.normalize(image))
        coarsest, *finer = [features[place] for place in reversed(self.places)]
        # The official code filters in the first stage too. That has no effect: every pixel there
        # has the value of the global average.
        last = self.refine[0](self.latent[0](coarsest) + self.context(coarsest))
        for stage, latent, refine, filter in zip(
            finer, self.latent[1:], self.refine[1:], self.filter, strict=True
        ):
            last = refine(latent(stage) + filter(upsample(last, stage), stage))
        return last

    def head(self, num_classes: int) -> nn.Module:
        """The module that maps the features to logits."""
        return nn.Sequential(RefineResidual(WIDTH, WIDTH), nn.Conv2d(WIDTH, num_classes, 1))


class RefineResidual(nn.Module):
    """A 1×1 convolution, plus two 3×3 convolutions of its output, then ReLU."""

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

    The guide determines the tree. For group g of the values, the edge from i to j has the affinity
    exp(−|E_g(i) − E_g(j)|²), where E_g is the group's part of an embedding E of the values.

    Args:
        width: channels of the values.
        embedding: channels of E.
        groups: number of groups into which ``width`` and ``embedding`` are divided.
    """

    def __init__(self, width: int, embedding: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.embed = nn.Conv2d(width, embedding, 1, bias=False)

    def forward(self, values: Tensor, guide: Tensor) -> Tensor:
        """Filters along the minimum spanning trees of a guide.

        This is computed in float32 (in float64 if the values are), also under autocast: in half
        precision, small squared differences of features become 0, and the order of edges is lost.

        Args:
            values: (B, width, h, w).
            guide: (B, C, h, w); gets no gradient, since it only determines the tree.

        Returns:
            The filtered values, (B, width, h, w) in float32 or float64.
        """
        embedding = self.embed(values)
        with torch.autocast(values.device.type, enabled=False):
            graph = tf.grid(*values.shape[-2:])
            tree = tf.mst(tf.edge_weight(lifted(guide.detach()), graph), graph)
            parts = lifted(embedding).unflatten(1, (self.groups, -1))
            weight = tf.edge_weight(parts.flatten(0, 1), graph).unflatten(0, parts.shape[:2])
            return tf.filter(lifted(values), tree, tf.affinity(weight, tree))
