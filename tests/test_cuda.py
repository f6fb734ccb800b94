"""What only a GPU can show: nothing waits for it, graphs, streams, devices."""

import threading

import pytest
import torch

import treefilter as tf

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

SHAPES = [(1, 1), (1, 7), (24, 33), (256, 300)]  # the last: several blocks for every phase
WIDE = (1024, 1100)  # more than a block's shared memory holds


def inputs(shape, seed=0, batch=2, channels=3):
    generator = torch.Generator().manual_seed(seed)
    guide = torch.rand(batch, 4, *shape, generator=generator)
    x = torch.rand(batch, channels, *shape, generator=generator)
    return guide.cuda().requires_grad_(), x.cuda().requires_grad_()


def pipeline(guide, x, graph):
    """Every function, forward and backward; all results."""
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


def assert_equal(a, b):
    for i, (s, t) in enumerate(zip(a, b, strict=True)):
        assert torch.equal(s, t), i


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_nothing_waits_for_the_device(shape):
    guide, x = inputs(shape)
    graph = tf.grid(*shape)
    expected = pipeline(guide, x, graph)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = pipeline(guide, x, graph)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert_equal(results, expected)


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_in_a_cuda_graph(shape):
    """Captured once, replayed on other inputs: the same as called; there phases are launched."""
    guide, x = inputs(shape)
    grid = tf.grid(*shape)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            pipeline(guide, x, grid)
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        results = pipeline(guide, x, grid)
    for seed in (1, 2):
        other_guide, other_x = inputs(shape, seed)
        with torch.no_grad():
            guide.copy_(other_guide)
            x.copy_(other_x)
        captured.replay()
        torch.cuda.synchronize()
        assert_equal(results, pipeline(other_guide, other_x, grid))


def test_on_several_streams_and_from_several_threads():
    shape = (96, 130)
    graph = tf.grid(*shape)
    cases = [inputs(shape, seed) for seed in range(6)]
    expected = [pipeline(*case, graph) for case in cases]
    torch.cuda.synchronize()
    results = [None] * len(cases)

    def work(i):
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(5):
                results[i] = pipeline(*cases[i], graph)
            torch.cuda.current_stream().synchronize()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got, wanted in zip(results, expected, strict=True):
        assert_equal(got, wanted)


@pytest.mark.parametrize("shape", [*SHAPES, WIDE])
def test_same_bits_every_time_and_anywhere_in_the_batch(shape):
    guide, x = inputs(shape, batch=3)
    graph = tf.grid(*shape)
    whole = pipeline(guide, x, graph)
    assert_equal(pipeline(guide, x, graph), whole)
    for i in range(3):
        alone = pipeline(
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
    """What the CPU raises an error for has a meaning: to see the value the host would wait."""
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


def test_memory_is_torchs():
    shape = (512, 512)
    guide, x = inputs(shape)
    graph = tf.grid(*shape)
    pipeline(guide, x, graph)
    torch.cuda.synchronize()
    before, free = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    for _ in range(3):
        pipeline(guide, x, graph)
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() == before
    assert torch.cuda.mem_get_info()[0] >= free - 2**21  # nothing beside the cache
