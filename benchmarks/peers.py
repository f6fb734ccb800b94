"""The same task by other libraries: one small function for each.

Graphs are built beforehand and not timed. Each ``*_mst`` returns a call for a batch of graphs;
``total(name, result)`` is the total weight of its trees, by which they are verified. A library that
is not installed is left out.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, dijkstra, minimum_spanning_tree

LEAST = 1e-30
"""scipy's sparse graphs drop edges of weight 0; a tenth of a photograph's edges are such."""

Call = Callable[[], Any]


def installed(name: str) -> bool:
    """Whether a peer is installed; "higra, edge set only" is higra."""
    return importlib.util.find_spec(name.partition(",")[0]) is not None


# --- minimum spanning trees: weight (B, E) float32, edge_index (2, E), number of vertices ---------


def csr(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> csr_array:
    """The graph as scipy needs it: float64, in which it computes."""
    values = np.maximum(weight.double().numpy(), LEAST)
    first, second = edge_index.numpy().astype(np.int32)
    return csr_array((values, (first, second)), shape=(num_nodes, num_nodes))


def scipy_mst(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    graphs = [csr(w, edge_index, num_nodes) for w in weight]
    return lambda: [minimum_spanning_tree(graph) for graph in graphs]


def scipy_rooted(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """The tree, then its vertices in breadth-first order with their parents."""
    graphs = [csr(w, edge_index, num_nodes) for w in weight]

    def call() -> list:
        trees = [minimum_spanning_tree(graph) for graph in graphs]
        return [(tree, breadth_first_order(tree, 0, directed=False)) for tree in trees]

    return call


def higra_mst(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """The canonical binary partition tree as its users call it."""
    return _higra(weight, edge_index, num_nodes)


def higra_least(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """The same without altitudes and the tree as a graph: the edge set is known before them."""
    return _higra(weight, edge_index, num_nodes, return_altitudes=False, compute_mst=False)


def _higra(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int, **options: bool) -> Call:
    import higra

    graph = higra.UndirectedGraph(num_nodes)
    graph.add_edges(*edge_index.numpy())
    values = list(weight.double().numpy())

    def call() -> list:
        trees = (higra.bpt_canonical(graph, w, **options) for w in values)
        return [tree if options else tree[0] for tree in trees]

    return lambda: list(zip(values, call(), strict=True))


def igraph_mst(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """Takes weights as a list, which it converts within the timed call."""
    import igraph

    graph = igraph.Graph(n=num_nodes, edges=edge_index.T.numpy())
    values = weight.double().tolist()
    return lambda: [(w, graph.spanning_tree(weights=w, return_tree=False)) for w in values]


def rustworkx_mst(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """Calls a Python function for each edge's weight within the timed call."""
    import rustworkx

    graphs = []
    ends = edge_index.T.tolist()
    for w in weight.double().tolist():
        graph = rustworkx.PyGraph()
        graph.add_nodes_from(range(num_nodes))
        graph.add_edges_from([(u, v, x) for (u, v), x in zip(ends, w, strict=True)])
        graphs.append(graph)
    return lambda: [rustworkx.minimum_spanning_edges(graph, weight_fn=float) for graph in graphs]


def networkx_mst(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    import networkx

    graphs = []
    ends = edge_index.T.tolist()
    for w in weight.double().tolist():
        graph = networkx.Graph()
        graph.add_weighted_edges_from([(u, v, x) for (u, v), x in zip(ends, w, strict=True)])
        graphs.append(graph)
    return lambda: [list(networkx.minimum_spanning_edges(graph)) for graph in graphs]


MST = {
    "scipy": scipy_mst,
    "higra": higra_mst,
    "higra, edge set only": higra_least,
    "igraph": igraph_mst,
    "rustworkx": rustworkx_mst,
    "networkx": networkx_mst,
}


def total(name: str, trees: list) -> float:
    """The weight of all trees of a result."""
    if name == "scipy":
        return float(sum(tree.sum() for tree in trees))
    if name == "scipy, rooted":
        return total("scipy", [tree for tree, _ in trees])
    if name.startswith("higra"):
        return float(sum(w[tree.mst_edge_map].sum() for w, tree in trees))
    if name == "igraph":
        return float(sum(np.asarray(w)[tree].sum() for w, tree in trees))
    if name == "rustworkx":
        return math.fsum(x for tree in trees for _, _, x in tree)
    return math.fsum(data["weight"] for tree in trees for _, _, data in tree)


# --- hierarchies ----------------------------------------------------------------------------------


def higra_dendrogram(weight: torch.Tensor, edge_index: torch.Tensor, num_nodes: int) -> Call:
    """The canonical binary partition tree of one graph, with its altitudes."""
    import higra

    graph = higra.UndirectedGraph(num_nodes)
    graph.add_edges(*edge_index.numpy())
    values = weight[0].double().numpy()
    return lambda: higra.bpt_canonical(graph, values)


def scipy_single_linkage(
    first: np.ndarray, second: np.ndarray, length: np.ndarray, num_nodes: int
) -> Call:
    """The minimum spanning tree by scipy, and its sorted edges joined as hdbscan does."""

    def call() -> np.ndarray:
        graph = csr_array((length, (first, second)), shape=(num_nodes, num_nodes))
        tree = minimum_spanning_tree(graph).tocoo()
        order = np.argsort(tree.data, kind="stable")
        rows = tree.row[order].tolist(), tree.col[order].tolist(), tree.data[order].tolist()
        above = list(range(2 * num_nodes - 1))
        size = [1] * num_nodes
        linkage = []
        for u, v, w in zip(*rows, strict=True):
            while above[u] != u:
                above[u] = above[above[u]]
                u = above[u]
            while above[v] != v:
                above[v] = above[above[v]]
                v = above[v]
            above[u] = above[v] = num_nodes + len(linkage)
            size.append(size[u] + size[v])
            linkage.append((u, v, w, size[-1]))
        return np.array(linkage)

    return call


def fast_hdbscan_single_linkage(points: np.ndarray) -> Call:
    """The exact Euclidean minimum spanning tree of points, and SciPy's linkage matrix of it."""
    import numba
    from fast_hdbscan.cluster_trees import mst_to_linkage_tree
    from fast_hdbscan.hdbscan import compute_minimum_spanning_tree

    def call() -> np.ndarray:
        numba.set_num_threads(torch.get_num_threads())
        edges = compute_minimum_spanning_tree(points, min_samples=1)[0]
        return mst_to_linkage_tree(edges[np.argsort(edges[:, 2], kind="stable")])

    return call


def persistence(image: np.ndarray) -> dict[str, Call]:
    """Components and holes of the sublevel sets of an image whose pixels are vertices."""
    calls: dict[str, Call] = {}
    if installed("gudhi"):
        import gudhi

        def cubical() -> Any:
            found = gudhi.CubicalComplex(vertices=image)
            found.compute_persistence()
            return found

        calls["gudhi"] = cubical
    if installed("cripser"):
        import cripser

        calls["cripser"] = lambda: cripser.computePH(image, maxdim=1)
    return calls


def bars(name: str, result: Any, dim: int) -> np.ndarray:
    """(births, deaths) of one dimension, sorted, those that never die with +inf."""
    if name == "gudhi":
        found = result.persistence_intervals_in_dimension(dim)
    else:
        found = result[result[:, 0] == dim][:, 1:3]
        found = np.where(found > 1e300, np.inf, found)
    found = found[found[:, 0] != found[:, 1]]
    return np.array(sorted(map(tuple, found.tolist())))


# --- distances along a tree -----------------------------------------------------------------------


def scipy_distance(
    weight: torch.Tensor, parent: torch.Tensor, edge: torch.Tensor, source: int
) -> Call:
    """Shortest paths on the tree: weight (E,), parent and edge (N,), rooted at vertex 0."""
    num_nodes = len(parent)
    values = np.maximum(weight[edge[1:].long()].double().numpy(), LEAST)
    ends = np.arange(1, num_nodes), parent[1:].numpy()
    tree = csr_array((values, ends), shape=(num_nodes, num_nodes))
    return lambda: dijkstra(tree, directed=False, indices=source)


# --- torch expressions ----------------------------------------------------------------------------


def sliced_weight(guide: torch.Tensor) -> torch.Tensor:
    """|f_u − f_v|² of a 4-connected grid in the usual form: slice, subtract, square, sum."""
    down = (guide[..., 1:, :] - guide[..., :-1, :]).square().sum(1).flatten(1)
    right = (guide[..., 1:] - guide[..., :-1]).square().sum(1).flatten(1)
    return torch.cat([down, right], 1)


def gathered_affinity(weight: torch.Tensor, edge: torch.Tensor, sigma: float) -> torch.Tensor:
    values = weight.gather(1, edge.long().clamp(min=0))
    return (-values / sigma).exp().masked_fill(edge < 0, 0)


# --- edge-preserving smoothing of an image (H, W, 3) in [0, 1], float32 ---------------------------


def _pixels(image: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) as (H, W, 3)."""
    return image[0].permute(1, 2, 0).numpy()


def smoothers(image: np.ndarray) -> dict[str, Call]:
    """Common choices, with the strength that their authors' examples use.

    They do not compute a tree filter: there are times and pictures, but no ratios.
    """
    from skimage.restoration import denoise_bilateral, denoise_tv_chambolle

    calls: dict[str, Call] = {
        "scikit-image bilateral": lambda: denoise_bilateral(
            image, win_size=9, sigma_color=0.1, sigma_spatial=3, channel_axis=-1
        ),
        "scikit-image total variation": lambda: denoise_tv_chambolle(
            image, weight=0.1, channel_axis=-1
        ),
    }
    if installed("kornia"):
        from kornia.filters import bilateral_blur, guided_blur

        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        calls |= {  # the parameters of OpenCV's, below
            "kornia guided filter": lambda: _pixels(guided_blur(tensor, tensor, 17, 0.01)),
            "kornia bilateral": lambda: _pixels(bilateral_blur(tensor, 9, 0.3, (3.0, 3.0))),
        }
    if not installed("cv2"):
        return calls
    import cv2

    cv2.setNumThreads(1)
    levels = (image * 255).round().astype(np.uint8)  # the smoother's guide must have 8 bits
    calls |= {
        "OpenCV guided filter": lambda: cv2.ximgproc.guidedFilter(image, image, 8, 0.01),
        "OpenCV domain transform": lambda: cv2.ximgproc.dtFilter(image, image, 20, 0.2),
        "OpenCV fast global smoother": lambda: cv2.ximgproc.fastGlobalSmootherFilter(
            levels, image, 100, 8
        ),
        "OpenCV bilateral": lambda: cv2.bilateralFilter(image, 9, 0.3, 3),
    }
    return calls
