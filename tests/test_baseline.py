"""The baseline of the GPU benchmark: its host side, and its kernels run by threads of the host."""

import subprocess

import pytest
import torch

pytest.importorskip("skimage")
from gpu import baseline
from gpu.baseline import launch
from gpu.baseline.step import Baseline
from gpu.cases import DRY_CASES, STEP
from gpu.machine import nvcc
from gpu.verify import verify
from gpu.work import Work

import treefilter as tf

CASE = next(case for case in DRY_CASES if case.loss)


@pytest.mark.parametrize("levels", [1, 3, 2**20])  # all equal, many ties, few
def test_trees_on_host_threads_are_ours(levels):
    graph = tf.grid(7, 9)
    weight = torch.randint(0, levels, (5, graph.num_edges)).float()
    ends = graph.edge_index.T.contiguous().int()
    found = launch.spanning_trees(ends, weight, graph.num_nodes)
    tree = tf.mst(weight, graph)
    for b in range(5):
        edge = tree.edge[b][tree.edge[b] >= 0].long()
        expected = {tuple(pair) for pair in graph.edge_index[:, edge].T.tolist()}
        assert {tuple(pair) for pair in found[b].tolist()} == expected
        assert len(found[b]) == graph.num_nodes - 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (6, 7)])
def test_order_has_parents_first(shape):
    graph = tf.grid(*shape)
    ends = graph.edge_index.T.contiguous().int()
    order = Baseline(launch.OnHost(), ends).order(torch.rand(2, graph.num_edges), graph.num_nodes)
    for b in range(2):
        vertices, parent = order.order[b].tolist(), order.parent[b].tolist()
        assert sorted(vertices) == list(range(graph.num_nodes))
        assert vertices[0] == parent[0] == 0
        # Threads append side by side, so that levels may be out of order: a thread that waits for
        # its core may be overtaken. A parent is always before its children.
        assert all(parent[p] < p for p in range(1, graph.num_nodes))
        children = [order.child[b, p, : order.children[b, p]].tolist() for p in range(len(parent))]
        assert sorted(c for found in children for c in found) == list(range(1, graph.num_nodes))
        assert all(parent[c] == p for p, found in enumerate(children) for c in found)


def test_step_is_ours():
    """The loss and both gradients; and once more on trees of its own, for the time."""
    work = Work(CASE, torch.device("cpu"))
    found = baseline.steps(work, on_host=True)
    verify(STEP, found.results, work.step())
    assert [value.shape for value in found.call()] == [value.shape for value in found.results]


def test_a_step_has_sixteen_passes():
    work = Work(CASE, torch.device("cpu"))
    ran = []

    class Counted(launch.OnHost):
        def __call__(self, name, *arguments):
            ran.append(name)
            super().__call__(name, *arguments)

    Baseline(Counted(), work.graph.edge_index.T.contiguous().int()).step(work)
    assert sum(name in ("leaf_to_root", "root_to_leaf") for name in ran) == 16
    assert ran.count("neighbours") == ran.count("breadth_first") == 2


def test_without_cupy_it_is_left_out(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(baseline.MissingError, match="CuPy is needed"):
        launch.OnGpu()


def test_kernels_compile_for_a_gpu(tmp_path):
    compiler = nvcc()
    if compiler is None:
        pytest.skip("needs nvcc")
    command = [compiler, "-std=c++17", "-arch=sm_90", "--Werror", "all-warnings", "-cubin"]
    subprocess.run([*command, str(launch.KERNELS), "-o", str(tmp_path / "x")], check=True)
