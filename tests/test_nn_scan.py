"""TreeScan2d and TreeFilterMRF2d against dense matrices in float64."""

import compat_oracle as oracle
import pytest
import torch
from torch import nn

import treefilter as tf


def dense(layer, x, tree):
    """What the layer computes, pair by pair of vertices."""
    low, into, out_of = layer.select(x.flatten(2).mT).split(
        [layer.dt_rank, layer.d_state, layer.d_state], 2
    )
    step = nn.functional.softplus(layer.step(low)).mT
    images = []
    for b in range(len(x)):
        t = tree[min(b, len(tree) - 1)]
        root = int(t.roots[0].nonzero()[0])
        parent = t.parent[0].tolist()
        order = t.order[0].flip(0).tolist()
        # The oracle's root is vertex 0: rename.
        name = {v: r for r, v in enumerate([root, *(v for v in order if v != root)])}
        back = torch.tensor([name[v] for v in range(len(order))])
        up = [0] * len(order)
        for v, p in enumerate(parent):
            up[name[v]] = name[p]
        flat = x[b].flatten(1)
        h = []
        for c in range(layer.channels):
            for n in range(layer.d_state):
                a = torch.exp(-step[b, c] * layer.log_decay[c, n].exp())
                fresh = step[b, c] * into[b, :, n] * flat[c]
                inverse = back.argsort()
                lower = oracle.below(up, list(range(len(order))), a[inverse].unsqueeze(0))[0]
                total = lower @ fresh[inverse]
                if layer.passes == "both":
                    own = (1 - a[inverse].square()).masked_fill(torch.arange(len(order)) == 0, 1)
                    total = lower.T @ (own * total)
                h.append(total[back])
        h = torch.stack(h)
        h = h if layer.norm is None else layer.norm(h.T).T
        y = (h.view(layer.channels, layer.d_state, -1) * out_of[b].T).sum(1)
        images.append(y + layer.skip.unsqueeze(1) * flat)
    return torch.stack(images).view(x.shape)


@pytest.mark.parametrize(
    ("states", "metric", "options"),
    [
        (1, "cosine", {}),
        (16, "cosine", {"norm": False}),
        (1, "sqeuclidean", {"root": 7}),
        (3, "sqeuclidean", {"maximum": True, "root": 19, "norm": False}),
        (2, "cosine", {"passes": "up", "connectivity": 8}),
    ],
)
def test_scan(states, metric, options):
    torch.manual_seed(states)
    layer = tf.nn.TreeScan2d(3, states, metric=metric, **options).double()
    layer.load_state_dict({k: v + 0.3 * torch.rand_like(v) for k, v in layer.state_dict().items()})
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    y, want = layer(x), dense(layer, x, layer.tree(x))
    torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
    grad = torch.rand_like(y)
    inputs = (x, *layer.parameters())
    grads = [torch.autograd.grad(t, inputs, grad) for t in (y, want)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-10)


def test_maximum_joins_what_is_different():
    x = torch.randn(1, 3, 4, 5)
    graph = tf.grid(4, 5)
    weight = tf.edge_weight(x, graph, "cosine")
    trees = [tf.nn.TreeScan2d(3, maximum=m).tree(x) for m in (False, True)]
    sums = [weight[0, t.edge[t.edge >= 0].long()].sum() for t in trees]
    assert sums[1] > sums[0]
    assert torch.equal(trees[1].parent, tf.mst(-weight, graph).parent)


def test_a_chain_is_mambas_recurrence():
    layer = tf.nn.TreeScan2d(4, 2, passes="up", norm=False).double()
    x = torch.randn(2, 4, 1, 9, dtype=torch.float64)
    chain = tf.mst(torch.zeros(1, 8), tf.grid(1, 9), root=8)
    y = layer(x, chain)
    low, into, out_of = layer.select(x.flatten(2).mT).split([1, 2, 2], 2)
    step = nn.functional.softplus(layer.step(low))
    h = torch.zeros(2, 4, 2, dtype=torch.float64)
    before = torch.zeros_like(step[:, 0])
    for t in range(9):
        # The edge to the next token belongs to the token before it.
        h = torch.exp(-before.unsqueeze(2) * layer.log_decay.exp()) * h
        h = h + step[:, t].unsqueeze(2) * into[:, t].unsqueeze(1) * x[:, :, 0, t].unsqueeze(2)
        want = (h * out_of[:, t].unsqueeze(1)).sum(2) + layer.skip * x[:, :, 0, t]
        torch.testing.assert_close(y[:, :, 0, t], want)
        before = step[:, t]


def test_a_shared_tree_gives_what_each_layer_makes_itself():
    x = torch.randn(2, 3, 4, 5)
    first, second = tf.nn.TreeScan2d(3), tf.nn.TreeScan2d(3, 2)
    tree = first.tree(x)
    assert torch.equal(first(x, tree), first(x))
    assert torch.equal(second(x, tree), second(x))
    assert torch.equal(second(x, tree[0])[0], second(x)[0])


def test_nested_derivatives():
    """Also of the normalisation, whose tangents torch does not differentiate rightly."""
    x = torch.rand(1, 2, 2, 3, dtype=torch.float64)
    layer = tf.nn.TreeScan2d(2, 2).double()
    tree = layer.tree(x)
    loss = lambda x: layer(x, tree).sin().sum()  # noqa: E731
    right = torch.func.jacrev(torch.func.jacrev(loss))(x)
    for outer in (torch.func.jacfwd, torch.func.jacrev):
        for inner in (torch.func.jacfwd, torch.func.jacrev):
            torch.testing.assert_close(outer(inner(loss))(x), right)


@pytest.mark.parametrize("groups", [1, 2])
def test_confidence_weighted_filter(groups):
    torch.manual_seed(groups)
    layer = tf.nn.TreeFilterMRF2d(4, 3, 6, groups, random="none").double()
    theirs = tf.compat.tree_filter_v2.TreeFilterV2(3, 4, 6, groups).double().eval()
    for p in layer.parameters():
        nn.init.normal_(p)
    names = {"embed_layer.weight": "embed.weight", "guide_layer.weight": "guide.weight"}
    names["conf_layer.weight"] = "confidence.weight"
    ours = layer.state_dict()
    theirs.load_state_dict({k: ours[names.get(k, k)] for k in theirs.state_dict()})
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    guide = torch.rand(2, 3, 8, 10, dtype=torch.float64, requires_grad=True)
    y = layer(x, guide)
    # Pair by pair.
    e, g = layer.embed(x), layer.guide(nn.functional.adaptive_avg_pool2d(guide, (4, 5)))
    c, tree = layer.confidence(x).sigmoid(), tf.mst(tf.edge_weight(g, tf.grid(4, 5)), tf.grid(4, 5))
    want = []
    for b in range(2):
        parent = tree.parent[b].long()
        for k in range(groups):
            part = [t[b].flatten(1).chunk(groups)[k] for t in (e, g)]
            d = sum((t - t[:, parent]).square().sum(0) for t in part) + layer.beta[k] ** 2
            order = tree.order[b].flip(0).tolist()
            pairs = oracle.products(parent.tolist(), order, torch.exp(-d).unsqueeze(0))[0]
            pairs = pairs + torch.eye(20, dtype=torch.float64) * (
                torch.exp(-(layer.beta[k] ** 2)) - 1
            )
            weight = pairs * c[b, k].flatten()
            mean = x[b].flatten(1).chunk(groups)[k] @ weight.T / (weight.sum(1) + 1e-8)
            want.append(mean)
    want = x + layer.gamma * torch.cat(want).view(x.shape)
    grad = torch.rand_like(y)
    inputs = (x, guide, *layer.parameters())
    exact = torch.autograd.grad(want, inputs, grad, retain_graph=True)
    torch.testing.assert_close(y, want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(torch.autograd.grad(y, inputs, grad), exact, rtol=1e-8, atol=1e-9)
    other = theirs(x, guide)  # its trees are those of exp(|g|²), whose order is the same
    torch.testing.assert_close(other, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("random", ["race", "tournament"])
def test_random_trees_in_training_only(random):
    layer = tf.nn.TreeFilterMRF2d(4, 3, 4, random=random)
    nn.init.ones_(layer.gamma)
    x, guide = torch.randn(1, 4, 6, 7), torch.rand(1, 3, 6, 7)
    torch.manual_seed(0)
    first = layer(x, guide)
    assert not torch.equal(first, layer(x, guide))
    torch.manual_seed(0)
    assert torch.equal(first, layer(x, guide))
    layer.eval()
    assert torch.equal(layer(x, guide), layer(x, guide))


def test_new_layers_begin_gently():
    x = torch.randn(1, 4, 6, 7)
    assert torch.equal(tf.nn.TreeFilterMRF2d(4, 3, 4)(x, x[:, :3]), x)
    step = nn.functional.softplus(tf.nn.TreeScan2d(64).step.bias)
    assert (step >= 0.999e-3).all()
    assert (step <= 0.1001).all()


LAYERS = {
    "scan": lambda: (tf.nn.TreeScan2d(4, 2), lambda x: (x,)),
    "mrf": lambda: (tf.nn.TreeFilterMRF2d(4, 4, 4, 2, random="none"), lambda x: (x, x)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_half_precision_and_strides(kind):
    torch.manual_seed(0)
    layer, arguments = LAYERS[kind]()
    x = torch.randn(1, 4, 6, 7)
    if kind == "scan":
        assert layer(x.half()).dtype == torch.float16
        torch.testing.assert_close(
            layer(x.half()).float(), layer(x.half().float()), atol=2e-2, rtol=0
        )
    last = x.to(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(*arguments(last)), layer(*arguments(x)))
    with torch.autocast("cpu"):
        y = layer(*arguments(x))
    torch.testing.assert_close(y.float(), layer(*arguments(x)), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("kind", LAYERS)
def test_compiled(kind):
    layer, arguments = LAYERS[kind]()
    x = torch.randn(1, 4, 6, 7)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for f, t in zip((layer, compiled), inputs, strict=True):
        f(*arguments(t)).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


def test_errors():
    scan = tf.nn.TreeScan2d(4)
    with pytest.raises(ValueError, match="TreeScan2d: channels must be at least 1, got 0"):
        tf.nn.TreeScan2d(0)
    with pytest.raises(TypeError, match="TreeScan2d: channels must be an integer, got tuple"):
        tf.nn.TreeScan2d((4, 4))
    with pytest.raises(ValueError, match=r"TreeFilterMRF2d: in_channels must be less than 2\*\*31"):
        tf.nn.TreeFilterMRF2d(2**70, 3, 6)
    with pytest.raises(TypeError, match="TreeFilterMRF2d: eps must be a number, got str"):
        tf.nn.TreeFilterMRF2d(4, 3, 6, eps="small")
    with pytest.raises(ValueError, match="TreeScan2d: passes must be one of both, up"):
        tf.nn.TreeScan2d(4, passes="down")
    with pytest.raises(ValueError, match=r"x must have shape \(B, 4, H, W\), got \(1, 3, 2, 2\)"):
        scan(torch.rand(1, 3, 2, 2))
    with pytest.raises(ValueError, match="x must have 6 vertices like the tree"):
        scan(torch.rand(1, 4, 2, 2), tf.mst(torch.zeros(1, 7), tf.grid(2, 3)))
    with pytest.raises(TypeError, match=r"tree must be a treefilter\.Tree"):
        scan(torch.rand(1, 4, 2, 2), torch.rand(2))
    with pytest.raises(ValueError, match="in_channels must be divisible by groups, got 4 and 3"):
        tf.nn.TreeFilterMRF2d(4, 3, 6, 3)
    with pytest.raises(ValueError, match="random must be one of race, tournament, none"):
        tf.nn.TreeFilterMRF2d(4, 3, 6, random="uniform")
    with pytest.raises(ValueError, match=r"guide must have shape \(B, 3, H, W\)"):
        tf.nn.TreeFilterMRF2d(4, 3, 6)(torch.rand(2, 4, 2, 2), torch.rand(1, 3, 2, 2))
    with pytest.raises(ValueError, match="TreeFilterMRF2d: guide must be on cpu like x, got meta"):
        tf.nn.TreeFilterMRF2d(4, 3, 6)(torch.rand(1, 4, 2, 2), torch.rand(1, 3, 2, 2).to("meta"))
    for x in (torch.rand(1, 4, 0, 2), torch.rand(1, 4, 2, 0)):
        with pytest.raises(ValueError, match=r"TreeFilterMRF2d: x must have .* with H, W > 0, got"):
            tf.nn.TreeFilterMRF2d(4, 3, 6)(x, torch.rand(1, 3, 2, 2))
    for dtype in (torch.float64, torch.bfloat16):
        with pytest.raises(TypeError, match=r"TreeFilterMRF2d: x must be torch.float32 like the"):
            tf.nn.TreeFilterMRF2d(4, 3, 6)(torch.rand(1, 4, 2, 2, dtype=dtype), x[:, :3])
    meta = torch.rand(1, 4, 2, 2, device="meta")
    with pytest.raises(ValueError, match="TreeScan2d: parameters must be on meta like x, got cpu"):
        scan(meta)
    with pytest.raises(ValueError, match="TreeFilterMRF2d: parameters must be on meta like x"):
        tf.nn.TreeFilterMRF2d(4, 3, 6)(meta, meta[:, :3])
    tree = tf.mst(torch.zeros(1, 4), tf.grid(2, 2)).to("meta")
    with pytest.raises(ValueError, match="TreeScan2d: tree must be on cpu like x, got meta"):
        scan(torch.rand(1, 4, 2, 2), tree)


def test_shapes_on_the_meta_device():
    x, guide = torch.rand(2, 4, 3, 5, device="meta"), torch.rand(2, 3, 3, 5, device="meta")
    assert tf.nn.TreeScan2d(4).to("meta")(x).shape == x.shape
    assert tf.nn.TreeFilterMRF2d(4, 3, 6, random="none").to("meta")(x, guide).shape == x.shape
