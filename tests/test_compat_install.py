"""Adopters' kind of code on ``treefilter.compat.install()``: one script per family.

Each class is written in our own words, in the manner of the code that calls these extensions: it
sorts by rank, splits groups by repeating the tree, and knows nothing of treefilter.
"""

import importlib
import sys
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.autograd import Function

import treefilter as tf

EVERYTHING = ["tree_filter_cuda", "tree_scan._C", "tree_scan_lan._C", "GP_cuda"]


@pytest.fixture(autouse=True)
def clean():
    yield
    tf.compat.uninstall()


# ---- install itself ----


def test_a_second_call_changes_nothing():
    assert tf.compat.install() == EVERYTHING
    first = {name: sys.modules[name] for name in EVERYTHING}
    assert tf.compat.install() == EVERYTHING
    assert all(sys.modules[name] is module for name, module in first.items())
    assert importlib.import_module("tree_scan")._C is first["tree_scan._C"]
    assert importlib.util.find_spec("tree_filter_cuda") is not None
    assert importlib.import_module("tree_filter_cuda") is first["tree_filter_cuda"]
    tf.compat.uninstall()
    assert not {*EVERYTHING, "tree_scan", "tree_scan_lan"} & set(sys.modules)
    with pytest.raises(ImportError):
        importlib.import_module("tree_filter_cuda")


def test_what_is_really_installed_stays(tmp_path, monkeypatch):
    (tmp_path / "tree_filter_cuda.py").write_text("mst_forward = 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tf.compat.install() == EVERYTHING[1:]
    theirs = importlib.import_module("tree_filter_cuda")
    assert theirs.mst_forward == "theirs"
    assert tf.compat.install(["tree_filter_cuda"]) == []
    assert tf.compat.install(["tree_filter_cuda"], force=True) == ["tree_filter_cuda"]
    assert callable(importlib.import_module("tree_filter_cuda").mst_forward)
    tf.compat.uninstall()
    assert importlib.import_module("tree_filter_cuda") is theirs
    sys.modules.pop("tree_filter_cuda")


def test_a_package_whose_extension_was_not_built(tmp_path, monkeypatch):
    package = tmp_path / "tree_scan"
    package.mkdir()
    (package / "__init__.py").write_text("name = 'theirs'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert tf.compat.install(["tree_scan._C"]) == ["tree_scan._C"]
    theirs = importlib.import_module("tree_scan")
    assert theirs.name == "theirs"
    assert callable(theirs._C.mst_forward)
    tf.compat.uninstall()
    assert not hasattr(theirs, "_C")
    sys.modules.pop("tree_scan")


def test_into_a_module():
    extension = ModuleType("cvpods_C")
    extension.mst_forward = "theirs"
    names = tf.compat.install(into=extension)
    assert "mst_forward" not in names
    assert "rst_forward" in names
    assert extension.mst_forward == "theirs"
    assert "mst_forward" in tf.compat.install(into=extension, force=True)
    tf.compat.uninstall()
    assert vars(extension)["mst_forward"] == "theirs"
    assert not hasattr(extension, "rst_forward")


def test_errors():
    with pytest.raises(ValueError, match="install: names must be of tree_filter_cuda"):
        tf.compat.install(["cvpods._C"])
    with pytest.raises(TypeError, match="install: into must be a module, got str"):
        tf.compat.install(into="cvpods._C")
    with pytest.raises(TypeError, match="install: force must be a bool"):
        tf.compat.install(force=1)


# ---- what adopters write ----


def by_rank(values, index):
    return values.gather(2, index.long().unsqueeze(1).expand(-1, values.shape[1], -1))


def neighbours(height, width):
    number = torch.arange(height * width, dtype=torch.int32).view(height, width)
    pairs = [
        torch.stack([number[:-1], number[1:]], -1).reshape(-1, 2),
        torch.stack([number[:, :-1], number[:, 1:]], -1).reshape(-1, 2),
    ]
    return torch.cat(pairs)


def differences(image):
    down = (image[:, :, 1:] - image[:, :, :-1]).square().sum(1).flatten(1)
    right = (image[..., 1:] - image[..., :-1]).square().sum(1).flatten(1)
    return torch.cat([down, right], 1)


def sorted_tree(extension, image, most=4):
    with torch.no_grad():
        index = neighbours(*image.shape[2:]).unsqueeze(0).expand(len(image), -1, -1)
        tree = extension.mst_forward(index, differences(image) + 1, image[0, 0].numel())
    return tree, extension.bfs_forward(tree, most)[:3]


def mean_filter(extension):
    class Refine(Function):
        @staticmethod
        def forward(ctx, x, w, index, parent, child, low):
            out = extension.refine_forward(x, w, index, parent, child)
            ctx.save_for_backward(x, w, index, parent, child, *out)
            ctx.low = low
            return out[0]

        @staticmethod
        def backward(ctx, grad):
            saved = (*ctx.saved_tensors, grad)
            grad_x = extension.refine_backward_feature(*saved)
            grad_w = None if ctx.low else extension.refine_backward_weight(*saved)
            return grad_x, grad_w, None, None, None, None

    return Refine.apply


class AdoptedFilter(nn.Module):
    """Of the first family: groups by repeated trees, σ on the low level only."""

    def __init__(self, extension, groups=1, sigma=0.02):
        super().__init__()
        self.extension, self.groups, self.sigma = extension, groups, sigma
        self.refine = mean_filter(extension)

    def forward(self, x, embed, tree, low=True):
        index, parent, child = self.extension.bfs_forward(tree, 4)
        own = by_rank(embed.flatten(2), index)
        above = by_rank(own, parent)
        split = [t.reshape(len(x) * self.groups, -1, t.shape[2]) for t in (own, above)]
        distance = (split[0] - split[1]).square().sum(1)
        weight = torch.exp(-distance / self.sigma) if low else torch.exp(-distance)
        ranks = [t.repeat_interleave(self.groups, 0) for t in (index, parent, child)]
        features = x.reshape(len(x) * self.groups, -1, index.shape[1])
        return self.refine(features, weight, *ranks, low).view(x.shape)


@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
def test_first_tree_filter(groups, low):
    tf.compat.install()
    extension = importlib.import_module("tree_filter_cuda")
    guide = (torch.rand(2, 3, 5, 8) * 4).round() / 4  # ties
    x = torch.rand(2, 4, 5, 8, dtype=torch.float64, requires_grad=True)
    embed = torch.rand(2, 6, 5, 8, dtype=torch.float64, requires_grad=True)
    tree, _ = sorted_tree(extension, guide)
    ours = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)(guide)
    assert torch.equal(tree.sort(1).values, ours.sort(1).values)
    adopted = AdoptedFilter(extension, groups, 0.3)(x, embed, tree, low)
    layer = tf.compat.tree_filter.TreeFilter2D(groups, 0.3)(x, embed, ours, low)
    graph = tf.grid(5, 8)
    trees = tf.mst(differences(guide) + 1, graph)
    split = embed.unflatten(1, (groups, -1)).flatten(0, 1)
    weight = tf.edge_weight(split, graph).unflatten(0, (2, groups))
    plain = tf.filter(x, trees, tf.affinity(weight, trees, 0.3 if low else 1.0))
    grad = torch.rand_like(x)
    for y in (adopted, layer):
        torch.testing.assert_close(y, plain, rtol=1e-10, atol=1e-12)
        g = torch.autograd.grad(y, (x, embed), grad, allow_unused=True)
        want = torch.autograd.grad(plain, (x, embed), grad, retain_graph=True)
        torch.testing.assert_close(g[0], want[0], rtol=1e-10, atol=1e-12)
        assert (g[1] is None) is low
        if not low:
            torch.testing.assert_close(g[1], want[1], rtol=1e-10, atol=1e-12)


def test_adopted_code_compiles():
    tf.compat.install()
    extension = importlib.import_module("tree_filter_cuda")
    guide, x, embed = (torch.rand(2, c, 5, 6) for c in (3, 4, 4))
    tree, _ = sorted_tree(extension, guide)
    layer = AdoptedFilter(extension, 2)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for f, t in zip((layer, compiled), inputs, strict=True):
        f(t, embed, tree, low=False).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


class Everywhere:
    """The configuration object of the loss's code."""

    def get(self, *keys):
        return {("tree_loss", "params"): {"weight": 0.6}, ("tree_loss", "sigma"): 0.05}[keys]


def test_tree_energy_loss():
    tf.compat.install()
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
    y = filtered(p, small, sorted_tree(extension, small)[0])
    y = filtered(y, embed, sorted_tree(extension, embed)[0], low=False)
    theirs = 0.6 * (region * (p - y).abs()).sum() / region.sum()
    ours = tf.compat.tel.TreeEnergyLoss(Everywhere())(logits, image, embed, inside)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=0)
    grads = [torch.autograd.grad(loss, (logits, embed)) for loss in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-9, atol=1e-12)
    layer = tf.compat.tel.TreeEnergyLoss(weight=0.5)
    assert layer(logits, image, None, torch.zeros(2, 12, 16)) == 0


class AdoptedScan(nn.Module):
    """Of images: trees of the features themselves, weights per channel."""

    def __init__(self, extension):
        super().__init__()

        class Refine(Function):
            @staticmethod
            def forward(ctx, x, w, index, parent, child, one):
                out = extension.tree_scan_refine_forward(x, w, index, parent, child, one)
                ctx.save_for_backward(x, w, index, parent, child, *out)
                ctx.one = one
                return out[0]

            @staticmethod
            def backward(ctx, grad):
                saved = (*ctx.saved_tensors, grad, ctx.one)
                x = extension.tree_scan_refine_backward_feature(*saved)
                w = extension.tree_scan_refine_backward_edge_weight(*saved)
                return x, w, None, None, None, None

        self.extension, self.refine = extension, Refine.apply

    def forward(self, features, fresh, decay):
        cosine = nn.functional.normalize(features, dim=1)
        with torch.no_grad():
            index = neighbours(*features.shape[2:]).unsqueeze(0).expand(len(features), -1, -1)
            ends = cosine.flatten(2)
            first, second = (ends[:, :, index[0, :, i].long()] for i in (0, 1))
            weight = torch.exp(-(first * second).sum(1))
            tree = self.extension.mst_forward(index, weight, ends.shape[2])
        index, parent, child = self.extension.bfs_forward(tree, 4)
        one = torch.ones_like(index, dtype=decay.dtype)
        return self.refine(fresh, by_rank(decay, index), index, parent, child, one)


def test_scan_of_images():
    tf.compat.install()
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


class Mixer(nn.Module):
    """The layers of a Mamba mixer that the scan of sequences uses."""

    def __init__(self, width=4, states=3, rank=2):
        super().__init__()
        self.time_step_rank, self.ssm_state_size = rank, states
        self.in_proj, self.out_proj = nn.Linear(5, 2 * width), nn.Linear(width, 5)
        self.conv1d = nn.Conv1d(width, width, 3, groups=width, padding=2)
        self.x_proj, self.dt_proj = nn.Linear(width, rank + 2 * states), nn.Linear(rank, width)
        self.act = nn.functional.silu
        self.A_log = nn.Parameter(torch.rand(width, states))
        self.D = nn.Parameter(torch.rand(width))


def sequential(mixer, states, context):
    """The scan token by token: the chain's recurrence, and the same along a tree."""
    length = states.shape[1]
    x, gate = mixer.in_proj(states).mT.chunk(2, 1)
    x = mixer.act(mixer.conv1d(x)[..., :length])
    sizes = [mixer.time_step_rank, mixer.ssm_state_size, mixer.ssm_state_size]
    step, into, out_of = mixer.x_proj(x.mT).split(sizes, -1)
    step = nn.functional.softplus(mixer.dt_proj(step)).mT
    decay = torch.exp(-torch.exp(mixer.A_log.float()).unsqueeze(1) * step.unsqueeze(3))
    fresh = step.unsqueeze(3) * into.unsqueeze(1) * x.unsqueeze(3)
    flat = fresh.transpose(2, 3).flatten(1, 2).flip(2).detach()  # vertex v is token L − 1 − v
    pairs = [(i, i + 1) for i in range(length - context)]
    pairs += [(i, i + k) for i in range(length - context, length - 3) for k in (1, 2, 3)]
    pairs += [(length - 3, length - 2), (length - 3, length - 1), (length - 2, length - 1)]
    out = []
    for b in range(len(states)):
        cosine = [torch.cosine_similarity(flat[b, :, i], flat[b, :, j], dim=0) for i, j in pairs]
        label, near = list(range(length)), [[] for _ in range(length)]
        for e in sorted(range(len(pairs)), key=lambda e: (float(torch.exp(-cosine[e])), e)):
            u, v = pairs[e]
            if label[u] != label[v]:
                label = [label[u] if k == label[v] else k for k in label]
                near[u].append(v)
                near[v].append(u)

        def below(vertex, parent, children, b=b):
            total = fresh[b, :, length - 1 - vertex]
            for child in children(vertex):
                if child != parent:  # the weight of vertex v is that of the token after v's
                    part = below(child, vertex, children)
                    total = total + decay[b, :, (length - child) % length] * part
            return total

        def all_below(children, b=b):
            parent = {0: None}
            stack = [0]
            while stack:
                v = stack.pop()
                for u in children(v):
                    if u not in parent:
                        parent[u] = v
                        stack.append(u)
            return torch.stack(
                [below(length - 1 - t, parent[length - 1 - t], children) for t in range(length)], 1
            )

        chain = all_below(lambda v: [u for u in (v - 1, v + 1) if 0 <= u < length])
        out.append(chain + 0.3 * all_below(lambda v, near=near: near[v]))
    h = torch.stack(out)  # (B, D, L, n)
    y = (h * out_of.unsqueeze(1)).sum(3) + x * mixer.D.view(1, -1, 1)
    return mixer.out_proj((y * mixer.act(gate)).mT)


@pytest.mark.parametrize("context", [5, 9])
def test_scan_of_sequences(context):
    torch.manual_seed(context)
    mixer, states = Mixer(), torch.randn(2, 9, 5, requires_grad=True)
    ours = tf.compat.tree_scan.tree_scanning_algorithm(mixer, states, [context, context + 1], None)
    theirs = sequential(mixer, states, context)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    grad = torch.rand_like(ours)
    inputs = (states, *mixer.parameters())
    grads = [torch.autograd.grad(y, inputs, grad) for y in (ours, theirs)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-4)


def test_affinity_propagation():
    torch.manual_seed(2)
    guide, soft = torch.rand(2, 3, 5, 6), torch.rand(2, 1, 5, 6)
    tree = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)(guide)
    got = tf.compat.apro.Global_APro()(soft, guide, tree, zeta_g=0.3)
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
