"""The tree energy loss: dense matrices in float64, the research code's form, compiled, with DDP."""

import compat_oracle as oracle
import pytest
import torch
from torch import nn
from torch.nn import functional

import treefilter as tf
from treefilter.losses.pseudo_labels import Level, tree_affinities

SIZE = (5, 6)


def inputs(dtype=torch.float64, embed_channels=4):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, *SIZE, dtype=dtype, requires_grad=True)
    embed = torch.randn(2, embed_channels, *SIZE, dtype=dtype, requires_grad=True)
    image = torch.rand(2, 3, 10, 12, dtype=dtype)
    label = torch.randint(-2, 3, (2, 10, 12))
    label[:, 4:] = label[:, 4:].clamp(max=-1)  # at twice the size, labels would be everywhere
    return logits, image, label, embed


def mean_matrix(guide, sigma):
    """(N, N): the filter along the tree of one guide (C, h, w), with its derivatives."""
    graph = tf.grid(*SIZE)
    u, v = graph.edge_index
    flat = guide.flatten(1)
    weight = (flat[:, u] - flat[:, v]).square().sum(0)
    chosen = sorted(oracle.kruskal(graph.edge_index.T, weight, graph.num_nodes))
    parent, order = oracle.hang(graph.edge_index.T[chosen])
    d = (flat - flat[:, torch.tensor(parent)]).square().sum(0)
    k = oracle.products(parent, order, torch.exp(-d / sigma).unsqueeze(0))[0]
    return k / k.sum(1, keepdim=True)


def outside_of_labels(label, roi):
    """(B, N): where the prediction has a loss, pixel by pixel; the label is twice as large."""
    blocks = label.unflatten(2, (SIZE[1], 2)).unflatten(1, (SIZE[0], 2)).transpose(2, 3)
    blocks = blocks.flatten(1, 2).flatten(2).tolist()
    keep = {"any": lambda block: max(block) < 0, "nearest": lambda _: True}[roi]
    return torch.tensor([[float(b[0] == -1 and keep(b)) for b in image] for image in blocks])


def dense(
    logits, image, label, embed, sigma=0.02, aggregation="LH-C", delta="l1", by="batch", roi="any"
):
    small = functional.interpolate(image, SIZE, mode="bilinear")
    region = outside_of_labels(label, roi).double()
    sums = []
    for b in range(len(logits)):
        p = logits[b].softmax(0).flatten(1)
        levels = [mean_matrix(small[b], sigma if isinstance(sigma, float) else sigma[b])]
        levels += [] if embed is None else [mean_matrix(embed[b], 1.0)]
        if aggregation == "LH-P":
            targets = [p @ k.T for k in levels]
        else:
            target = p
            for k in levels if aggregation == "LH-C" else levels[::-1]:
                target = target @ k.T
            targets = [target]
        terms = {
            "l1": lambda y, p=p: (p - y).abs(),
            "l2": lambda y, p=p: (p - y) ** 2,
            "ce": lambda y, p=p: -y * p.log(),
            "dot": lambda y, p=p: -y * p,
        }[delta]
        sums.append(sum((terms(y).sum(0) * region[b]).sum() for y in targets) / len(targets))
    sums, count = torch.stack(sums), region.sum(1)
    return (sums / count).mean() if by == "image" else sums.sum() / count.sum()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sigma": 0.2, "aggregation": "HL-C", "delta": "l2"},
        {"aggregation": "LH-P", "delta": "ce"},
        {"delta": "dot", "reduction": "image", "roi": "nearest"},
    ],
)
def test_loss_and_gradients(options):
    logits, image, label, embed = inputs()
    ours = tf.losses.tree_energy(logits, image, label, embed, **options)
    by = {"by": options.pop("reduction", "batch")}
    want = dense(logits, image, label, embed, **options, **by)
    torch.testing.assert_close(ours, want, rtol=1e-10, atol=0)
    grads = [torch.autograd.grad(loss, (logits, embed)) for loss in (ours, want)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-8, atol=1e-12)
    low = tf.losses.tree_energy(logits, image, label, sigma=0.1)
    torch.testing.assert_close(low, dense(logits, image, label, None, 0.1), rtol=1e-10, atol=0)


def small_weight(image):
    graph = tf.grid(*SIZE)
    weight = tf.edge_weight(functional.interpolate(image, SIZE, mode="bilinear"), graph)
    return weight, tf.mst(weight, graph)


@pytest.mark.parametrize("mass", [0.1, 0.3])
def test_sigma_by_mass(mass):
    logits, image, label, embed = inputs()
    sigma = tf.sigma_for_mass(*small_weight(image), mass)
    assert sigma[0] != sigma[1]
    ours = tf.losses.tree_energy(logits, image, label, embed, sigma="auto", mass=mass)
    given = tf.losses.tree_energy(logits, image, label, embed, sigma=sigma[:, None])
    layer = tf.nn.TreeEnergyLoss("auto", weight=1.0, mass=mass)(logits, image, label, embed)
    assert torch.equal(ours, given)
    assert torch.equal(ours, layer)
    want = dense(logits, image, label, embed, sigma)
    torch.testing.assert_close(ours, want, rtol=1e-10, atol=0)
    grads = [torch.autograd.grad(loss, (logits, embed)) for loss in (ours, want)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-8, atol=1e-12)


def test_sigma_by_mass_has_no_derivative():
    guide = torch.rand(2, 3, *SIZE, dtype=torch.float64, requires_grad=True)
    auto = tf.losses.tree_affinity(guide, "auto", mass=0.3)
    given = tf.losses.tree_affinity(guide, auto.sigma)
    assert auto.sigma.shape == (2, 1)
    assert not auto.sigma.requires_grad
    grads = [torch.autograd.grad(a.edges.sum(), guide)[0] for a in (auto, given)]
    assert grads[0].any()
    assert torch.equal(*grads)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_together_have_the_trees_of_each_alone(dtype):
    draw = torch.Generator().manual_seed(3)
    shape = (2, 5, 9, 11)
    guides = [torch.rand(shape, generator=draw, dtype=dtype).round(decimals=1) for _ in range(2)]
    outside = torch.zeros(2, 1, 9, 11, dtype=torch.bool)
    outside[0, :, :, 8:] = True
    levels = {"low": Level(guides[0], "auto", 0.1), "high": Level(guides[1], outside=outside)}
    together = tree_affinities(levels, offset=1.0)
    alone = {
        "low": tf.losses.tree_affinity(guides[0], "auto", mass=0.1, offset=1.0),
        "high": tf.losses.tree_affinity(guides[1], outside=outside, offset=1.0),
    }
    for name, expected in alone.items():
        found = together[name]
        assert torch.equal(found.edges, expected.edges)
        for field in ("parent", "edge", "order", "_plan"):
            assert torch.equal(getattr(found.tree, field), getattr(expected.tree, field))


def test_what_counts_as_unlabelled():
    logits, image, label, embed = inputs()
    usual = tf.losses.tree_energy(logits, image, label, embed)
    other = label.masked_fill(label == -1, 255).to(torch.uint8)
    assert torch.equal(tf.losses.tree_energy(logits, image, other, embed, unlabelled=255), usual)
    assert tf.losses.tree_energy(logits, image, label.clamp(0), embed) == 0
    left_out = label.masked_fill(label == -2, 99)  # no class, so no label of the pixels beside it
    assert torch.equal(tf.losses.tree_energy(logits, image, left_out, embed), usual)


def test_the_research_codes_form():
    logits, image, label, embed = inputs()
    theirs = tf.compat.tel.TreeEnergyLoss(sigma=0.02)(logits, image, embed, label == -1)
    ours = tf.nn.TreeEnergyLoss(sigma=0.02, offset=1.0, roi="nearest")(logits, image, label, embed)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_half_precision_and_autocast():
    logits, image, label, embed = inputs(torch.float32)
    loss = tf.nn.TreeEnergyLoss()
    want = loss(logits, image, label, embed)
    with torch.autocast("cpu"):
        torch.testing.assert_close(loss(logits, image, label, embed), want)
    half = loss(logits.half(), image, label, embed.half())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, want, rtol=0.05, atol=1e-3)


class Model(nn.Module):
    """A network with all that learns along trees."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.scan, self.mrf = tf.nn.TreeScan2d(8), tf.nn.TreeFilterMRF2d(8, 3, 4, random="none")
        self.head = nn.Conv2d(8, 4, 1)
        self.loss = tf.nn.TreeEnergyLoss("auto", mass=0.2)
        self.adopted = tf.compat.tree_filter.TreeFilter2D(2)
        self.trees = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)

    def forward(self, image, label):
        x = self.mrf(self.scan(self.conv(image)), image)
        x = x + self.adopted(x, x, self.trees(x), low_tree=False)
        return self.loss(self.head(x), image, label, x)


def half_labelled():
    label = torch.randint(0, 4, (2, 8, 10))
    label[:, 4:] = -1
    return label


def test_compiled():
    torch.manual_seed(0)
    model, image, label = Model(), torch.rand(2, 3, 8, 10), half_labelled()
    losses, grads = [], []
    for f in (model, torch.compile(model, backend="eager", fullgraph=True)):
        model.zero_grad()
        losses.append(f(image, label))
        losses[-1].backward()
        grads.append([p.grad.clone() for p in model.parameters()])
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_a_training_step_under_ddp(tmp_path):
    torch.manual_seed(0)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(Model())
        optimiser = torch.optim.SGD(model.parameters(), 0.1)
        image, label = torch.rand(2, 3, 8, 10), half_labelled()
        before = model(image, label)
        before.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimiser.step()
        assert model(image, label) < before
    finally:
        torch.distributed.destroy_process_group()


def test_errors():
    logits, image, label, embed = inputs()
    loss = tf.losses.tree_energy
    with pytest.raises(ValueError, match=r"guide must have values in \[0, 1\]"):
        loss(logits, image * 255, label)
    with pytest.raises(ValueError, match=r"label must have shape \(B, H, W\) like the guide"):
        loss(logits, image, label[:, 1:])
    with pytest.raises(ValueError, match="embed must have shape"):
        loss(logits, image, label, embed[..., 1:])
    with pytest.raises(ValueError, match="delta must be one of l1, l2, ce, dot"):
        loss(logits, image, label, delta="l3")
    with pytest.raises(ValueError, match="TreeEnergyLoss: reduction must be one of"):
        tf.nn.TreeEnergyLoss(reduction="sum")
    with pytest.raises(ValueError, match=r"tree_energy: mass must be in \(0, 1\], got 2"):
        loss(logits, image, label, sigma="auto", mass=2)
    with pytest.raises(ValueError, match="TreeEnergyLoss: mass must be None unless"):
        tf.nn.TreeEnergyLoss(0.02, mass=0.1)
    with pytest.raises(
        ValueError, match="tree_affinity: mass must be more than a pixel of 30, got"
    ):
        loss(logits, image, label, sigma="auto")
    with pytest.raises(ValueError, match="tree_affinity: sigma must be one of auto, got 'mass'"):
        tf.losses.tree_affinity(image, "mass")
    with pytest.raises(ValueError, match="tree_energy: roi must be one of any, nearest"):
        loss(logits, image, label, roi="all")
    with pytest.raises(TypeError, match="label must be an integer tensor"):
        loss(logits, image, label.float())
    with pytest.raises(TypeError, match="tree_energy: offset must be a number, got list"):
        loss(logits, image, label, offset=[1])
    with pytest.raises(ValueError, match="tree_energy: guide must have channels, got"):
        loss(logits, image[:, :0], label)
    with pytest.raises(ValueError, match="tree_energy: unlabelled must be in the range of int64"):
        loss(logits, image, label, unlabelled=2**70)
    with pytest.raises(ValueError, match="TreeEnergyLoss: weight must be a finite number, got inf"):
        tf.nn.TreeEnergyLoss(weight=10**400)
    with pytest.raises(ValueError, match="tree_energy: logits must have classes, got"):
        loss(logits[:, :0], image, label)
    for empty in (logits[:, :, :0], logits[..., :0]):
        with pytest.raises(
            ValueError, match=r"tree_energy: logits must have .* with H, W > 0, got"
        ):
            loss(empty, image, label)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 5, 7, 9), (1, 3, 5000), (3, 4), (2, 0, 3, 3), (0, 3, 4, 4)])
def test_l1_difference_and_its_gradients(shape, dtype):
    torch.manual_seed(1)
    x, y = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2))
    with torch.no_grad():
        y.flatten()[::3] = x.flatten()[::3]  # where equal, the derivative is 0
    got, expected = tf.losses.difference(x, y), (x - y).abs().sum(1, keepdim=True)
    torch.testing.assert_close(got, expected)
    grad = torch.randn_like(got)
    for wanted in ((x, y), (x,), (y,)):
        gradients = torch.autograd.grad(got, wanted, grad, retain_graph=True)
        for g, e in zip(
            gradients, torch.autograd.grad(expected, wanted, grad, retain_graph=True), strict=True
        ):
            assert torch.equal(g, e)
    assert torch.equal(tf.losses.difference(x.detach(), y.detach()), got)


def test_l1_difference_of_undefined_values():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 1.0]).view(4, 1, 1).requires_grad_()
    y = torch.tensor([0.0, torch.inf, 1.0, 3.0]).view(4, 1, 1)
    d = tf.losses.difference(x, y)
    assert d.isnan().flatten().tolist() == [True, True, False, False]
    assert d.flatten()[2:].tolist() == [torch.inf, 2.0]
    assert torch.autograd.grad(d.sum(), x)[0].flatten().tolist() == [0.0, 0.0, -1.0, -1.0]


def test_errors_of_the_parts():
    logits, image, label, _ = inputs()
    low = tf.losses.tree_affinity(image)
    with pytest.raises(TypeError, match=r"^tree_affinity: guide must be a float32"):
        tf.losses.tree_affinity(image.int())
    with pytest.raises(ValueError, match=r"^tree_affinity: guide must have shape"):
        tf.losses.tree_affinity(image[0])
    with pytest.raises(ValueError, match=r"^tree_affinity: outside must have shape"):
        tf.losses.tree_affinity(image, outside=torch.zeros(2, 3, dtype=torch.bool))
    with pytest.raises(
        ValueError, match=r"^pseudo_labels: affinities must be a dict .* got \['mid"
    ):
        tf.losses.pseudo_labels(logits, {"mid": low})
    with pytest.raises(ValueError, match=r"^pseudo_labels: aggregation must be one of"):
        tf.losses.pseudo_labels(logits, {"low": low}, "HL")
    with pytest.raises(ValueError, match=r"^difference: delta must be one of"):
        tf.losses.difference(logits, logits, "l3")
    with pytest.raises(ValueError, match=r"^difference: pseudo must have the shape"):
        tf.losses.difference(logits, logits[:1, :1])
    with pytest.raises(ValueError, match=r"^difference: pseudo must be on cpu like probability"):
        tf.losses.difference(logits, logits.to("meta"))
    with pytest.raises(ValueError, match=r"^unlabelled_region: size must be"):
        tf.losses.unlabelled_region(label, (2, 0))
    with pytest.raises(TypeError, match=r"^unlabelled_region: label must be an integer tensor"):
        tf.losses.unlabelled_region(label.float(), (2, 2))
