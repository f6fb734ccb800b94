"""The tree filter as a layer."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from .. import _ops
from .._checks import (
    check_choice,
    check_devices,
    check_integer,
    check_size,
    check_tensor,
)
from ..affinity import affinity_for
from ..edge_weight import METRICS, edge_weight
from ..filter import apply
from ..graph import Graph, grid_for
from ..mst import mst
from ..sigma_for_mass import check_auto, sigma_for_mass
from ..tree import Tree
from ._layer import Layer


class TreeFilter2d(Layer):
    """Filters x along the minimum spanning trees of a guide's image grid.

    The trees come from all channels of the guide (Song et al., NeurIPS 2019); with ``groups`` the
    guide's channels are split likewise and each group has affinities of its own on the common tree.
    Without a guide, x is filtered along its own trees, so that the layer fits into
    ``nn.Sequential``.

    Args:
        sigma: σ > 0 of the affinities: a number, or a tensor that broadcasts to (B, groups), e.g.
            an ``nn.Parameter`` to learn it. For the range see :func:`treefilter.affinity`.
            ``"auto"``: for each image, and group, the σ of :func:`treefilter.sigma_for_mass`.
        groups: Number of groups G; must divide the channels of x and of the guide.
        metric: As for :func:`treefilter.edge_weight`.
        connectivity: 4 or 8.
        mass: For ``sigma="auto"``: the share of an image that its pixels average over, 0.005 if
            None.

    Shape:
        x (B, C, H, W) and guide (B, Cg, H, W) give (B, C, H, W). A guide of batch 1 serves any x.
        Differentiable in x, the guide and σ.

    Raises:
        ValueError: In the constructor for ``groups`` below 1, an unknown metric or connectivity or
            σ ≤ 0, a ``mass`` outside of (0, 1] or beside a given σ; in ``forward`` for shapes or
            devices that do not fit.
        TypeError: In the constructor for ``groups`` or ``connectivity`` that is no integer, or σ
            that is neither a number nor a floating-point tensor; in ``forward`` for x or a guide
            that is no floating-point tensor.

    Example:
        >>> import torch, treefilter as tf
        >>> smooth = tf.nn.TreeFilter2d(sigma=0.05)
        >>> image = torch.rand(1, 3, 8, 8)
        >>> smooth(image).shape
        torch.Size([1, 3, 8, 8])
        >>> scores = torch.rand(1, 21, 8, 8)
        >>> smooth(scores, guide=image).shape
        torch.Size([1, 21, 8, 8])
    """

    def __init__(
        self,
        sigma: float | Tensor | Literal["auto"] = 1.0,
        groups: int = 1,
        metric: str = "sqeuclidean",
        connectivity: int = 4,
        mass: float | None = None,
    ) -> None:
        super().__init__()
        self.groups = check_size("TreeFilter2d", "groups", groups)
        check_choice("TreeFilter2d", "metric", metric, METRICS)
        self.metric = metric
        self.connectivity = check_integer("TreeFilter2d", "connectivity", connectivity)
        if self.connectivity not in (4, 8):
            raise ValueError(f"TreeFilter2d: connectivity must be 4 or 8, got {connectivity}")
        self.mass = check_auto("TreeFilter2d", sigma, mass)
        self._keep_sigma("TreeFilter2d", sigma, self.groups)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """Filters ``x`` (B, C, H, W) along the trees of ``guide`` (B, Cg, H, W), or of ``x``."""
        function, name = "TreeFilter2d", "x" if guide is None else "guide"
        guide = x if guide is None else guide
        for argument, value in ((name, guide), ("x", x)) if guide is not x else ((name, x),):
            check_tensor(function, argument, value, "float")
            if value.ndim != 4 or value.shape[1] % self.groups:
                raise ValueError(
                    f"{function}: {argument} must have shape (B, C, H, W) with C divisible by "
                    f"{self.groups}, got {tuple(value.shape)}"
                )
        check_devices(function, "x", x, **{name: guide})
        size, given = tuple(guide.shape), tuple(x.shape)
        if size[2:] != given[2:] or size[0] not in (given[0], 1):
            raise ValueError(
                f"{function}: guide must have the height and width of x and batch 1 or that of x, "
                f"got {size} for x {given}"
            )
        graph = grid_for(function, size[2:], self.connectivity)
        weight = edge_weight(guide, graph, self.metric)
        tree = _tree(weight, graph, name)
        if self.groups > 1:
            split = guide.unflatten(1, (self.groups, -1)).flatten(0, 1)
            weight = edge_weight(split, graph, self.metric).unflatten(0, (-1, self.groups))
        sigma = self.sigma
        if isinstance(sigma, str):
            sigma = sigma_for_mass(weight, tree, cast(float, self.mass))
            sigma = sigma if self.groups > 1 else sigma.unsqueeze(1)
        return apply(function, x, tree, affinity_for(function, weight, tree, sigma), _ops.MEAN)

    def extra_repr(self) -> str:
        """The configuration, for ``print``."""
        sigma = "learnt" if isinstance(self.sigma, nn.Parameter) else self.sigma
        auto = "" if self.mass is None else f", mass={self.mass}"
        return (
            f"sigma={sigma}{auto}, groups={self.groups}, metric={self.metric!r}, "
            f"connectivity={self.connectivity}"
        )


def _tree(weight: Tensor, graph: Graph, name: str) -> Tree:
    """The trees of the argument of that name, whose features are at fault if a weight is NaN."""
    if torch.compiler.is_compiling():
        return mst(weight, graph)
    try:
        return mst(weight, graph)
    except ValueError:
        raise ValueError(f"TreeFilter2d: {name} must be finite, got NaN or an infinity") from None
