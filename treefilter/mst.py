"""From weights to rooted minimum spanning trees, by Borůvka's algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
from ._autograd import values_of
from ._checks import check_devices, check_instance, check_integer, check_tensor
from .graph import Graph
from .tree import Tree


def mst(weight: Tensor, graph: Graph, *, root: int | Tensor = 0) -> Tree:
    """The minimum spanning tree of every weighted graph of a batch (Borůvka 1926), rooted.

    Edges are compared by (weight, edge number), a strict total order: the tree is unique and the
    same at any number of threads and any position in the batch. float64 weights are compared in
    float64; unless they all are float32 values, they are sorted first, which takes longer than the
    tree. O(E), no recursion. Topology has no gradient; nothing is saved for backward.

    Args:
        weight: (B, E) weights, floating point; negative ones are allowed. ``+inf`` means that there
            is no such edge: what is not connected otherwise becomes a tree of its own, rooted at
            its lowest vertex.
        graph: The graph that the weights belong to, or a batch of B graphs.
        root: The root of the tree that contains it: one vertex for all, or a (B,) integer tensor.

    Returns:
        A batch of B trees.

    Raises:
        ValueError: If the shape does not fit the graph, a weight is NaN or a root is outside
            [0, N).
        TypeError: If ``weight`` is no floating-point tensor, ``graph`` no Graph or ``root`` neither
            an integer (Python's or NumPy's) nor an integer tensor.

    Example:
        >>> import torch, treefilter as tf
        >>> graph = tf.grid(2, 2)  # edges 0-2, 1-3, 0-1, 2-3
        >>> tree = tf.mst(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), graph)
        >>> tree.parent.tolist(), tree.edge.tolist(), tree.order.tolist()
        ([[0, 0, 0, 1]], [[-1, 2, 0, 1]], [[2, 3, 1, 0]])
    """
    check_tensor("mst", "weight", weight, "float")
    check_instance("mst", "graph", graph, Graph)
    if weight.ndim != 2 or weight.shape[1] != graph.num_edges:
        raise ValueError(
            f"mst: weight must have shape (B, {graph.num_edges}), got {tuple(weight.shape)}"
        )
    roots, same_root = _roots(root, weight, graph.num_nodes)
    values = weight.detach() if weight.requires_grad else weight
    if values.dtype in (torch.bfloat16, torch.float16):
        values = values.to(torch.float32)
    edges = graph._edges_on("mst", weight.device)
    if graph.batch is not None:
        if values.shape[0] != graph.batch:
            raise ValueError(
                f"mst: weight must have batch {graph.batch} like the graph, got {values.shape[0]}"
            )
        return _united(values, graph, roots, same_root)
    tensors = _ops.mst(values, edges, graph._layout, graph.num_nodes, roots, same_root)
    parent, edge, order, plan = tensors
    return Tree(parent, edge, order, graph.shape, plan)


def _roots(root: int | Tensor, weight: Tensor, num_nodes: int) -> tuple[Tensor | None, int]:
    """The images' roots, or none and the one root of all."""
    batch = weight.shape[0]
    if isinstance(root, Tensor):
        check_tensor("mst", "root", root, "int")
        if tuple(root.shape) not in ((), (batch,)):
            raise ValueError(f"mst: root must have shape ({batch},), got {tuple(root.shape)}")
        check_devices("mst", "weight", weight, root=root)
        return root.to(torch.int64).expand(batch), 0
    root = check_integer("mst", "root", root, "an integer or a tensor")
    if not 0 <= root < num_nodes:
        raise ValueError(f"mst: root must be in [0, {num_nodes}), got {root}")
    return None, root


def _united(weight: Tensor, graph: Graph, roots: Tensor | None, root: int) -> Tree:
    """The trees of a batch of edge lists, found as one forest of the graphs side by side.

    Only one tree of a forest has the given root, each other its lowest vertex. So in
    each image the root changes its number to 0, and the vertices below it to one more.
    """
    assert graph.batch is not None
    batch, num_nodes, num_edges = graph.batch, graph.num_nodes, graph.num_edges
    if batch == 0:
        none = weight.new_empty((0, num_nodes), dtype=torch.int32)
        return Tree(none, none, none)
    ends = graph.edge_index.to(weight.device).transpose(0, 1)  # (2, B, E)
    first = roots if roots is not None else weight.new_full((batch,), root, dtype=torch.int64)
    outside = (first < 0) | (first >= num_nodes)
    given = None if roots is None else values_of(outside)
    if given is not None and given.any():
        wrong = int(first[outside][0])
        raise ValueError(f"mst: root must be in [0, {num_nodes}), got {wrong}")
    first = first.masked_fill(outside, 0).unsqueeze(1)  # as on CUDA, where nothing is raised
    ends = torch.where(ends == first, 0, ends + (ends < first))
    image = torch.arange(batch, device=weight.device).unsqueeze(1)
    ends = (ends + image * num_nodes).reshape(2, -1).int()
    values = weight.reshape(1, -1)
    parent, edge, _, _ = _ops.mst(values, ends, [], batch * num_nodes, None, 0)
    own = torch.arange(num_nodes, device=weight.device).expand(batch, -1)
    number = torch.where(own == first, 0, own + (own < first))  # the number of each vertex there
    parent = parent.view(batch, num_nodes).long().gather(1, number) - image * num_nodes
    parent = torch.where(parent == 0, first, parent - (parent <= first).long()).int()
    edge = edge.view(batch, num_nodes).gather(1, number)
    edge = torch.where(edge < 0, -1, edge - image * num_edges).int()
    plan = _ops.plan(parent)
    order, _ = _ops.order(parent, plan)
    return Tree(parent, edge, order, None, plan)
