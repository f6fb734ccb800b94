"""A state-space scan along trees."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

from .._checks import (
    autocast_device,
    check_choice,
    check_devices,
    check_flag,
    check_integer,
    check_size,
    check_tensor,
)
from ..edge_weight import METRICS, edge_weight
from ..filter import filter, leaf_to_root
from ..graph import grid
from ..mst import mst
from ..tree import Tree, check_tree
from ._layer import Layer

PASSES = ("both", "up")
_STEPS = (1e-3, 1e-1)
"""Between these are the steps Δ of a new layer."""


class TreeScan2d(Layer):
    """A selective state-space model whose states travel along a tree (Xiao et al., NeurIPS 2024).

    Each vertex v has a step Δ, an input vector b and an output vector c, linear functions of its
    features. With n states per channel and A < 0,

        a_v = exp(Δ_v A),   u_v = Δ_v b_v x_v,   h = filter(u, tree, a),   y_v = Σ_n c_v h_v + D x_v

    where the filter is the sum over all vertices, not divided by the mass, and a_v belongs to the
    edge from v to its parent: so the result depends on the root. In a chain with ``passes="up"``
    this is Mamba's recurrence. Computed in float32, or float64 if x is, also under autocast.

    The tree costs about as much as the scan. Layers of one resolution can share it: make it once
    by :meth:`tree`, of the first layer's input, and pass it to each.

    Args:
        channels: Channels C of the input.
        d_state: States n per channel.
        dt_rank: Rank of the projection to Δ; C/16, rounded up, by default.
        metric: Of the tree's weights, as for :func:`treefilter.edge_weight`.
        maximum: If true, a maximum spanning tree, which joins what is most different.
        passes: ``"both"``: a vertex collects from all others; ``"up"``: from those below it.
        root: Vertex at which the layer's own trees are rooted.
        norm: Whether the states of a vertex are normalised (``nn.LayerNorm``) before they are read.
        connectivity: 4 or 8.

    Shape:
        x (B, C, H, W) gives (B, C, H, W). Differentiable in x and the parameters; the tree has no
        gradient.

    Raises:
        ValueError: In the constructor for sizes below 1 and unknown names; in ``forward`` for
            shapes that do not fit.
        TypeError: For arguments of the wrong type.

    Example:
        >>> import torch, treefilter as tf
        >>> first, second = tf.nn.TreeScan2d(8), tf.nn.TreeScan2d(8, d_state=4)
        >>> x = torch.rand(2, 8, 5, 6)
        >>> tree = first.tree(x)  # shared by the stage
        >>> second(first(x, tree), tree).shape
        torch.Size([2, 8, 5, 6])
        >>> causal = tf.nn.TreeScan2d(8, passes="up")  # a sequence of 7 tokens
        >>> chain = tf.mst(torch.zeros(1, 6), tf.grid(1, 7), root=6)
        >>> causal(torch.rand(2, 8, 1, 7), chain).shape
        torch.Size([2, 8, 1, 7])
    """

    def __init__(
        self,
        channels: int,
        d_state: int = 1,
        dt_rank: int | None = None,
        metric: str = "cosine",
        maximum: bool = False,
        passes: str = "both",
        root: int = 0,
        norm: bool = True,
        connectivity: int = 4,
    ) -> None:
        super().__init__()
        name = "TreeScan2d"
        self.channels = check_size(name, "channels", channels)
        self.d_state = check_size(name, "d_state", d_state)
        rank = math.ceil(self.channels / 16) if dt_rank is None else dt_rank
        self.dt_rank = check_size(name, "dt_rank", rank)
        check_choice(name, "metric", metric, METRICS)
        check_choice(name, "passes", passes, PASSES)
        check_flag(name, "maximum", maximum)
        check_flag(name, "norm", norm)
        self.connectivity = check_integer(name, "connectivity", connectivity)
        if self.connectivity not in (4, 8):
            raise ValueError(f"{name}: connectivity must be 4 or 8, got {connectivity}")
        self.metric, self.maximum, self.passes = metric, bool(maximum), passes
        self.root = check_integer(name, "root", root)
        self.select = nn.Linear(self.channels, self.dt_rank + 2 * self.d_state, bias=False)
        self.step = nn.Linear(self.dt_rank, self.channels)
        states = torch.arange(1, self.d_state + 1, dtype=torch.float32)
        self.log_decay = nn.Parameter(states.log().repeat(self.channels, 1))  # log(−A)
        self.skip = nn.Parameter(torch.ones(self.channels))  # D
        self.norm = nn.LayerNorm(self.channels * self.d_state) if norm else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values: steps between 0.001 and 0.1, uniform in their logarithm; A = −1 … −n."""
        self.select.reset_parameters()
        nn.init.uniform_(self.step.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        with torch.no_grad():
            low, high = (math.log(s) for s in _STEPS)
            steps = torch.empty_like(self.step.bias).uniform_(low, high).exp()
            self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus gives the step
            self.log_decay.copy_(torch.arange(1, self.d_state + 1).log().expand_as(self.log_decay))
            self.skip.fill_(1)
        if self.norm is not None:
            self.norm.reset_parameters()

    def tree(self, x: Tensor) -> Tree:
        """The trees of features (B, C, H, W), which layers of this resolution can share."""
        check_tensor("TreeScan2d", "x", x, "float")
        if x.ndim != 4:
            raise ValueError(f"TreeScan2d: x must have shape (B, C, H, W), got {tuple(x.shape)}")
        graph = grid(*x.shape[2:], connectivity=self.connectivity)
        weight = edge_weight(x.detach(), graph, self.metric)
        return mst(-weight if self.maximum else weight, graph, root=self.root)

    def forward(self, x: Tensor, tree: Tree | None = None) -> Tensor:
        """Scans ``x`` (B, C, H, W) along ``tree``, or along trees of its own."""
        check_tensor("TreeScan2d", "x", x, "float")
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"TreeScan2d: x must have shape (B, {self.channels}, H, W), got {tuple(x.shape)}"
            )
        if tree is None:
            tree = self.tree(x)
        check_tree("TreeScan2d", tree)
        check_devices("TreeScan2d", "x", x, tree=tree, parameters=self.skip)
        if x.shape[2] * x.shape[3] != tree.num_nodes:
            raise ValueError(
                f"TreeScan2d: x must have {tree.num_nodes} vertices like the tree, "
                f"got {tuple(x.shape)}"
            )
        with torch.autocast(autocast_device(x), enabled=False):
            y = self._scan(x.flatten(2).to(torch.promote_types(x.dtype, torch.float32)), tree)
        return y.view(x.shape).to(x.dtype)

    def _scan(self, x: Tensor, tree: Tree) -> Tensor:
        rows = x.mT
        selected = functional.linear(rows, self.select.weight.to(x.dtype))
        low, into, out_of = selected.split([self.dt_rank, self.d_state, self.d_state], dim=2)
        weight, bias = (p.to(x.dtype) for p in (self.step.weight, self.step.bias))
        step = functional.softplus(functional.linear(low, weight, bias)).mT.unsqueeze(2)
        decay = -self.log_decay.to(x.dtype).exp()
        a = torch.exp(step * decay.unsqueeze(2)).flatten(1, 2)  # (B, C·n, N)
        fresh = (step * into.mT.unsqueeze(1) * x.unsqueeze(2)).flatten(1, 2)
        if self.passes == "up":
            h = leaf_to_root(fresh, tree, a)
        else:
            h = filter(fresh, tree, a, normalize=False)
        if self.norm is not None:
            scale, shift = (p.to(x.dtype) for p in (self.norm.weight, self.norm.bias))
            h = _normalised(h.mT, scale, shift, self.norm.eps).mT
        y = (h.unflatten(1, (self.channels, self.d_state)) * out_of.mT.unsqueeze(1)).sum(2)
        return y + self.skip.to(x.dtype).unsqueeze(1) * x

    def extra_repr(self) -> str:
        """The configuration, for ``print``."""
        return (
            f"channels={self.channels}, d_state={self.d_state}, metric={self.metric!r}, "
            f"maximum={self.maximum}, passes={self.passes!r}, root={self.root}"
        )


def _normalised(h: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """layer_norm over the last dimension. torch's has wrong derivatives of its tangents."""
    if forward_ad._current_level < 0:
        return functional.layer_norm(h, h.shape[-1:], scale, shift, eps)
    centred = h - h.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * (variance + eps).rsqrt() * scale + shift
