"""Graphs: numbering of vertices and edges."""

import pickle

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given
from strategies import GRIDS, edge_lists, grids

import treefilter as tf


@pytest.mark.parametrize(("shape", "connectivity"), GRIDS)
def test_grid_edges_follow_the_definition(shape, connectivity):
    graph = tf.grid(*shape, connectivity=connectivity)
    expected = oracle.grid_edges(shape, connectivity)
    np.testing.assert_array_equal(graph.edge_index.numpy(), expected)
    assert graph.edge_index.dtype == torch.int64
    assert graph.edge_index.shape == (2, graph.num_edges)
    assert graph.num_nodes == np.prod(shape)
    assert graph.shape == shape
    assert graph.connectivity == connectivity


@given(grids())
def test_any_grid_follows_the_definition(graph):
    expected = oracle.grid_edges(graph.shape, graph.connectivity)
    np.testing.assert_array_equal(graph.edge_index.numpy(), expected)
    assert graph.num_edges == expected.shape[1]


@pytest.mark.parametrize(("shape", "connectivity"), [((3, 5), 4), ((3, 3, 5), 6)])
def test_default_connectivity_is_that_of_the_faces(shape, connectivity):
    assert tf.grid(*shape).connectivity == connectivity
    assert torch.equal(
        tf.grid(*shape).edge_index, tf.grid(*shape, connectivity=connectivity).edge_index
    )


@pytest.mark.parametrize("connectivity", [8, 26])
def test_grid_joins_all_neighbours_exactly_once(connectivity):
    shape = (5, 7) if connectivity == 8 else (3, 5, 4)
    graph = tf.grid(*shape, connectivity=connectivity)
    position = np.stack(np.unravel_index(np.arange(graph.num_nodes), shape), -1)
    near = np.abs(position[:, None] - position[None]).max(-1) == 1  # a king's moves in chess
    listed = np.zeros_like(near, dtype=int)
    np.add.at(listed, tuple(graph.edge_index.numpy()), 1)
    np.testing.assert_array_equal(listed + listed.T, near)


def test_lower_vertex_comes_first():
    u, v = tf.grid(4, 5, 3, connectivity=26).edge_index
    assert (u < v).all()


def test_large_grids_cost_nothing_until_their_edges_are_asked_for():
    graph = tf.grid(30_000, 30_001)
    assert graph.num_nodes == 30_000 * 30_001
    assert graph.num_edges == 29_999 * 30_001 + 30_000 * 30_000


@given(edge_lists())
def test_edge_list_is_kept_as_given(device, graph):
    again = tf.graph(graph.edge_index.to(device), graph.num_nodes)
    assert again.edge_index.device.type == device.type
    assert torch.equal(again.edge_index.cpu(), graph.edge_index)
    assert again.num_edges == graph.num_edges
    assert again.num_nodes == graph.num_nodes
    assert again.shape is None
    assert again.connectivity is None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint8, torch.int16])
def test_edge_list_of_any_integer_type(device, dtype):
    ends = [[0, 1, 2, 2, 1], [1, 2, 2, 0, 0]]
    graph = tf.graph(torch.tensor(ends, dtype=dtype, device=device), 4)
    assert graph.edge_index.tolist() == ends
    assert graph.edge_index.dtype == torch.int64
    assert (graph.num_nodes, graph.num_edges) == (4, 5)


def test_edge_list_may_be_strided(device):
    ends = torch.tensor([[0, 1], [1, 2], [2, 0]], device=device)
    assert torch.equal(tf.graph(ends.T, 3).edge_index, ends.T)
    assert torch.equal(tf.graph(ends.T[:, ::2], 3).edge_index, ends.T[:, ::2])


def test_graph_without_edges(device):
    graph = tf.graph(torch.empty(2, 0, dtype=torch.int64, device=device), 3)
    assert graph.num_edges == 0
    assert graph.edge_index.shape == (2, 0)


def test_graph_does_not_see_later_changes(device):
    ends = torch.tensor([[0, 1], [1, 2]], device=device)
    graph = tf.graph(ends, 3)
    ends.fill_(0)
    graph.edge_index.fill_(0)
    assert graph.edge_index.tolist() == [[0, 1], [1, 2]]
    grid = tf.grid(1, 3)
    grid.edge_index.fill_(0)
    assert grid.edge_index.tolist() == [[0, 1], [1, 2]]


@pytest.mark.parametrize("name", ["num_nodes", "num_edges", "shape", "connectivity", "edge_index"])
def test_graph_is_immutable(name):
    with pytest.raises(AttributeError):
        setattr(tf.grid(2, 3), name, 1)


@pytest.mark.parametrize("graph", [tf.grid(3, 5), tf.graph(torch.tensor([[0, 1], [2, 2]]), 4)])
def test_graph_can_be_pickled(device, graph):
    graph = graph.to(device)
    again = pickle.loads(pickle.dumps(graph))
    assert torch.equal(again.edge_index, graph.edge_index)
    assert (again.num_nodes, again.shape) == (graph.num_nodes, graph.shape)
