"""What runs under compute-sanitizer: every kernel of this library on few, small tensors. No pytest.

    compute-sanitizer --tool memcheck … python -m gpu.check.sanitized

Only the private ops are called, and what they are given was made on the CPU and copied: so there
are hardly any kernels of torch's in between, and initcheck sees every byte that is written.
"""

import sys

import torch
from torch import Tensor

import treefilter as tf
from treefilter import _ops
from treefilter._native import _C

SHAPES = ((1, 1), (1, 9), (5, 7), (33, 70))  # the last: several blocks of threads
DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def there(tensor: Tensor) -> Tensor:
    return tensor if _C.emulated else tensor.cuda()


def graphs(shape: tuple[int, int]) -> list[tf.Graph]:
    """A grid of either kind, and the same as a list of edges."""
    grid = tf.grid(*shape)
    listed = tf.graph(grid.edge_index, grid.num_nodes)
    return [grid, tf.grid(*shape, connectivity=8), listed if _C.emulated else listed.to("cuda")]


def edges(graph: tf.Graph, draw: torch.Generator) -> int:
    """The ops of the edges; the number of calls."""
    layout = (graph._edges, graph._layout, graph.num_edges)
    calls = 0
    for dtype in DTYPES:
        f = torch.rand(2, 5, graph.num_nodes, generator=draw).to(dtype)
        t, f = there(f.flip(0)), there(f)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        weight = there(torch.rand(2, graph.num_edges, generator=draw).to(wide))
        for psi in (_ops.IDENTITY, _ops.SIGN):
            _ops.edge_inner(f, t, *layout, psi)
            _ops.edge_scatter(weight, f, *layout, psi)
            _ops.edge_scatter(weight, f, *layout, psi, weight)
        _ops.edge_argmax(f, *layout)
        calls += 7
    return calls


def trees(graph: tf.Graph, draw: torch.Generator, constant: bool) -> int:
    """The ops of trees and of all that is passed along them; the number of calls."""
    size = (2, graph.num_edges)
    values = torch.full(size, 0.5) if constant else torch.rand(size, generator=draw)
    weight, nodes = there(values), graph.num_nodes
    roots = there(torch.tensor([0, nodes - 1]))
    layout = (graph._edges, graph._layout, nodes)
    parent, edge, order, plan = _ops.mst(weight, *layout, roots, 0)
    _ops.mst_edges(weight, *layout)
    _ops.plan(parent)
    _ops.tree_weight(weight[:, None].contiguous(), edge, "affinity")
    topology = (parent, order, plan)
    calls = 4
    for dtype in DTYPES:
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        x = torch.rand(2, 6, nodes, generator=draw)
        grad, x = there(x.flip(0).to(dtype)), there(x.to(dtype))
        for groups in (1, 6):
            a = there(torch.rand(2, groups, nodes, generator=draw).to(wide))
            for kind in range(len(_ops.PASS)):
                _ops.propagate(x, *topology, a, kind)
                _ops.filter_backward(grad, x, *topology, a, kind, True)
            made = _ops.coefficients(*topology, a)
            _ops.propagate(x, *topology, a, _ops.MEAN, made)
            _ops.filter_backward(grad, x, *topology, a, _ops.MEAN, True, made)
            _ops.tree_weight_backward(a, edge, graph.num_edges, "affinity")
            weights = there(torch.rand(2, 1, graph.num_edges, generator=draw).to(wide))
            sigma = 0.5 + a[:, :, 0]
            _ops.affinity(weights, edge, sigma, 1.0)
            _ops.affinity_backward(a, a, edge, sigma, 1.0, [1, graph.num_edges])
            _ops.parent_dot(x, grad, parent, groups)
            calls += 15
        if dtype == wide:
            _, sign = _ops.l1_difference(x, grad, True)
            _ops.l1_difference_backward(a[:, :1].contiguous(), sign, True)
            calls += 2
    calls += hierarchies(weight, parent, edge, draw)
    return calls + distances(topology, weight, edge, draw)


def hierarchies(weight: Tensor, parent: Tensor, edge: Tensor, draw: torch.Generator) -> int:
    nodes = parent.shape[1]
    markers = there((torch.rand(2, nodes, generator=draw) * 20).long() // 19)
    for weights in (weight, weight.double()):
        up, _, children = _ops.merges(weights, parent, edge, "dendrogram")
        _ops.watershed(weights, parent, edge, markers)
    _ops.lowest_leaf(parent, up)
    _ops.count_pairs(up, children, markers.int())
    return 6


def distances(
    topology: tuple[Tensor, Tensor, Tensor], by: Tensor, edge: Tensor, draw: torch.Generator
) -> int:
    nodes = topology[0].shape[1]
    seeds = torch.rand(2, nodes, generator=draw) < 0.2
    seeds, source = there(seeds), there(torch.tensor([[0, nodes - 1], [nodes // 2, 0]]))
    for dtype in (torch.float32, torch.float64):
        weight = there(torch.rand(2, nodes, generator=draw).to(dtype))
        for maximum in (False, True):
            _, via, _ = _ops.distance(weight, *topology, source, maximum, "distance")
            _ops.distance_transform(weight, *topology, seeds, *((by, edge) if maximum else ()))
        _ops.path_sums(weight, *topology, via)
        grad = there(torch.rand(via.shape, generator=draw).to(dtype))
        _ops.accumulate_sums(grad, *topology, via)
    return 12


def main() -> int:
    draw = torch.Generator().manual_seed(4)
    calls = 0
    for shape in SHAPES:
        for graph in graphs(shape):
            calls += edges(graph, draw)
            for constant in (False, True):
                calls += trees(graph, draw, constant)
                print(f"{shape}, {graph}: {calls} calls", flush=True)
    if not _C.emulated:
        torch.cuda.synchronize()
    print(f"RESULT sanitized: {calls} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main())
