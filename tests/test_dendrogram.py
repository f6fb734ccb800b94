"""Dendrograms: SciPy's single linkage, components at thresholds, and the same bits everywhere."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, sparse
from scipy.cluster import hierarchy
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist
from strategies import forests, graphs, normal, photograph, snake, uniform, weights
from torch.utils import _pytree

import treefilter as tf


def same_partition(a, b):
    """Whether two labellings are equal but for the names."""
    pairs = set(zip(np.ravel(a).tolist(), np.ravel(b).tolist(), strict=True))
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


def components_below(weight, graph, threshold):
    """SciPy's components of the edges that are no heavier than a threshold, by lowest vertices."""
    u, v = graph.edge_index.numpy()[:, weight.numpy() <= threshold]
    links = sparse.csr_array((np.ones(len(u)), (u, v)), shape=(graph.num_nodes,) * 2)
    labels = connected_components(links, directed=False)[1]
    first = {label: i for i, label in enumerate(dict.fromkeys(labels.tolist()))}
    return np.array([first[label] for label in labels.tolist()])


@given(st.data(), graphs(), st.integers(0, 2))
def test_dendrogram_is_that_of_the_reference(device, data, graph, batch):
    weight = data.draw(weights(graph, batch))
    tree = tf.mst(weight, graph, root=data.draw(st.integers(0, graph.num_nodes - 1)))
    h = tf.dendrogram(weight.to(device), tree.to(device))
    expected = tf.reference.dendrogram(weight, tree)
    assert torch.equal(h.parent.cpu(), expected.parent)
    assert torch.equal(h.edge.cpu(), expected.edge)
    assert h.shape == graph.shape
    heights = tf.altitude(weight.to(device), h).cpu()
    assert heights.dtype == weight.dtype
    assert torch.equal(heights, tf.reference.altitude(weight, expected))
    assert (heights[:, 1:] >= heights[:, :-1]).all()


@given(st.data(), graphs(30))
def test_other_weights_than_those_of_the_tree(device, data, graph):
    tree = tf.mst(data.draw(weights(graph)), graph)
    weight = data.draw(weights(graph, 2))
    h = tf.dendrogram(weight.to(device), tree.to(device))
    expected = tf.reference.dendrogram(weight, tree)
    assert torch.equal(h.parent.cpu(), expected.parent)
    assert torch.equal(h.edge.cpu(), expected.edge)


@given(st.data(), forests(30, 2), st.integers(0, 2))
def test_cut_is_the_components_of_light_edges(device, data, drawn, kind):
    graph, weight, tree = drawn
    threshold = data.draw(st.sampled_from([-1.0, 0.0, 0.7, 1.0, 2.0, torch.inf]))
    h = tf.dendrogram(weight.to(device), tree.to(device))
    limit = [threshold, torch.tensor(threshold), torch.tensor([threshold] * 2)][kind]
    limit = limit.to(device) if isinstance(limit, torch.Tensor) else limit
    labels = tf.cut(h, weight.to(device), limit).cpu()
    assert labels.dtype == torch.int64
    assert labels.shape == (2, *(graph.shape or (graph.num_nodes,)))
    for b in range(2):
        finite = torch.where(weight[b] < torch.inf, weight[b], torch.nan)
        expected = components_below(finite, graph, threshold)
        np.testing.assert_array_equal(labels[b].flatten(), expected)
    assert torch.equal(labels, tf.reference.cut(h.to("cpu"), weight, threshold))


def test_cut_at_thresholds_beyond_float64():
    weight = torch.tensor([[1.0, torch.finfo(torch.float32).max, torch.inf]])
    h = tf.dendrogram(weight, tf.mst(weight, tf.grid(1, 4)))
    for cut in (tf.cut, tf.reference.cut):
        assert cut(h, weight, -(10**400)).tolist() == [[[0, 1, 2, 3]]]
    assert tf.cut(h, weight, 10**400).tolist() == [[[0, 0, 0, 1]]]


@given(st.data(), forests(30, 2))
def test_cut_into_a_number_of_components(device, data, drawn):
    graph, weight, tree = drawn
    num = data.draw(st.integers(1, graph.num_nodes))
    h = tf.dendrogram(weight.to(device), tree.to(device))
    labels = tf.cut(h, num=num).cpu()
    assert torch.equal(labels, tf.reference.cut(h.to("cpu"), num=num))
    for b in range(2):
        components = int(tree.roots[b].sum())
        assert labels[b].max() + 1 == max(num, components)


@pytest.mark.parametrize(("n", "dim"), [(1, 2), (2, 1), (60, 2), (200, 3)])
def test_points_against_scipy(device, n, dim):
    points = np.random.default_rng(n).random((n, dim))
    u, v = np.triu_indices(n, 1)
    graph = tf.graph(torch.from_numpy(np.stack([u, v])), n).to(device)
    weight = torch.from_numpy(pdist(points))[None].to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    z = tf.linkage(weight, h)
    assert z.shape == (1, n - 1, 4)
    assert torch.equal(z.cpu(), tf.reference.linkage(weight.cpu(), h.to("cpu")))
    if n == 1:
        return
    expected = hierarchy.linkage(points, "single")
    np.testing.assert_allclose(z[0].cpu().numpy(), expected, rtol=1e-12)
    assert hierarchy.is_valid_linkage(z[0].cpu().numpy())
    for k in (1, 2, n // 3 + 1, n):
        flat = hierarchy.fcluster(z[0].cpu().numpy(), k, "maxclust")
        assert same_partition(flat, tf.cut(h, num=k)[0].cpu().numpy())
    t = float(np.median(expected[:, 2]))
    flat = hierarchy.fcluster(z[0].cpu().numpy(), t, "distance")
    assert same_partition(flat, tf.cut(h, weight, t)[0].cpu().numpy())


@given(st.integers(0, 2**32 - 1))
def test_total_altitude_is_minimal_on_random_graphs(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 40))
    ends = torch.from_numpy(rng.integers(0, n, (2, int(rng.integers(1, 5 * n)))))
    graph = tf.graph(ends, n)
    for kind in (rng.random, lambda size: rng.integers(1, 5, size).astype(float)):
        weight = torch.from_numpy(kind(graph.num_edges))[None]
        h = tf.dendrogram(weight, tf.mst(weight, graph))
        heights = tf.altitude(weight, h)[0]
        u, v = ends.numpy()
        keep = u != v
        dense = np.full((n, n), np.inf)
        np.minimum.at(dense, (u[keep], v[keep]), weight[0].numpy()[keep])
        dense = np.minimum(dense, dense.T)
        links = sparse.csr_array(np.where(np.isinf(dense), 0, dense))
        expected = sparse.csgraph.minimum_spanning_tree(links).sum()
        assert heights[heights < torch.inf].sum().item() == pytest.approx(expected, rel=1e-12)


def test_quasi_flat_zones_of_a_photograph(device):
    graph = tf.grid(120, 150)
    grey = (photograph(120, 150).mean(1, keepdim=True) * 255).round()
    weight = tf.edge_weight(grey, graph, "cityblock").to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    for threshold in (0, 1, 4):
        labels = tf.cut(h, weight, threshold)[0].cpu().numpy()
        expected = components_below(weight[0].cpu(), graph, threshold)
        np.testing.assert_array_equal(labels.ravel(), expected)
    flat, _ = ndimage.label(grey[0, 0] == grey[0, 0, 0, 0])
    zone = tf.cut(h, weight, 0)[0].cpu().numpy()
    assert ((flat == flat[0, 0]) == (zone == zone[0, 0])).all()


def test_as_tree_sums_over_leaves(device):
    graph = tf.grid(9, 13)
    weight = uniform(1, 2, graph.num_edges)
    weight[1, ::3] = torch.inf
    weight = weight.to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    tree = h.as_tree()
    n = graph.num_nodes
    again = tf.Tree.from_parents(h.parent)
    assert torch.equal(tree.edge, again.edge)
    assert (tree.roots.gather(1, tree.order.long()).int().diff(dim=1) >= 0).all()  # roots last
    leaf = (torch.arange(2 * n - 1, device=device) < n).float().expand(2, 1, -1)
    sizes = tf.leaf_to_root(leaf, tree, torch.ones(1, 2 * n - 1, device=device))[:, 0]
    assert (sizes[tree.roots].view(-1)).sum() == 2 * n
    depth = tree.depth
    assert depth.max() < n


def test_gradient_of_the_altitude(device):
    graph = tf.grid(3, 4)
    topology = uniform(1, 2, graph.num_edges).to(device)
    topology[0, ::4] = torch.inf
    h = tf.dendrogram(topology, tf.mst(topology, graph))
    weight = uniform(2, 2, graph.num_edges).to(device).requires_grad_()

    def heights(weight):
        y = tf.altitude(weight, h)
        return torch.where(y < torch.inf, y, 0).square()

    assert torch.autograd.gradcheck(heights, weight)
    assert torch.autograd.gradgradcheck(heights, weight)
    (grad,) = torch.autograd.grad(heights(weight).sum(), weight)
    leaf = weight.detach().cpu().requires_grad_()
    y = tf.reference.altitude(leaf, h.to("cpu"))
    (expected,) = torch.autograd.grad(torch.where(y < torch.inf, y, 0).square().sum(), leaf)
    assert torch.equal(grad.cpu(), expected)


@pytest.mark.parametrize("batch", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (5, 1)])
def test_smallest_sizes(device, batch, shape):
    graph = tf.grid(*shape)
    n = graph.num_nodes
    weight = torch.ones(batch, graph.num_edges, device=device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    assert (len(h), h.num_leaves, h.shape) == (batch, n, shape)
    assert h.parent.shape == (batch, 2 * n - 1)
    assert tf.altitude(weight, h).shape == (batch, n - 1)
    assert tf.linkage(weight, h).shape == (batch, n - 1, 4)
    for labels in (tf.cut(h, weight, 1.0), tf.cut(h, num=1)):
        assert labels.shape == (batch, *shape)
        assert (labels == 0).all()
    assert h.as_tree().num_nodes == 2 * n - 1


@pytest.mark.parametrize("kind", ["noise", "ties", "constant"])
def test_same_bits_at_any_thread_count_and_batch_position(device, kind, assert_same_bits):
    graph = tf.grid(65, 77)
    weight = uniform(1, 3, graph.num_edges, dtype=torch.float32)
    weight = {"noise": weight, "ties": weight.mul(9).round(), "constant": weight * 0}[kind]
    weight[2, ::3] = torch.inf
    weight = weight.to(device)
    trees = tf.mst(weight, graph)

    def run(images=slice(None)):
        h = tf.dendrogram(weight[images], trees[images])
        return [h.parent, h.edge, tf.cut(h, weight[images], 0.3)]

    assert_same_bits(run, batch=3)


def test_one_tree_serves_a_batch(device):
    graph = tf.grid(5, 6)
    weight = uniform(1, 3, graph.num_edges).to(device)
    tree = tf.mst(weight[:1], graph)
    h = tf.dendrogram(weight, tree)
    assert torch.equal(h.parent, tf.dendrogram(weight, tree[[0, 0, 0]]).parent)
    one = h[:1]
    assert torch.equal(tf.altitude(weight, one), tf.altitude(weight, h[[0, 0, 0]]))
    assert torch.equal(tf.cut(one, weight, 0.4), tf.cut(h[[0, 0, 0]], weight, 0.4))
    assert torch.equal(tf.linkage(weight, one), tf.linkage(weight, h[[0, 0, 0]]))
    single = tf.dendrogram(weight[:1, :0], tf.mst(weight[:1, :0], tf.grid(1, 1)))
    for batch in (0, 3):
        assert tf.cut(single, weight[:batch, :0], 0.4).shape == (batch, 1, 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(device, dtype):
    graph = tf.grid(7, 8)
    weight = uniform(1, 1, graph.num_edges).to(dtype).to(device)
    tree = tf.mst(weight, graph)
    h = tf.dendrogram(weight, tree)
    assert torch.equal(h.parent, tf.dendrogram(weight.float(), tree).parent)
    assert tf.altitude(weight, h).dtype == dtype


def test_strided_inputs_and_inputs_are_unchanged(device):
    graph = tf.grid(6, 7)
    weight = uniform(1, 2, graph.num_edges).to(device)
    before = weight.clone()
    tree = tf.mst(weight, graph)
    expected = tf.dendrogram(weight, tree)
    for strided in (weight.T.contiguous().T, torch.stack([weight] * 2, -1)[..., 1]):
        h = tf.dendrogram(strided, tree)
        assert torch.equal(h.parent, expected.parent)
        assert torch.equal(tf.altitude(strided, h), tf.altitude(weight, h))
    assert torch.equal(weight, before)


def test_trees_with_repeated_edge_numbers(device):
    """What Tree.from_parents accepts is sorted too; equal edges in the order of their vertices."""
    parent = torch.tensor([[0, 0, 1, 2, 3]], device=device)
    tree = tf.Tree.from_parents(parent, torch.tensor([[-1, 1, 0, 1, 0]], device=device))
    h = tf.dendrogram(torch.tensor([[1.0, 2.0]], device=device), tree)
    assert h.edge.tolist() == [[0, 0, 1, 1]]
    assert h.parent.tolist() == [[7, 5, 5, 6, 6, 7, 8, 8, 8]]


def test_a_dendrogram_is_a_value(device, tmp_path):
    graph = tf.grid(4, 5)
    weight = uniform(1, 3, graph.num_edges).to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    assert repr(h) == "Dendrogram(batch=3, num_leaves=20, shape=(4, 5))"
    torch.save(h, tmp_path / "h.pt")
    leaves, spec = _pytree.tree_flatten(h)
    for again in (
        pickle.loads(pickle.dumps(h)),
        torch.load(tmp_path / "h.pt", weights_only=True),
        _pytree.tree_unflatten(leaves, spec),
        h.to(device),
        h[:],
    ):
        assert torch.equal(again.parent, h.parent)
        assert torch.equal(again.edge, h.edge)
        assert again.shape == h.shape
    assert torch.equal(h[-1].edge, h.edge[2:])
    assert torch.equal(h[[2, 0]].edge, h.edge[[2, 0]])
    with pytest.raises(IndexError, match=r"Dendrogram: index must be in \[-3, 3\), got 3"):
        h[3]


def test_compiled(device):
    """Everything that is made of a dendrogram, in one graph."""
    graph = tf.grid(5, 6)
    weight = uniform(1, 2, graph.num_edges, dtype=torch.float32).to(device)
    markers = (torch.arange(60).view(2, 5, 6) % 11).to(device)
    x = normal(2, 2, 2, 5, 6, dtype=torch.float32).to(device)

    def run(weight, x):
        tree = tf.mst(weight, graph)
        h = tf.dendrogram(weight, tree)
        return (
            *(tf.altitude(weight, h), tf.cut(h, weight, 0.3), tf.cut(h, num=3)),
            *(tf.linkage(weight, h), tf.watershed(weight, tree, markers)),
            *tf.malis_pairs(h, markers),
            *tf.persistence(x[:, 0], graph),
            *tf.persistence(x[:, 0], graph, dim=1),
            tf.filter(x, tree, tf.affinity(weight, tree), path="min"),
        )

    compiled = torch.compile(run, fullgraph=True, backend="eager")
    for a, b in zip(compiled(weight, x), run(weight, x), strict=True):
        assert torch.equal(a, b)


ERRORS = {
    "weight must be a float32": lambda w, t, h: tf.dendrogram(w.long(), t),
    r"dendrogram: weight must have shape \(B, E\)": lambda w, t, h: tf.dendrogram(w[0], t),
    "dendrogram: tree must be a treefilter.Tree": lambda w, t, h: tf.dendrogram(w, h),
    "dendrogram: weight must have batch 2 like the tree": lambda w, t, h: tf.dendrogram(w[:0], t),
    "altitude: h must be a treefilter.Dendrogram": lambda w, t, h: tf.altitude(w, t),
    "altitude: weight must have batch 2 like the dendrogram": lambda w, t, h: tf.altitude(w[:0], h),
    "cut: arguments must be weight and threshold, or num alone": lambda w, t, h: tf.cut(h),
    r"cut: num must be in \[1, 6\], got 7": lambda w, t, h: tf.cut(h, num=7),
    "cut: num must be an integer": lambda w, t, h: tf.cut(h, num=2.0),
    "cut: threshold must not be NaN": lambda w, t, h: tf.cut(h, w, float("nan")),
    "cut: threshold must be a number": lambda w, t, h: tf.cut(h, w, "0"),
    r"cut: threshold must be a number or have shape \(2,\)": (
        lambda w, t, h: tf.cut(h, w, torch.zeros(3, device=w.device))
    ),
    "linkage: h must be of a connected graph, got 2 components": (
        lambda w, t, h: tf.linkage(
            w, tf.dendrogram(w.index_fill(1, t.edge[0, 5:].long(), torch.inf), t)
        )
    ),
    r"Dendrogram: parent must have shape \(B, 2N - 1\)": (
        lambda w, t, h: tf.Dendrogram(h.parent[:, :-1], h.edge)
    ),
    r"Dendrogram: edge must have shape \(2, 5\)": (
        lambda w, t, h: tf.Dendrogram(h.parent, h.edge[:, 1:])
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(device, message):
    graph = tf.grid(2, 3)
    weight = torch.arange(2.0 * graph.num_edges, device=device).view(2, -1)
    tree = tf.mst(weight, graph)
    with pytest.raises((TypeError, ValueError), match=message):
        ERRORS[message](weight, tree, tf.dendrogram(weight, tree))


def test_nan_is_an_error_on_the_cpu(device):
    graph = tf.grid(1, 3)
    tree = tf.mst(torch.zeros(1, 2, device=device), graph)
    weight = torch.tensor([[1.0, torch.nan]], device=device)
    if device.type == "cpu":
        with pytest.raises(ValueError, match="dendrogram: weight must not be NaN, got NaN"):
            tf.dendrogram(weight, tree)
    else:
        assert tf.dendrogram(weight, tree).edge.tolist() == [[0, -1]]


def test_a_long_snake(device):
    graph, weight, _ = snake(512, 1024)
    weight = weight.to(device)
    h = tf.dendrogram(weight, tf.mst(weight, graph))
    assert h.parent[0, -1] == 2 * graph.num_nodes - 2
    assert (h.edge >= 0).all()
    labels = tf.cut(h, num=2)
    assert labels.sum() > 0
    assert normal(1, 1).isfinite().all()
