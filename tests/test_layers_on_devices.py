"""Layers, drop-in functions, batches of graphs and random trees on every device: as on the CPU."""

import sys

import pytest
import torch
from torch import nn

import treefilter as tf


def number(count, *shape):
    """The same numbers in [0, 1) on every device."""
    size = torch.Size(shape).numel()
    return (
        (torch.arange(size, dtype=torch.float64).mul(count).sin() * 43758.5453)
        .frac()
        .abs()
        .view(shape)
        .float()
    )


def everything(device):
    """Results and gradients of all that is new, moved to the CPU."""
    results = []

    def keep(*tensors):
        results.extend(t.detach().cpu() for t in tensors)

    def learn(layer, *inputs):
        there = {k: v.detach().to(device).requires_grad_() for k, v in layer.named_parameters()}
        inputs = [t.to(device).requires_grad_() for t in inputs]
        y = torch.func.functional_call(layer, there, tuple(inputs))
        wanted = (*inputs, *there.values())
        grads = torch.autograd.grad(y.square().sum(), wanted, allow_unused=True)
        keep(y, *(g for g in grads if g is not None))

    torch.manual_seed(0)
    x, guide = number(1.3, 2, 4, 5, 6), number(0.7, 2, 3, 5, 6)
    learn(tf.nn.TreeScan2d(4, 2), x)
    mrf = tf.nn.TreeFilterMRF2d(4, 3, 4, 2, random="none")
    nn.init.ones_(mrf.gamma)
    learn(mrf, x, guide)
    label = (number(2.1, 2, 5, 6) * 4).long() - 1
    for loss in (tf.nn.TreeEnergyLoss(), tf.nn.TreeEnergyLoss("auto", mass=0.2)):
        keep(loss(x.to(device), guide.to(device), label.to(device), x.to(device)))
    learn(tf.compat.tree_filter_v2.TreeFilterV2(3, 4, 4, 2).eval(), x, guide)
    trees = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)
    raw = trees(guide.to(device), (guide > 0.5).float().to(device))
    keep(raw)
    for low in (True, False):
        mean = tf.compat.tree_filter.TreeFilter2D(2)
        keep(mean(x.to(device), x.to(device), raw, low))
    keep(
        tf.compat.tel.TreeEnergyLoss()(x.to(device), guide.to(device), None, (label < 0).to(device))
    )
    soft = guide[:, :1].to(device)
    keep(tf.compat.apro.Global_APro()(soft, x.to(device), raw, 0.5))
    functions(raw, x.flatten(2).to(device), keep)
    edges = torch.stack([tf.grid(5, 6).edge_index, tf.grid(5, 6).edge_index.flip(1)]).to(device)
    graph = tf.graph(edges, 30)
    weight = tf.edge_weight(x.flatten(2).to(device), graph)
    tree = tf.mst(weight, graph, root=torch.tensor([3, 8]).to(device))
    keep(weight, tree.parent, tf.mass(tree, tf.affinity(weight, tree)))
    for method in ("race", "tournament"):
        random = tf.random_tree(graph, weight, method=method)
        assert (random.components == 0).all()
    return results


def functions(raw, x, keep):
    """All functions of the modules, with weights of vertices: ranks are not the same everywhere."""
    tf.compat.install()
    mean = sys.modules["tree_filter_cuda"]
    scan, lan = sys.modules["tree_scan._C"], sys.modules["tree_scan_lan._C"]
    ranks, device = mean.bfs_forward(raw, 4), x.device
    assert torch.equal(ranks[1], lan.bfs_forward(raw, 20)[1])
    index = ranks[0].long()
    w, grad = number(0.9, 2, 30).to(device).gather(1, index), number(0.3, 2, 4, 30).to(device)
    channels = index.unsqueeze(1).expand(-1, 4, -1)
    per = number(0.4, 2, 4, 30).to(device).gather(2, channels)

    def keep_by_vertex(t):
        where = index if t.ndim == 2 else channels
        keep(torch.zeros_like(t).scatter(-1, where, t))

    out = mean.refine_forward(x, w, *ranks)
    keep(out[0], out[1], out[3])
    keep_by_vertex(out[2])
    keep_by_vertex(out[4])
    keep(mean.refine_backward_feature(x, w, *ranks, *out, grad))
    keep_by_vertex(mean.refine_backward_weight(x, w, *ranks, *out, grad))
    one = torch.ones(2, 30).to(device)
    up = scan.tree_scan_refine_forward(x, per, *ranks, one)
    arguments = (x, per, *ranks, *up, grad, one)
    keep(up[0], scan.tree_scan_refine_backward_feature(*arguments))
    keep_by_vertex(scan.tree_scan_refine_backward_edge_weight(*arguments))
    y = lan.tree_scan_refine_forward(x, per, *ranks)
    back = lan.tree_scan_refine_backward_feature(y, per, *ranks, grad)
    keep(y, back[0])
    keep_by_vertex(back[1])
    assert scan.rst_forward(raw, torch.ones(2, 29).to(device), 30).shape == raw.shape
    tf.compat.uninstall()


@pytest.fixture(scope="module")
def on_cpu():
    return everything(torch.device("cpu"))


def test_as_on_the_cpu(device, on_cpu):
    for got, want in zip(everything(device), on_cpu, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
