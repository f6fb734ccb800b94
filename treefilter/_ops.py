"""The only caller of the native module: private torch ops with fake kernels.

Each op takes checked tensors, makes its outputs and calls one native function. Ops know nothing of
derivatives: a ``torch.autograd.Function`` around them, in the module of their stage, does. That
split costs the least per call and lets ``torch.compile`` and ``torch.export`` see one opaque op.

The file is long because it lists all ops: a schema, a fake and a kernel each, in the order of the
pipeline, with hardly any logic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from . import _vmap
from ._autograd import refuse_gradients, refuse_tangents
from ._native import _C

_library = torch.library.Library("treefilter", "DEF")


Kernel = TypeVar("Kernel", bound=Callable[..., Any])

JIT_MESSAGE = (
    "treefilter: a model must be exported by torch.export.export, got torch.jit.trace,"
    " torch.jit.script or torch.onnx.export(dynamo=False), which know no trees"
)


ONNX_MESSAGE = (
    "treefilter: a model must be exported by torch.export.export, got torch.onnx.export; ONNX has"
    " no operators for trees. Or export the networks before and after the tree functions to ONNX,"
    " and call treefilter in between"
)


def _traced_by_jit(*_: Any) -> None:
    raise RuntimeError(JIT_MESSAGE)


_TREE = "Tensor parent, Tensor order, Tensor plan"
# Arguments of which one image may serve the whole batch.
_SHARED = ("parent", "order", "plan", "edge", "affinity", "coefficients")


def _op(
    schema: str,
    fake: Callable[..., Any],
    *,
    shared: tuple[str, ...] = _SHARED,
    indices: bool = False,
) -> Callable[[Kernel], Kernel]:
    """Registers the function as the op's kernel and ``fake`` as its shape function.

    One kernel serves all devices: the native code looks where its tensors are. ``indices``: the
    results are integers, which have no derivatives.
    """
    name = schema.partition("(")[0]

    def traced(*arguments: Any) -> Any:
        if torch.onnx.is_in_onnx_export():
            raise RuntimeError(ONNX_MESSAGE)
        if not indices:
            refuse_tangents()
            refuse_gradients(arguments)
        return fake(*arguments)

    def register(kernel: Kernel) -> Kernel:
        _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
        for key in ("CPU", "CUDA") if _C.with_cuda else ("CPU",):
            _library.impl(name, kernel, key)
        _library.impl(name, _traced_by_jit, "Tracer")
        torch.library.register_fake(f"treefilter::{name}", traced, lib=_library)
        op = getattr(torch.ops.treefilter, name).default
        _vmap.register(op, shared, _library)
        return cast(Kernel, op)

    return register


def _flat(x: Tensor) -> Tensor:
    """(B, C, *shape) as (B, C, N): a view where the strides allow it.

    In the ops and not above them, so that the tensors that are kept for derivatives are those of
    the caller. Views of them, with sizes that are being traced, are what torch.compile fails on.
    """
    return x if x.ndim == 3 else x.flatten(2)


def _empty_like(x: Tensor) -> Tensor:
    """A tensor like ``x`` that can be viewed as (B, C, N)."""
    return torch.empty_like(x) if x.ndim == 3 else torch.empty_like(x.flatten(2)).view(x.shape)


def sum_dtype(*values: Tensor) -> torch.dtype:
    """The type that results are computed in: float64 if any value is, otherwise float32."""
    for value in values:
        if value.dtype == torch.float64:
            return torch.float64
    return torch.float32


# ---- graph and edge weight ----


def _empty_edge_list(edge_index: Tensor, num_nodes: int) -> Tensor:
    return torch.empty_like(edge_index, dtype=torch.int32, memory_format=torch.contiguous_format)


@_op("_edge_list(Tensor edge_index, SymInt num_nodes) -> Tensor", _empty_edge_list, indices=True)
def edge_list(edge_index: Tensor, num_nodes: int) -> Tensor:
    if edge_index.is_cuda:  # where nothing can be raised for a value: such an edge joins nothing
        outside = ((edge_index < 0) | (edge_index >= num_nodes)).any(0)
        return edge_index.masked_fill(outside, 0).int()
    out = _empty_edge_list(edge_index, num_nodes)
    _C.edge_list(edge_index.contiguous(), num_nodes, out)
    return out


_GRAPH = "Tensor? edges, SymInt[] layout, SymInt num_edges"
PSI = (_C.Psi.IDENTITY, _C.Psi.SIGN, _C.Psi.EUCLIDEAN)
IDENTITY, SIGN, EUCLIDEAN = range(3)


def _empty_weight(
    f: Tensor, t: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int
) -> Tensor:
    return f.new_empty((f.shape[0], num_edges), dtype=sum_dtype(f))


@_op(f"_edge_inner(Tensor f, Tensor t, {_GRAPH}, int psi) -> Tensor", _empty_weight)
def edge_inner(
    f: Tensor, t: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int
) -> Tensor:
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_weight(f, t, edges, layout, num_edges, psi)
    f_ = _flat(f).contiguous()
    t_ = f_ if t is f else _flat(t).contiguous()
    _C.edge_inner(f_, t_, edges, layout, PSI[psi], out, torch.get_num_threads())
    return out


def _empty_like_f(
    weight: Tensor, f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int,
    distance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return torch.empty_like(f, memory_format=torch.contiguous_format)


@_op(
    f"_edge_scatter(Tensor weight, Tensor f, {_GRAPH}, int psi, Tensor? distance=None) -> Tensor",
    _empty_like_f,
)
def edge_scatter(
    weight: Tensor, f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int, psi: int,
    distance: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """``distance``: the edge_inner of f, whose derivative this is then; EUCLIDEAN needs it."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_like_f(weight, f, edges, layout, num_edges, psi)
    distance = distance if distance is None else distance.contiguous()
    threads = torch.get_num_threads()
    f, to = _flat(f).contiguous(), _flat(out)
    _C.edge_scatter(weight.contiguous(), f, edges, layout, PSI[psi], distance, to, threads)
    return out


def _empty_argmax(
    f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int
) -> tuple[Tensor, Tensor]:
    shape = (f.shape[0], num_edges)
    return f.new_empty(shape, dtype=torch.int64), f.new_empty(shape, dtype=sum_dtype(f))


@_op(f"_edge_argmax(Tensor f, {_GRAPH}) -> (Tensor, Tensor)", _empty_argmax)
def edge_argmax(
    f: Tensor, edges: Tensor | None, layout: list[int], num_edges: int
) -> tuple[Tensor, Tensor]:
    """The first channel with the largest difference, and that difference."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out, distance = _empty_argmax(f, edges, layout, num_edges)
    f_ = _flat(f).contiguous()
    _C.edge_argmax(f_, edges, layout, out, distance, torch.get_num_threads())
    return out, distance


# ---- mst ----


PLAN_ROUNDS = 34
"""``PlanView::kRounds`` of src/plan.h."""


def plan_size(nodes: int) -> int:
    """``PlanView::size`` of src/plan.h: in Python, where N may be a number that is being traced."""
    return 4 * nodes + 2 + PLAN_ROUNDS


def _in_float32(weight: Tensor) -> Tensor:
    """float64 weights replaced by float32 values in the same order (src/edge_order.h)."""
    weight = weight.contiguous()
    if weight.dtype == torch.float32:
        return weight
    if weight.device.type == "cpu" and not _C.emulated:
        out = torch.empty(weight.shape, dtype=torch.float32)
        _C.rank_weights(weight, out, torch.get_num_threads())
        return out
    # rank_weights() in torch's operators, none of which waits for the device.
    order = torch.sort(weight + 0.0, dim=1, stable=True).indices  # + 0.0: -0 equals 0
    ranks = torch.arange(weight.shape[1], dtype=torch.int32, device=weight.device)
    ranks = torch.empty_like(order, dtype=torch.int32).scatter_(1, order, ranks.expand_as(order))
    return torch.where(weight < torch.inf, weight_of_rank(ranks), weight.to(torch.float32))


def weight_of_rank(rank: Tensor) -> Tensor:
    """``weight_of_rank`` of src/edge_order.h: int32 to float32 in the same order."""
    keys = rank - (1 << 30)
    bits = torch.where(keys < 0, torch.iinfo(torch.int32).min - keys, keys)
    return bits.view(torch.float32)


def planned(tensor: Tensor) -> bool:
    """Whether passes on the tensor's device follow plans. The CPU needs none."""
    return tensor.is_cuda or _C.emulated


def _empty_plan(parent: Tensor) -> Tensor:
    """What passes read besides parent and order: on the CPU nothing."""
    size = plan_size(parent.shape[1]) if planned(parent) else 0
    return parent.new_empty((parent.shape[0], size))


def _empty_tree(
    weight: Tensor,
    edges: Tensor | None,
    layout: list[int],
    num_nodes: int,
    roots: Tensor | None,
    root: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (weight.shape[0], num_nodes)
    parent = weight.new_empty(shape, dtype=torch.int32)
    return parent, torch.empty_like(parent), torch.empty_like(parent), _empty_plan(parent)


@_op(
    "_mst(Tensor weight, Tensor? edges, SymInt[] layout, SymInt num_nodes, Tensor? roots,"
    " SymInt root) -> (Tensor, Tensor, Tensor, Tensor)",
    _empty_tree,
    indices=True,
)
def mst(
    weight: Tensor,
    edges: Tensor | None,
    layout: list[int],
    num_nodes: int,
    roots: Tensor | None,
    root: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """``roots`` of the images, or one ``root`` for all, which on the CPU needs no tensor."""
    out = _empty_tree(weight, edges, layout, num_nodes, roots, root)
    if roots is None and weight.is_cuda:
        roots = weight.new_full((weight.shape[0],), root, dtype=torch.int64)
    roots = roots if roots is None else roots.contiguous()
    threads = torch.get_num_threads()
    _C.mst(_in_float32(weight), edges, layout, num_nodes, roots, root, *out, threads)
    return out


def mst_edges(weight: Tensor, edges: Tensor | None, layout: list[int], num_nodes: int) -> Tensor:
    """The edge set alone, (B, E) bool: what other libraries call a minimum spanning tree."""
    out = torch.empty(weight.shape, dtype=torch.bool, device=weight.device)
    _C.mst_edges(_in_float32(weight), edges, layout, num_nodes, out, torch.get_num_threads())
    return out


@_op("_plan(Tensor parent) -> Tensor", _empty_plan, indices=True)
def plan(parent: Tensor) -> Tensor:
    """The plan of trees that were made elsewhere."""
    out = _empty_plan(parent)
    if out.shape[1]:
        _C.plan(parent.contiguous(), out)
    return out


def _empty_order(parent: Tensor, plan: Tensor) -> tuple[Tensor, Tensor]:
    order = torch.empty_like(parent, memory_format=torch.contiguous_format)
    return order, parent.new_empty((parent.shape[0],), dtype=torch.int64)


@_op("_order(Tensor parent, Tensor plan) -> (Tensor, Tensor)", _empty_order, indices=True)
def order(parent: Tensor, plan: Tensor) -> tuple[Tensor, Tensor]:
    """The order of trees that were made elsewhere, and how many vertices are in it.

    Vertices on cycles are not: the order begins with all others.
    """
    if plan.shape[1]:  # it begins with the order, and ends with the number of vertices in it
        order = plan[:, : parent.shape[1]].clone(memory_format=torch.contiguous_format)
        return order, plan[:, -1].long()
    out = _empty_order(parent, plan)
    _C.order(parent.contiguous(), *out, torch.get_num_threads())
    return out


_Ranks = tuple[Tensor, Tensor, Tensor, Tensor]


def _empty_ranks(parent: Tensor, order: Tensor, most: int) -> _Ranks:
    batch, nodes = parent.shape
    index, above = (parent.new_empty((batch, nodes)) for _ in range(2))
    children = parent.new_empty((batch, nodes, most))
    return index, above, children, parent.new_empty((batch,), dtype=torch.int64)


@_op(
    "_ranks(Tensor parent, Tensor order, SymInt most) -> (Tensor, Tensor, Tensor, Tensor)",
    _empty_ranks,
    indices=True,
)
def ranks(parent: Tensor, order: Tensor, most: int) -> _Ranks:
    """Trees in the reverse of their order: what ``rank_trees`` of src/tree.h says."""
    if parent.device.type == "cpu" and not _C.emulated:
        out = _empty_ranks(parent, order, most)
        _C.rank_trees(parent.contiguous(), order.contiguous(), most, *out, torch.get_num_threads())
        return out
    # The same in torch's operators, none of which waits for the device.
    index = order.flip(1)
    vertices, own = index.long(), torch.arange(index.shape[1], device=index.device)
    rank = torch.empty_like(index).scatter_(1, vertices, own.int().expand_as(index))
    above = rank.gather(1, parent.gather(1, vertices).long())
    return index, above, *_children_of_ranks(above, most)


def _children_of_ranks(above: Tensor, most: int) -> tuple[Tensor, Tensor]:
    batch, nodes = above.shape
    key, child = above[:, 1:].long().sort(dim=1, stable=True)
    starts = torch.ones_like(key, dtype=torch.bool)
    starts[:, 1:] = key[:, 1:] != key[:, :-1]
    column = torch.arange(nodes - 1, device=above.device).expand(batch, -1)
    if nodes > 1:
        column = column - torch.where(starts, column, 0).cummax(1).values
    to = torch.where(column < most, key * most + column, nodes * most)
    lists = above.new_zeros(batch, nodes * most + 1).scatter_(1, to, (child + 1).int())
    needed = functional.pad(column + 1, (1, 0)).amax(1)  # of one vertex, 0
    return lists[:, :-1].contiguous().view(batch, nodes, most), needed


# ---- dendrogram and watershed ----


def _sorted_edges(weight: Tensor, parent: Tensor, edge: Tensor, function: str) -> Tensor:
    """(B, N) int32: the vertices in ascending order of the edges to their parents, then −1."""
    batch, num_edges = weight.shape
    if weight.device.type == "cpu" and not _C.emulated:
        out = edge.new_empty((batch, edge.shape[1]))
        _C.sort_edges(weight, parent, edge, out, function, torch.get_num_threads())
        return out
    # The same in torch's operators, none of which waits for the device.
    absent = torch.full((batch, 1), torch.inf, device=weight.device)
    number = torch.where((edge >= 0) & (edge < num_edges), edge, num_edges).long()
    value = torch.cat([weight, absent], 1).gather(1, number.expand(batch, -1))
    bits = (value + 0.0).view(torch.int32)  # + 0.0: -0 equals 0
    key = torch.where(bits < 0, torch.iinfo(torch.int32).min - bits, bits).long()
    key = torch.where(value < torch.inf, (key << 32) + number, torch.iinfo(torch.int64).max)
    ascending, vertex = key.sort(dim=1, stable=True)
    return vertex.masked_fill(ascending == torch.iinfo(torch.int64).max, -1).int()


def _empty_merges(
    weight: Tensor, parent: Tensor, edge: Tensor, function: str, with_children: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    batch, leaves = weight.shape[0], parent.shape[1]
    return (
        parent.new_empty((batch, 2 * leaves - 1)),
        parent.new_empty((batch, leaves - 1)),
        parent.new_empty((batch, leaves - 1 if with_children else 0, 2)),
    )


@_op(
    "_merges(Tensor weight, Tensor parent, Tensor edge, str function, bool with_children=True) -> "
    "(Tensor, Tensor, Tensor)",
    _empty_merges,
    indices=True,
)
def merges(
    weight: Tensor, parent: Tensor, edge: Tensor, function: str, with_children: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """A dendrogram's parents and edges, and the children of every merge if they are wanted."""
    out = _empty_merges(weight, parent, edge, function, with_children)
    parent, edge = parent.contiguous(), edge.contiguous()
    ascending = _sorted_edges(_in_float32(weight), parent, edge, function)
    limb = torch.empty_like(out[1]) if planned(weight) else None
    _C.merge(parent, edge, ascending, *out, limb, function, torch.get_num_threads())
    if limb is not None:
        _C.join_limbs(*limb.sort(dim=1, stable=True), *out, function)
    return out


def _empty_pairs(parent: Tensor, children: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    shape = (label.shape[0], label.shape[1] - 1)
    equal = label.new_empty(shape, dtype=torch.float64)
    return equal, torch.empty_like(equal)


@_op(
    "_count_pairs(Tensor parent, Tensor children, Tensor label) -> (Tensor, Tensor)",
    _empty_pairs,
    shared=(),
    indices=True,
)
def count_pairs(parent: Tensor, children: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    out = _empty_pairs(parent, children, label)
    parent, children, label = parent.contiguous(), children.contiguous(), label.contiguous()
    _C.count_pairs(parent, children, label, *out, torch.get_num_threads())
    return out


def _empty_bottleneck_sums(x: Tensor, parent: Tensor, children: Tensor, k: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_op(
    "_bottleneck_sums(Tensor x, Tensor parent, Tensor children, Tensor k) -> Tensor",
    _empty_bottleneck_sums,
    shared=("parent", "children", "k"),
)
def bottleneck_sums(x: Tensor, parent: Tensor, children: Tensor, k: Tensor) -> Tensor:
    """``x`` (B, C, N) and ``k`` (1 or B, N − 1), both float64; of a dendrogram the rest."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_bottleneck_sums(x, parent, children, k)
    if x.device.type == "cpu" and not _C.emulated:
        x, children, k = x.contiguous(), children.contiguous(), k.contiguous()
        _C.bottleneck_sums(x, children, k, out, torch.get_num_threads())
        return out
    # The same by two passes of the filter over the dendrogram.
    nodes = x.shape[2]
    parent, made = parent.contiguous(), plan(parent)
    topology = (parent, made[:, : 2 * nodes - 1].contiguous(), made)
    one = x.new_ones(1, 1, 2 * nodes - 1)
    leaves = torch.nn.functional.pad(x, (0, nodes - 1))
    sums = propagate(leaves, *topology, one, LEAF_TO_ROOT)
    if nodes == 1:
        return out.copy_(sums)
    own = torch.arange(2 * nodes - 1, device=x.device)
    root = parent == own
    merge = (parent.long() - nodes).clamp(min=0)
    sibling = torch.where(root, own, children.sum(2).gather(1, merge) - own)
    factor = k.gather(1, merge.expand(k.shape[0], -1)).masked_fill(root, 0).unsqueeze(1)
    passed = sums.gather(2, sibling.unsqueeze(1).expand(x.shape[0], x.shape[1], -1)) * factor
    y = propagate(leaves + passed, *topology, one, ROOT_TO_LEAF)
    # Not y[..., :nodes].contiguous(), whose strides are y's in a batch of 1: tangents need x's.
    return out.copy_(y[..., :nodes])


def _empty_labels(weight: Tensor, parent: Tensor, edge: Tensor, markers: Tensor) -> Tensor:
    return torch.empty_like(markers, memory_format=torch.contiguous_format)


@_op(
    "_watershed(Tensor weight, Tensor parent, Tensor edge, Tensor markers) -> Tensor",
    _empty_labels,
    indices=True,
)
def watershed(weight: Tensor, parent: Tensor, edge: Tensor, markers: Tensor) -> Tensor:
    """``markers`` (B, N) int64."""
    out = _empty_labels(weight, parent, edge, markers)
    parent, edge, markers = parent.contiguous(), edge.contiguous(), markers.contiguous()
    threads = torch.get_num_threads()
    _C.watershed(_in_float32(weight), parent, edge, markers, out, "watershed", threads)
    return out


# ---- persistence ----


def _empty_lowest(value: Tensor, parent: Tensor) -> Tensor:
    return torch.empty_like(parent, memory_format=torch.contiguous_format)


@_op("_lowest_leaf(Tensor value, Tensor parent) -> Tensor", _empty_lowest, indices=True)
def lowest_leaf(value: Tensor, parent: Tensor) -> Tensor:
    """The least value (int32) of the leaves below every node of dendrograms, by their parents."""
    out = _empty_lowest(value, parent)
    parent, made = parent.contiguous(), plan(parent)
    _C.lowest_leaf(value.contiguous(), parent, made, out, torch.get_num_threads())
    return out


def _empty_diagram(
    values: Tensor, edges: Tensor | None, layout: list[int], holes: bool, superlevel: bool
) -> tuple[Tensor, Tensor]:
    birth, death = (values.new_empty(values.shape, dtype=torch.int64) for _ in range(2))
    return birth, death


@_op(
    "_persistence(Tensor values, Tensor? edges, SymInt[] layout, bool holes, bool superlevel)"
    " -> (Tensor, Tensor)",
    _empty_diagram,
    shared=(),
    indices=True,
)
def persistence(
    values: Tensor, edges: Tensor | None, layout: list[int], holes: bool, superlevel: bool
) -> tuple[Tensor, Tensor]:
    """``values`` (B, N). For ``holes`` the layout is that of the other connectivity."""
    if values.device.type != "cpu" or _C.emulated:
        return pairs_by_merges(values, edges, layout, holes, superlevel)
    out = _empty_diagram(values, edges, layout, holes, superlevel)
    threads = torch.get_num_threads()
    _C.persistence(values.contiguous(), edges, layout, holes, superlevel, *out, threads)
    return out


def pairs_by_merges(
    values: Tensor, edges: Tensor | None, layout: list[int], holes: bool, superlevel: bool
) -> tuple[Tensor, Tensor]:
    """The same by trees, dendrograms and torch's operators, none of which waits for the device."""
    n = values.shape[1]
    f = values.to(sum_dtype(values))
    f = -f if superlevel else f
    f = f.masked_fill(f.isnan(), torch.inf) + 0.0  # -0 equals 0
    order = f.sort(dim=1, stable=True).indices
    places = torch.arange(n, device=f.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(1, order, places)
    ends = _grid_ends(layout, f.device) if edges is None else edges.long()
    if not holes:
        born, died, lasting = _pairs_of_ranks(rank, ends)
        return _listed(born, died, lasting, order, f)
    # In the opposite order, after one vertex outside that joins all of the border.
    vertex = torch.arange(n, device=f.device).view(layout[1], layout[2])
    border = torch.cat([vertex[0], vertex[-1], vertex[:, 0], vertex[:, -1]])
    ends = torch.cat([ends, torch.stack([border, torch.full_like(border, n)])], 1)
    ranks = torch.cat([n - rank, torch.zeros_like(rank[:, :1])], 1)
    filled, opened, lasting = _pairs_of_ranks(ranks, ends)
    return _listed((n - opened).flip(1), (n - filled).flip(1), lasting[:, :0], order, f)


def _grid_ends(layout: list[int], device: torch.device) -> Tensor:
    """Both ends of every edge of a grid, (2, E) int64."""
    depth, height, width = layout[:3]
    vertex = torch.arange(depth * height * width, device=device).view(depth, height, width)
    ends = []
    for dz, dy, dx in zip(layout[3::3], layout[4::3], layout[5::3], strict=True):
        first = vertex[: depth - dz, max(0, -dy) : height - max(0, dy)]
        first = first[..., max(0, -dx) : width - max(0, dx)].reshape(-1)
        ends.append(torch.stack([first, first + (dz * height + dy) * width + dx]))
    return torch.cat(ends, 1)


def _pairs_of_ranks(rank: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Births, deaths and what never dies of the components of one filtration, as ranks.

    ``rank`` (B, N) int64 → (B, N − 1) twice, in the order of deaths; where there is no merge, two
    equal ranks. And (B, N) bool: of each rank, whether a component that is born there lasts.
    """
    batch, n = rank.shape
    later = torch.maximum(rank[:, ends[0]], rank[:, ends[1]])
    weight = weight_of_rank(later.int())
    parent, edge, _, _ = mst(weight, ends.int(), [], n, None, 0)
    up, number, children = merges(weight, parent, edge, "persistence")
    first = lowest_leaf(rank.int(), up).long()
    pair = children.long().clamp(min=0)
    born = torch.maximum(first.gather(1, pair[..., 0]), first.gather(1, pair[..., 1]))
    died = born
    if ends.shape[1] > 0:
        died = torch.where(number < 0, born, later.gather(1, number.long().clamp(min=0)))
    top = (up == torch.arange(2 * n - 1, device=up.device)) & (first < n)
    lasting = torch.zeros(batch, n + 1, dtype=torch.bool, device=rank.device)
    return born, died, lasting.scatter_(1, torch.where(top, first, n), True)[:, :n]


def _listed(
    born: Tensor, died: Tensor, lasting: Tensor, order: Tensor, f: Tensor
) -> tuple[Tensor, Tensor]:
    """Pairs of ranks with different values as vertices, without gaps, then what lasts, then −1."""
    batch, n = order.shape
    height = f.gather(1, order)
    counts = torch.cat([height.gather(1, born) != height.gather(1, died), lasting], 1)
    births = torch.cat([order.gather(1, born), order[:, : lasting.shape[1]]], 1)
    deaths = torch.cat([order.gather(1, died), torch.full_like(lasting, -1, dtype=order.dtype)], 1)
    to = torch.where(counts, counts.cumsum(1) - 1, n)
    lists = (
        torch.full((batch, n + 1), -1, device=order.device).scatter_(1, to, vertices)[:, :n]
        for vertices in (births, deaths)
    )
    birth, death = (vertices.contiguous() for vertices in lists)
    return birth, death


# ---- affinity ----


# Ops of several public functions are told which one the user has called, for errors.


def _empty_tree_weight(
    weight: Tensor, edge: Tensor, function: str, name: str = "tree.edge"
) -> Tensor:
    return weight.new_empty((weight.shape[0], weight.shape[1], edge.shape[1]))


@_op(
    '_tree_weight(Tensor weight, Tensor edge, str function, str name="tree.edge") -> Tensor',
    _empty_tree_weight,
)
def tree_weight(weight: Tensor, edge: Tensor, function: str, name: str = "tree.edge") -> Tensor:
    """``name``: what the user calls the edges."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_tree_weight(weight, edge, function, name)
    threads = torch.get_num_threads()
    _C.tree_weight(weight.contiguous(), edge.contiguous(), out, function, name, threads)
    return out


def _empty_graph_weight(grad: Tensor, edge: Tensor, num_edges: int, function: str) -> Tensor:
    return grad.new_empty((grad.shape[0], grad.shape[1], num_edges))


@_op(
    "_tree_weight_backward(Tensor grad, Tensor edge, SymInt num_edges, str function) -> Tensor",
    _empty_graph_weight,
)
def tree_weight_backward(grad: Tensor, edge: Tensor, num_edges: int, function: str) -> Tensor:
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_graph_weight(grad, edge, num_edges, function)
    threads = torch.get_num_threads()
    _C.tree_weight_backward(grad.contiguous(), edge.contiguous(), out, function, threads)
    return out


def _empty_affinity(weight: Tensor, edge: Tensor, sigma: Tensor | None, width: float) -> Tensor:
    groups = weight.shape[1] if sigma is None or sigma.shape[1] == 1 else sigma.shape[1]
    return weight.new_empty((weight.shape[0], groups, edge.shape[1]))


@_op(
    "_affinity(Tensor weight, Tensor edge, Tensor? sigma, float width) -> Tensor",
    _empty_affinity,
)
def affinity(weight: Tensor, edge: Tensor, sigma: Tensor | None, width: float) -> Tensor:
    """exp(−weight/σ) of the vertices' edges. σ is ``sigma`` (B, S), or ``width`` without it."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_affinity(weight, edge, sigma, width)
    sigma = None if sigma is None else sigma.contiguous()
    threads = torch.get_num_threads()
    _C.affinity(weight.contiguous(), edge.contiguous(), sigma, width, out, threads)
    return out


def _empty_affinity_backward(
    grad: Tensor, a: Tensor, edge: Tensor, sigma: Tensor | None, width: float, shape: list[int]
) -> Tensor:
    return grad.new_empty((grad.shape[0], *shape))


@_op(
    "_affinity_backward(Tensor grad, Tensor a, Tensor edge, Tensor? sigma, float width, "
    "SymInt[] shape) -> Tensor",
    _empty_affinity_backward,
    shared=("edge",),
)
def affinity_backward(
    grad: Tensor, a: Tensor, edge: Tensor, sigma: Tensor | None, width: float, shape: list[int]
) -> Tensor:
    """The derivative by the weights, of which ``shape`` is the shape without the batch."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_affinity_backward(grad, a, edge, sigma, width, shape)
    sigma = None if sigma is None else sigma.contiguous()
    threads = torch.get_num_threads()
    _C.affinity_backward(
        grad.contiguous(), a.contiguous(), edge.contiguous(), sigma, width, out, threads
    )
    return out


# ---- filter ----

PASS = (_C.Pass.LEAF_TO_ROOT, _C.Pass.ROOT_TO_LEAF, _C.Pass.SUM, _C.Pass.MEAN)
LEAF_TO_ROOT, ROOT_TO_LEAF, SUM, MEAN = range(4)


def _empty_coefficients(parent: Tensor, order: Tensor, plan: Tensor, affinity: Tensor) -> Tensor:
    batch = affinity.shape[0] if parent.shape[0] == 1 else parent.shape[0]
    double, nodes = affinity.dtype == torch.float64, parent.shape[1]
    size = 7 * nodes if double else 2 * nodes + (5 * nodes + 1) // 2  # coefficients_size
    shape = (batch, affinity.shape[1], size if planned(affinity) else 0)
    return affinity.new_empty(shape, dtype=torch.float64)


@_op(f"_coefficients({_TREE}, Tensor affinity) -> Tensor", _empty_coefficients)
def coefficients(parent: Tensor, order: Tensor, plan: Tensor, affinity: Tensor) -> Tensor:
    """What the mean and its derivative multiply with on CUDA: 36 or 56 bytes a value of affinity.

    Both make it themselves where it is not given.
    """
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_coefficients(parent, order, plan, affinity)
    if out.shape[2]:
        parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
        _C.coefficients(parent, order, plan, affinity.contiguous(), out)
    return out


def _given(coefficients: Tensor | None) -> Tensor | None:
    """On the CPU they are empty."""
    if coefficients is None or not coefficients.shape[2]:
        return None
    return coefficients.contiguous()


def _empty_like_x(
    x: Tensor, parent: Tensor, order: Tensor, plan: Tensor, affinity: Tensor, kind: int,
    coefficients: Tensor | None = None,
) -> Tensor:  # fmt: skip
    return _empty_like(x)


@_op(
    f"_propagate(Tensor x, {_TREE}, Tensor affinity, int kind, Tensor? coefficients=None)"
    " -> Tensor",
    _empty_like_x,
)
def propagate(
    x: Tensor, parent: Tensor, order: Tensor, plan: Tensor, affinity: Tensor, kind: int,
    coefficients: Tensor | None = None,
) -> Tensor:  # fmt: skip
    if forward_ad._current_level >= 0:
        refuse_tangents()
    flat = _flat(x)
    out = torch.empty_like(flat)
    threads = torch.get_num_threads()
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    affinity = affinity.contiguous()
    made = _given(coefficients)
    _C.propagate(PASS[kind], flat, parent, order, plan, affinity, made, out, threads)
    return out if flat is x else out.view(x.shape)


def _empty_gradients(
    grad: Tensor, x: Tensor, parent: Tensor, order: Tensor, plan: Tensor,
    affinity: Tensor, kind: int, wanted: bool, coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shape = (x.shape[0], affinity.shape[1], parent.shape[1])
    return _empty_like(x), affinity.new_zeros(shape if wanted else (0,))


@_op(
    f"_filter_backward(Tensor grad, Tensor x, {_TREE}, Tensor affinity, int kind,"
    " bool wanted, Tensor? coefficients=None) -> (Tensor, Tensor)",
    _empty_gradients,
)
def filter_backward(
    grad: Tensor, x: Tensor, parent: Tensor, order: Tensor, plan: Tensor,
    affinity: Tensor, kind: int, wanted: bool, coefficients: Tensor | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    if forward_ad._current_level >= 0:
        refuse_tangents()
    flat = _flat(x)
    to = torch.empty_like(flat)
    shape = (x.shape[0], affinity.shape[1], parent.shape[1])
    grad_affinity = affinity.new_zeros(shape if wanted else (0,))
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    affinity = affinity.contiguous()
    optional, made = grad_affinity if wanted else None, _given(coefficients)
    threads = torch.get_num_threads()
    tree = (parent, order, plan)
    _C.filter_backward(PASS[kind], _flat(grad), flat, *tree, affinity, made, to, optional, threads)
    grad_x = to if flat is x else to.view(x.shape)
    return grad_x, grad_affinity


def _empty_dot(p: Tensor, q: Tensor, parent: Tensor, groups: int) -> Tensor:
    return p.new_empty((p.shape[0], groups, parent.shape[1]), dtype=sum_dtype(p))


@_op("_parent_dot(Tensor p, Tensor q, Tensor parent, SymInt groups) -> Tensor", _empty_dot)
def parent_dot(p: Tensor, q: Tensor, parent: Tensor, groups: int) -> Tensor:
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_dot(p, q, parent, groups)
    _C.parent_dot(_flat(p), _flat(q), parent.contiguous(), groups, out, torch.get_num_threads())
    return out


# ---- distance ----


def _empty_distance(
    weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, source: Tensor, maximum: bool,
    function: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shape = (*source.shape, parent.shape[1])
    via = weight.new_empty(shape, dtype=torch.int32)
    return weight.new_empty(shape), via, via.new_empty(shape if maximum else (0,))


@_op(
    f"_distance(Tensor weight, {_TREE}, Tensor source, bool maximum, str function)"
    " -> (Tensor, Tensor, Tensor)",
    _empty_distance,
    shared=(*_SHARED, "weight"),
)
def distance(
    weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, source: Tensor, maximum: bool,
    function: str,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out, via, bottleneck = _empty_distance(weight, parent, order, plan, source, maximum, function)
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    weight = weight.contiguous()
    optional = bottleneck if maximum else None
    threads = torch.get_num_threads()
    source = source.contiguous()
    _C.distance(weight, parent, order, plan, source, out, via, optional, function, threads)
    return out, via, bottleneck


def _empty_transform(
    weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, seeds: Tensor,
    by: Tensor | None = None, edge: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    nearest = seeds.new_empty(seeds.shape, dtype=torch.int64)
    via = seeds.new_empty(seeds.shape, dtype=torch.int32)
    bottleneck = via.new_empty((0,) if by is None else via.shape)
    return weight.new_empty(seeds.shape), nearest, via, bottleneck


@_op(
    f"_distance_transform(Tensor weight, {_TREE}, Tensor seeds, Tensor? by=None,"
    " Tensor? edge=None) -> (Tensor, Tensor, Tensor, Tensor)",
    _empty_transform,
    shared=(*_SHARED, "weight"),
)
def distance_transform(
    weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, seeds: Tensor,
    by: Tensor | None = None, edge: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """``by`` (B, E) and ``edge``, for maxima only: what the graph's edges are ordered by."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    outs = _empty_transform(weight, parent, order, plan, seeds, by)
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    weight, seeds = weight.contiguous(), seeds.contiguous()
    distance, nearest, via, bottleneck = outs
    threads = torch.get_num_threads()
    if by is not None:
        assert edge is not None
        own = torch.arange(1, seeds.shape[1] + 1, device=seeds.device)
        markers = torch.where(seeds, own, 0)
        by, edge = _in_float32(by), edge.contiguous()
        _C.watershed(by, parent, edge, markers, nearest, "distance_transform", threads)
        nearest -= 1
    optional = None if by is None else bottleneck
    _C.distance_transform(
        weight, parent, order, plan, seeds, distance, nearest, via, optional, threads
    )
    return outs


def _empty_sums(weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor) -> Tensor:
    return weight.new_empty(via.shape)


@_op(
    f"_path_sums(Tensor weight, {_TREE}, Tensor via) -> Tensor",
    _empty_sums,
    shared=(*_SHARED, "weight"),
)
def path_sums(weight: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor) -> Tensor:
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_sums(weight, parent, order, plan, via)
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    weight = weight.contiguous()
    _C.path_sums(weight, parent, order, plan, via.contiguous(), out, torch.get_num_threads())
    return out


def _empty_accumulated(
    grad: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor
) -> Tensor:
    return grad.new_empty((grad.shape[0], grad.shape[2]))


@_op(f"_accumulate_sums(Tensor grad, {_TREE}, Tensor via) -> Tensor", _empty_accumulated)
def accumulate_sums(
    grad: Tensor, parent: Tensor, order: Tensor, plan: Tensor, via: Tensor
) -> Tensor:
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out = _empty_accumulated(grad, parent, order, plan, via)
    parent, order, plan = parent.contiguous(), order.contiguous(), plan.contiguous()
    grad = grad.contiguous()
    _C.accumulate_sums(grad, parent, order, plan, via.contiguous(), out, torch.get_num_threads())
    return out


# ---- losses ----


def _empty_difference(x: Tensor, y: Tensor, signs: bool) -> tuple[Tensor, Tensor]:
    out = x.new_empty((x.shape[0], 1, *x.shape[2:]))
    return out, x.new_empty(x.shape if signs else (0,), dtype=torch.int8)


@_op(
    "_l1_difference(Tensor x, Tensor y, bool signs) -> (Tensor, Tensor)",
    _empty_difference,
    shared=(),
)
def l1_difference(x: Tensor, y: Tensor, signs: bool) -> tuple[Tensor, Tensor]:
    """Σ |x − y| over channels, (B, 1, *shape), and the signs of x − y if they are wanted."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    out, sign = _empty_difference(x, y, signs)
    x, y, optional = _flat(x).contiguous(), _flat(y).contiguous(), _flat(sign) if signs else None
    _C.l1_difference(x, y, out.flatten(1), optional, torch.get_num_threads())
    return out, sign


def _empty_difference_gradients(grad: Tensor, sign: Tensor, both: bool) -> tuple[Tensor, Tensor]:
    return grad.new_empty(sign.shape), grad.new_empty(sign.shape if both else (0,))


@_op(
    "_l1_difference_backward(Tensor grad, Tensor sign, bool both) -> (Tensor, Tensor)",
    _empty_difference_gradients,
    shared=(),
)
def l1_difference_backward(grad: Tensor, sign: Tensor, both: bool) -> tuple[Tensor, Tensor]:
    """The derivatives by x and, if ``both``, by y."""
    if forward_ad._current_level >= 0:
        refuse_tangents()
    grad_x, grad_y = _empty_difference_gradients(grad, sign, both)
    to_x, to_y, threads = _flat(grad_x), _flat(grad_y) if both else None, torch.get_num_threads()
    grad, sign = grad.flatten(1).contiguous(), _flat(sign).contiguous()
    _C.l1_difference_backward(grad, sign, to_x, to_y, threads)
    return grad_x, grad_y
