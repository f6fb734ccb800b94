"""Adopters' kind of code (adopters.py) on ``treefilter.compat.install()``: a script per family."""

import importlib
from types import ModuleType

import pytest
import torch
from adopters import (
    AdoptedConfidence,
    AdoptedFilter,
    AdoptedScan,
    Configuration,
    Mixer,
    adopted_propagation,
    adopted_sequence,
    differences,
    sequential,
    tree_of,
)
from compat_oracle import kruskal
from torch import nn

import treefilter as tf


@pytest.fixture(autouse=True)
def installed():
    tf.compat.install()
    yield
    tf.compat.uninstall()


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize(("batch", "groups"), [(2, 1), (2, 2), (1, 2)])
def test_first_tree_filter(batch, groups, low):
    extension = importlib.import_module("tree_filter_cuda")
    guide = (torch.rand(batch, 3, 5, 8) * 4).round() / 4  # ties
    x = torch.rand(batch, 4, 5, 8, dtype=torch.float64, requires_grad=True)
    embed = torch.rand(batch, 6, 5, 8, dtype=torch.float64, requires_grad=True)
    tree = tree_of(extension, guide)
    ours = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)(guide)
    assert torch.equal(tree.sort(1).values, ours.sort(1).values)
    adopted = AdoptedFilter(extension, groups, 0.3)(x, embed, tree, low)
    named = tf.compat.tree_filter.TreeFilter2D(groups, 0.3)(x, embed, ours, low)
    given = tf.compat.tree_filter.TreeFilter2D(groups, 0.3, lambda a, b: (a - b).square().sum(1))
    graph = tf.grid(5, 8)
    trees = tf.mst(differences(guide) + 1, graph)
    split = embed.unflatten(1, (groups, -1)).flatten(0, 1)
    weight = tf.edge_weight(split, graph).unflatten(0, (batch, groups))
    plain = tf.filter(x, trees, tf.affinity(weight, trees, 0.3 if low else 1.0))
    grad = torch.rand_like(x)
    for y in (adopted, named, given(x, embed, ours, low)):
        torch.testing.assert_close(y, plain, rtol=1e-10, atol=1e-12)
        g = torch.autograd.grad(y, (x, embed), grad, allow_unused=True)
        want = torch.autograd.grad(plain, (x, embed), grad, retain_graph=True)
        torch.testing.assert_close(g[0], want[0], rtol=1e-10, atol=1e-12)
        assert (g[1] is None) is low
        if not low:
            torch.testing.assert_close(g[1], want[1], rtol=1e-10, atol=1e-12)


def test_labels_put_edges_first():
    guide, size = torch.rand(2, 3, 4, 5), (4, 5)
    label = torch.randint(0, 3, (2, 1, *size)).float()
    graph = tf.grid(*size)
    u, v = graph.edge_index
    weight, flat = differences(guide) + 1, label.flatten(2)
    d, total = (flat[:, 0, u] - flat[:, 0, v]) ** 2, flat[:, 0, u] + flat[:, 0, v]
    weight = torch.where(d * total > 0, weight.sigmoid(), weight)
    want = tf.mst(weight, graph)
    layer = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)
    pairs = layer(guide, label).sort(2).values
    for b in range(2):
        edges = graph.edge_index.T[want.edge[b, 1:].long()]
        assert {tuple(p) for p in pairs[b].tolist()} == {tuple(p) for p in edges.tolist()}
    with pytest.raises(ValueError, match="label must be"):
        layer(guide, label[..., 1:])


def test_second_tree_filter_in_training():
    layer = tf.compat.tree_filter_v2.TreeFilterV2(3, 4, 6, 2)
    nn.init.ones_(layer.gamma)
    x, guide = torch.rand(2, 4, 4, 5), torch.rand(2, 3, 8, 10)
    torch.manual_seed(1)
    first = layer(x, guide)
    torch.manual_seed(1)
    assert torch.equal(first, layer(x, guide))
    assert not torch.equal(first, layer(x, guide))
    # Without differences the mean over the tree is that of all pixels, whatever the tree is.
    nn.init.zeros_(layer.embed_layer.weight)
    nn.init.zeros_(layer.guide_layer.weight)
    want = x + x.mean((2, 3), keepdim=True)
    torch.testing.assert_close(layer(x, guide), want)


@pytest.mark.parametrize("groups", [1, 2])
def test_second_tree_filter(groups):
    extension = ModuleType("cvpods_C")
    tf.compat.install(into=extension)
    x, embed, guide, beta = (
        torch.rand(2, c, 4, 5, dtype=torch.float64, requires_grad=True) for c in (4, 6, 2, 2)
    )
    adopted = AdoptedConfidence(extension, groups)
    tree = adopted.trees(guide.detach().float())
    ours = tf.compat.tree_filter_v2.TreeFilter2D(groups)(x, embed, tree, guide, beta)
    theirs = adopted(x, embed, guide, beta, tree)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    grad = torch.rand_like(x)
    grads = [torch.autograd.grad(y, (x, embed, guide, beta), grad) for y in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)


def test_adopted_code_compiles():
    extension = importlib.import_module("tree_filter_cuda")
    guide, x, embed = (torch.rand(2, c, 5, 6) for c in (3, 4, 4))
    tree = tree_of(extension, guide)
    layer = AdoptedFilter(extension, 2)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for f, t in zip((layer, compiled), inputs, strict=True):
        f(t, embed, tree, low=False).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


def test_tree_energy_loss():
    extension = importlib.import_module("tree_filter_cuda")
    torch.manual_seed(0)
    logits, embed = (
        torch.randn(2, c, 6, 8, dtype=torch.float64, requires_grad=True) for c in (4, 5)
    )
    image, inside = torch.rand(2, 3, 12, 16, dtype=torch.float64), torch.rand(2, 12, 16) < 0.7
    small = nn.functional.interpolate(image, (6, 8), mode="bilinear", align_corners=False)
    region = nn.functional.interpolate(inside.unsqueeze(1).double(), (6, 8))
    filtered = AdoptedFilter(extension, sigma=0.05)
    p = logits.softmax(1)
    y = filtered(p, small, tree_of(extension, small))
    y = filtered(y, embed, tree_of(extension, embed), low=False)
    theirs = 0.6 * (region * (p - y).abs()).sum() / region.sum()
    ours = tf.compat.tel.TreeEnergyLoss(Configuration())(logits, image, embed, inside)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    grads = [torch.autograd.grad(loss, (logits, embed)) for loss in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)
    layer = tf.compat.tel.TreeEnergyLoss(weight=0.5)
    assert layer(logits, image, None, torch.zeros(2, 12, 16)) == 0


def test_scan_of_images():
    scan = importlib.import_module("tree_scan")._C
    torch.manual_seed(1)
    xs, dts = (torch.randn(2, 4, 30, dtype=torch.float64, requires_grad=True) for _ in range(2))
    parameters = -torch.rand(4, 1).double(), *torch.rand(2, 2, 1, 1, 30).double()
    skip, bias = torch.rand(2, 4).double()
    ours = tf.compat.tree_scan.tree_scanning_core(
        xs, dts, *parameters, skip, bias, (2, 4, 5, 6), nn.LayerNorm(4).double()
    )
    step = nn.functional.softplus(dts + bias.view(1, -1, 1))
    decay, fresh = torch.exp(step * parameters[0]), step * parameters[1].squeeze(1) * xs
    h = AdoptedScan(scan)(xs.detach().view(2, 4, 5, 6), fresh, decay)
    h = nn.functional.layer_norm(h.mT, (4,)).mT
    theirs = h * parameters[2].squeeze(1) + skip.view(1, -1, 1) * xs
    grad = torch.rand_like(ours)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    grads = [torch.autograd.grad(y, (xs, dts), grad, retain_graph=True) for y in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("max_tree", [False, True])
def test_trees_by_cosine(max_tree):
    features = torch.randn(2, 5, 4, 5)
    layer = tf.compat.tree_scan.MinimumSpanningTree("Cosine", torch.exp)
    trees = layer(features, max_tree=max_tree)
    ends = tf.grid(4, 5).edge_index
    cosine = torch.cosine_similarity(*(features.flatten(2)[:, :, e] for e in ends), dim=1)
    for tree, weight in zip(trees, torch.exp(cosine if max_tree else -cosine), strict=True):
        chosen = kruskal(ends.T, weight, 20)
        assert {tuple(ends.T[e].tolist()) for e in chosen} == {tuple(p) for p in tree.tolist()}


@pytest.mark.parametrize("context", [5, 9])
def test_scan_of_sequences(context):
    torch.manual_seed(context)
    mixer, states = Mixer(), torch.randn(2, 9, 5, requires_grad=True)
    ours = tf.compat.tree_scan.tree_scanning_algorithm(mixer, states, [context, context + 1], None)
    extension = importlib.import_module("tree_scan_lan")._C
    grad, inputs = torch.rand_like(ours), (states, *mixer.parameters())
    grads = torch.autograd.grad(ours, inputs, grad)
    for theirs in (
        sequential(mixer, states, context),
        adopted_sequence(extension, mixer, states, context),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        want = torch.autograd.grad(theirs, inputs, grad)
        torch.testing.assert_close(grads, want, rtol=1e-4, atol=1e-4)


def test_affinity_propagation():
    torch.manual_seed(2)
    guide, soft = torch.rand(2, 3, 5, 6), torch.rand(2, 1, 5, 6)
    tree = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)(guide)
    got = tf.compat.apro.Global_APro()(soft, guide, tree, zeta_g=0.3)
    theirs = adopted_propagation(importlib.import_module("GP_cuda"), soft, guide, guide, 0.3)
    torch.testing.assert_close(got, theirs)
    graph = tf.grid(5, 6)
    weight = tf.edge_weight(guide.double(), graph)
    trees = tf.mst(tf.edge_weight(guide, graph) + 1, graph)
    k = torch.exp(-tf.distance_matrix(weight, trees, "max") / 0.09)
    want = (k @ soft.double().flatten(2).mT / k.sum(2, keepdim=True)).mT.view(2, 1, 5, 6)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
    # A window of 3 is a mean over neighbours with weights of colour, twice.
    local = tf.compat.apro.Local_APro(kernel_size=3, zeta_s=0.5, num_iter=2)
    image, feat, box = torch.rand(1, 3, 4, 5), torch.rand(1, 4, 5), torch.ones(1, 4, 5)
    box[:, 0] = 0
    x = feat[0] * box[0]
    for _ in range(2):
        y = torch.zeros_like(x)
        for i in range(4):
            for j in range(5):
                near = [
                    (a, b)
                    for a in range(i - 1, i + 2)
                    for b in range(j - 1, j + 2)
                    if 0 <= a < 4 and 0 <= b < 5
                ]
                w = [
                    torch.exp(-((image[0, :, a, b] - image[0, :, i, j]) ** 2).sum() / 0.25)
                    for a, b in near
                ]
                y[i, j] = sum(k * x[p] for k, p in zip(w, near, strict=True)) / sum(w)
        x = y * box[0]
    torch.testing.assert_close(local(image, feat, box)[0], x, rtol=1e-4, atol=1e-5)
