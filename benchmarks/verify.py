"""Every result is checked before it is timed, against an independent computation."""

import functools

import numpy as np
import oracle
import peers
import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import treefilter as tf

Forests = list[np.ndarray]
"""The edge numbers of every tree or forest of a batch."""

KRUSKAL_UP_TO = 128 * 128
MIXED_FROM = 32


def components(edge_index: np.ndarray, num_nodes: int) -> int:
    links = np.ones(edge_index.shape[1], np.int8)
    graph = coo_array((links, tuple(edge_index)), shape=(num_nodes, num_nodes))
    return connected_components(graph, directed=False)[0]


def weight_of_forests(weight: torch.Tensor, graph: tf.Graph, forests: Forests) -> float:
    """Checks that each set of edges spans the graph without a cycle; returns their weight."""
    edge_index = graph.edge_index.numpy()
    expected = 1 if graph.shape else components(edge_index, graph.num_nodes)
    total = 0.0
    for w, edges in zip(weight.double().numpy(), forests, strict=True):
        assert len(edges) == graph.num_nodes - expected
        assert components(edge_index[:, edges], graph.num_nodes) == expected
        total += np.maximum(w[edges], peers.LEAST).sum()
    return total


@functools.lru_cache(maxsize=32)
def _kruskal(weight: bytes, edge_index: bytes, num_nodes: int) -> np.ndarray:
    ends = np.frombuffer(edge_index, np.int64).reshape(2, -1)
    return np.sort(list(oracle.kruskal(np.frombuffer(weight, np.float32), ends, num_nodes)))


def minimum(
    weight: torch.Tensor, graph: tf.Graph, forests: Forests, results: dict[str, list]
) -> None:
    """Our trees span the graph, have everyone's total weight, and up to 128² the oracle's edges."""
    ours = weight_of_forests(weight, graph, forests)
    for name, result in results.items():
        assert ours == pytest.approx(peers.total(name, result), rel=1e-9), name
    if graph.num_nodes <= KRUSKAL_UP_TO:
        ends = graph.edge_index.numpy().tobytes()
        expected = _kruskal(weight[0].numpy().tobytes(), ends, graph.num_nodes)
        assert np.array_equal(np.sort(forests[0]), expected)


def edges_of(tree: tf.Tree, edge_index: torch.Tensor) -> Forests:
    """The edges of rooted trees; each must join a vertex with its parent."""
    found = []
    for parent, edge in zip(tree.parent.cpu(), tree.edge.cpu(), strict=True):
        below = torch.nonzero(edge >= 0).flatten()
        edges = edge[below].long()
        assert torch.equal(edge_index[:, edges].sum(0), below + parent[below])
        assert (edge_index[:, edges] == below).any(0).all()
        found.append(edges.numpy())
    return found


def filtered(y: torch.Tensor, x: torch.Tensor, tree: tf.Tree, a: torch.Tensor) -> None:
    """Against float64 in another form (sums and one division), and up to 128² the reference.

    Many channels are first mixed to four, at random: the filter is linear, so that an error in any
    of them shows in the mixtures.
    """
    if x.shape[1] > MIXED_FROM:
        draw = torch.Generator().manual_seed(0)
        mix = (torch.randn(4, x.shape[1], generator=draw) / x.shape[1] ** 0.5).to(x.device)
        x, y = (torch.einsum("kc,bc...->bk...", mix, z) for z in (x, y))
    sums = tf.filter(x.double(), tree, a.double(), normalize=False)
    mass = tf.filter(torch.ones_like(x[:, :1]).double(), tree, a.double(), normalize=False)
    torch.testing.assert_close(y, (sums / mass).float(), rtol=1e-5, atol=1e-5)
    if tree.num_nodes <= KRUSKAL_UP_TO:
        expected = tf.reference.filter(x.double().cpu(), tree.to("cpu"), a.double().cpu())
        torch.testing.assert_close(y.cpu(), expected.float(), rtol=1e-5, atol=1e-5)


def gradients(
    found: tuple[torch.Tensor, ...], x: torch.Tensor, tree: tf.Tree, a: torch.Tensor
) -> None:
    """Against float64, derived by torch from the same expression of sums."""
    needed = x.double().requires_grad_(), a.double().requires_grad_()
    sums = tf.filter(needed[0], tree, needed[1], normalize=False)
    mass = tf.filter(torch.ones_like(x[:, :1]).double(), tree, needed[1], normalize=False)
    expected = torch.autograd.grad((sums / mass).sum(), needed)
    for gradient, exact in zip(found, expected, strict=True):
        error = (gradient.double() - exact).abs().max() / exact.abs().max()
        assert error < 1e-4, f"relative error {error:.1e}"
