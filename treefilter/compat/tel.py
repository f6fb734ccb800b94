"""The Tree Energy Loss (Liang et al., CVPR 2022) under the research code's class name.

New code uses :class:`treefilter.nn.TreeEnergyLoss`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .tree_filter import MinimumSpanningTree, TreeFilter2D, norm2_distance


class TreeEnergyLoss(nn.Module):
    """λ Σ |P − Y| / N over the pixels without a label, Y being P filtered along two trees.

    Args:
        configer: An object with ``get("tree_loss", "params")["weight"]`` and
            ``get("tree_loss", "sigma")``, which then replace the other arguments.
        weight: λ.
        sigma: σ of the low level.
    """

    def __init__(self, configer: Any = None, *, weight: float = 0.4, sigma: float = 0.02) -> None:
        super().__init__()
        if configer is not None:
            weight = configer.get("tree_loss", "params")["weight"]
            sigma = configer.get("tree_loss", "sigma")
        self.configer = configer
        self.weight = weight
        self.mst_layers = MinimumSpanningTree(norm2_distance)
        self.tree_filter_layers = TreeFilter2D(groups=1, sigma=sigma)

    def forward(
        self,
        preds: Tensor,
        low_feats: Tensor,
        high_feats: Tensor | None,
        unlabeled_ROIs: Tensor,  # noqa: N803  the research code's name
    ) -> Tensor:
        """The loss of logits ``preds`` (B, K, h, w); 0 if no pixel is without a label.

        ``low_feats`` (B, 3, H, W) are colours in [0, 1], ``high_feats`` (B, C, h, w) an embedding
        or None, ``unlabeled_ROIs`` (B, H, W) is true where there is no label.
        """
        size = preds.shape[-2:]
        with torch.no_grad():
            low = functional.interpolate(low_feats, size, mode="bilinear", align_corners=False)
            inside = functional.interpolate(unlabeled_ROIs.unsqueeze(1).float(), size)
        probability = preds.softmax(1)
        pseudo = self.tree_filter_layers(probability, low, self.mst_layers(low))
        if high_feats is not None:
            trees = self.mst_layers(high_feats)
            pseudo = self.tree_filter_layers(pseudo, high_feats, trees, low_tree=False)
        total = (inside * (probability - pseudo).abs()).sum()
        return self.weight * total / inside.sum().clamp_min(1)
