"""Modules: the whole pipeline as one layer."""

from __future__ import annotations

from torch import Tensor, nn

from .affinity import affinity
from .edge_weight import METRICS, edge_weight
from .filter import filter
from .graph import grid
from .mst import mst


class TreeFilter2d(nn.Module):
    """Filters x along the minimum spanning trees of a guide's image grid.

    The trees come from all channels of the guide (Song et al., NeurIPS 2019); with ``groups`` the
    guide's channels are split likewise and each group has affinities of its own on the common tree.

    Args:
        sigma: σ > 0 of the affinities: a number, or a tensor that broadcasts to (B, groups), e.g.
            an ``nn.Parameter`` to learn it.
        groups: Number of groups G; must divide the channels of x and of the guide.
        metric: As for :func:`treefilter.edge_weight`.
        connectivity: 4 or 8.

    Shape:
        x (B, C, H, W) and guide (B, Cg, H, W) give (B, C, H, W). Differentiable in x, the guide and
        σ.

    Raises:
        ValueError: In the constructor for ``groups`` below 1, an unknown metric or connectivity or
            σ ≤ 0; in ``forward`` for shapes that do not fit.

    Example:
        >>> import torch, treefilter as tf
        >>> smooth = tf.nn.TreeFilter2d(sigma=0.05)
        >>> image = torch.rand(1, 3, 8, 8)
        >>> smooth(image, image).shape
        torch.Size([1, 3, 8, 8])
    """

    def __init__(
        self,
        sigma: float | Tensor = 1.0,
        groups: int = 1,
        metric: str = "sqeuclidean",
        connectivity: int = 4,
    ) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"TreeFilter2d: groups must be at least 1, got {groups}")
        if metric not in METRICS:
            raise ValueError(
                f"TreeFilter2d: metric must be one of {', '.join(METRICS)}, got {metric!r}"
            )
        if connectivity not in (4, 8):
            raise ValueError(f"TreeFilter2d: connectivity must be 4 or 8, got {connectivity}")
        if not isinstance(sigma, Tensor) and not sigma > 0:
            raise ValueError(f"TreeFilter2d: sigma must be positive, got {sigma}")
        self.sigma: float | Tensor
        if isinstance(sigma, nn.Parameter):
            self.sigma = sigma
        elif isinstance(sigma, Tensor):
            self.register_buffer("sigma", sigma)
        else:
            self.sigma = float(sigma)
        self.groups = groups
        self.metric = metric
        self.connectivity = connectivity

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Filters ``x`` (B, C, H, W) guided by ``guide`` (B, Cg, H, W)."""
        if guide.ndim != 4 or guide.shape[1] % self.groups:
            raise ValueError(
                f"TreeFilter2d: guide must have shape (B, C, H, W) with C divisible by "
                f"{self.groups}, got {tuple(guide.shape)}"
            )
        graph = grid(*guide.shape[2:], connectivity=self.connectivity)
        weight = edge_weight(guide, graph, self.metric)
        tree = mst(weight, graph)
        if self.groups > 1:
            split = guide.unflatten(1, (self.groups, -1)).flatten(0, 1)
            weight = edge_weight(split, graph, self.metric).unflatten(0, (-1, self.groups))
        return filter(x, tree, affinity(weight, tree, self.sigma))

    def extra_repr(self) -> str:
        """The configuration, for ``print``."""
        sigma = "learnt" if isinstance(self.sigma, nn.Parameter) else self.sigma
        return (
            f"sigma={sigma}, groups={self.groups}, metric={self.metric!r}, "
            f"connectivity={self.connectivity}"
        )
