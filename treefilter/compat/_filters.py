"""The functions of the research code's extensions, on ranked trees.

Each takes and returns what the extension of that name does, in the same order, shape and layout:
features and their gradients by vertex, edge weights and their gradients by rank. Aggregates are
recomputed where a backward function needs them, in one fused pass, so that the ones it is given
are not read. Nothing is modified: the kernels set the first weight to 0 in the caller's tensor.
16-bit values are computed with in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import _ops
from .._checks import check_devices
from ..filter import filter, leaf_to_root, root_to_leaf
from ._ranks import Ranked, check_kind, ranked
from ._records import Records


def _arguments(
    function: str, feature_in: Tensor, edge_weight: Tensor, index: Tensor, parent: Tensor,
    coefficient: Tensor | None = None,
) -> tuple[Ranked, Tensor]:  # fmt: skip
    """The tree and its affinities by vertex, (B, 1 or C, N)."""
    check_kind(function, "feature_in", feature_in, "float")
    check_kind(function, "edge_weight", edge_weight, "float")
    tree = ranked(function, index, parent)
    check_devices(function, "sorted_index", index, feature_in=feature_in, edge_weight=edge_weight)
    batch, num_nodes = index.shape
    if feature_in.ndim != 3 or (feature_in.shape[0], feature_in.shape[2]) != (batch, num_nodes):
        raise ValueError(
            f"{function}: feature_in must have shape ({batch}, C, {num_nodes}) like the tree, "
            f"got {tuple(feature_in.shape)}"
        )
    if edge_weight.shape not in ((batch, num_nodes), feature_in.shape):
        raise ValueError(
            f"{function}: edge_weight must have shape ({batch}, {num_nodes}) or "
            f"{tuple(feature_in.shape)}, got {tuple(edge_weight.shape)}"
        )
    weight = edge_weight.detach()
    if weight.dtype.itemsize == 2:
        weight = weight.float()
    if weight.ndim == 2:
        weight = weight.unsqueeze(1)
    if coefficient is not None:
        weight = weight * coefficient.detach().unsqueeze(1)
    return tree, tree.to_vertices(weight)


_WEIGHT_GRADIENTS: Records[Tensor] = Records()
"""By what was given to the function of the other gradient: one pass computes both."""


def _feature_gradient(
    function: str, kind: int, grad: Tensor, x: Tensor, *rest: Any, coefficient: Any = None
) -> Tensor:
    """The gradient in the features, by vertex; that in the weights is kept if it is needed."""
    wanted = rest[0].requires_grad
    grads = _gradients(function, kind, grad, x, *rest, coefficient=coefficient, wanted=wanted)
    if wanted:
        _WEIGHT_GRADIENTS.keep(grads[1], *_tensors(grad, x, *rest, coefficient))
    return grads[0]


def _weight_gradient(
    function: str, kind: int, grad: Tensor, x: Tensor, *rest: Any, coefficient: Any = None
) -> Tensor:
    """The gradient in the weights (B, 1 or C, N), by rank."""
    known = _WEIGHT_GRADIENTS.take(*_tensors(grad, x, *rest, coefficient))
    if known is not None:
        return known
    return _gradients(function, kind, grad, x, *rest, coefficient=coefficient, wanted=True)[1]


def _tensors(*given: Tensor | None) -> list[Tensor]:
    return [t for t in given if t is not None]


def _gradients(
    function: str, kind: int, grad: Tensor, x: Tensor, weight: Tensor, index: Tensor,
    parent: Tensor, *, coefficient: Tensor | None, wanted: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients in the features, by vertex, and in the weights, by rank (B, 1 or C, N)."""
    tree, a = _arguments(function, x, weight, index, parent, coefficient)
    wide = a.dtype if x.dtype.itemsize == 2 else torch.promote_types(a.dtype, x.dtype)
    values = (x.detach().to(wide).contiguous(), grad.detach().to(wide).contiguous())
    t = tree.tree
    grads = _ops.filter_backward(
        values[1], values[0], t.parent, t.order, t._plan, a.to(wide), kind, wanted
    )
    return grads[0].to(x.dtype), tree.to_ranks(grads[1]) if wanted else grads[1]


# ---- tree_filter_cuda: the mean (Song et al. 2019; Liang et al. 2022) ----


def refine_forward(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """(feature_out, feature_aggr, feature_aggr_up, weight_sum, weight_sum_up).

    ``feature_out`` is the filtered feature, ``feature_aggr`` its numerator and ``weight_sum`` the
    denominator (B, N), all by vertex; ``…_up`` are the sums over what lies below, by rank.
    """
    tree, a = _arguments("refine_forward", feature_in, edge_weight, sorted_index, sorted_parent)
    x = feature_in.detach()
    out = filter(x, tree.tree, a)
    by_vertex = leaf_to_root(x, tree.tree, a)
    up = tree.to_ranks(by_vertex)
    total_up = leaf_to_root(torch.ones_like(a), tree.tree, a)
    own = ((1 - a) * (1 + a)).masked_fill(tree.tree.roots.unsqueeze(1), 1)
    total = root_to_leaf(own * total_up, tree.tree, a)  # treefilter.mass, without a pass upwards
    if torch.compiler.is_compiling():
        aggregate = (out * total).to(out.dtype)
    else:  # in memory that is there: first writes to new pages take longer than the product
        aggregate = torch.mul(out, total, out=by_vertex)
    return out, aggregate, up, total.squeeze(1), tree.to_ranks(total_up).squeeze(1)


def refine_backward_feature(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, feature_out: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor,
    weight_sum: Tensor, weight_sum_up: Tensor, grad_out: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``feature_in``, by vertex."""
    function = "refine_backward_feature"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    return _feature_gradient(function, _ops.MEAN, *given)


def refine_backward_weight(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, feature_out: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor,
    weight_sum: Tensor, weight_sum_up: Tensor, grad_out: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``edge_weight``, (B, N) by rank, 0 at the root."""
    function = "refine_backward_weight"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    grad = _weight_gradient(function, _ops.MEAN, *given)
    return grad.squeeze(1).to(edge_weight.dtype)


# ---- cvpods._C: the sum with a weight of each vertex's own value (Song et al. 2020) ----


def _with_own(total: Tensor, self_weight: Tensor, x: Tensor) -> Tensor:
    """``total`` + (s − 1) x, in the dtype of x: under autocast s is wider than it."""
    wide = torch.promote_types(x.dtype, torch.float32)
    own = (self_weight.detach().to(wide) - 1).unsqueeze(1) * x.detach().to(wide)
    return (total + own).to(x.dtype)


def tree_filter_refine_forward(
    feature_in: Tensor, edge_weight: Tensor, self_weight: Tensor, sorted_index: Tensor,
    sorted_parent: Tensor, sorted_child: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(feature_out, feature_aggr, feature_aggr_up): the sum plus (s − 1) x, the sum, from below.

    ``self_weight`` s is (B, N) by vertex. The last is by rank, the others by vertex.
    """
    function = "tree_filter_refine_forward"
    tree, a = _arguments(function, feature_in, edge_weight, sorted_index, sorted_parent)
    x = feature_in.detach()
    aggregate = filter(x, tree.tree, a, normalize=False)
    up = tree.to_ranks(leaf_to_root(x, tree.tree, a))
    return _with_own(aggregate, self_weight, x), aggregate, up


def tree_filter_refine_backward_feature(
    feature_in: Tensor, edge_weight: Tensor, self_weight: Tensor, sorted_index: Tensor,
    sorted_parent: Tensor, sorted_child: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor,
    grad_out: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``feature_in``, by vertex."""
    function = "tree_filter_refine_backward_feature"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    grad = _feature_gradient(function, _ops.SUM, *given)
    return _with_own(grad, self_weight, grad_out.to(feature_in.dtype))


def tree_filter_refine_backward_edge_weight(
    feature_in: Tensor, edge_weight: Tensor, self_weight: Tensor, sorted_index: Tensor,
    sorted_parent: Tensor, sorted_child: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor,
    grad_out: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``edge_weight``, (B, N) by rank."""
    function = "tree_filter_refine_backward_edge_weight"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    grad = _weight_gradient(function, _ops.SUM, *given)
    return grad.squeeze(1).to(edge_weight.dtype)


def tree_filter_refine_backward_self_weight(
    feature_in: Tensor, edge_weight: Tensor, self_weight: Tensor, sorted_index: Tensor,
    sorted_parent: Tensor, sorted_child: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor,
    grad_out: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``self_weight``, (B, N) by vertex."""
    wide = torch.promote_types(feature_in.dtype, torch.float32)
    products = grad_out.detach().to(wide) * feature_in.detach().to(wide)
    return products.sum(1).to(self_weight.dtype)


# ---- tree_scan._C: the sum with weights per channel (Xiao et al. 2024, images) ----


def tree_scan_refine_forward(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, edge_coef: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(feature_aggr by vertex, feature_aggr_up by rank).

    ``edge_weight`` (B, C, N) belongs to the child of each edge, so the result depends on the root,
    which is vertex 0. ``edge_coef`` (B, N), by rank, multiplies it and gets no gradient.
    """
    function = "tree_scan_refine_forward"
    arguments = feature_in, edge_weight, sorted_index, sorted_parent
    tree, a = _arguments(function, *arguments, edge_coef)
    x = feature_in.detach()
    up = tree.to_ranks(leaf_to_root(x, tree.tree, a))
    return filter(x, tree.tree, a, normalize=False), up


def tree_scan_refine_backward_feature(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor, grad_out: Tensor,
    edge_coef: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``feature_in``, by vertex."""
    function = "tree_scan_refine_backward_feature"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    return _feature_gradient(function, _ops.SUM, *given, coefficient=edge_coef)


def tree_scan_refine_backward_edge_weight(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, feature_aggr: Tensor, feature_aggr_up: Tensor, grad_out: Tensor,
    edge_coef: Tensor,
) -> Tensor:  # fmt: skip
    """The gradient in ``edge_weight``, (B, C, N) by rank."""
    function = "tree_scan_refine_backward_edge_weight"
    given = grad_out, feature_in, edge_weight, sorted_index, sorted_parent
    grad = _weight_gradient(function, _ops.SUM, *given, coefficient=edge_coef)
    return (grad * edge_coef.unsqueeze(1)).view(edge_weight.shape).to(edge_weight.dtype)


# ---- tree_scan_lan._C: the same from the leaves upwards only (sequences) ----


def lan_refine_forward(
    feature_in: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor,
) -> Tensor:  # fmt: skip
    """The sum over what lies below each vertex, by vertex."""
    function = "tree_scan_refine_forward"
    tree, a = _arguments(function, feature_in, edge_weight, sorted_index, sorted_parent)
    return leaf_to_root(feature_in.detach(), tree.tree, a)


def lan_refine_backward_feature(
    feature_out: Tensor, edge_weight: Tensor, sorted_index: Tensor, sorted_parent: Tensor,
    sorted_child: Tensor, grad_out: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(the gradient in ``feature_in`` by vertex, the gradient in ``edge_weight`` by rank)."""
    function = "tree_scan_refine_backward_feature"
    tree, a = _arguments(function, feature_out, edge_weight, sorted_index, sorted_parent)
    t = tree.tree
    grad = grad_out.detach().to(torch.promote_types(grad_out.dtype, torch.float32)).contiguous()
    wide = torch.promote_types(grad.dtype, a.dtype)
    down = _ops.propagate(grad.to(wide), t.parent, t.order, t._plan, a.to(wide), _ops.ROOT_TO_LEAF)
    above = down.gather(2, t.parent.long().unsqueeze(1).expand(down.shape))
    passed = (above * feature_out.detach()).masked_fill(t.roots.unsqueeze(1), 0)
    if edge_weight.ndim == 2:
        passed = passed.sum(1)
    return down.to(feature_out.dtype), tree.to_ranks(passed).to(edge_weight.dtype)
