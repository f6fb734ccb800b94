"""From weights to rooted minimum spanning trees, by Borůvka's algorithm."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _ops
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
        graph: The graph that the weights belong to.
        root: The root of the tree that contains it: one vertex for all, or a (B,) integer tensor.

    Returns:
        A batch of B trees.

    Raises:
        ValueError: If the shape does not fit the graph, a weight is NaN or a root is outside [0,
            N).
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
