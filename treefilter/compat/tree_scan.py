"""State-space scans along trees (Xiao et al., *GrootVL / MambaTree*, NeurIPS 2024).

``tree_scanning`` and ``tree_scanning_core`` are the scan of images, ``tree_scanning_algorithm`` is
that of sequences; names, arguments and orders are those of the research code. New code uses
:class:`treefilter.nn.TreeScan2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..filter import filter, leaf_to_root
from ..graph import graph, grid
from ..mst import mst
from ..tree import Tree
from ._ranks import finite, rooted
from .tree_filter import Mapping, check_image, grid_tree, grid_weight, norm2_distance

COSINE, SQUARED = "Cosine", "Norm2"
_SHARE_OF_TREE = 0.3
"""What the tree counts beside the chain in a sequence."""


class MinimumSpanningTree(nn.Module):
    """The minimum spanning trees of a guide's image grid, as raw trees.

    Args:
        distance_func: ``"Cosine"``, ``"Norm2"`` (squared Euclidean distance), or a function of two
            slices. The research code takes every other name for the squared distance; here it is
            an error.
        mapping_func: Applied to the weights; to the negative cosine.
    """

    def __init__(
        self, distance_func: str | Callable[..., Tensor], mapping_func: Mapping | None = None
    ) -> None:
        super().__init__()
        if isinstance(distance_func, str) and distance_func not in (COSINE, SQUARED):
            raise ValueError(
                f"MinimumSpanningTree: distance_func must be {COSINE}, {SQUARED} or a function, "
                f"got {distance_func!r}"
            )
        self.distance_func = distance_func
        self.mapping_func = mapping_func

    @torch.no_grad()
    def forward(self, guide_in: Tensor, max_tree: bool = False) -> Tensor:
        """``guide_in`` (B, C, H, W) → (B, N − 1, 2) int32.

        With ``max_tree`` the tree joins what is most different, by cosine.
        """
        check_image("MinimumSpanningTree", "guide_in", guide_in)
        if self.distance_func == COSINE:
            weight = grid_weight(guide_in, lambda a, b: torch.cosine_similarity(a, b, dim=1))
            if self.mapping_func is not None:
                weight = self.mapping_func(weight if max_tree else -weight)
        else:
            given = self.distance_func
            weight = grid_weight(guide_in, norm2_distance if isinstance(given, str) else given)
            weight = weight if self.mapping_func is None else self.mapping_func(weight)
        return grid_tree(weight, *guide_in.shape[2:])


def tree_scanning_core(
    xs: Tensor,
    dts: Tensor,
    As: Tensor,  # noqa: N803  the research code's names
    Bs: Tensor,  # noqa: N803
    Cs: Tensor,  # noqa: N803
    Ds: Tensor,  # noqa: N803
    delta_bias: Tensor,
    origin_shape: tuple[int, ...],
    h_norm: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The scan of (B, D, L) features along their own tree, with one state per channel.

    ``dts`` (B, D, L), ``As`` (D, 1), ``Bs`` and ``Cs`` (B, 1, 1, L), ``Ds`` (D,) → (B, D, L).
    """
    height, width = origin_shape[2:]
    if As.shape[-1] != 1:
        raise ValueError(f"tree_scanning_core: As must have one state, got {tuple(As.shape)}")
    if xs.ndim != 3 or xs.shape[2] != height * width:
        raise ValueError(
            f"tree_scanning_core: xs must have shape (B, D, {height * width}) like origin_shape, "
            f"got {tuple(xs.shape)}"
        )
    step = functional.softplus(dts + delta_bias.view(1, -1, 1))
    decay = torch.exp(step * As.unsqueeze(0))
    fresh = step * Bs.squeeze(1) * xs
    trees = MinimumSpanningTree(COSINE, torch.exp)(xs.unflatten(2, (height, width)))
    h = filter(fresh, rooted("tree_scanning_core", trees), decay, normalize=False)
    if h_norm is not None:
        h = h_norm(h.mT.contiguous()).mT
    return h * Cs.squeeze(1) + Ds.view(1, -1, 1) * xs


def tree_scanning(
    x: Tensor,
    x_proj_weight: Tensor,
    x_proj_bias: Tensor | None,
    dt_projs_weight: Tensor,
    dt_projs_bias: Tensor,
    A_logs: Tensor,  # noqa: N803
    Ds: Tensor,  # noqa: N803
    out_norm: Callable[[Tensor], Tensor],
    to_dtype: bool = True,
    force_fp32: bool = False,
    h_norm: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The scan of ``x`` (B, D, H, W) with the projections of its parameters → (B, H, W, D).

    ``force_fp32`` has no effect, as in the research code: all is computed in float32.
    """
    batch, channels, height, width = x.shape
    rank, states = dt_projs_weight.shape[2], A_logs.shape[1]
    parameters = torch.einsum("bdl,cd->bcl", x.flatten(2), x_proj_weight[0])
    if x_proj_bias is not None:
        parameters = parameters + x_proj_bias.view(1, -1, 1)
    steps, into, out_of = parameters.split([rank, states, states], dim=1)
    steps = torch.einsum("brl,dr->bdl", steps, dt_projs_weight[0])
    y = tree_scanning_core(
        x.flatten(2).float(),
        steps.float(),
        -torch.exp(A_logs.float()),
        into.unsqueeze(1).float(),
        out_of.unsqueeze(1).float(),
        Ds.float(),
        dt_projs_bias.flatten().float(),
        (batch, channels, height, width),
        h_norm,
    )
    y = out_norm(y.mT.contiguous()).view(batch, height, width, -1)
    return y.to(x.dtype) if to_dtype else y


def tree_scanning_algorithm(
    self: Any, input_states: Tensor, contex_len: int | list[int], cache_params: Any = None
) -> Tensor:
    """The scan of a sequence, as ``forward`` of a Mamba mixer ``self`` (that of transformers).

    Along the chain of all tokens, plus 0.3 times along the tree that joins each of the last
    ``contex_len`` tokens with one of three neighbours. ``cache_params`` is not used.
    """
    length, dtype = input_states.shape[1], input_states.dtype
    states, gate = self.in_proj(input_states).mT.chunk(2, dim=1)
    states = self.act(self.conv1d(states)[..., :length])
    sizes = [self.time_step_rank, self.ssm_state_size, self.ssm_state_size]
    steps, into, out_of = self.x_proj(states.mT).split(sizes, dim=-1)
    steps = functional.softplus(self.dt_proj(steps)).mT.unsqueeze(3)  # (B, D, L, 1)
    decay = torch.exp(-torch.exp(self.A_log.float()).unsqueeze(1) * steps)  # (B, D, L, n)
    fresh = steps * into.unsqueeze(1).float() * states.unsqueeze(3).float()
    # Vertex 0 is the last token: the sum over what lies below a vertex is that over the past.
    fresh, decay = (t.transpose(2, 3).flatten(1, 2).flip(2) for t in (fresh, decay))
    decay = decay.roll(1, 2)
    context = min(contex_len) if isinstance(contex_len, list | tuple) else int(contex_len)
    chain, tree = _sequence_trees(fresh.detach(), context)
    h = leaf_to_root(fresh, chain, decay)
    h = h + _SHARE_OF_TREE * (h if tree is None else leaf_to_root(fresh, tree, decay))
    h = h.to(dtype).flip(2).unflatten(1, (-1, self.ssm_state_size))
    y = (h * out_of.mT.unsqueeze(1)).sum(2) + states * self.D.view(1, -1, 1)
    return self.out_proj((y * self.act(gate)).mT)


def _sequence_trees(fresh: Tensor, context: int) -> tuple[Tree, Tree | None]:
    """The chain 0 ─ 1 ─ 2 …, and the tree of the last ``context`` vertices, if there are three."""
    length, device = fresh.shape[2], fresh.device
    chain = mst(torch.zeros(1, length - 1, device=device), grid(1, length))
    context = min(context, length)
    if context <= 2:
        return chain, None
    before = torch.arange(length - context, device=device)
    first = torch.arange(length - context, max(length - context, length - 3), device=device)
    last = torch.tensor([[-3, -2], [-3, -1], [-2, -1]], device=device) + length
    near = torch.arange(1, 4, device=device)
    pairs = torch.cat([
        torch.stack([before, before + 1], 1),
        torch.stack([first.repeat_interleave(3), (first.unsqueeze(1) + near).flatten()], 1),
        last,
    ]).T  # fmt: skip
    ends = fresh[:, :, pairs[0]], fresh[:, :, pairs[1]]
    weight = torch.exp(-torch.cosine_similarity(*ends, dim=1))
    return chain, mst(finite(weight), graph(pairs, length))
