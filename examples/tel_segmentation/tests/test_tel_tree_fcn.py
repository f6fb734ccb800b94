"""The learnable tree filter network, compared with a dense form without trees or filters."""

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import nn

import treefilter as tf
from tel_segmentation.config import Model
from tel_segmentation.networks import tree_fcn
from tel_segmentation.networks.segmenter import build_model
from tel_segmentation.networks.tree_fcn import RefineResidual, TreeFCN, TreeFilter

OPTIONS = Model(name="resnet18", network="ltf", output_stride=32)


def build(seed=0, classes=4):
    torch.manual_seed(seed)
    return build_model(OPTIONS, classes)


def randn(*shape, seed=1, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# The dense form.


def spanning_tree(guide):
    """The minimum spanning tree of a guide (C, h, w) on the 4-connected grid, by SciPy."""
    _, h, w = guide.shape
    number = np.arange(h * w).reshape(h, w)
    ends = np.concatenate(
        [
            np.stack([number[:-1].ravel(), number[1:].ravel()], 1),
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], 1),
        ]
    )
    flat = guide.detach().double().flatten(1).numpy()
    weight = ((flat[:, ends[:, 0]] - flat[:, ends[:, 1]]) ** 2).sum(0)
    graph = scipy.sparse.csr_array((weight, (ends[:, 0], ends[:, 1])), shape=(h * w, h * w))
    return np.stack(scipy.sparse.csgraph.minimum_spanning_tree(graph).nonzero(), 1)


def paths(tree):
    """Whether each edge of the tree is on the path between two vertices: (N, N, N - 1)."""
    size = len(tree) + 1
    neighbours = [[] for _ in range(size)]
    for edge, (a, b) in enumerate(tree.tolist()):
        neighbours[a].append((b, edge))
        neighbours[b].append((a, edge))
    on_path = np.zeros((size, size, size - 1))
    for start in range(size):
        queue = [(start, -1)]
        for vertex, previous in queue:
            for other, edge in neighbours[vertex]:
                if edge != previous:
                    on_path[start, other] = on_path[start, vertex]
                    on_path[start, other, edge] = 1
                    queue.append((other, edge))
    return torch.from_numpy(on_path)


def dense_filter(values, embedding, guide, groups):
    """For every pixel, the mean over all pixels, weighted by the affinities of each group."""
    images = []
    for x, e, g in zip(values, embedding, guide, strict=True):
        tree = spanning_tree(g)
        parts = e.flatten(1).unflatten(0, (groups, -1))
        length = (parts[..., tree[:, 0]] - parts[..., tree[:, 1]]).square().sum(1)
        affinity = torch.exp(-torch.einsum("ijk,gk->gij", paths(tree), length))
        own = x.flatten(1).unflatten(0, (groups, -1))
        mean = torch.einsum("gij,gcj->gci", affinity, own) / affinity.sum(2).unsqueeze(1)
        images.append(mean.reshape(x.shape))
    return torch.stack(images)


def dense_forward(network, image, first_embedding):
    """The network by its specification: four equal stages, the first on the broadcast average."""
    features = network.backbone(network.normalize(image))
    stages = [features[place] for place in reversed(network.places)]
    last = network.context(stages[0]).expand(-1, -1, *stages[0].shape[-2:])
    embeds = [first_embedding, *(part.embed for part in network.filter)]
    for stage, latent, refine, embed in zip(
        stages, network.latent, network.refine, embeds, strict=True
    ):
        last = nn.functional.interpolate(
            last, size=stage.shape[-2:], mode="bilinear", align_corners=True
        )
        filtered = dense_filter(last, embed(last), stage, groups=16)
        last = refine(latent(stage) + filtered)
    return last


@pytest.mark.parametrize("training", [True, False])
def test_forward_is_that_of_the_dense_twin(training):
    """The dense form filters in the first stage, as the official code; this changes nothing."""
    torch.manual_seed(0)
    network = TreeFCN("resnet18").double().train(training)
    first = nn.Conv2d(512, 256, 1, bias=False).double()
    for part in network.filter:  # so that affinities are neither all 0 nor all 1
        part.embed.weight.data.mul_(3)
    image = randn(2, 3, 48, 33, dtype=torch.float64)
    assert [m.shape[-1] for m in network.backbone(image)][1:] == [9, 5, 3, 2]
    features = network(image)
    torch.testing.assert_close(features, dense_forward(network, image, first))
    without = [nn.Identity() for _ in network.filter]
    for part in without:
        part.forward = lambda values, guide: values
    network.filter = nn.ModuleList(without)
    assert (network(image) - features).abs().max() > 1e-3


def test_filter_is_the_dense_one_in_every_group():
    torch.manual_seed(0)
    layer = TreeFilter(width=12, embedding=6, groups=3).double()
    values, guide = (randn(2, c, 4, 5, seed=c, dtype=torch.float64) for c in (12, 7))
    expected = dense_filter(values, layer.embed(values), guide, groups=3)
    torch.testing.assert_close(layer(values, guide), expected)


def test_filter_of_a_constant_is_the_constant():
    layer = TreeFilter(512, 256, 16)
    values = randn(1, 512, 1, 1).expand(1, 512, 3, 4)
    torch.testing.assert_close(layer(values, randn(1, 9, 3, 4)), values)


# Gradients.


def test_gradients_of_the_filter():
    torch.manual_seed(0)
    layer = TreeFilter(width=4, embedding=4, groups=2).double()
    values, guide = (randn(1, c, 3, 3, seed=c, dtype=torch.float64) for c in (4, 5))

    def run(values, weight):
        return torch.func.functional_call(layer, {"embed.weight": weight}, (values, guide))

    inputs = (values.requires_grad_(), layer.embed.weight.detach().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


def test_the_guide_has_no_gradient_through_the_tree():
    guide = randn(1, 5, 3, 3).requires_grad_()
    values = randn(1, 512, 3, 3, seed=2).requires_grad_()
    TreeFilter(512, 256, 16)(values, guide).sum().backward()
    assert guide.grad is None
    assert values.grad is not None


def test_gradients_of_the_whole_network(monkeypatch):
    """Directional derivatives of every part, compared with central differences in float64."""
    monkeypatch.setattr(tree_fcn, "WIDTH", 64)  # any width will do, and 64 is faster
    monkeypatch.setattr(tree_fcn, "EMBEDDING", 32)
    monkeypatch.setattr(TreeFCN, "channels", 64)
    model = build(seed=3).double()
    for part in model.features.filter:  # so that affinities are neither all 0 nor all 1
        part.embed.weight.data.mul_(3)
    image, weight = (randn(2, n, 40, 32, seed=n, dtype=torch.float64) for n in (3, 4))
    parameters = dict(model.named_parameters())

    def loss(values):
        return (torch.func.functional_call(model, values, (image,)).full * weight).mean()

    of_loss = torch.autograd.grad(loss(parameters), parameters.values(), allow_unused=True)
    gradients = dict(zip(parameters, of_loss, strict=True))
    for part in ("backbone", "latent", "filter", "refine", "context", "head"):
        names = [name for name in parameters if f"{part}." in name and parameters[name].ndim > 1]
        moves = {
            name: randn(*parameters[name].shape, seed=i, dtype=torch.float64)
            for i, name in enumerate(names)
        }
        moves = {name: move * parameters[name].norm() / move.norm() for name, move in moves.items()}
        exact = sum((gradients[name] * moves[name]).sum() for name in names)
        step = 1e-7
        there, back = (
            loss({**parameters, **{n: parameters[n] + sign * step * moves[n] for n in names}})
            for sign in (1, -1)
        )
        assert exact.abs() > 1e-6, part
        torch.testing.assert_close(exact, (there - back) / (2 * step), rtol=1e-4, atol=1e-8)


# Precision.


@pytest.fixture
def seen(monkeypatch):
    """Records the dtypes with which trees are built and filters run."""
    types = set()

    def spy(name):
        original = getattr(tf, name)

        def call(*args):
            types.update(a.dtype for a in args if isinstance(a, torch.Tensor))
            return original(*args)

        monkeypatch.setattr(tree_fcn.tf, name, call)

    for name in ("edge_weight", "mst", "affinity", "filter"):
        spy(name)
    return types


@pytest.mark.parametrize("training", [True, False])
def test_trees_are_in_float32_under_autocast(seen, training):
    model = build().train(training)
    with torch.autocast("cpu", torch.bfloat16):
        prediction = model(randn(2, 3, 64, 64))
    assert seen == {torch.float32}
    full = prediction.full if training else prediction
    assert full.isfinite().all()


def test_filter_under_autocast_is_the_one_in_float32():
    """For inputs in bfloat16, neither intermediate values nor results are rounded."""
    torch.manual_seed(0)
    layer = TreeFilter(512, 256, 16)
    values, guide = (randn(1, c, 6, 7, seed=c).bfloat16() for c in (512, 30))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(values, guide)
        embedding = layer.embed(values)
    assert mixed.dtype == torch.float32
    assert embedding.dtype == torch.bfloat16
    expected = dense_filter(values.double(), embedding.double(), guide, groups=16)
    torch.testing.assert_close(mixed.double(), expected, rtol=1e-5, atol=1e-5)


def test_float64_stays(seen):
    build().double().eval()(randn(1, 3, 32, 32, dtype=torch.float64))
    assert seen == {torch.float64}


# The rest.


def test_prediction_needs_the_trees(seen):
    model = build().eval()
    model(randn(1, 3, 64, 64))
    assert seen
    moved = [part.embed.weight for part in model.features.filter]
    before = model(randn(1, 3, 64, 64))
    for weight in moved:
        weight.data.mul_(5)
    assert not torch.equal(before, model(randn(1, 3, 64, 64)))


def test_head_and_embedding_are_of_the_last_refined_map():
    model = build()
    seen = {}
    model.features.refine[-1].register_forward_hook(lambda _, __, out: seen.update(feature=out))
    prediction = model(randn(2, 3, 32, 32))
    assert seen["feature"].shape == (2, 512, 8, 8)
    assert torch.equal(model.embedding(seen["feature"]), prediction.embed)
    assert [type(part) for part in model.head] == [RefineResidual, nn.Conv2d]
    assert model.head[1].bias is not None


def test_refinement_is_added_to_the_projection():
    torch.manual_seed(0)
    layer = RefineResidual(6, 8)
    x = randn(2, 6, 4, 4)
    layer.residual[1].weight.data.zero_()
    torch.testing.assert_close(layer(x), layer.project(x).relu())
    assert sum(p.numel() for p in layer.parameters()) == 6 * 8 + 2 * 9 * 8 * 8 + 2 * 8


def test_single_image_in_training():
    model = build()
    with pytest.raises(ValueError, match=r"batch must be at least 2 images in training.* got 1"):
        model(randn(1, 3, 64, 64))
    assert model.eval()(randn(1, 3, 64, 64)).shape == (1, 4, 64, 64)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tiny_patch16_224", "features at strides|gives feature maps"),
        ("resnet19", "near are"),
    ],
)
def test_backbones_without_a_pyramid(name, message):
    with pytest.raises(ValueError, match=message):
        TreeFCN(name)
