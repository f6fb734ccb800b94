"""Many callers at once, and children forked from a process that has used threads.

Run as a program, it is the process that forks: ``python test_threads.py NAME`` calls a function.
"""

import functools
import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import treefilter as tf


def everything(seed, device="cpu", shape=(2, 5, 60, 70)):
    """All functions on one seeded input; the results as one tuple of tensors."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(shape, generator=generator).to(device).requires_grad_()
    graph = tf.grid(*shape[2:], connectivity=8)
    weight = tf.edge_weight(image, graph)
    tree = tf.mst(weight, graph)
    a = tf.affinity(weight, tree, sigma=0.5)
    y = tf.filter(image, tree, a)
    (gradient,) = torch.autograd.grad(y.square().sum(), image)
    d = tf.distance(weight, tree, torch.tensor([0, 99], device=device), path="max")
    t, nearest = tf.distance_transform(weight, tree, image.detach()[:, 0] > 0.99)
    return tuple(
        r.detach() for r in (weight, tree.parent, tree.order, a, y, gradient, d, t, nearest)
    )


def test_eight_python_threads_at_once(device):
    run = functools.partial(everything, device=device)
    expected = [run(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for results, alone in zip(pool.map(run, range(8)), expected, strict=True):
                assert all(torch.equal(r, e) for r, e in zip(results, alone, strict=True))


def test_32_threads_on_any_number_of_cores():
    """With work for each of them, and as many as a caller may ask for."""
    run = functools.partial(everything, 2, shape=(4, 16, 200, 250))
    alone = run()
    torch.set_num_threads(32)
    try:
        results = run()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(r, e) for r, e in zip(results, alone, strict=True))


# --- in a process that forks ----------------------------------------------------------------------


def _in_child(queue, threads):
    torch.set_num_threads(threads)
    queue.put([r.numpy() for r in everything(1)])


def forks_after_use():
    """As for a DataLoader's worker, which has one thread."""
    torch.set_num_threads(2)
    expected = everything(1)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue, 1))
    child.start()
    got = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert all(torch.equal(torch.from_numpy(g), e) for g, e in zip(got, expected, strict=True))


def _trees_in_child(queue, weight):
    torch.set_num_threads(2)
    queue.put(tf.mst(weight, tf.grid(100, 100)).parent.numpy())


def forks_with_two_threads():
    """OpenMP itself would hang here: the parent's threads are not forked along."""
    torch.set_num_threads(2)
    weight = torch.rand(8, tf.grid(100, 100).num_edges)
    expected = tf.mst(weight, tf.grid(100, 100)).parent
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_trees_in_child, args=(queue, weight), daemon=True)
    child.start()
    assert torch.equal(torch.from_numpy(queue.get(timeout=60)), expected)
    child.join(timeout=60)
    assert child.exitcode == 0


@pytest.mark.parametrize("forks", [forks_after_use, forks_with_two_threads])
def test_forked_children(forks):
    """In a process that sees no GPU: where there is one, torch has no autograd in a forked child.

    Autograd starts a thread for every GPU, even for tensors on the CPU, and refuses to go on in a
    child, to which threads are not forked along. That is no matter of this library.
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, __file__, forks.__name__],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [forks.__name__, tf.__file__]


# --- and in this one ------------------------------------------------------------------------------


class Trees(torch.utils.data.Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, i):
        torch.manual_seed(i)
        graph = tf.grid(20, 30)
        weight = tf.edge_weight(torch.rand(1, 3, 20, 30), graph)
        tree = tf.mst(weight, graph)
        return tree.parent[0], tf.affinity(weight, tree)[0]


def test_data_loader_workers():
    everything(0)
    alone = list(torch.utils.data.DataLoader(Trees(), batch_size=2))
    loaded = list(torch.utils.data.DataLoader(Trees(), batch_size=2, num_workers=2, timeout=60))
    for (p, a), (q, b) in zip(alone, loaded, strict=True):
        assert torch.equal(p, q)
        assert torch.equal(a, b)


def test_trees_travel_between_processes(device):
    graph = tf.grid(5, 6)
    tree = tf.mst(torch.rand(2, graph.num_edges, device=device), graph)
    other = pickle.loads(pickle.dumps(tree))
    assert other.shape == tree.shape
    for name in ("parent", "edge", "order"):
        assert torch.equal(getattr(other, name), getattr(tree, name))
    again = pickle.loads(pickle.dumps(graph))
    assert torch.equal(again.edge_index, graph.edge_index)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print(sys.argv[1], tf.__file__)
