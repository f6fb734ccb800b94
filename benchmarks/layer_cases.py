"""The layers of the field that are compared, and who computes them.

The file is long because each layer has a function of its own, with several implementations.
"""

import sys
from collections.abc import Callable

import inputs
import plain_tree as plain
import report
import torch
from race import OURS
from torch import nn
from torch.nn import functional

import treefilter as tf

sys.path.append(str(report.ROOT / "tests"))
import adopters

DROP_IN, FUNCTIONS, PLAIN = "drop-in", "drop-in functions", "plain PyTorch"
ALL_PAIRS = 4000
"""Up to so many vertices, all pairs of them are compared in plain PyTorch."""
Calls = dict[str, Callable[[], torch.Tensor]]
Parameters = tuple[torch.Tensor, ...]


def forward_and_backward(forward: Callable[[], torch.Tensor], wanted: Parameters) -> Callable:
    """A call that computes the output and the gradient of its square in each of ``wanted``."""

    def call() -> torch.Tensor:
        y = forward()
        torch.autograd.grad(y.square().sum(), wanted, allow_unused=True)
        return y.detach()

    return call


def photograph(batch: int, height: int, width: int) -> torch.Tensor:
    image = inputs.photograph(height, width)
    return torch.cat([image.roll(7 * i, 3) for i in range(batch)])


def features(batch: int, channels: int, height: int, width: int) -> torch.Tensor:
    return inputs.features(batch, channels, height, width).clone().requires_grad_()


# ---- the cases: calls by name ----


def mean_filter(channels: int, embed: int, groups: int, height: int, width: int) -> Calls:
    """Song et al. 2019: a mean with the trees of a guide and affinities of an embedding."""
    guide = photograph(1, height, width)
    x, e = features(1, channels, height, width), features(1, embed, height, width)
    graph, size = tf.grid(height, width), height * width
    tree_layer = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)
    filter_layer = tf.compat.tree_filter.TreeFilter2D(groups)
    tf.compat.install(["tree_filter_cuda"])
    extension = sys.modules["tree_filter_cuda"]
    adopted = adopters.AdoptedFilter(extension, groups)

    def ours() -> torch.Tensor:
        tree = tf.mst(tf.edge_weight(guide, graph), graph)
        split = e.unflatten(1, (groups, -1)).flatten(0, 1)
        weight = tf.edge_weight(split, graph).unflatten(0, (1, groups))
        return tf.filter(x, tree, tf.affinity(weight, tree))

    def by_hand() -> torch.Tensor:
        levels = plain.levels_of(plain.differences(guide), plain.grid_ends(height, width), size)
        flat = plain.to_forest(e)
        d = (flat - flat[:, plain.parent_of(levels)]).square()
        a = torch.exp(-d.unflatten(0, (groups, -1)).sum(1))
        a = a.repeat_interleave(channels // groups, 0)
        total = plain.filter_sum(plain.to_forest(x), levels, a)
        mass = plain.filter_sum(torch.ones_like(a), levels, a)
        return plain.from_forest(total / mass, x)

    return named(
        {
            OURS: ours,
            DROP_IN: lambda: filter_layer(x, e, tree_layer(guide), low_tree=False),
            FUNCTIONS: lambda: adopted(x, e, adopters.tree_of(extension, guide), low=False),
            PLAIN: by_hand,
        },
        (x, e),
    )


def functions(batch: int, channels: int, height: int, width: int) -> Calls:
    """Trees, the mean and its two gradients alone: the functions of the first extension."""
    guide, x = photograph(batch, height, width), features(batch, channels, height, width).flatten(2)
    graph = tf.grid(height, width)
    weight, size = plain.differences(guide) + 1, height * width
    tree = tf.mst(weight, graph)
    a = tf.affinity(tf.edge_weight(guide, graph), tree, 0.02)
    tf.compat.install(["tree_filter_cuda"])
    extension = sys.modules["tree_filter_cuda"]
    index = adopters.neighbours(height, width).unsqueeze(0).expand(batch, -1, -1)
    ranks = extension.bfs_forward(extension.mst_forward(index, weight, size), 4)
    by_rank = a.gather(1, ranks[0].long())
    refine = adopters.mean_filter(extension)

    def ours() -> torch.Tensor:
        values, affinity = x.detach().requires_grad_(), a.detach().requires_grad_()
        y = tf.filter(values, tf.mst(weight, graph), affinity)
        return torch.autograd.grad(y.square().sum(), (values, affinity))[0]

    def theirs() -> torch.Tensor:
        values, w = x.detach().requires_grad_(), by_rank.detach().requires_grad_()
        tree = extension.bfs_forward(extension.mst_forward(index, weight, size), 4)
        y = refine(values, w, *tree, False)
        return torch.autograd.grad(y.square().sum(), (values, w))[0]

    return {OURS: ours, FUNCTIONS: theirs}


def energy(classes: int, embed: int, height: int, width: int) -> Calls:
    """Liang et al. 2022: the Tree Energy Loss."""
    image = photograph(1, 4 * height, 4 * width)
    logits, e = features(1, classes, height, width), features(1, embed, height, width)
    label = torch.full((1, 4 * height, 4 * width), -1)
    ours, theirs = tf.nn.TreeEnergyLoss(offset=1.0, roi="nearest"), tf.compat.tel.TreeEnergyLoss()
    tf.compat.install(["tree_filter_cuda"])
    extension = sys.modules["tree_filter_cuda"]
    adopted = adopters.AdoptedFilter(extension)

    def by_functions() -> torch.Tensor:
        small = functional.interpolate(image, (height, width), mode="bilinear")
        p = logits.softmax(1)
        y = adopted(p, small, adopters.tree_of(extension, small))
        y = adopted(y, e, adopters.tree_of(extension, e), low=False)
        return 0.4 * (p - y).abs().sum() / (height * width)

    def by_hand() -> torch.Tensor:
        small = functional.interpolate(image, (height, width), mode="bilinear")
        p = y = plain.to_forest(logits.softmax(1))
        for guide, sigma in ((small, 0.02), (e, 1.0)):
            weight = plain.differences(guide) + 1
            ends = plain.grid_ends(height, width)
            levels = plain.levels_of(weight, ends, height * width)
            flat = plain.to_forest(guide)
            d = (flat - flat[:, plain.parent_of(levels)]).square().sum(0, keepdim=True)
            a = torch.exp(-d / sigma)
            total = plain.filter_sum(torch.cat([y, torch.ones_like(a)]), levels, a)
            y = total[:-1] / total[-1:]
        return 0.4 * (p - y).abs().sum() / (height * width)

    return named(
        {
            OURS: lambda: ours(logits, image, label, e),
            DROP_IN: lambda: theirs(logits, image, e, label == -1),
            FUNCTIONS: by_functions,
            PLAIN: by_hand,
        },
        (logits, e),
    )


def confidence(channels: int, embed: int, groups: int, height: int, width: int) -> Calls:
    """Song et al. 2020: the confidence-weighted filter as a layer, in evaluation."""
    torch.manual_seed(0)
    guide = photograph(1, height, width)
    x = features(1, channels, height, width)
    ours = tf.nn.TreeFilterMRF2d(channels, 3, embed, groups).eval()
    theirs = tf.compat.tree_filter_v2.TreeFilterV2(3, channels, embed, groups).eval()
    for p in ours.parameters():
        nn.init.normal_(p, std=0.1)
    names = {
        "embed_layer.weight": "embed.weight",
        "guide_layer.weight": "guide.weight",
        "conf_layer.weight": "confidence.weight",
    }
    state = ours.state_dict()
    theirs.load_state_dict({k: state[names.get(k, k)] for k in theirs.state_dict()})

    def by_hand() -> torch.Tensor:
        e, g, c = ours.embed(x), ours.guide(guide), ours.confidence(x).sigmoid()
        ends = plain.grid_ends(height, width)
        levels = plain.levels_of(plain.differences(g), ends, height * width)
        up = plain.parent_of(levels)
        d = sum((plain.to_forest(t) - plain.to_forest(t)[:, up]).square() for t in (e, g))
        own = torch.exp(-ours.beta.square()).unsqueeze(1)
        a = torch.exp(-d.unflatten(0, (groups, -1)).sum(1)) * own
        conf = plain.to_forest(c)
        weighted = (plain.to_forest(x).unflatten(0, (groups, -1)) * conf.unsqueeze(1)).flatten(0, 1)
        per_channel = [t.repeat_interleave(channels // groups, 0) for t in (a, own, conf)]
        total = plain.filter_sum(weighted, levels, per_channel[0]) + (per_channel[1] - 1) * weighted
        mass = plain.filter_sum(conf, levels, a) + (own - 1) * conf
        mean = total / (ours.eps + mass.repeat_interleave(channels // groups, 0))
        return x + ours.gamma * plain.from_forest(mean, x)

    return named(
        {OURS: lambda: ours(x, guide), DROP_IN: lambda: theirs(x, guide), PLAIN: by_hand},
        (x, *ours.parameters()),
        {DROP_IN: (x, *theirs.parameters())},
    )


def scan(batch: int, channels: int, height: int, width: int) -> Calls:
    """Xiao et al. 2024: the scan of images with one state per channel."""
    torch.manual_seed(0)
    x = features(batch, channels, height, width)
    layer = tf.nn.TreeScan2d(channels)
    assert layer.norm is not None
    norm = layer.norm

    def theirs() -> torch.Tensor:
        y = tf.compat.tree_scan.tree_scanning(
            x, layer.select.weight.unsqueeze(0), None, layer.step.weight.unsqueeze(0),
            layer.step.bias, layer.log_decay, layer.skip, nn.Identity(), h_norm=norm,
        )  # fmt: skip
        return y.permute(0, 3, 1, 2)

    def by_hand() -> torch.Tensor:
        unit = functional.normalize(x.detach(), dim=1)
        ends = plain.grid_ends(height, width)
        levels = plain.levels_of(plain.differences(unit) / 2, ends, height * width)
        rows = x.flatten(2).mT
        low, into, out_of = layer.select(rows).split([layer.dt_rank, 1, 1], 2)
        step = functional.softplus(layer.step(low)).mT
        a = torch.exp(-step * layer.log_decay.exp())
        fresh = step * into.mT * x.flatten(2)
        h = plain.filter_sum(plain.to_forest(fresh), levels, plain.to_forest(a))
        h = norm(plain.from_forest(h, fresh).mT).mT
        return (h * out_of.mT + layer.skip.unsqueeze(1) * x.flatten(2)).view(x.shape)

    forwards = {OURS: lambda: layer(x), DROP_IN: theirs, PLAIN: by_hand}
    return named(forwards, (x, *layer.parameters()))


class Mixer(nn.Module):
    """What the scan of sequences uses of a Mamba mixer."""

    def __init__(self, width: int, states: int = 16) -> None:
        super().__init__()
        inner, rank = 2 * width, width // 16
        self.time_step_rank, self.ssm_state_size = rank, states
        self.in_proj = nn.Linear(width, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, width, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, 4, groups=inner, padding=3)
        self.x_proj = nn.Linear(inner, rank + 2 * states, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.act = functional.silu
        decay = torch.arange(1, states + 1, dtype=torch.float32).log().repeat(inner, 1)
        self.A_log, self.D = nn.Parameter(decay), nn.Parameter(torch.ones(inner))


def sequence(width: int, context: int, length: int) -> Calls:
    """Xiao et al. 2024: the scan of sequences, without and with the layer's own trees."""
    torch.manual_seed(0)
    mixer = Mixer(width)
    states = torch.randn(1, length, width, requires_grad=True)

    def theirs() -> torch.Tensor:
        return tf.compat.tree_scan.tree_scanning_algorithm(mixer, states, context)

    def by_hand() -> torch.Tensor:
        x, gate = mixer.in_proj(states).mT.chunk(2, 1)
        x = mixer.act(mixer.conv1d(x)[..., :length])
        n = mixer.ssm_state_size
        step, into, out_of = mixer.x_proj(x.mT).split([mixer.time_step_rank, n, n], -1)
        step = functional.softplus(mixer.dt_proj(step)).mT.unsqueeze(3)
        decay = torch.exp(-mixer.A_log.exp().unsqueeze(1) * step)
        fresh = step * into.unsqueeze(1) * x.unsqueeze(3)
        state, chain = torch.zeros_like(fresh[:, :, 0]), []
        for t in range(length):
            carried = state if t == 0 else decay[:, :, t - 1] * state
            state = carried + fresh[:, :, t]
            chain.append(state)
        flat, weights = (t.transpose(2, 3).flatten(1, 2).flip(2) for t in (fresh, decay))
        pairs = [(i, i + 1) for i in range(length - context)]
        pairs += [(i, i + k) for i in range(length - context, length - 3) for k in (1, 2, 3)]
        pairs += [(length - 3, length - 2), (length - 3, length - 1), (length - 2, length - 1)]
        ends = torch.tensor(pairs).T.numpy()
        first, second = (flat.detach()[:, :, torch.from_numpy(e)] for e in ends)
        weight = torch.exp(-torch.cosine_similarity(first, second, dim=1))
        levels = plain.levels_of(weight, ends, length)
        tree = plain.filter_sum(flat[0], levels, weights.roll(1, 2)[0], up_only=True)
        tree = tree.flip(1).unflatten(0, (-1, n)).transpose(1, 2).unsqueeze(0)
        h = torch.stack(chain, 2) + 0.3 * tree
        y = (h * out_of.unsqueeze(1)).sum(3) + x * mixer.D.view(1, -1, 1)
        return mixer.out_proj((y * mixer.act(gate)).mT)

    return named({DROP_IN: theirs, PLAIN: by_hand}, (states, *mixer.parameters()))


def propagation(classes: int, height: int, width: int) -> Calls:
    """Li et al. 2023: minimax means, one class after the other as the research code does."""
    guide = photograph(1, height, width)
    soft = torch.rand(1, classes, height, width)
    graph = tf.grid(height, width)
    trees = tf.compat.tree_filter.MinimumSpanningTree(tf.compat.tree_filter.norm2_distance)
    layer = tf.compat.apro.Global_APro()

    def ours() -> torch.Tensor:
        weight = tf.edge_weight(guide, graph)
        tree = tf.mst(weight + 1, graph)
        return tf.filter(soft, tree, tf.affinity(weight, tree, 0.01), path="min")

    def theirs() -> torch.Tensor:
        tree = trees(guide)
        return torch.cat([layer(soft[:, k : k + 1], guide, tree, 0.1) for k in range(classes)], 1)

    def by_hand() -> torch.Tensor:
        weight = plain.differences(guide)
        ends = plain.grid_ends(height, width)
        levels = plain.levels_of(weight + 1, ends, height * width)
        d = (guide.flatten(2) - guide.flatten(2)[..., plain.parent_of(levels)]).square().sum(1)[0]
        k = torch.exp(-plain.largest(levels, d) / 0.01)
        return (soft.flatten(2) @ k / k.sum(1)).view(soft.shape)

    calls: Calls = {OURS: ours, DROP_IN: theirs}
    return {**calls, PLAIN: by_hand} if height * width <= ALL_PAIRS else calls


def named(forwards: Calls, wanted: Parameters, other: dict[str, Parameters] | None = None) -> Calls:
    return {
        name: forward_and_backward(forward, (other or {}).get(name, wanted))
        for name, forward in forwards.items()
    }


CASES: dict[str, tuple[Callable[..., Calls], tuple[int, ...], tuple[int, ...]]] = {
    # title: function, sizes, small sizes for loading libraries
    "mean, 256 channels in 16 groups, 64×64": (
        mean_filter, (256, 64, 16, 64, 64), (16, 16, 16, 8, 8)
    ),
    "functions alone, 2×21×128×128": (functions, (2, 21, 128, 128), (2, 3, 6, 7)),
    "energy loss, 21 classes, embedding 256, 128×128": (energy, (21, 256, 128, 128), (3, 4, 8, 8)),
    "confidence-weighted, 256 channels in 16 groups, 128×128": (
        confidence, (256, 64, 16, 128, 128), (16, 16, 16, 8, 8)
    ),
    "scan of 8 images, 96 channels, 56×56": (scan, (8, 96, 56, 56), (2, 16, 6, 6)),
    "scan of 8 images, 192 channels, 28×28": (scan, (8, 192, 28, 28), (2, 16, 6, 6)),
    "scan of 8 images, 384 channels, 14×14": (scan, (8, 384, 14, 14), (2, 16, 6, 6)),
    "scan of 8 images, 768 channels, 7×7": (scan, (8, 768, 7, 7), (2, 16, 6, 6)),
    "scan of 512 tokens, width 192, 16 states": (sequence, (192, 64, 512), (16, 8, 16)),
    "minimax mean of 20 classes, 50×76": (propagation, (20, 50, 76), (2, 5, 6)),
    "minimax mean of 20 classes, 200×304": (propagation, (20, 200, 304), (2, 5, 6)),
}  # fmt: skip


def calls(title: str, *sizes: int) -> Calls:
    """The calls of a case, for ``memory.peak``."""
    return CASES[title][0](*sizes)


def verify(results: dict[str, torch.Tensor]) -> None:
    """Every contender computed the same, up to the ties of trees that SciPy breaks otherwise."""
    first, *others = results.values()
    for other in others:
        scale = first.abs().max()
        far = ((first - other).abs() > 1e-3 * scale).float().mean()
        assert far < 0.05, f"{far:.1%} of the values differ"
