"""The tree energy loss as a module."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from .._checks import check_choice, check_integer, check_number
from ..losses.difference import DELTAS
from ..losses.pseudo_labels import AGGREGATIONS
from ..losses.region import ROIS
from ..losses.tree_energy import REDUCTIONS, tree_energy
from ..sigma_for_mass import check_auto
from ._layer import Layer


class TreeEnergyLoss(Layer):
    """:func:`treefilter.losses.tree_energy` as a module; its arguments are explained there.

    Args:
        sigma: σ of the low level; ``"auto"``: found for each image from ``mass``.
        weight: Factor λ of the loss, 0.4 in the paper.
        unlabelled: The number in a label that means that there is none.
        aggregation: ``"LH-C"``, ``"HL-C"`` or ``"LH-P"``.
        delta: ``"l1"``, ``"l2"``, ``"ce"`` or ``"dot"``.
        reduction: ``"batch"`` or ``"image"``.
        offset: Added to the weights while trees are built; 1 makes the research code's ties.
        mass: For ``sigma="auto"``: the share of an image that its pixels average over, 0.005 if
            None.
        roi: ``"any"`` or ``"nearest"``.

    Shape:
        logits (B, K, h, w), guide (B, C, H, W), label (B, H, W) and embed (B, C', h, w) or None
        give a scalar.

    Example:
        >>> import torch, treefilter as tf
        >>> loss = tf.nn.TreeEnergyLoss(sigma=0.02)
        >>> label = torch.full((1, 32, 32), -1)
        >>> embed = torch.rand(1, 64, 8, 8)
        >>> loss(torch.randn(1, 21, 8, 8), torch.rand(1, 3, 32, 32), label, embed).shape
        torch.Size([])
    """

    def __init__(
        self,
        sigma: float | Tensor | Literal["auto"] = 0.02,
        weight: float = 0.4,
        unlabelled: int = -1,
        aggregation: str = "LH-C",
        delta: str = "l1",
        reduction: str = "batch",
        offset: float = 0.0,
        mass: float | None = None,
        roi: str = "any",
    ) -> None:
        super().__init__()
        name = "TreeEnergyLoss"
        check_choice(name, "aggregation", aggregation, AGGREGATIONS)
        check_choice(name, "delta", delta, DELTAS)
        check_choice(name, "reduction", reduction, REDUCTIONS)
        check_choice(name, "roi", roi, ROIS)
        self.unlabelled = check_integer(name, "unlabelled", unlabelled)
        self.weight = check_number(name, "weight", weight)
        self.offset = check_number(name, "offset", offset)
        self.mass = check_auto(name, sigma, mass)
        self._keep_sigma(name, sigma, 1)
        self.aggregation, self.delta, self.reduction = aggregation, delta, reduction
        self.roi = roi

    def forward(
        self, logits: Tensor, guide: Tensor, label: Tensor, embed: Tensor | None = None
    ) -> Tensor:
        """λ times the loss."""
        return self.weight * tree_energy(
            logits,
            guide,
            label,
            embed,
            sigma=self.sigma,
            mass=self.mass,
            unlabelled=self.unlabelled,
            aggregation=self.aggregation,
            delta=self.delta,
            reduction=self.reduction,
            offset=self.offset,
            roi=self.roi,
        )

    def extra_repr(self) -> str:
        """The configuration, for ``print``."""
        auto = "" if self.mass is None else f", mass={self.mass}"
        return f"sigma={self.sigma}{auto}, weight={self.weight}, aggregation={self.aggregation!r}"
