"""Tests that need a GPU: no synchronisation, CUDA graphs, streams, devices."""

import math
import os
import subprocess
import sys
import threading

import pytest
import torch

import treefilter as tf

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SHAPES = [(1, 1), (1, 7), (24, 33), (256, 300)]  # the last: several blocks for every phase
WIDE = (1024, 1100)  # more than a block's shared memory holds


def inputs(shape, seed=0, batch=2, channels=3, graph=None):
    """A guide and what is filtered; for a list of edges without a shape."""
    generator = torch.Generator().manual_seed(seed)
    size = shape if graph is None else graph.shape or (graph.num_nodes,)
    guide = torch.rand(batch, 4, *size, generator=generator)
    x = torch.rand(batch, channels, *size, generator=generator)
    return guide.cuda().requires_grad_(), x.cuda().requires_grad_()


def four(shape):
    return tf.grid(*shape)


def eight(shape):
    return tf.grid(*shape, connectivity=8)


def listed(shape):
    return tf.graph(tf.grid(*shape).edge_index, math.prod(shape)).to("cuda")


def pipeline(guide, x, graph):
    """From the guide to the results, forward and backward; all results."""
    weight = tf.edge_weight(guide, graph)
    tree = tf.mst(weight, graph)
    y = tf.filter(x, tree, tf.affinity(weight, tree, sigma=0.5))
    seeds = torch.zeros(len(tree), tree.num_nodes, dtype=torch.bool, device=x.device)
    seeds[:, 0] = True
    near, nearest = tf.distance_transform(weight, tree, seeds)
    far = tf.distance(weight, tree, seeds.new_zeros(1, dtype=torch.int64), path="max")
    loss = y.square().sum() + near.sum() + far.sum()
    grads = torch.autograd.grad(loss, (guide, x))
    return [tree.parent, tree.order, y, near, nearest, far, *grads]


def others(guide, x, graph):
    """Other calls: metrics, types, passes, groups, second derivatives, paths."""
    results = []
    noise = (x.detach() * 99).sin()  # sums of it are rounded
    for metric in ("euclidean", "cityblock", "chebyshev", "cosine"):
        weight = tf.edge_weight(guide, graph, metric)
        tree = tf.mst(weight, graph, root=graph.num_nodes // 2)
        results += [weight, tree.parent, tree.edge, tree.order]
        results += torch.autograd.grad((weight * (weight * 99).sin().detach()).sum(), guide)
    a = tf.affinity(weight.detach(), tree, sigma=0.1)
    groups = torch.stack([a, a.square(), a.sqrt()], 1).requires_grad_()
    for apply in (tf.leaf_to_root, tf.root_to_leaf, tf.filter):
        y = apply(x, tree, groups)
        first = torch.autograd.grad((y * noise).sum(), (x, groups), create_graph=True)
        second = torch.autograd.grad(sum((g * g.detach().cos()).sum() for g in first), (x, groups))
        results += [y, *first, *second]
        results += [apply(x.detach().to(t), tree, a) for t in (torch.float64, torch.bfloat16)]
    seeds = noise.flatten(2)[:, 0] > 0.9
    length = weight.detach().requires_grad_()
    sources = torch.arange(2, device=x.device)
    for path in ("sum", "max"):
        near, nearest = tf.distance_transform(length, tree, seeds, path)
        far = tf.distance(length, tree, sources % graph.num_nodes, path)
        finite = torch.where(near.isinf(), 0, near).sum() + (far * far.detach().sin()).sum()
        results += [near, nearest, far, *torch.autograd.grad(finite, length)]
    return [result.detach() for result in results]


# What is run on which graph of a shape; the graph is made before anything is watched or captured.
RUNS = [
    pytest.param(run, make, id=f"{run.__name__}-{make.__name__}")
    for run in (pipeline, others)
    for make in (four, eight, listed)
]


def assert_equal(a, b):
    for i, (s, t) in enumerate(zip(a, b, strict=True)):
        assert torch.equal(s, t), i


@pytest.mark.parametrize(("run", "make"), RUNS)
@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_nothing_waits_for_the_device(shape, run, make):
    graph = make(shape)
    guide, x = inputs(shape, graph=graph)
    expected = run(guide, x, graph)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = run(guide, x, graph)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_equal(results, expected)


@pytest.mark.parametrize(("run", "make"), RUNS)
@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_in_a_cuda_graph(shape, run, make):
    """Captured once, replayed on other inputs: the same as called."""
    graph = make(shape)
    guide, x = inputs(shape, graph=graph)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run(guide, x, graph)
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        results = run(guide, x, graph)
    for seed in (1, 2):
        other_guide, other_x = inputs(shape, seed, graph=graph)
        with torch.no_grad():
            guide.copy_(other_guide)
            x.copy_(other_x)
        captured.replay()
        torch.cuda.synchronize()
        assert_equal(results, run(other_guide, other_x, graph))


# Kernels are loaded when they are first called: here, while a stream is captured.
FIRST_CALLS_ARE_CAPTURED = """
import torch
import treefilter as tf

def trees():
    return tf.mst(tf.edge_weight(guide, graph), graph)

graph = tf.grid(150, 170)
guide = torch.rand(2, 3, 150, 170, device="cuda")
captured = torch.cuda.CUDAGraph()
with torch.cuda.graph(captured):
    tree = trees()
captured.replay()
torch.cuda.synchronize()
assert torch.equal(tree.parent, trees().parent)
"""


@pytest.mark.parametrize("phases", ["clusters", "kernel", "launches"])
def test_first_calls_are_captured(phases):
    subprocess.run(
        [sys.executable, "-c", FIRST_CALLS_ARE_CAPTURED],
        env={**os.environ, "TREEFILTER_PHASES": phases},
        timeout=120,
        check=True,
    )


# Cooperative kernels of several streams must not wait for each other: the time-out is the check.
@pytest.mark.timeout(120, method="thread")
def test_on_several_streams_and_from_several_threads():
    # Of two sizes, whose kernels are the same and need more or less shared memory.
    shapes = [(96, 130), (180, 220)] * 3
    cases = [(*inputs(shape, seed), tf.grid(*shape)) for seed, shape in enumerate(shapes)]
    expected = [pipeline(*case) for case in cases]
    torch.cuda.synchronize()
    results = [None] * len(cases)

    def work(i):
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(5):
                results[i] = pipeline(*cases[i])
            torch.cuda.current_stream().synchronize()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert_equal(got, wanted)


@pytest.mark.parametrize(("run", "make"), RUNS)
@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_same_bits_every_time_and_anywhere_in_the_batch(shape, run, make):
    graph = make(shape)
    guide, x = inputs(shape, batch=3, graph=graph)
    whole = run(guide, x, graph)
    assert_equal(run(guide, x, graph), whole)
    for i in range(3):
        alone = run(
            guide.detach()[i : i + 1].requires_grad_(),
            x.detach()[i : i + 1].requires_grad_(),
            graph,
        )
        assert_equal(alone, [t[i : i + 1] for t in whole])


@pytest.mark.parametrize("connectivity", [4, 8])
def test_trees_are_those_of_the_cpu(connectivity):
    shape = (211, 190)
    graph = tf.grid(*shape, connectivity=connectivity)
    for levels in (1, 5, 2**20):  # all equal, many ties, few
        weight = torch.randint(0, levels, (3, graph.num_edges)).float()
        ours, theirs = tf.mst(weight, graph), tf.mst(weight.cuda(), graph)
        for name in ("parent", "edge"):
            assert torch.equal(getattr(ours, name), getattr(theirs, name).cpu()), name


def test_a_tree_that_was_moved():
    shape = (40, 50)
    graph = tf.grid(*shape)
    weight, x = torch.rand(2, graph.num_edges), torch.rand(2, 3, *shape)
    tree = tf.mst(weight, graph)
    y = tf.filter(x, tree, tf.affinity(weight, tree))
    moved = tree.to("cuda")
    assert moved.order.is_cuda
    on_gpu = tf.filter(x.cuda(), moved, tf.affinity(weight.cuda(), moved))
    torch.testing.assert_close(on_gpu.cpu(), y, rtol=1e-5, atol=1e-6)


def test_values_that_cannot_raise():
    """Values that are errors on the CPU are none here: to see them the host would have to wait."""
    graph = tf.grid(1, 4)
    weight = torch.tensor([[1.0, float("nan"), 2.0]]).cuda()
    cut = torch.tensor([[1.0, float("inf"), 2.0]])
    assert torch.equal(tf.mst(weight, graph).parent.cpu(), tf.mst(cut, graph).parent)
    tree = tf.mst(cut.cuda(), graph)
    far = tf.distance(cut.cuda(), tree, torch.tensor([-1, 99]).cuda())
    assert far.isinf().all()
    listed = tf.graph(torch.tensor([[0, 1, 2, 7], [1, 2, 3, 0]]).cuda(), 4)
    ones = torch.ones(1, 4).cuda()
    assert tf.mst(ones, listed).parent.tolist() == [[0, 0, 1, 2]]


def test_tensors_on_different_devices_are_refused():
    graph = tf.grid(3, 4)
    weight = torch.rand(1, graph.num_edges)
    tree = tf.mst(weight, graph)
    with pytest.raises(ValueError, match=r"CPU tensor|cuda:0 tensor"):
        tf.filter(torch.rand(1, 1, 3, 4).cuda(), tree, tf.affinity(weight, tree))
    listed = tf.graph(torch.tensor([[0], [1]]), 2)
    with pytest.raises(ValueError, match=r"mst: graph must be on cuda:0"):
        tf.mst(torch.ones(1, 1).cuda(), listed)
    assert tf.mst(torch.ones(1, 1).cuda(), listed.to("cuda")).parent.tolist() == [[0, 0]]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_on_a_device_that_is_not_the_current_one():
    guide, x = inputs((24, 33))
    graph = tf.grid(24, 33)
    there = [t.detach().to("cuda:1").requires_grad_() for t in (guide, x)]
    for a, b in zip(pipeline(*there, graph), pipeline(guide, x, graph), strict=True):
        assert a.device.index == 1
        assert torch.equal(a.cpu(), b.cpu())
    assert torch.cuda.current_device() == 0


def memory_in_use(read):
    """What ``read`` gives after the first call of the pipeline, and after three more."""
    shape = (512, 512)
    guide, x = inputs(shape)
    graph = tf.grid(*shape)
    found = []
    for calls in (1, 3):
        for _ in range(calls):
            pipeline(guide, x, graph)
        torch.cuda.synchronize()
        found.append(read())
    return found


def test_calls_keep_no_memory():
    before, after = memory_in_use(torch.cuda.memory_allocated)
    assert after == before
    # Nor does torch's cache grow: workspaces come from it, and go back to it.
    before, after = memory_in_use(torch.cuda.memory_reserved)
    assert after == before


@pytest.mark.alone
def test_all_memory_is_torchs():
    """Nothing is taken beside torch's cache: what is free is a number of the whole device."""
    before, after = memory_in_use(lambda: torch.cuda.mem_get_info()[0])
    assert after >= before - 2**21
